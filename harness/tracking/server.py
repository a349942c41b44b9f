"""Run MLflow's command, and end it with the process that started it, however that process ends.

    python -P mlflow_server.py server OPTION...

Standard input is a pipe that nobody writes to: it closes when its owner is gone. What MLflow starts
itself is in the group of this process, and ends with it.
"""

import os
import runpy
import signal
import threading


def end_with_owner() -> None:
    os.read(0, 1)
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=end_with_owner, daemon=True).start()
    runpy.run_module("mlflow", run_name="__main__", alter_sys=True)

"""The facts about one machine of a cluster that matter to trials: packages, folders, device.

Runs there, where nothing but Python and Ray may be assumed: it uses the standard library alone.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.runs.files import JsonObject

PATIENCE_S = 90
TORCH = """
import json, torch
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
gpus = [[gpu.name, gpu.total_memory / 2**30] for gpu in gpus]
print(json.dumps({"version": torch.__version__, "threads": torch.get_num_threads(), "gpus": gpus}))
"""
"""Code for `asked_afresh` that prints the GPUs that torch sees, with their memory in GiB."""


def look(asked: JsonObject) -> JsonObject:
    """The facts about this machine; `asked`: packages, folders, token, gpu.

    In each of the folders the driver has put a file with the token as its name and content. Where
    it is found, a file is "left" for the driver, else there is a "fault".
    """
    facts = {
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in asked["packages"]},
        "folders": {folder: _visit(Path(folder), asked["token"]) for folder in asked["folders"]},
    }
    return facts | device(asked)


def device(asked: JsonObject) -> JsonObject:
    """The name of the device that trials use here, and why torch cannot use it or ""."""
    if not asked["gpu"]:
        return {"device": cpu_name(), "broken": ""}
    found, broken = asked_afresh(TORCH, PATIENCE_S)
    if found is None:
        return {"device": "", "broken": broken}
    names = sorted({name for name, _ in found["gpus"]})
    return {"device": ", ".join(names), "broken": "" if names else "sees no GPU"}


def asked_afresh(
    code: str, patience_s: float, environment: Mapping[str, str] | None = None
) -> tuple[JsonObject | None, str]:
    """Run `code` in an interpreter of its own; returns the printed JSON, or None and an error line.

    Raises TimeoutExpired after `patience_s`.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env=environment and dict(environment),
        timeout=patience_s,
        check=False,
        encoding="utf-8",
    )
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1]), ""
    said = done.stderr.strip().splitlines() or [f"ended with exit code {done.returncode}"]
    return None, said[-1]


def installed(name: str) -> str | None:
    """The version of an installed package, or None for a missing one."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The name that the processor gives itself, for example "AMD EPYC 7B13"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _visit(folder: Path, token: str) -> JsonObject:
    """Read the file of the driver in the folder, and leave a file for the driver there."""
    try:
        if (folder / token).read_text(encoding="utf-8") != token:
            return {"fault": "is another folder there"}
        mine = folder / f"{token}-{platform.node()}-{os.getpid()}"
        with open(mine, "x", encoding="utf-8") as file:
            file.write(token)
    except FileNotFoundError:
        return {"fault": "is not there, or another folder"}
    except OSError as error:
        return {"fault": f"cannot be used there: {os.strerror(error.errno or 0).lower()}"}
    return {"left": mine.name, "free_bytes": shutil.disk_usage(folder).free}

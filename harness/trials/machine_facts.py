"""What one machine of a cluster has of what trials need.

Runs there, where nothing but Python and Ray may be assumed: it uses the standard library alone.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PATIENCE_S = 90
TORCH = """
import json, torch
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"gpus": names}))
"""


def look(asked: dict[str, Any]) -> dict[str, Any]:
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


def device(asked: dict[str, Any]) -> dict[str, Any]:
    """The name of what trials compute on here, and why torch cannot, "" when it can."""
    if not asked["gpu"]:
        return {"device": cpu_name(), "broken": ""}
    tried = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", TORCH],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        encoding="utf-8",
    )
    if tried.returncode:
        said = tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"]
        return {"device": "", "broken": said[-1]}
    gpus = json.loads(tried.stdout.splitlines()[-1])["gpus"]
    return {"device": ", ".join(sorted(set(gpus))), "broken": "" if gpus else "sees no GPU"}


def installed(name: str) -> str | None:
    """The version of a package, None when it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The processor's own name, for example "AMD EPYC 7B13"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _visit(folder: Path, token: str) -> dict[str, Any]:
    """Read what the driver left in the folder, and leave something ourselves."""
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

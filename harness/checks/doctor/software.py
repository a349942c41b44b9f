"""Checks of the doctor on Python, its packages, and on torch, Ray and MLflow.

Each library is imported in a process of its own, as a trial would: what breaks there, a crash of
the interpreter included, is one line here.
"""

import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import harness
from harness.checks.finding import Diagnosis, ExaminationRequest
from harness.data.wording import listed
from harness.runs.redact import redact
from harness.tracking.mirror import QUIET as MLFLOW_QUIET
from harness.trials.machine_facts import TORCH, asked_afresh, installed
from tuning.cluster import ALONE
from tuning.cluster import QUIET as RAY_QUIET

PATIENCE_S = 60
KEPT = ("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH")
CONSTRAINTS = Path(harness.__file__).parent.parent / "constraints.txt"
INSTALL = "pip install -e . -c constraints.txt"
SHOWN = 5

RAY = """
import json, ray, ray.tune
print(json.dumps({"version": ray.__version__}))
"""
MLFLOW = """
import json, mlflow
from mlflow.telemetry.utils import is_telemetry_disabled
print(json.dumps({"version": mlflow.__version__, "silent": is_telemetry_disabled()}))
"""


def python(request: ExaminationRequest) -> Iterator[Diagnosis]:
    """Check the version of Python against the one that pfbench requires."""
    needed = distribution("pfbench").metadata["Requires-Python"]
    what = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if platform.python_version() in SpecifierSet(needed):
        yield Diagnosis("Python", "ok", what)
    else:
        yield Diagnosis("Python", "fail", what, f"make the environment with Python {needed}")


def requirements(request: ExaminationRequest) -> Iterator[Diagnosis]:
    """Check every package that pfbench requires against the required versions."""
    needed = [Requirement(text) for text in distribution("pfbench").requires or ()]
    needed = [one for one in needed if not one.marker or one.marker.evaluate({"extra": ""})]
    wrong = [one for one in needed if not _satisfied(one)]
    for one in wrong:
        what = f"{one.name} is {installed(one.name) or 'missing'}, not {one.specifier}"
        yield Diagnosis("packages", "fail", what, f"pip install '{one.name}{one.specifier}'")
    if not wrong:
        yield Diagnosis("packages", "ok", f"{len(needed)} that pfbench requires, at its versions")


def _satisfied(needed: Requirement) -> bool:
    found = installed(needed.name)
    return found is not None and needed.specifier.contains(found, prereleases=True)


def constraints(request: ExaminationRequest, path: Path = CONSTRAINTS) -> Iterator[Diagnosis]:
    """Check the installed packages against the versions with which the tests passed."""
    if not path.exists():
        yield Diagnosis("constraints", "ok", "no constraints.txt beside the source to compare with")
        return
    pinned = [
        Requirement(line)
        for line in path.read_text(encoding="utf-8").splitlines()
        if _names_one(line)
    ]
    different = [
        f"{one.name} {found} ({str(one.specifier).removeprefix('==')})"
        for one in pinned
        if (found := installed(one.name)) and not _satisfied(one)
    ]
    if not different:
        yield Diagnosis("constraints", "ok", "versions are those of constraints.txt")
        return
    what = f"not as in constraints.txt: {listed(different, SHOWN)}"
    yield Diagnosis("constraints", "warn", what, INSTALL)


def _names_one(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(("#", "-"))


def torch(request: ExaminationRequest) -> Iterator[Diagnosis]:
    """Check torch: its version, its threads, and the GPUs that trials would use."""
    found, broken = _probe(TORCH, os.environ)
    if found is None:
        yield Diagnosis("torch", "fail", broken, INSTALL)
        return
    yield Diagnosis("torch", "ok", f"{found['version']}, {found['threads']} threads")
    devices = [f"{name} ({gib:.0f} GiB)" for name, gib in found["gpus"]]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if visible is None else f"; CUDA_VISIBLE_DEVICES={visible}"
    what = ", ".join(devices) or "no GPU: trials run on the CPU"
    yield Diagnosis("device", "ok", what + hidden)


def ray(request: ExaminationRequest) -> Iterator[Diagnosis]:
    """Check that Ray can be imported, and the environment variables that change Ray."""
    found, broken = _probe(RAY, {**os.environ, **RAY_QUIET, **ALONE})
    if found is None:
        yield Diagnosis("Ray", "fail", broken, INSTALL)
    else:
        yield Diagnosis(
            "Ray", "ok", f"{found['version']}, started by pfbench on this machine alone"
        )
    usage = os.environ.get("RAY_USAGE_STATS_ENABLED", "0")
    if usage not in ("0", "1"):
        what = f"RAY_USAGE_STATS_ENABLED={usage}, but Ray takes 0 or 1 only"
        yield Diagnosis("Ray", "fail", what, "export RAY_USAGE_STATS_ENABLED=0")
    elif usage == "1":
        what = "RAY_USAGE_STATS_ENABLED=1: a cluster that you start reports to Ray's makers"
        yield Diagnosis("Ray", "warn", what, "export RAY_USAGE_STATS_ENABLED=0")
    address = os.environ.get("RAY_ADDRESS")
    if address:
        what = f"RAY_ADDRESS={redact(address)} names a cluster, which pfbench wants to be asked for"
        remedy = f"unset RAY_ADDRESS, or pfbench run --address {redact(address)}"
        yield Diagnosis("Ray", "warn", what, remedy)


def mlflow(request: ExaminationRequest) -> Iterator[Diagnosis]:
    """Check that MLflow can be imported, and sends no telemetry in pfbench's environment."""
    # MLflow is silent in CI and tests anyway: it is asked without the variables that it tells by.
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    found, broken = _probe(MLFLOW, kept | MLFLOW_QUIET)
    if found is None:
        yield Diagnosis("MLflow", "fail", broken, INSTALL)
    elif found["silent"]:
        yield Diagnosis("MLflow", "ok", f"{found['version']}, its telemetry is off")
    else:
        what = f"{found['version']} reports to its makers whatever pfbench asks of it"
        yield Diagnosis("MLflow", "fail", what, "pfbench run --no-mlflow, or another version")


def _probe(code: str, environment: Mapping[str, str]) -> tuple[dict[str, Any] | None, str]:
    """The JSON that `code` prints in a fresh interpreter; else None, and the reason in one line."""
    found, broken = asked_afresh(code, PATIENCE_S, environment)
    return found, f"cannot be used: {redact(broken)}" if broken else ""

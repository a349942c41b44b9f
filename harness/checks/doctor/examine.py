"""`pfbench doctor`: checks whether this machine can do a run; each line is ok or has a remedy."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rich.table import Table
from rich.text import Text

from harness.checks.doctor import machine as doctor_machine
from harness.checks.doctor import software as doctor_software
from harness.checks.doctor import store as doctor_store
from harness.checks.finding import Check, Diagnosis, ExaminationRequest
from harness.errors import UsageError
from harness.runs.redact import redact
from harness.runs.screen import Screen

CHECKS: dict[str, Check] = {
    "Python": doctor_software.python,
    "packages": doctor_software.requirements,
    "constraints": doctor_software.constraints,
    "torch": doctor_software.torch,
    "Ray": doctor_software.ray,
    "MLflow": doctor_software.mlflow,
    "store": doctor_store.store,
    "output": doctor_machine.output,
    "disk": doctor_machine.disk,
    "data": doctor_machine.data,
    "listeners": doctor_machine.listeners,
}
COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def examine(request: ExaminationRequest, checks: dict[str, Check] = CHECKS) -> list[Diagnosis]:
    """The findings of every check, in the order of the checks, which run in parallel threads.

    Never raises: a check that does is itself a finding.
    """
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda name: _guarded(name, checks[name], request), checks)
        return [finding for each in found for finding in each]


def _guarded(name: str, check: Check, request: ExaminationRequest) -> list[Diagnosis]:
    try:
        return list(check(request))
    except Exception as error:  # a doctor who faints is of no use
        what = f"cannot be checked ({type(error).__name__}: {redact(str(error))})"
        return [Diagnosis(name, "fail", what, "report this, with the line as it is")]


def exit_code(findings: Sequence[Diagnosis]) -> int:
    """The exit code: 2 when a finding would break a run, else 0."""
    return UsageError.exit_code if any(one.state == "fail" for one in findings) else 0


def records(findings: Sequence[Diagnosis]) -> list[dict[str, str]]:
    """The findings as records for JSON."""
    return [finding._asdict() for finding in findings]


def show(findings: Sequence[Diagnosis], screen: Screen) -> None:
    """Print a line for each finding, its remedy below it."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, state, what, remedy in findings:
        table.add_row(name, Text(state, style=COLOURS[state]), what)
        if remedy:
            table.add_row("", "", f"→ {remedy}")
    screen.show(table)
    count = sum(finding.state == "fail" for finding in findings)
    screen.say(f"{count} to be mended" if count else "ready: pfbench run --suite table5")

"""Check before a run on a cluster that every machine can run trials, and list the faults."""

import platform
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.wording import counted
from harness.errors import ClusterError, together
from harness.runs.files import write_bytes
from harness.runs.screen import Screen
from harness.trials.machine_facts import installed, look
from harness.trials.placement import Placement, cluster_faults, cluster_of
from tuning.capacity import machines_for
from tuning.machines import Machine, Silent, everywhere

NUMBERS = ("torch", "numpy", "scipy")
"""Packages that compute the results: every machine must have the version that the driver has."""
PLUMBING = ("ray", "pydantic", "safetensors", "psutil")
"""Packages that a trial imports, but that do not change its numbers."""
LEAST_FREE = 2**30
PATIENCE_S = 120
Answer = dict[str, Any] | Silent


class Lack(NamedTuple):
    """One fault of a machine; a fault that several machines share is listed once."""

    what: str
    remedy: str
    code: str


def refuse_unfit(placement: Placement, out: Path, cache: Path, screen: Screen) -> None:
    """Raise ClusterError that lists the faults of each machine, before anything is read or trained.

    Without an address there is no machine to ask: trials run where this process does. Both folders
    are made where they are missing.
    """
    if not placement.address:
        return
    folders = _apart(out, cache)
    with cluster_faults():
        found = machines_for(
            (placement.cpus_per_trial, placement.gpus_per_trial), cluster_of(placement)
        )
        with _token_in(folders) as token:
            asked = {
                "packages": [*NUMBERS, *PLUMBING],
                "folders": [str(folder) for folder in folders],
                "token": token,
                "gpu": placement.device == "cuda",
            }
            answers = everywhere(look, asked, found, PATIENCE_S)
            lacks = {machine.name: lacks_of(answer, token) for machine, answer in answers.items()}
    faults = _by_fault(lacks)
    if faults:
        raise together(faults, f"the cluster at {placement.address}")
    _announce(placement.address, answers, screen)


def _apart(out: Path, cache: Path) -> list[Path]:
    """The folders that every machine writes to or reads from, none of them within another."""
    out, cache = out.absolute(), cache.absolute()
    cache.mkdir(parents=True, exist_ok=True)
    return [out] if cache.is_relative_to(out) else [out, cache]


@contextmanager
def _token_in(folders: Sequence[Path]) -> Iterator[str]:
    """Write a file with a random token into each folder; the end of the block removes the files.

    The files that machines left beside it are removed as well.
    """
    token = f".preflight-{secrets.token_hex(8)}"
    try:
        for folder in folders:
            write_bytes(folder / token, token.encode())
        yield token
    finally:
        for folder in folders:
            for left in folder.glob(f"{token}*"):
                left.unlink(missing_ok=True)


def lacks_of(answer: Answer, token: str) -> list[Lack]:
    """The faults of a machine, by its answer and the files that it left in the folders."""
    if isinstance(answer, Silent):
        remedy = "look at `ray status` and at Ray's logs on that machine"
        return [Lack(f"cannot be asked: {answer}", remedy, "PFB-R05")]
    return [*_packages(answer["packages"]), *_folders(answer["folders"], token), *_device(answer)]


def _packages(found: Mapping[str, str | None]) -> Iterator[Lack]:
    for name, version in found.items():
        ours = installed(name)
        if version is None or (name in NUMBERS and version != ours):
            has = f"has {name} {version}" if version else f"lacks {name}"
            remedy = f"pip install {name}=={ours} there, in the environment that Ray was started in"
            yield Lack(f"{has}; here it is {ours}", remedy, "PFB-R02")


def _folders(found: Mapping[str, Mapping[str, Any]], token: str) -> Iterator[Lack]:
    for place, visit in found.items():
        fault = visit.get("fault")
        if not fault and not _left(Path(place) / visit["left"], token):
            fault = "is another folder there: what was written to it did not arrive here"
        if fault:
            remedy = (
                "--out (and --cache) on storage that all machines mount at the same path, with "
                "Ray started by the user who runs pfbench"
            )
            yield Lack(f"{place} {fault}", remedy, "PFB-R03")
        elif visit["free_bytes"] < LEAST_FREE:
            what = f"has {visit['free_bytes'] / 2**20:.0f} MiB free in {place}"
            yield Lack(what, "free space, or pass --out on another disk", "PFB-R03")


def _left(path: Path, token: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == token
    except OSError:
        return False


def _device(answer: Mapping[str, Any]) -> Iterator[Lack]:
    if answer["broken"]:
        what = f"cannot compute on a GPU: {answer['broken']}"
        remedy = "check `nvidia-smi` there, or --device cpu"
        yield Lack(what, remedy, "PFB-R04")


def _by_fault(lacks: Mapping[str, Sequence[Lack]]) -> list[ClusterError]:
    machines = defaultdict(list)
    for name, those in lacks.items():
        for lack in those:
            machines[lack].append(name)
    return [
        ClusterError(lack.what, where=", ".join(names), remedy=lack.remedy, code=lack.code)
        for lack, names in machines.items()
    ]


def _announce(address: str, answers: Mapping[Machine, Answer], screen: Screen) -> None:
    """Print which machines take part, and how they differ without harm."""
    names = ", ".join(machine.name for machine in answers)
    cpus = sum(machine.cpus for machine in answers)
    gpus = sum(machine.gpus for machine in answers)
    held = f"{cpus:g} CPUs, {gpus:g} GPUs"
    screen.say(f"cluster     {address}: {counted(len(answers), 'node')} ({names}; {held})")
    facts = [answer for answer in answers.values() if isinstance(answer, dict)]
    devices = Counter(fact["device"] for fact in facts)
    if len(devices) > 1:
        kinds = ", ".join(f"{count} with {name}" for name, count in devices.items())
        screen.say(f"note        machines differ ({kinds}): times are measured on one of them")
    ours = {"Python": platform.python_version()} | {name: installed(name) for name in PLUMBING}
    for name, version in ours.items():
        others = {fact["packages"].get(name, fact["python"]) for fact in facts} - {version}
        if others:
            found = ", ".join(sorted(map(str, others)))
            screen.say(f"note        {name} is {version} here and {found} elsewhere in the cluster")

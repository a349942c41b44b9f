"""Checks of the doctor on folders, disk space, volumes and open ports."""

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import psutil

from harness.checks.finding import Diagnosis, ExaminationRequest, State
from harness.data.recognise import recognised
from harness.data.request import DataRequest, complete, contents_of, survey
from harness.data.wording import counted
from harness.errors import DataError
from tuning.cluster import SHORT, rays_folder, too_long

GIB = 2**30
LEAST_GIB, ENOUGH_GIB = 1, 10
"""A run of the phantom needs less than the first; 369 prepared BraTS volumes, one modality each,
take 8.7 GiB, and checkpoints come on top."""
RAY_FULL = 0.95
"""The share of a full disk above which Ray refuses to store objects."""
SHM_MIB = 256
SHM = Path("/dev/shm")


def nearest(path: Path) -> Path:
    """The path itself, or the first folder above it that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def unwritable(folder: Path) -> str:
    """The reason why no file can be written below `folder`, or ""; the folder need not exist yet.

    Tried, not looked up: a disk may be mounted read-only, and root may write where modes forbid.
    """
    place = nearest(folder)
    if not place.is_dir():
        return f"{place} is no folder"
    try:
        with tempfile.TemporaryFile(dir=place):
            return ""
    except OSError as error:
        return f"{place} cannot be written: {error.strerror}"


def output(request: ExaminationRequest) -> Iterator[Diagnosis]:
    """Check the folder of runs: writable for us, not readable for others."""
    out = request.out
    broken = unwritable(out)
    if broken:
        yield Diagnosis("output", "fail", broken, "pass --out with a folder that you may write to")
    elif not out.exists():
        yield Diagnosis("output", "ok", f"{out} will be made, for you only")
    elif out.stat().st_mode & 0o077:
        what = f"{out} is open to others ({out.stat().st_mode & 0o777:o}); case ids are in it"
        yield Diagnosis("output", "warn", what, f"chmod -R go= {shlex.quote(str(out))}")
    else:
        yield Diagnosis("output", "ok", f"{out}, yours only")


def disk(request: ExaminationRequest) -> Iterator[Diagnosis]:
    """Check the disk space for runs and for Ray's own files, and the size of shared memory."""
    free = shutil.disk_usage(nearest(request.out)).free / GIB
    if free < ENOUGH_GIB:
        state: State = "fail" if free < LEAST_GIB else "warn"
        what = f"{free:.1f} GiB free for runs; the paper's volumes and checkpoints take more"
        yield Diagnosis("disk", state, what, "free space, or pass --out on another disk")
    else:
        yield Diagnosis("disk", "ok", f"{free:.0f} GiB free for runs")
    place = rays_folder()
    usage = shutil.disk_usage(nearest(place))
    if 1 - usage.free / usage.total > RAY_FULL:
        what = f"{place} is over {RAY_FULL:.0%} full, and Ray stops working there"
        yield Diagnosis(
            "disk", "fail", what, "free space, or export RAY_TMPDIR=DIR on another disk"
        )
    else:
        yield Diagnosis("disk", "ok", f"{usage.free / GIB:.0f} GiB free for Ray in {place}")
    if too_long(place):
        what = f"the name of {place} is too long for Ray's sockets"
        if os.access(SHORT, os.W_OK):
            yield Diagnosis("disk", "ok", f"{what}; they go to {SHORT}")
        else:
            remedy = "export RAY_TMPDIR=DIR, a folder with a name of at most 25 letters"
            yield Diagnosis("disk", "fail", f"{what}, and {SHORT} cannot be written", remedy)
    if SHM.exists():
        size = shutil.disk_usage(SHM).total / 2**20
        what = f"{size:.0f} MiB of shared memory"
        if size < SHM_MIB:
            yield Diagnosis(
                "disk", "warn", f"{what}; Ray then uses the disk", "docker run --shm-size=1g"
            )
        else:
            yield Diagnosis("disk", "ok", what)


def data(request: ExaminationRequest) -> Iterator[Diagnosis]:
    """Check the folder of the volumes: the number of cases, by file names alone."""
    root = request.data_root
    if root is None:
        yield Diagnosis("data", "ok", "none given: the phantom needs none")
        return
    if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
        what = f"{root} is no folder" if not root.is_dir() else f"{root} cannot be read"
        yield Diagnosis("data", "fail", what, "pass --data-root with the folder of the volumes")
        return
    remedy = f"pfbench data check {shlex.quote(str(root))}"
    try:
        name = recognised(root)
        contents = contents_of(DataRequest(name, root))
        target = contents.default or next(iter(contents.targets), "")
        asked = complete(DataRequest(name, root, contents.available, target))
        modalities, found = asked.modalities, survey(asked)
    except DataError as error:
        yield Diagnosis("data", "fail", error.what, remedy)
        return
    what = f"{name}: {counted(len(found.cases), 'case')} with {', '.join(modalities)}"
    if found.faults:
        faults = counted(len(found.faults), "fault")
        what = f"{what}; {faults}, the first: {found.faults[0].what}"
        yield Diagnosis("data", "fail", what, remedy)
    else:
        yield Diagnosis("data", "ok", f"{what}; `{remedy}` looks into them")


def listeners(request: ExaminationRequest) -> Iterator[Diagnosis]:
    """Find processes of this user's Ray and MLflow that other machines can reach.

    Who reaches a port of Ray can run code; MLflow's server asks nobody for a password.
    """
    known = {
        "Ray": "`ray stop`, or a firewall: who reaches its ports can run code",
        "MLflow": "start it with --host 127.0.0.1, as `pfbench ui` does",
    }
    heard = False
    for process in psutil.process_iter(["name", "cmdline", "uids"]):
        whose = _whose(process)
        ports = _open_ports(process) if whose else []
        if whose and ports:
            heard = True
            what = f"{process.info['name']} (process {process.pid}) listens on {', '.join(ports)}"
            yield Diagnosis("listeners", "warn", f"{whose}: {what}", known[whose])
    if not heard:
        what = "no Ray or MLflow of yours can be reached from other machines"
        yield Diagnosis("listeners", "ok", what)


def _whose(process: psutil.Process) -> str:
    """The owner of a process, "Ray", "MLflow" or "", by its command line; "" for other users."""
    uids, words = process.info["uids"], process.info["cmdline"] or []
    if uids is None or uids.real != os.getuid():
        return ""
    if process.info["name"] in ("raylet", "gcs_server") or any(
        word.startswith("ray::") or "/ray/" in word or word.endswith("/pfbench") for word in words
    ):
        return "Ray"
    if any(Path(word).name == "mlflow" or word.startswith("mlflow.server") for word in words):
        return "MLflow"
    return ""


def _open_ports(process: psutil.Process) -> list[str]:
    """The addresses on which a process listens beyond this machine: "*:8265" or "10.0.0.1:8265"."""
    try:
        connections = process.net_connections(kind="tcp")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
    places = {
        (c.laddr.ip, c.laddr.port)
        for c in connections
        if c.status == psutil.CONN_LISTEN and not _loopback(c.laddr.ip)
    }
    return [f"{'*' if ip_address(ip).is_unspecified else ip}:{port}" for ip, port in sorted(places)]


def _loopback(ip: str) -> bool:
    address = ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback

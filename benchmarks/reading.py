"""Commands that read a finished run, beside the build at an earlier commit, in turns.

The run is the earlier build's own, so that both can read it; each command answers first, and the
numbers that both answers have must be the same. Processor time is that of the whole command,
imports included. Goals: at most half of the earlier build's, and 250 MiB.
"""

import csv
import io
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.command import TOP, Done, pfbench
from benchmarks.timing import Row, require_equal

EARLIER = "2fdcd27"
RUN = ("run", "--suite", "table5", "--executor", "inline", "--no-mlflow", "--epochs", "2")
ROUNDS = 5
LIMIT_MIB = 250
TOLERANCE = 1e-9
ANSWERS: dict[str, tuple[str, ...]] = {
    "compare": ("--json",),
    "claims": ("--json",),
    "verify": (),
    "report": ("--format", "csv", "--out", "-"),
}
"""The options with which a command prints what it found."""


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        peer, run = Path(folder) / "earlier", Path(folder) / "run"
        if not _checked_out(peer):
            print(f"commit {EARLIER} is not here: skipped", flush=True)
            return
        pfbench(*RUN, "--out", str(run), top=peer)
        ours = shutil.copytree(run, run.with_name("ours"))
        pfbench("report", str(ours))  # its tables have columns that came since
        sides = {"ours": (TOP, ours), EARLIER: (peer, run)}
        for command, options in ANSWERS.items():
            answers = [pfbench(command, str(at), *options, top=top) for top, at in sides.values()]
            _require_same(command, *(answer.stdout for answer in answers))
            yield from _timed(command, sides)


def _timed(command: str, sides: Mapping[str, tuple[Path, Path]]) -> Iterator[Row]:
    """What the command takes as it is called without options; `sides` are checkouts and runs."""
    done: dict[str, list[Done]] = {name: [] for name in sides}
    for turn in range(ROUNDS):
        for name in [*sides][:: 1 if turn % 2 else -1]:
            top, at = sides[name]
            done[name].append(pfbench(command, str(at), top=top))
    ours, theirs = (1000 * statistics.median(d.processor_s for d in done[name]) for name in sides)
    yield Row(f"{command}, processor time", EARLIER, ours, theirs, 2)
    peak = statistics.median(d.peak_mib for d in done["ours"])
    yield Row(f"{command}, memory", f"{LIMIT_MIB} MiB", peak, LIMIT_MIB, 1, "MiB")


def _checked_out(place: Path) -> bool:
    """Put the files of the earlier commit into `place`; whether the commit is known."""
    packed = subprocess.run(
        ["git", "archive", "--format=tar", EARLIER], cwd=TOP, capture_output=True, check=False
    )
    if packed.returncode:
        return False
    place.mkdir()
    subprocess.run(["tar", "-x", "-C", str(place)], input=packed.stdout, check=True)
    return True


def _require_same(command: str, ours: str, theirs: str) -> None:
    """Raise ValueError where both sides give a number, and the numbers differ."""
    if command == "verify":
        for said in (ours, theirs):
            if "no fault found" not in said:
                raise ValueError(f"verify: {said}")
        return
    read = {"compare": _pairs, "claims": _claims, "report": _lines}[command]
    mine, other = read(ours), read(theirs)
    both = mine.keys() & other.keys()
    if not both:
        raise ValueError(f"{command}: nothing that both sides say")
    for key in both:
        require_equal(f"{command}, {key}", mine[key], other[key], TOLERANCE * abs(other[key]))


def _pairs(text: str) -> dict[tuple[Any, ...], float]:
    """The means of each two systems in each metric."""
    return {
        (one["metric"], one["first"], one["second"], side): one[f"{side}_mean"]
        for one in json.loads(text)["pairs"]
        for side in ("first", "second")
    }


def _claims(text: str) -> dict[tuple[Any, ...], float]:
    """The estimate for each claim that has one; distances are judged by another statistic now."""
    return {
        (one["claim"], one["suite"]): one["estimate"]
        for one in json.loads(text)
        if one["estimate"] is not None and one["unit"] != "mm"
    }


def _lines(text: str) -> dict[tuple[Any, ...], float]:
    """The scores of each trial of each row of the tables."""
    return {
        (line["key"], line["seed"], name): float(line[name])
        for line in csv.DictReader(io.StringIO(text))
        if line["row"] == "trial"
        for name in ("dice_mean", "hd95_mean", "jaccard_mean")
    }

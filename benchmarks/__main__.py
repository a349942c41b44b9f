"""Run the benchmarks, print a table, write benchmarks/results/<device>.json.

python -m benchmarks                 all of them, about five minutes
python -m benchmarks hd95 overlap    some; the others keep their rows in the file
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from benchmarks import harness_overhead, hd95, overlap, sliding_window
from benchmarks.timing import Row, installed
from harness.measure import cpu_name

BENCHMARKS: dict[str, Callable[[], Iterator[Row]]] = {
    "hd95": hd95.rows,
    "overlap": overlap.rows,
    "sliding_window": sliding_window.rows,
    "harness_overhead": harness_overhead.rows,
}
RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("numpy", "scipy", "torch", "ray", "medpy", "monai")


def main(names: list[str]) -> int:
    if unknown := set(names) - set(BENCHMARKS):
        print(f"unknown: {', '.join(sorted(unknown))}. Known: {', '.join(BENCHMARKS)}")
        return 2
    device = f"cpu-{cpu_name()}-{os.cpu_count()}cores"
    path = RESULTS / f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"
    results = json.loads(path.read_text())["benchmarks"] if path.exists() else {}
    for name in names or BENCHMARKS:
        results[name] = [_shown(name, row) for row in BENCHMARKS[name]()]
    libraries = {library: version(library) for library in LIBRARIES if installed(library)}
    report = {"device": device, "libraries": libraries, "benchmarks": results}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nwritten: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 0


def _shown(name: str, row: Row) -> dict[str, object]:
    print(
        f"{name:15}{row.case:25}{row.peer:28}ours {row.ours_ms:8.2f} ms   "
        f"peer {row.peer_ms:8.2f} ms   ratio {row.ratio:6.2f}",
        flush=True,
    )
    return {**row._asdict(), "ratio": round(row.ratio, 2)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

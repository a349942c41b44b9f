"""Run the benchmarks, print a table, write benchmarks/results/<device>.json and docs/benchmarks.md.

python -m benchmarks                 all of them, more than an hour
python -m benchmarks hd95 overlap    some; the others keep their rows in the file
"""

import json
import re
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from benchmarks.page import page
from benchmarks.timing import Row, device_name, installed

BENCHMARKS = (
    "hd95",
    "overlap",
    "fusion_losses",
    "cropping",
    "augmentation",
    "preprocessing",
    "sliding_window",
    "layouts",
    "systems",
    "inference",
    "training_step",
    "several_targets",
    "harness_overhead",
    "study_overhead",
    "significance",
    "reading",
    "growth",
    "growth_run",
    "plan",
)
RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
LIBRARIES = (
    "numpy", "scipy", "torch", "ray", "mlflow", "medpy", "monai", "surface-distance",
    "opencv-python-headless",
)  # fmt: skip


def main(names: list[str]) -> int:
    if unknown := set(names) - set(BENCHMARKS):
        print(f"unknown: {', '.join(sorted(unknown))}. Known: {', '.join(BENCHMARKS)}")
        return 2
    device = device_name()
    path = RESULTS / f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"
    results = json.loads(path.read_text(encoding="utf-8"))["benchmarks"] if path.exists() else {}
    for name in names or BENCHMARKS:
        rows = import_module(f"benchmarks.{name}").rows()
        results[name] = [_shown(name, row) for row in rows]
    libraries = {library: version(library) for library in LIBRARIES if installed(library)}
    report = {"device": device, "libraries": libraries, "benchmarks": results}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(
        page(
            [
                json.loads(file.read_text(encoding="utf-8"))
                for file in sorted(RESULTS.glob("*.json"))
            ]
        ),
        encoding="utf-8",
    )
    for written in (path, PAGE):
        print(f"written: {written.relative_to(RESULTS.parents[1])}")
    return 0


def _shown(name: str, row: Row) -> dict[str, object]:
    print(
        f"{name:17}{row.case:40} {row.peer:28} ours {row.ours:9.2f} {row.unit:8}"
        f"peer {row.theirs:9.2f} {row.unit:8}ratio {row.ratio:7.2f}   "
        f"{'' if row.goal is None else f'goal {row.goal:5.2f}  {row.verdict}'}",
        flush=True,
    )
    return {**row._asdict(), "ratio": round(row.ratio, 2), "verdict": row.verdict}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

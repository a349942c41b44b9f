"""The page of the documentation: what benchmarks/results holds, as tables."""

from collections.abc import Iterator, Sequence
from typing import Any

HEAD = """\
# Benchmarks

Speed and memory beside peers, as last measured. `python -m benchmarks` writes this page from
`benchmarks/results/`; do not edit it.

```sh
pip install -e ".[bench]" -c constraints.txt
python -m benchmarks                  # all
python -m benchmarks hd95 cropping    # some; the others keep their rows

python -m benchmarks systems layouts inference training_step   # on a GPU, where there is one
```

Each script in `benchmarks/` asserts first that the peer's result and ours are equal, times both in
turns, and takes medians. **Ratio** is how many times more the peer takes; where the peer is a
limit, such as "20 s", how far below it we stay. **Goal** is the least ratio that was asked for.
"""


def page(reports: Sequence[dict[str, Any]]) -> str:
    """Markdown with a section for each device, of the reports that `python -m benchmarks` wrote."""
    return "\n".join([HEAD, *(line for report in reports for line in _section(report))])


def _section(report: dict[str, Any]) -> Iterator[str]:
    libraries = ", ".join(f"{name} {version}" for name, version in report["libraries"].items())
    yield from (f"## {report['device']}", "", f"With {libraries}.", "")
    yield "| what | case | peer | ours | peer's | ratio | goal | |"
    yield "|---|---|---|---:|---:|---:|---:|---|"
    for name, rows in report["benchmarks"].items():
        for row in rows:
            goal = "" if row["goal"] is None else f"{row['goal']:.2f}"
            ours, theirs = (f"{row[side]:.2f} {row['unit']}" for side in ("ours", "theirs"))
            cells = (name, row["case"], row["peer"], ours, theirs, f"{row['ratio']:.2f}", goal)
            yield f"| {' | '.join((*cells, row['verdict']))} |"
    yield ""

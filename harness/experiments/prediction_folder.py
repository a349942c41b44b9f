"""The folder of masks while `pfbench predict` works in it: one command at a time, to be continued.

    OUT/.pfbench/request.json    which scans and which network; there while masks are missing
                 lock            held by the command at work
                 *.npy           scans that wait for fine-tuning

The folder .pfbench goes with the command. Where that was killed, the next one removes the scans;
the same command then goes on with the cases that have no mask yet.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import StateError
from harness.runs.files import JsonObject, read_json, write_json
from harness.runs.locks import held

FOLDER = ".pfbench"
REQUEST = "request.json"


def begun(out: Path, asked: JsonObject) -> bool:
    """Whether the same request was cut off in the folder `out`."""
    path = out / FOLDER / REQUEST
    try:
        return path.is_file() and dict(read_json(path)) == asked
    except StateError:
        return False


@contextmanager
def at_work(out: Path, asked: JsonObject) -> Iterator[Path]:
    """Hold the folder `out` for a request; yields the place for scans that wait.

    Raises ClusterError while another command holds it.
    """
    place = out / FOLDER
    place.mkdir(exist_ok=True, mode=0o700)
    with held(place / "lock", 0, "wait for it to end, or pass another --out"):
        _empty(place)
        write_json(place / REQUEST, asked)
        try:
            yield place
        except Exception:
            shutil.rmtree(place)
            raise
        except BaseException:  # Ctrl-C: the same command goes on
            _empty(place)
            raise
        shutil.rmtree(place)


def _empty(place: Path) -> None:
    """Remove the scans that wait."""
    for path in (*place.glob("*.npy"), *place.glob(".*.tmp")):
        path.unlink()

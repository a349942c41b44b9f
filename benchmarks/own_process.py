"""A part of a benchmark in a process of its own, so that its memory is its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[1]


def in_own_process(module: str, *arguments: object) -> Any:
    """What `python -m MODULE ARGUMENTS` prints, which is JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=TOP,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        encoding="utf-8",
    )
    return json.loads(done.stdout)

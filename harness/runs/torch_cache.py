"""The folder in which torch keeps what it compiles.

Torch makes it as soon as parts of it are imported, under a name in the temporary folder that others
can guess: who puts something in its place there stops every process that trains.
"""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def torch_cache() -> dict[str, str]:
    """The environment that names such a folder of this user's own; {} where the user names one.

    {}, too, where there is no room for any: only what trains needs the folder.
    """
    if os.environ.get(VARIABLE):
        return {}
    try:
        return {VARIABLE: str(_own())}
    except OSError:
        return {}


def _own() -> Path:
    """The same folder for all processes of the user; a new one where that is not the user's."""
    usual = Path(tempfile.gettempdir(), f"pfbench-torch-{os.getuid()}")
    with suppress(OSError):
        usual.mkdir(mode=0o700, exist_ok=True)
        known = usual.lstat()
        private = known.st_uid == os.getuid() and not known.st_mode & 0o077
        if stat.S_ISDIR(known.st_mode) and private and os.access(usual, os.W_OK | os.X_OK):
            return usual
    return Path(tempfile.mkdtemp(prefix=f"{usual.name}-"))

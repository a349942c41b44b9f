"""What the training cases say about how all scans of a data set are to be seen.

Nothing is asked of the test cases: they are seen as the training cases were.
"""

import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.data import intensity
from harness.data.ingest import Job, content_key, sampled
from harness.data.reading import Limits, Reading
from harness.errors import DataError

PAPERS_OWN = ("brats", "liver", "phantom")  # seen as the paper sees them unless asked otherwise


def limits(
    reading: Reading, dataset: str, own_way: bool, modalities: Sequence[str]
) -> tuple[Limits | None, ...]:
    """What is asked for each modality; None where the targets of training cases decide.

    `own_way`: a plug-in that prepares volumes itself, and scales them, too.
    """
    asked = reading.intensity
    if asked == "auto" and (dataset in PAPERS_OWN or own_way):
        asked = "minmax"
    if asked == "auto":
        return tuple(None if intensity.is_ct(name) else "robust" for name in modalities)
    if asked == "foreground":
        return (None,) * len(modalities)
    return (asked,) * len(modalities)


def foreground(
    examples: Sequence[Job], cache: Path, workers: int, tell: Callable[[int], None]
) -> list[intensity.Ends]:
    """For each modality the percentiles of the targets of all `examples`; [] where none is there.

    What was read of a case is kept in the cache; one that cannot be read is left out here, its
    faults are told elsewhere. `tell` gets the number of cases that are done.
    """
    samples = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        targets = pool.map(lambda job: _target_of(job, cache), examples)
        for done, found in enumerate(targets, 1):
            tell(done)
            if found is not None:
                samples.append(found)
    return [intensity.pooled(channel) for channel in zip(*samples, strict=True)]


def _target_of(job: Job, cache: Path) -> list[list[float]] | None:
    """Some intensities of the target of a case, in each modality; None where it cannot be read."""
    try:
        path = cache / f"target-{content_key(job)}.json"
    except DataError:
        return None
    try:
        found: list[list[float]] | None = json.loads(path.read_bytes())
    except (OSError, ValueError):
        found = sampled(job)
        if found is not None:
            _keep(path, found)
    return found


def _keep(path: Path, content: Any) -> None:
    """Written whole or not at all; without room for it, it is read again next time."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(json.dumps(content).encode())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)

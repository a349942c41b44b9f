"""The labels of each target that a request names, and those that a mask may hold."""

from collections.abc import Sequence

from harness.data.case import Contents
from harness.data.regions import Labels
from harness.data.targets import MOST
from harness.errors import UsageError, unknown

MOST_MASKS = 8  # targets in files of their own: what a label of one byte holds


def labels_of(contents: Contents, target: str) -> tuple[Labels, ...]:
    """Return the labels of each target of a complete request. UsageError for unknown ones."""
    if not target:
        what = f"this folder has several: {', '.join(contents.targets)}"
        one = next(iter(contents.targets))
        remedy = f"--target {one}, or several: with commas, or all"
        raise UsageError(what, where="--target", remedy=remedy, code="PFB-C02")
    names = target.split(",")
    found = tuple(_labels_of_one(contents, name) for name in names)
    _refuse_alike(contents, names, found)
    if contents.masks and len(names) > 1:
        return codes(len(names))
    return found


def _labels_of_one(contents: Contents, target: str) -> Labels:
    """Return the labels of one target, several names joined by a plus."""
    found: set[int] = set()
    for name in target.split("+"):
        labels = contents.labels_of(name)
        if labels is None:
            raise unknown("target", name, contents.targets)
        found |= set(labels)
    return tuple(sorted(found))


def _refuse_alike(contents: Contents, names: Sequence[str], labels: Sequence[Labels]) -> None:
    """Raise UsageError for two targets that are the same, and for more than a voxel can hold."""
    if len(names) > MOST:
        what, remedy = f"{len(names)} targets; at most {MOST} can be learned together", "name fewer"
        raise UsageError(what, where="--target", remedy=remedy, code="PFB-C02")
    seen: dict[object, str] = {}
    for name, values in zip(names, labels, strict=True):
        same = seen.setdefault(name if contents.masks else values, name)
        if same is not name or names.count(name) > 1:
            twice = f"{same} and {name} are the same labels" if same != name else f"{name} twice"
            raise UsageError(twice, where="--target", remedy="name each once", code="PFB-C02")


def codes(count: int) -> tuple[Labels, ...]:
    """Return the values of each of `count` targets in a label that has bit k where target k is.

    Voxels of binary masks get them, see `harness.data.scans` and `harness.data.given_masks`. Raises
    UsageError for more targets than a byte has bits.
    """
    if count > MOST_MASKS:
        what = f"{count} targets of binary masks; at most {MOST_MASKS} can be learned together"
        raise UsageError(what, where="--target", remedy="name fewer", code="PFB-C02")
    every = range(1, 2**count)
    return tuple(tuple(code for code in every if code >> k & 1) for k in range(count))


def parts_of(contents: Contents, target: str) -> tuple[int, ...]:
    """Return the target of each binary mask of a case by its number; () where there is one."""
    targets = target.split(",")
    if not contents.masks or len(targets) < 2:
        return ()
    return tuple(place for place, one in enumerate(targets) for _ in one.split("+"))


def refuse_unknown_labels(contents: Contents) -> None:
    """Raise UsageError for "all" where neither a list nor the data set says which labels exist."""
    known = contents.labels or contents.masks or contents.targets.get("all")
    if not known and any(len(labels) == 255 for labels in contents.targets.values()):
        what, remedy = "all: no dataset.json says which labels there are", "--target 1,2"
        raise UsageError(what, where="--target", remedy=remedy, code="PFB-C02")

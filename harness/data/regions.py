"""The labels that several targets consist of: which exclude each other, which lie within others.

Of plain numbers: loads no numpy.
"""

from collections.abc import Collection, Mapping, Sequence

from harness.errors import UsageError

Labels = tuple[int, ...]
"""The values in a file that one target consists of."""

IDLE = {"train": "it cannot be learned", "validation": "it counts for no choice of weights"}


def absences(
    absent: Mapping[str, Collection[str]],
    parts: Mapping[str, Sequence[str]],
    wholly: bool = False,
) -> list[str]:
    """Return what must be said of cases without a target, for each target and part of a split.

    `absent`: target -> the cases without any of it; `parts`: "train" -> its cases. `wholly`: of
    those parts alone that have no case with the target.
    """
    notes = []
    for target, without in absent.items():
        for part, cases in parts.items():
            some = sum(case in without for case in cases)
            if wholly and some < len(cases):
                continue
            if some and part == "test":
                notes.append(tested_without(some, len(cases), target))
            elif some and some == len(cases):
                notes.append(f"none of the {some} {part} cases has any {target}: {IDLE[part]}")
            elif some:
                notes.append(f"{some} of {len(cases)} {part} cases without {target}")
    return notes


def tested_without(some: int, of: int, target: str = "") -> str:
    """Return what must be said of test cases without a target, "" for the only one."""
    if some == of and target:
        return f"none of the {of} test cases has any {target}: it has no score and is in no mean"
    if some == of:
        return f"none of the {of} test cases has any target: there is nothing to score"
    return (
        f"{some} of {of} test cases without {target or 'target'}: an empty prediction scores Dice "
        "100 and HD95 0 there, any other Dice 0 and the diagonal of the volume"
    )


def exclusive(labels: Sequence[Labels]) -> bool:
    """Return whether no label belongs to two targets, so that a voxel is of one target at most."""
    every = [value for values in labels for value in values]
    return len(labels) > 1 and len(set(every)) == len(every)


def drawing_order(targets: Mapping[str, Labels]) -> list[tuple[int, int]]:
    """Return number and value of each target, in the order in which one label map is drawn.

    As nnU-Net draws regions: a target that holds another comes before it, and has the first of its
    labels that no later one has. Whole tumour 2, then core 1, then enhancing 4. Raises UsageError
    where two targets overlap and neither holds the other, or are the same: no map shows both.
    """
    names, sets = list(targets), [set(labels) for labels in targets.values()]
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            one, other = sets[first], sets[second]
            if one & other and not (one < other or other < one):
                what = f"{names[first]} and {names[second]} overlap: one label map shows one there"
                raise UsageError(what, where="predict", remedy="--separate", code="PFB-C02")
    order = sorted(range(len(names)), key=lambda place: -len(sets[place]))
    drawn = []
    for at, place in enumerate(order):
        later = set[int]().union(*(sets[other] for other in order[at + 1 :]))
        own = sorted(sets[place] - later)
        if not own:
            what = f"{names[place]} has no label of its own beside the targets within it"
            raise UsageError(what, where="predict", remedy="--separate", code="PFB-C02")
        drawn.append((place, own[0]))
    return drawn

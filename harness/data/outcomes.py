"""The faults and notes of a whole data set, from the outcomes of its cases."""

from collections import defaultdict
from collections.abc import Sequence

from harness.data.choose_view import asked_limits
from harness.data.ingest import Outcome
from harness.data.jobs import Jobs
from harness.data.reading import Limits, View
from harness.data.request import DataRequest
from harness.data.target import ceiling_in_words, summary
from harness.data.wording import listed
from harness.errors import DataError

LISTED = 3  # files that a note names, of many


def all_faults(found: Jobs, outcomes: Sequence[Outcome], editions: bool) -> list[DataError]:
    """Return the faults of the folder, of each case and between cases."""
    faults = [*found.faults, *(fault for outcome in outcomes for fault in outcome.faults)]
    good = [outcome for outcome in outcomes if not outcome.faults]
    return faults + _between_cases(good, editions)


def all_notes(
    request: DataRequest,
    found: Jobs,
    outcomes: Sequence[Outcome],
    limits: Sequence[Limits] = (),
) -> list[str]:
    """Return notes on the folder, on each case, and on changes to intensities and targets."""
    from harness.data import intensity

    noted = gathered([note for outcome in outcomes for note in outcome.notes])
    told = intensity.shown(request.modalities, limits)
    clips = any(limit != "minmax" for limit in asked_limits(request))
    stretched = {outcome.name: outcome.outlying for outcome in outcomes}
    apart = intensity.outliers(stretched, clipped=clips)
    larger = _larger(request.view, outcomes)
    said = filter(None, (request.choice, larger, told, apart))
    return [*found.notes, *noted, *said, *_of_targets(outcomes)]


def gathered(notes: Sequence[str]) -> list[str]:
    """Return notes of the form "FILE: text", those of one text as one where they are many."""
    places = defaultdict(list)
    for note in notes:
        place, _, text = note.partition(": ")
        places[text].append(place)
    found = []
    for text, where in places.items():
        if len(where) > LISTED:
            found.append(f"{text}, in {len(where)} files: {listed(where, LISTED)}")
        else:
            found += [f"{place}: {text}" for place in where]
    return found


def _of_targets(outcomes: Sequence[Outcome]) -> list[str]:
    """Return what the grid does to each target, which is named where there are several."""
    names = next((tuple(one.targets) for one in outcomes if one.targets), ())
    notes = []
    for name in names:
        seen = {one.name: one.targets[name] for one in outcomes if one.targets}
        dropped = {one.name for one in outcomes if one.dropped}
        kept = {case: target for case, target in seen.items() if case not in dropped}
        gone = {case: seen[case] for case in dropped if seen[case].gone or len(names) == 1}
        used = [one for one in outcomes if name in one.ceilings and not one.dropped]
        best = ceiling_in_words({one.name: one.ceilings[name] for one in used})
        told = [*([best] if best else []), *summary(kept, gone)]
        notes += told if len(names) == 1 else [f"{name}: {note}" for note in told]
    return notes


def _larger(view: View | None, outcomes: Sequence[Outcome]) -> str:
    """Return a sentence on the scans that exceed the grid; "" where every scan fits."""
    if view is None or view.grid is None:
        return ""
    known = [one.spacing_mm[0] / view.voxel_mm[0] for one in outcomes if one.spacing_mm]
    above = [times for times in known if times > 1.01]
    if not above:
        return ""
    return (
        f"{len(above)} of {len(known)} cases are larger than the grid and seen in voxels up to "
        f"{max(above):.2g} times as large"
    )


def _between_cases(good: Sequence[Outcome], editions: bool) -> list[DataError]:
    """Return the faults between cases: equal images, labels of different editions."""
    from harness.data.scans import mixed_editions

    faults = mixed_editions({outcome.name: outcome.labels for outcome in good}) if editions else []
    return faults + _same_images({one.name: one.content for one in good if one.content})


def _same_images(contents: dict[str, str]) -> list[DataError]:
    """Return a fault for each group of cases with the same image: it could train and test."""
    alike = defaultdict(list)
    for name, content in sorted(contents.items()):
        alike[content].append(name)
    return [
        DataError(
            f"the same image in {' and '.join(names)}: it could train and test",
            where=names[0],
            remedy="keep one of them",
            code="PFB-D08",
        )
        for names in alike.values()
        if len(names) > 1
    ]

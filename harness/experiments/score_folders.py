"""`pfbench score --truth DIR`: sets of masks against a folder of references, without a run.

The metrics and the statistics of pfbench for people who train with something else. Each case is
scored on its own voxels. The output is a folder like that of a run, with a table of given masks.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.data import given_masks
from harness.data.given_masks import MaskFiles
from harness.data.nifti import Nifti, place
from harness.data.prepare import region
from harness.data.regions import Labels
from harness.data.split import Split
from harness.data.targets import packed
from harness.errors import DataError, UsageError, together
from harness.experiments.score import GivenSet, gathered, values_in
from harness.runs import given
from harness.runs.files import JsonObject
from harness.runs.nested import difference
from harness.runs.records import GIVEN_ALONE, RunManifest, SuiteColumns
from harness.runs.redact import storable
from harness.runs.run_folder import RunFolder
from harness.runs.settings import PAPER
from harness.runs.spec import Data, code_version, digest
from harness.runs.trial_folder import TrialFolder

SUITE = "score"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class FoldersRequest:
    """The options of `pfbench score --truth DIR`."""

    truth: Path
    predictions: Mapping[str, Sequence[Path]]
    """Name -> its folders of masks; several are trainings of one tool, seeds 0, 1 and so on."""
    out: Path
    facts: Path | None = None
    values: Mapping[str, Labels] = field(default_factory=dict)
    """The labels of each target in references and masks, "" for the only one; {}: all above 0."""
    command: str = ""

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of several targets; one empty name for one."""
        return tuple(self.values) if len(self.values) > 1 else ("",)


def score_folders(
    request: FoldersRequest, progress: Progress = lambda done, total, what: None
) -> list[str]:
    """Score the masks and write the folder `out`; returns the notes on what was scored.

    Raises DataError that lists every missing, surplus, misplaced or unreadable mask; UsageError for
    names that cannot be and an `out` that holds something else; StorageError where it cannot be
    written.
    """
    facts = given.read_facts(request.facts, request.predictions)
    truth = _truth(request)
    split = Split((), (), tuple(truth.files))
    sets = gathered(request.predictions, split, (), request.targets)
    _score_all(request, truth, sets, progress)
    data = _data(request, truth)
    protocol = _protocol(data, split)
    folder = RunFolder(request.out)
    folder.create()
    with folder.lock():
        _refuse_other(folder, protocol)
        run = _opened(folder, data, protocol, request.command)
        for name in request.predictions:
            given.refuse_taken(name, run, (SUITE,))
        folder.write_split(split)
        folder.write_volume_keys({}, folder.path / "cache")
        trials: dict[str, list[TrialFolder]] = {name: [] for name in request.predictions}
        for each in sets:
            about = (each.seed, each.found.digest, request.values, data, protocol)
            spec = given.spec_of(each.name, *about)
            its = (facts[each.name], each.found.count, each.seconds)
            trials[each.name].append(given.write_trial(folder, spec, each.rows, each.kept(), *its))
        given.add_rows(folder, run, (SUITE,), trials, facts, request.command)
    return [f"{len(split.test)} cases of {request.truth.name}, each on its own voxels"]


def _truth(request: FoldersRequest) -> MaskFiles:
    """The references: every volume in the folder. Raises DataError where there is none."""
    there = given_masks.volumes(request.truth)
    given_masks.refuse_unnamed(list(there))
    if not there:
        what, remedy = "has no volume", "a folder with <case>.nii.gz in it"
        raise DataError(what, where=request.truth.name, remedy=remedy, code="PFB-D09")
    found = given_masks.find(request.truth, list(there), (), {})
    if found.faults:
        raise together(found.faults, "the references")
    return found


def _score_all(
    request: FoldersRequest, truth: MaskFiles, sets: Sequence[GivenSet], progress: Progress
) -> None:
    """Score every mask of every set. Raises DataError that lists every fault of every file."""
    faults: list[DataError] = []
    marked: set[int] = set()
    for done, (case, files) in enumerate(truth.files.items(), 1):
        try:
            reference = given_masks.read(files)
        except DataError as fault:
            faults.append(fault)
            continue
        marked |= values_in(reference.array)
        target = _label(reference, request)
        for each in sets:
            began = time.perf_counter()
            try:
                mask = given_masks.read(each.found.files[case])
                about = (reference.array.shape, reference.affine, place(files.paths[0]))
                path = each.found.files[case].paths[0]
                given_masks.refuse_misplaced(mask, path, *about)
            except DataError as fault:
                faults.append(fault)
                continue
            each.values |= values_in(mask.array)
            each.add(case, _label(mask, request), target, reference.spacing_mm)
            each.seconds += time.perf_counter() - began
        progress(done, len(truth.files), case)
    if not faults:
        faults += _strange(request, marked, sets)
    if faults:
        raise together(faults, "the masks")


def _label(found: Nifti, request: FoldersRequest) -> np.ndarray:
    """The targets in a label map (D, H, W), bit k where target k is; all above 0 without values."""
    labels = request.values.values()
    return packed([region(found.array, each) for each in labels] or [found.array > 0])


def _strange(
    request: FoldersRequest, marked: set[int], sets: Sequence[GivenSet]
) -> list[DataError]:
    """A fault where nothing has the labels that were asked for."""
    every = sorted({value for labels in request.values.values() for value in labels})
    holders = {request.truth: marked, **{each.folder: each.values for each in sets}}
    faults = []
    for folder, values in holders.items():
        try:
            given_masks.refuse_no_target(frozenset(values), every, folder)
        except DataError as fault:
            faults.append(fault)
    return faults


def _data(request: FoldersRequest, truth: MaskFiles) -> Data:
    several = request.values if len(request.values) > 1 else {}
    values = ", ".join(str(value) for labels in request.values.values() for value in labels)
    return Data(
        name="masks",
        modalities=(),
        target=",".join(several) or (f"label {values}" if values else "all labels"),
        targets=dict(several),
        grid=(0, 0, 0),
        fingerprint=truth.digest,
        synthetic=False,
    )


def _protocol(data: Data, split: Split) -> JsonObject:
    """The settings that must be equal for two numbers to be comparable: nothing was trained."""
    paper = PAPER.model_dump(mode="json")
    return {
        "profile": GIVEN_ALONE,
        **{key: paper[key] for key in ("protocol", "systems", "exceptions", "split")},
        "data": data.model_dump(mode="json"),
        "cases": split.digest,
        "code": code_version(),
    }


def _refuse_other(folder: RunFolder, protocol: Mapping[str, Any]) -> None:
    """Raise UsageError where the folder holds anything but scores against the same references."""
    if not folder.begun or folder.manifest().protocol == protocol:
        return
    changed = difference(folder.manifest().protocol, protocol)
    what = f"holds other scores (they differ in {changed})"
    remedy = "another --out, or the references, --values and pfbench of these scores"
    raise UsageError(what, where=str(folder.path), remedy=remedy, code="PFB-C05")


def _opened(
    folder: RunFolder, data: Data, protocol: Mapping[str, Any], command: str
) -> RunManifest:
    """The manifest of the folder, anew where there is none."""
    if folder.begun:
        return folder.run()
    columns = SuiteColumns(
        title="Masks against references",
        headings=["Masks"],
        shows=list(given.SHOWN),
        notes=[],
    )
    return RunManifest(
        schema=3,
        kind="run",
        run_id=os.urandom(8).hex(),
        suites={},
        dataset=data.name,
        profile=GIVEN_ALONE,
        protocol=dict(protocol),
        protocol_hash=digest(protocol),
        synthetic=False,
        fingerprint=data.fingerprint,
        settings={**PAPER.model_dump(mode="json"), "profile": GIVEN_ALONE},
        notes=[],
        suite_files={SUITE: columns},
        plugins=[],
        command=storable(command),
        mlflow="here",
        names={},
        trials=[],
        status="finished",
    )

"""Requests for volumes: their defaults, their folder's contents, and the cases found in it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.data import brats, by_pattern
from harness.data.by_pattern import Layout
from harness.data.case import PAPER_GRID, Contents, Grid, Survey
from harness.data.datasets import DATASETS, loaded
from harness.data.exclude import note_of, refuse_strangers
from harness.data.layout import no_folder, same_but_for_case
from harness.data.of_plugin import checked, plugin_faults
from harness.data.pattern import Tree
from harness.data.reading import PLAIN, Reading, View
from harness.data.target_labels import labels_of, refuse_unknown_labels
from harness.errors import UsageError, unknown


@dataclass(frozen=True)
class DataRequest:
    """A request for volumes: which data set and cases, and how their scans are seen."""

    dataset: str
    root: Path | None = None
    modalities: tuple[str, ...] = ()
    target: str = ""
    reduce: Grid = (1, 1, 1)
    """The factors per axis (D, H, W) by which block means divide the paper's grid."""
    cases: int = 12
    """The number of phantom cases; other data sets bring their own cases."""
    seed: int = 0
    """The seed of the phantom."""
    reading: Reading = PLAIN
    view: View | None = None
    """The way scans are seen, once it is chosen by `fitted`."""
    choice: str = ""
    """A sentence on the choice of `view`."""
    images: tuple[str, ...] = ()
    """Patterns of images, "MODALITY=PATTERN", in place of the patterns of the data set."""
    labels: tuple[str, ...] = ()
    """Patterns of labels, in place of the patterns of the data set."""
    edition: str = ""
    """A year of BraTS; "" for the edition that the case ids show."""
    exclude: tuple[str, ...] = ()
    """The ids of the cases to leave out."""
    scored_on: Literal["grid", "scan"] = "grid"
    """Where masks will be scored, see `harness.systems.protocol.Protocol`."""


def complete(request: DataRequest) -> DataRequest:
    """Fill in the defaults of the request; UsageError for a name that does not exist."""
    if request.dataset not in DATASETS:
        raise unknown("dataset", request.dataset, DATASETS)
    if request.dataset != "phantom":
        _refuse_no_folder(request)
    _refuse_idle(request)
    contents = contents_of(request)
    modalities = tuple(map(contents.modality, request.modalities)) or contents.modalities
    if request.target == "all":
        refuse_unknown_labels(contents)
    target = contents.target(request.target or contents.default)
    labels_of(contents, target)
    if len(set(modalities)) < len(modalities):
        what, remedy = f"named twice in {','.join(modalities)}", "name each once"
        raise UsageError(what, where="--modalities", remedy=remedy, code="PFB-C02")
    if request.dataset == "liver" and len(modalities) > 1:
        what, remedy = "liver has one modality", "--modalities ct"
        raise UsageError(what, where="--modalities", remedy=remedy, code="PFB-C02")
    if request.dataset == "phantom":
        _refuse_unknown_phantom(modalities)
    reduced_grid(request.reduce)
    return replace(request, modalities=modalities, target=target)


def patterns_of(request: DataRequest) -> Layout | None:
    """Return the patterns of a request or its data set; None where files are found by a survey.

    Raises UsageError for what is no pattern.
    """
    own = DATASETS[request.dataset].layout
    if request.images or request.labels:
        return by_pattern.given(request.images, request.labels, own.patient if own else "")
    return own


def contents_of(request: DataRequest) -> Contents:
    """Return the contents of the requested data set, by its names. DataError for unclear names."""
    entry, layout = DATASETS[request.dataset], patterns_of(request)
    if layout is None or request.root is None:
        return entry.contents_of(request.root)
    files = by_pattern.find(layout, Tree(request.root))
    if not entry.editions:
        return by_pattern.contents(files, layout, entry.contents_of(request.root))
    found = brats.contents(files, request.edition)
    return by_pattern.contents(files, layout, found) if request.images else found


def survey(request: DataRequest) -> Survey:
    """Find the cases in the folder of a complete request for real data; reads no voxels."""
    entry, layout = DATASETS[request.dataset], patterns_of(request)
    assert request.root is not None  # complete() refuses it
    if layout is None:
        with plugin_faults(entry.plugin, "survey", request.dataset):
            found: Survey = loaded(entry.survey)(request.root, request.modalities)
        found = checked(found, request.dataset) if entry.plugin else found
    else:
        targets = re.split("[,+]", request.target) if layout.has_masks else ()
        expected = entry.expected or "files that the patterns fit"
        found = by_pattern.survey(request.root, layout, request.modalities, targets, expected)
    if entry.editions:
        told = brats.told_by_names([case.id for case in found.cases], request.edition)
        found = replace(found, notes=(*found.notes, *([told] if told else [])))
    if request.exclude:
        ids = {case.id for case in found.cases} | {one.id for one in found.remains}
        refuse_strangers(request.exclude, ids)
        found = found.without(request.exclude)
        found = replace(found, notes=(*found.notes, note_of(request.exclude)))
    return replace(found, faults=(*found.faults, *same_but_for_case(found)))


def _refuse_idle(request: DataRequest) -> None:
    """Raise UsageError for an option that this data set has no use for."""
    made_up = request.dataset == "phantom"
    idle = {
        "--edition": bool(request.edition) and not DATASETS[request.dataset].editions,
        "--image": bool(request.images) and made_up,
        "--label": bool(request.labels) and made_up,
    }
    for option, without_use in idle.items():
        if without_use:
            what = f"{request.dataset} has no use for it"
            remedy = "--dataset folder --data-root DIR" if made_up else "leave it out"
            raise UsageError(what, where=option, remedy=remedy, code="PFB-C02")


def _refuse_no_folder(request: DataRequest) -> None:
    if request.root is None:
        remedy = f"--dataset {request.dataset} --data-root DIR"
        what = f"{request.dataset} needs a folder"
        raise UsageError(what, where="--data-root", remedy=remedy, code="PFB-C02")
    if not request.root.is_dir():
        raise no_folder(request.root)


def _refuse_unknown_phantom(modalities: Sequence[str]) -> None:
    from harness.data.phantom import MODALITIES

    for modality in modalities:
        if modality not in MODALITIES:
            raise unknown("modality", modality, MODALITIES)


def reduced_grid(reduce: Grid) -> Grid:
    """Divide the paper's 128 x 192 x 192 by `reduce`; UsageError when that leaves a rest."""
    if any(by < 1 or side % by for side, by in zip(PAPER_GRID, reduce, strict=True)):
        sides = "x".join(map(str, PAPER_GRID))
        what, remedy = f"{list(reduce)} does not divide {sides}", "--set reduce=[4, 3, 3]"
        raise UsageError(what, where="reduce", remedy=remedy, code="PFB-C02")
    d, h, w = (side // by for side, by in zip(PAPER_GRID, reduce, strict=True))
    return d, h, w


def is_synthetic(root: Path | None) -> bool:
    """Return whether `root` was written by `pfbench data make-phantom`."""
    from harness.data.phantom import MARKER

    return root is not None and (root / MARKER).is_file()

"""`pfbench predict`: trained networks applied to new scans, each mask on its scan's voxel grid.

    scan ─ read, look ─► images ─ network ─► masks ─ field.mask ─► OUT/<case>.nii.gz
                                             probability ────────► OUT/<case>_prob.nii.gz

Of several targets OUT/<case>.nii.gz is one label map; or each has a file, <case>_<target>.nii.gz.
Of a cross-validation the networks of all folds predict together, see
`harness.experiments.predictors`.
One scan is in memory at a time. With test-phase fine-tuning the network learns from the given
scans first: their images then wait on disk, beside the results, until the last mask is written.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from harness.data.datasets import way
from harness.data.export import packed
from harness.data.regions import drawing_order
from harness.data.scan_view import ScanView, view_of
from harness.data.targets import held, label_map
from harness.data.unlabelled import Unlabelled, find, read
from harness.data.wording import listed
from harness.errors import DataError, UsageError, together
from harness.experiments.prediction_folder import at_work, begun
from harness.experiments.predictors import FoldMean, OneNetwork, Predictor
from harness.runs.files import JsonObject, write_bytes
from harness.runs.run_folder import RunFolder
from harness.runs.spec import TrialSpec, code_version
from harness.systems.memory import out_of_gpu_memory
from harness.systems.methods import UnsoundPrediction
from harness.trials.network import Device, as_scored, as_trained, threads_of
from models.tpf import Strategy

Progress = Callable[[int, int, str], None]
LISTED = 3  # files that a message names, of many


@dataclass(frozen=True)
class PredictRequest:
    """The options of `pfbench predict`."""

    run: Path
    trials: tuple[str, ...]
    """The ids of the trials, see `harness.trials.network.choose_trials`: several are the folds of a
    row, whose networks predict together."""
    inputs: tuple[Path, ...]
    """Files and folders of scans, see `harness.data.unlabelled`."""
    out: Path
    probability: bool = False
    """Whether to write the probability, too."""
    tpf: Strategy | Literal["none", ""] = ""
    """The way to fine-tune the trained network on the scans; "" takes the network as scored."""
    device: Device = "cpu"
    threads: int = 0
    """Processors for a network on the CPU; 0: as many as scored the trial, for the same masks."""
    overwrite: bool = False
    separate: bool = False
    """Whether each of several targets has a file of its own, in place of one label map."""


@dataclass(frozen=True)
class Prediction:
    """The files that were written, and notes on doubtful inputs."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Sight:
    """One scan as the networks see it, and the header data needed to write its mask."""

    case: str
    fields: tuple[ScanView, ...]  # one for each network; they differ in intensities alone
    stored_affine: np.ndarray  # (4, 4)
    place: Mapping[str, Any]  # fields of the scan's header
    notes: tuple[str, ...]


def predict(
    request: PredictRequest, progress: Progress = lambda done, total, what: None
) -> Prediction:
    """Write a mask, and if asked a probability, for each case among the inputs.

    `progress` gets the number done, the number of all, and the case just done. A faulty case does
    not keep the others from being written. Raises DataError that lists all faults, at the end;
    UsageError before anything is written where a file is in the way or the trial cannot be
    fine-tuned; StateError for a trial that is not finished; StorageError when OUT is full.
    """
    threads = torch.get_num_threads()
    try:
        return _predict(request, progress)
    except RuntimeError as error:
        if not out_of_gpu_memory(error):
            raise
        what = "out of GPU memory"
        raise UsageError(what, where="--device", remedy="--device cpu") from error
    finally:
        torch.set_num_threads(threads)


def _predict(request: PredictRequest, progress: Progress) -> Prediction:
    torch.use_deterministic_algorithms(True, warn_only=True)  # as when the trial was scored
    tpf = request.tpf
    predictor = _predictor(request)
    spec = predictor.specs[0]
    torch.set_num_threads(request.threads or threads_of(request.run, request.trials[0]))
    found = find(request.inputs, spec.data.modalities)
    if not found.cases:
        raise together(found.faults, "the data")
    drawn = _drawn(request, spec)
    asked = _record(request, found.cases)
    there = _already(request, found.cases, spec) if begun(request.out, asked) else {}
    left = [case for case in found.cases if case.id not in there]
    _refuse_overwriting(request, left, spec)
    RunFolder(request.out).create()
    faults = [*found.faults]
    files = [path for paths in there.values() for path in paths]
    notes = [*_doubts(spec), *predictor.notes, *drawn, *found.notes]
    cases = found.cases if tpf else [case for case in found.cases if case.id not in there]
    total = len(found.faults) + len(cases) * (2 if tpf else 1)
    done = count(len(found.faults) + 1)

    def tell(what: str) -> None:
        progress(next(done), total, what)

    with at_work(request.out, asked) as waiting:
        sights = _sights(cases, predictor.specs, faults, tell)
        if tpf:
            kept = []
            for sight in sights:
                kept.append(_on_disk(sight, waiting))
                tell(f"reading {sight.case}")
            total -= len(cases) - len(kept)
            predictor, sights = _adapted(predictor, kept), iter(kept)
        for sight in sights:
            try:
                if sight.case not in there:
                    files += _write(request, predictor, sight)
                notes += sight.notes
            except UnsoundPrediction as error:
                faults.append(_unsound(sight.case, error))
            tell(sight.case)
    if faults:
        raise together(faults, "the data")
    return Prediction(tuple(files), tuple(notes))


def _predictor(request: PredictRequest) -> Predictor:
    """The network, or the networks of all folds; UsageError to fine-tune several."""
    run, device, tpf = request.run, request.device, request.tpf
    if len(request.trials) > 1:
        if tpf:
            what = f"fine-tunes one network, and there are {len(request.trials)}, one of each fold"
            raise UsageError(what, where="--tpf", remedy="--fold 0, or another", code="PFB-C02")
        return FoldMean.of(run, request.trials, device)
    [trial] = request.trials
    if tpf:
        return OneNetwork(*as_trained(run, trial, tpf, device))
    spec, method = as_scored(run, trial, device)
    return OneNetwork(spec, method.for_inference())


def _record(request: PredictRequest, cases: Sequence[Unlabelled]) -> JsonObject:
    """What decides the content of the files: the networks, and the scans as they are on disk."""
    scans = sorted(path.absolute() for case in cases for path in case.images.values())
    return {
        "run": str(request.run.absolute()),
        "trials": list(request.trials),
        "tpf": request.tpf,
        "probability": request.probability,
        "scans": [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in scans],
    }


def _already(
    request: PredictRequest, cases: Sequence[Unlabelled], spec: TrialSpec
) -> dict[str, list[Path]]:
    """The files of each case that a command which was cut off has written."""
    outputs = {case.id: _outputs(request, case.id, spec) for case in cases}
    return {case: paths for case, paths in outputs.items() if all(p.exists() for p in paths)}


def _doubts(spec: TrialSpec) -> list[str]:
    if spec.code == code_version():
        return []
    return [f"trained by {spec.code}, this is {code_version()}: masks may differ from the scored"]


def _drawn(request: PredictRequest, spec: TrialSpec) -> list[str]:
    """What the values of a label map mean. UsageError where one map cannot show the targets."""
    targets = spec.data.labels
    if request.separate and not targets:
        what, remedy = f"this trial has one target, {spec.data.target}", "leave it out"
        raise UsageError(what, where="--separate", remedy=remedy)
    if request.separate or not targets:
        return []
    values = [f"{list(targets)[place]} {value}" for place, value in drawing_order(targets)]
    told = f"label maps: {', '.join(values)}"
    return [told if spec.data.exclusive else f"{told}, drawn in this order: a later one on top"]


def _outputs(request: PredictRequest, case: str, spec: TrialSpec) -> list[Path]:
    """The paths of the files of one case: its masks, and its probabilities if requested."""
    each = [f"_{name}" for name in spec.data.labels]
    endings = each if request.separate else [""]
    if request.probability:
        endings = [*endings, *(f"{name}_prob" for name in each or [""])]
    return [request.out / f"{case}{ending}.nii.gz" for ending in endings]


def _refuse_overwriting(
    request: PredictRequest, cases: Sequence[Unlabelled], spec: TrialSpec
) -> None:
    """UsageError if an output is a scan, collides with another, or exists without --overwrite."""
    outputs = [path for case in cases for path in _outputs(request, case.id, spec)]
    for name, times in Counter(path.name.casefold() for path in outputs).items():
        if times > 1:
            what = "would be the mask of one case and the probability of another"
            raise UsageError(what, where=name, remedy="predict them one by one")
    scans = {path.resolve() for case in cases for path in case.images.values()}
    for path in outputs:
        if path.resolve() in scans:
            what = "would replace the scan itself"
            raise UsageError(what, where=path.name, remedy="another --out")
    there = [path.name for path in outputs if path.exists()]
    if there and not request.overwrite:
        what = f"there already: {listed(there, LISTED)}"
        raise UsageError(what, where="--out", remedy="another --out, or --overwrite")


def _sights(
    cases: Sequence[Unlabelled],
    specs: Sequence[TrialSpec],
    faults: list[DataError],
    tell: Callable[[str], None],
) -> Iterator[_Sight]:
    """Each case that can be read, one at a time; faults of the others are collected in `faults`."""
    for case in cases:
        try:
            sight = _sight(case, specs)
        except DataError as fault:
            faults.append(fault)
            tell(case.id)
        else:
            yield sight


def _sight(case: Unlabelled, specs: Sequence[TrialSpec]) -> _Sight:
    native = read(case, specs[0].data.view.unoriented)
    ways = [way(spec.data.name, spec.data.grid, spec.data.view) for spec in specs]
    seen = {repr(each): view_of(native.image, native.spacing_mm, *each) for each in ways}
    fields = tuple(seen[repr(each)] for each in ways)
    return _Sight(case.id, fields, native.stored_affine, native.place, native.notes)


def _on_disk(sight: _Sight, folder: Path) -> _Sight:
    """The same scan, seen by one network, with its images in files below `folder`.

    They are read when they are accessed.
    """
    [field] = sight.fields
    images = []
    for number, image in enumerate(field.images):
        content = io.BytesIO()
        np.save(content, image)
        path = folder / f"{sight.case}.{number}.npy"
        write_bytes(path, content.getvalue())
        images.append(np.load(path, mmap_mode="r"))
    return replace(sight, fields=(replace(field, images=images),))


def _adapted(predictor: Predictor, sights: Sequence[_Sight]) -> OneNetwork:
    """The network after fine-tuning on all scans, of which it sees images only."""
    assert isinstance(predictor, OneNetwork)  # several are refused before
    try:
        return predictor.adapted([image for sight in sights for image in sight.fields[0].images])
    except FloatingPointError as error:
        raise DataError(str(error), where="--tpf", remedy="leave it out") from error


def _unsound(case: str, error: UnsoundPrediction) -> DataError:
    what = f"the network's answer is no mask: {error}"
    remedy = "look for values in this scan that the training scans do not have"
    return DataError(what, where=case, remedy=remedy, code="PFB-D17")


def _write(request: PredictRequest, predictor: Predictor, sight: _Sight) -> list[Path]:
    """Write the files of one case on the grid of its scan; returns their paths."""
    field, spec = sight.fields[0], predictor.specs[0]
    masks, found = predictor.predict(
        sight.case, [each.images for each in sight.fields], request.probability
    )
    targets = spec.data.labels
    answers: list[np.ndarray] = [] if targets else [field.mask(masks)]
    if targets:
        each = [field.mask([held(mask, k) for mask in masks]) for k in range(len(targets))]
        answers += each if request.separate else [label_map(each, targets)]
    if request.probability:
        channels = [[one[k] for one in found] for k in range(len(targets))] or [found]
        answers += map(field.probability, channels)
    paths = _outputs(request, sight.case, spec)
    for path, answer in zip(paths, answers, strict=True):
        write_bytes(path, packed(answer, sight.stored_affine, sight.place))
    return paths

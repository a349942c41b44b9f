"""`pfbench predict`: a trained trial applied to new scans, each mask on its scan's voxel grid.

    scan ─ read, look ─► images ─ method.segment ─► masks ─ field.mask ─► OUT/<case>.nii.gz
                                  method.probability ──────────────────► OUT/<case>_prob.nii.gz

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
from harness.data.scan_view import ScanView, view_of
from harness.data.unlabelled import Unlabelled, find, read
from harness.data.wording import listed
from harness.errors import DataError, UsageError, together
from harness.experiments.prediction_folder import at_work, begun
from harness.runs.files import JsonObject, write_bytes
from harness.runs.run_folder import RunFolder
from harness.runs.spec import TrialSpec, code_version
from harness.systems.memory import out_of_gpu_memory
from harness.systems.methods import Method, UnsoundPrediction
from harness.trials.network import Device, as_scored, as_trained, threads_of
from models.tpf import Strategy

Progress = Callable[[int, int, str], None]
LISTED = 3  # files that a message names, of many


@dataclass(frozen=True)
class PredictRequest:
    """The options of `pfbench predict`."""

    run: Path
    trial: str
    """The id of the trial, see `harness.trials.network.choose_trial`."""
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


@dataclass(frozen=True)
class Prediction:
    """The files that were written, and notes on doubtful inputs."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Sight:
    """One scan as the network sees it, and the header data needed to write its mask."""

    case: str
    field: ScanView
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
    where = (request.run, request.trial)
    tpf, device = request.tpf, request.device
    spec, method = as_trained(*where, tpf, device) if tpf else as_scored(*where, device)
    torch.set_num_threads(request.threads or threads_of(*where))
    found = find(request.inputs, spec.data.modalities)
    if not found.cases:
        raise together(found.faults, "the data")
    asked = _record(request, found.cases)
    there = _already(request, found.cases) if begun(request.out, asked) else {}
    _refuse_overwriting(request, [case for case in found.cases if case.id not in there])
    RunFolder(request.out).create()
    faults = [*found.faults]
    files = [path for paths in there.values() for path in paths]
    notes = [*_doubts(spec), *found.notes]
    cases = found.cases if tpf else [case for case in found.cases if case.id not in there]
    total = len(found.faults) + len(cases) * (2 if tpf else 1)
    done = count(len(found.faults) + 1)

    def tell(what: str) -> None:
        progress(next(done), total, what)

    with at_work(request.out, asked) as waiting:
        sights = _sights(cases, spec, faults, tell)
        if tpf:
            kept = []
            for sight in sights:
                kept.append(_on_disk(sight, waiting))
                tell(f"reading {sight.case}")
            total -= len(cases) - len(kept)
            method, sights = _adapted(method, kept), iter(kept)
        method = method.for_inference()
        for sight in sights:
            try:
                if sight.case not in there:
                    files += _write(request, method, sight)
                notes += sight.notes
            except UnsoundPrediction as error:
                faults.append(_unsound(sight.case, error))
            tell(sight.case)
    if faults:
        raise together(faults, "the data")
    return Prediction(tuple(files), tuple(notes))


def _record(request: PredictRequest, cases: Sequence[Unlabelled]) -> JsonObject:
    """What decides the content of the files: the network, and the scans as they are on disk."""
    scans = sorted(path.absolute() for case in cases for path in case.images.values())
    return {
        "run": str(request.run.absolute()),
        "trial": request.trial,
        "tpf": request.tpf,
        "probability": request.probability,
        "scans": [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in scans],
    }


def _already(request: PredictRequest, cases: Sequence[Unlabelled]) -> dict[str, list[Path]]:
    """The files of each case that a command which was cut off has written."""
    outputs = {case.id: _outputs(request, case.id) for case in cases}
    return {case: paths for case, paths in outputs.items() if all(p.exists() for p in paths)}


def _doubts(spec: TrialSpec) -> list[str]:
    if spec.code == code_version():
        return []
    return [f"trained by {spec.code}, this is {code_version()}: masks may differ from the scored"]


def _outputs(request: PredictRequest, case: str) -> list[Path]:
    """The paths of the files of one case: its mask, and its probability if requested."""
    endings = ("", "_prob") if request.probability else ("",)
    return [request.out / f"{case}{ending}.nii.gz" for ending in endings]


def _refuse_overwriting(request: PredictRequest, cases: Sequence[Unlabelled]) -> None:
    """UsageError if an output is a scan, collides with another, or exists without --overwrite."""
    outputs = [path for case in cases for path in _outputs(request, case.id)]
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
    spec: TrialSpec,
    faults: list[DataError],
    tell: Callable[[str], None],
) -> Iterator[_Sight]:
    """Each case that can be read, one at a time; faults of the others are collected in `faults`."""
    for case in cases:
        try:
            sight = _sight(case, spec)
        except DataError as fault:
            faults.append(fault)
            tell(case.id)
        else:
            yield sight


def _sight(case: Unlabelled, spec: TrialSpec) -> _Sight:
    native = read(case, spec.data.view.unoriented)
    data = spec.data
    field = view_of(native.image, native.spacing_mm, *way(data.name, data.grid, data.view))
    return _Sight(case.id, field, native.stored_affine, native.place, native.notes)


def _on_disk(sight: _Sight, folder: Path) -> _Sight:
    """The same scan with its images in files below `folder`, read when they are accessed."""
    images = []
    for number, image in enumerate(sight.field.images):
        content = io.BytesIO()
        np.save(content, image)
        path = folder / f"{sight.case}.{number}.npy"
        write_bytes(path, content.getvalue())
        images.append(np.load(path, mmap_mode="r"))
    return replace(sight, field=replace(sight.field, images=images))


def _adapted(method: Method, sights: Sequence[_Sight]) -> Method:
    """The method after fine-tuning on all scans, of which it sees images only."""
    try:
        return method.adapt([image for sight in sights for image in sight.field.images])
    except FloatingPointError as error:
        raise DataError(str(error), where="--tpf", remedy="leave it out") from error


def _unsound(case: str, error: UnsoundPrediction) -> DataError:
    what = f"the network's answer is no mask: {error}"
    remedy = "look for values in this scan that the training scans do not have"
    return DataError(what, where=case, remedy=remedy, code="PFB-D17")


def _write(request: PredictRequest, method: Method, sight: _Sight) -> list[Path]:
    """Write the files of one case on the grid of its scan; returns their paths."""
    field, method = sight.field, method.at(sight.case)
    answers = [field.mask([method.segment(image) for image in field.images])]
    if request.probability:
        answers.append(field.probability([method.probability(image) for image in field.images]))
    paths = _outputs(request, sight.case)
    for path, answer in zip(paths, answers, strict=True):
        write_bytes(path, packed(answer, sight.stored_affine, sight.place))
    return paths

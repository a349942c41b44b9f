"""`pfbench export nnunet`: a run's data and split in the layout of nnU-Net v2, to train it on them.

    OUT/nnUNet_raw/Dataset501_NAME/    imagesTr, labelsTr, imagesTs, dataset.json
        splits_final.json              fold 0: the training and validation cases of the run
        commands.sh                    plan, train, predict, and score beside the run

Test cases are in imagesTs without a label: nnU-Net never sees one. Files are written anew from what
the run reads, oriented alike, without the texts of their headers. Targets that exclude each other
are labels 1, 2 and so on; those that lie within one another are regions, which nnU-Net trains with
a sigmoid each, and the label map is drawn from the largest to the smallest.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.export import packed
from harness.data.ingest import sight
from harness.data.prepare import region
from harness.data.regions import Labels, drawing_order
from harness.data.split import Split
from harness.errors import UsageError
from harness.experiments.score import jobs_of
from harness.runs.files import JsonObject, write_bytes
from harness.runs.run_folder import RunFolder
from harness.runs.spec import Data

Progress = Callable[[int, int, str], None]
ENDING = ".nii.gz"
CONFIGURATION = "3d_fullres"


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """The options of `pfbench export nnunet`."""

    run: Path
    out: Path
    number: int = 501
    """nnU-Net's number of the data set."""
    root: Path | None = None
    files: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `DataRequest` on the files of the scans."""


def export(request: ExportRequest, progress: Progress = lambda done, total, what: None) -> Path:
    """Write data set, split and commands; returns the path of the commands.

    Raises UsageError for an `out` that is not empty, DataError for scans that cannot be read,
    StateError for what is no run, StorageError where it cannot be written.
    """
    folder = RunFolder(request.run)
    run = folder.run()
    if run.folds:
        what, remedy = "is a cross-validation, which has several splits", "a run of one fold"
        raise UsageError(what, where=str(request.run), remedy=remedy, code="PFB-C02")
    split = folder.split()
    for path in filter(None, (request.run, request.root)):
        if not str(path).isprintable():  # it stands in a comment of commands.sh
            what, remedy = "has a name with signs that no line shows", "rename it"
            raise UsageError(what, where=ascii(str(path)), remedy=remedy, code="PFB-C18")
    if request.out.exists() and any(request.out.iterdir()):
        what, remedy = "exists and is not empty", "another folder"
        raise UsageError(what, where=str(request.out), remedy=remedy, code="PFB-C05")
    data = Data.model_validate(run.protocol["data"])
    every = [*split.train, *split.validation, *split.test]
    jobs = jobs_of(run, data, every, request.root, request.files)
    targets = jobs[every[0]].targets
    labels = nnunet_labels(targets)
    RunFolder(request.out).create()
    name = f"Dataset{request.number:03d}_{re.sub('[^A-Za-z0-9]', '', data.name) or 'data'}"
    raw = request.out / "nnUNet_raw" / name
    for done, case in enumerate(every, 1):
        scan = sight(jobs[case]).scan
        trains = case not in split.test
        images = raw / ("imagesTr" if trains else "imagesTs")
        images.mkdir(parents=True, exist_ok=True)
        for number, channel in enumerate(scan.image):
            content = packed(channel.astype(np.float32), scan.affine)
            write_bytes(images / f"{case}_{number:04d}{ENDING}", content)
        if trains:
            (raw / "labelsTr").mkdir(exist_ok=True)
            drawn = np.zeros(scan.label.shape, np.uint8)
            for target, (value, *_) in labels.items():
                drawn[region(scan.label, targets[target])] = value
            write_bytes(raw / "labelsTr" / f"{case}{ENDING}", packed(drawn, scan.affine))
        progress(done, len(every), case)
    _write_json(raw / "dataset.json", _dataset(data, split, labels))
    fold = [{"train": list(split.train), "val": list(split.validation)}]
    _write_json(request.out / "splits_final.json", fold)
    commands = request.out / "commands.sh"
    write_bytes(commands, _commands(request, name, labels).encode())
    return commands


def _write_json(path: Path, content: object) -> None:
    """Write keys as they come: nnU-Net draws regions in the order in which it reads them."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def nnunet_labels(targets: Mapping[str, Labels]) -> dict[str, Labels]:
    """The labels of each target in nnU-Net's label map, its own first, in the order of drawing.

    Labels count up from 1. A target has those of the targets within it, too. Raises UsageError
    where no label map shows them all.
    """
    try:
        order = [[*targets][place] for place, _ in drawing_order(targets)]
    except UsageError as error:
        remedy = "a run of targets that exclude each other or lie within one another"
        raise UsageError(error.what, where="export nnunet", remedy=remedy, code="PFB-C02") from None
    return {
        one: tuple(
            value for value, other in enumerate(order, 1) if {*targets[other]} <= {*targets[one]}
        )
        for one in order
    }


def _dataset(data: Data, split: Split, labels: Mapping[str, Labels]) -> JsonObject:
    """The content of dataset.json: channels, targets, the number of training cases."""
    channels = {str(number): _channel(name) for number, name in enumerate(data.modalities)}
    found = {name: list(own) if len(own) > 1 else own[0] for name, own in labels.items()}
    regions = {"regions_class_order": [own[0] for own in labels.values()]}
    return {
        "channel_names": channels,
        "labels": {"background": 0, **found},
        **(regions if any(len(own) > 1 for own in labels.values()) else {}),
        "numTraining": len(split.train) + len(split.validation),
        "file_ending": ENDING,
    }


def _channel(modality: str) -> str:
    """The name of a channel: "CT" has a meaning for nnU-Net, which then clips intensities."""
    return "CT" if modality.lower() == "ct" else modality


def _commands(request: ExportRequest, name: str, labels: Mapping[str, Labels]) -> str:
    """The commands, to be carried out where nnU-Net is installed."""
    each = [f"{name}={'+'.join(map(str, own))}" for name, own in labels.items()]
    values = shlex.quote(",".join(each)) if len(each) > 1 else "1"
    number, run = request.number, shlex.quote(str(request.run))
    root = f" --data-root {shlex.quote(str(request.root))}" if request.root else ""
    return f"""\
# nnU-Net v2 on exactly the cases of the run: bash commands.sh, where nnunetv2 is installed.
# Other trainers, such as -tr nnUNetTrainer_250epochs, go behind the fold of nnUNetv2_train and
# to nnUNetv2_predict.
set -eu
cd "$(dirname "$0")"
export nnUNet_raw="$PWD/nnUNet_raw" nnUNet_preprocessed="$PWD/nnUNet_preprocessed"
export nnUNet_results="$PWD/nnUNet_results"
nnUNetv2_plan_and_preprocess -d {number} -c {CONFIGURATION} --verify_dataset_integrity
cp splits_final.json "$nnUNet_preprocessed/{name}/splits_final.json"
nnUNetv2_train {number} {CONFIGURATION} 0 "$@"
nnUNetv2_predict -d {number} -c {CONFIGURATION} -f 0 -i "$nnUNet_raw/{name}/imagesTs" -o masks "$@"
# Then, where pfbench is installed:
# pfbench score {run} --predictions nnunet=masks --values {values}{root}
"""

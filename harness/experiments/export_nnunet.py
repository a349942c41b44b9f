"""`pfbench export nnunet`: a run's data and split in the layout of nnU-Net v2, to train it on them.

    OUT/nnUNet_raw/Dataset501_NAME/    imagesTr, labelsTr, imagesTs, dataset.json
        splits_final.json              fold 0: the training and validation cases of the run
        commands.sh                    plan, train, predict, and score beside the run

Test cases are in imagesTs without a label: nnU-Net never sees one. Files are written anew from what
the run reads, oriented alike, without the texts of their headers.
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
from harness.data.split import Split
from harness.errors import UsageError
from harness.experiments.score import jobs_of, refuse_several
from harness.runs.files import JsonObject, write_bytes, write_json
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
    if request.out.exists() and any(request.out.iterdir()):
        what, remedy = "exists and is not empty", "another folder"
        raise UsageError(what, where=str(request.out), remedy=remedy, code="PFB-C05")
    data = Data.model_validate(run.protocol["data"])
    refuse_several(data, str(request.run))
    every = [*split.train, *split.validation, *split.test]
    jobs = jobs_of(run, data, every, request.root, request.files)
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
            labels = raw / "labelsTr"
            labels.mkdir(exist_ok=True)
            target = region(scan.label, jobs[case].foreground).astype(np.uint8)
            write_bytes(labels / f"{case}{ENDING}", packed(target, scan.affine))
        progress(done, len(every), case)
    write_json(raw / "dataset.json", _dataset(data, split))
    fold = [{"train": list(split.train), "val": list(split.validation)}]
    write_bytes(request.out / "splits_final.json", (json.dumps(fold, indent=2) + "\n").encode())
    commands = request.out / "commands.sh"
    write_bytes(commands, _commands(request, name).encode())
    return commands


def _dataset(data: Data, split: Split) -> JsonObject:
    """The content of dataset.json: channels, the one target, the number of training cases."""
    channels = {str(number): _channel(name) for number, name in enumerate(data.modalities)}
    return {
        "channel_names": channels,
        "labels": {"background": 0, data.target or "target": 1},
        "numTraining": len(split.train) + len(split.validation),
        "file_ending": ENDING,
    }


def _channel(modality: str) -> str:
    """The name of a channel: "CT" has a meaning for nnU-Net, which then clips intensities."""
    return "CT" if modality.lower() == "ct" else modality


def _commands(request: ExportRequest, name: str) -> str:
    """The commands, to be carried out where nnU-Net is installed."""
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
# pfbench score {run} --predictions nnunet=masks --values 1{root}
"""

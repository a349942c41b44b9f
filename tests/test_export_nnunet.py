"""A run's data and split in nnU-Net's layout: the same cases, and no label of a test case."""

import json
import shutil
import subprocess

import nibabel
import numpy as np
import pytest
from helper_in_process import pfbench

from harness.data.jobs import find_jobs
from harness.data.request import DataRequest, contents_of
from harness.data.targets import unpacked
from harness.errors import UsageError
from harness.experiments.export_nnunet import nnunet_labels
from harness.runs.run_folder import RunFolder

RUN = ["run", "--suite", "table5", "--model", "resunet3d_up", "--epochs", 1, "--measure-repeats", 1,
       "--set", "phantom.cases=5", "--executor", "inline", "--no-mlflow"]  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    top = tmp_path_factory.mktemp("nnunet")
    pfbench(*RUN, "--out", top / "run")
    done = pfbench("export", "nnunet", top / "run", top / "out")
    return RunFolder(top / "run"), top / "out", done


def raw(out):
    return out / "nnUNet_raw" / "Dataset501_phantom"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_training_cases_have_images_and_labels_and_test_cases_images_alone(exported):
    run, out, _ = exported
    split = run.split()
    trained = sorted([*split.train, *split.validation])
    assert names(raw(out) / "imagesTr") == [f"{case}_0000.nii.gz" for case in trained]
    assert names(raw(out) / "labelsTr") == [f"{case}.nii.gz" for case in trained]
    assert names(raw(out) / "imagesTs") == [f"{case}_0000.nii.gz" for case in split.test]


def test_its_only_fold_is_the_split_of_the_run(exported):
    run, out, _ = exported
    split = run.split()
    [fold] = json.loads((out / "splits_final.json").read_text())
    assert fold == {"train": list(split.train), "val": list(split.validation)}


def test_voxels_and_labels_are_those_that_the_run_trained_on(exported):
    run, out, _ = exported
    case = run.split().train[0]
    label = nibabel.load(raw(out) / "labelsTr" / f"{case}.nii.gz")
    assert np.array_equal(np.asarray(label.dataobj).T, run.volume(case).label)
    assert label.header.get_zooms() == pytest.approx(run.volume(case).spacing_mm[::-1])


def test_our_own_reader_of_that_layout_finds_what_the_file_says(exported):
    _, out, _ = exported
    asked = DataRequest("folder", raw(out))
    contents = contents_of(asked)
    assert contents.modalities == ("flair",)
    assert dict(contents.targets)["wt"] == (1,)
    asked = DataRequest("folder", raw(out), contents.modalities, "wt")
    assert len(find_jobs(asked).jobs) == 4


def test_the_commands_are_those_of_a_shell(exported):
    _, out, done = exported
    assert f"commands    {out / 'commands.sh'}" in done.out
    subprocess.run(["bash", "-n", out / "commands.sh"], check=True)
    text = (out / "commands.sh").read_text()
    assert "nnUNetv2_train 501 3d_fullres 0" in text
    assert f"pfbench score {exported[0].path} --predictions nnunet=masks --values 1" in text


def test_masks_on_the_exported_images_come_back_by_score(exported, tmp_path):
    run, out, _ = exported
    whole = shutil.copytree(run.path, tmp_path / "run")
    masks = tmp_path / "masks"
    masks.mkdir()
    for case in run.split().test:
        image = nibabel.load(raw(out) / "imagesTs" / f"{case}_0000.nii.gz")
        bright = (np.asarray(image.dataobj) > 0.6).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(bright, image.affine), masks / f"{case}.nii.gz")
    pfbench("score", whole, "--predictions", f"nnunet={masks}", "--values", 1, "--no-mlflow")
    assert [row.key for row in RunFolder(whole).run().suites["table5"]] == [
        "resunet3d_up",
        "nnunet",
    ]


# ── several targets ─────────────────────────────────────────────────────────────────────────────


def as_nnunet_draws(probabilities, content):
    """Its label map of regions: each in turn, in the order of `labels`, with its value."""
    drawn = np.zeros(probabilities.shape[1:], np.uint8)
    for place, value in enumerate(content["regions_class_order"]):
        drawn[probabilities[place] > 0.5] = value
    return drawn


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    top = tmp_path_factory.mktemp("regions")
    pfbench(*RUN, "--target", "et,wt,tc", "--out", top / "run")
    pfbench("export", "nnunet", top / "run", top / "out")
    return RunFolder(top / "run"), top / "out"


def test_nested_targets_are_regions_in_the_order_in_which_nnunet_draws_them(nested):
    run, out = nested
    content = json.loads((raw(out) / "dataset.json").read_text())
    assert list(content["labels"].items()) == [
        ("background", 0),
        ("wt", [1, 2, 3]),
        ("tc", [2, 3]),
        ("et", 3),
    ]
    case = run.split().train[0]
    label = np.asarray(nibabel.load(raw(out) / "labelsTr" / f"{case}.nii.gz").dataobj).T
    et, wt, tc = unpacked(run.volume(case).label, 3)
    assert np.array_equal(label, as_nnunet_draws(np.stack([wt, tc, et]), content))


def test_masks_of_regions_come_back_as_label_maps_and_as_a_file_for_each(nested, tmp_path):
    """What the run predicted has the scores of the run's own row, in either form."""
    run, out = nested
    maps, apart = tmp_path / "maps", tmp_path / "apart"
    maps.mkdir(), apart.mkdir()
    content = json.loads((raw(out) / "dataset.json").read_text())
    [trial] = [run.trial(name) for name in run.run().trials]
    for case in run.split().test:
        affine = nibabel.load(raw(out) / "imagesTs" / f"{case}_0000.nii.gz").affine
        et, wt, tc = unpacked(trial.mask(case, trial.mask_form(case).shape), 3)
        drawn = as_nnunet_draws(np.stack([wt | tc | et, tc | et, et]), content)
        nibabel.save(nibabel.Nifti1Image(drawn.T, affine), maps / f"{case}.nii.gz")
        for name, mask in (("et", et), ("wt", wt), ("tc", tc)):
            stored = nibabel.Nifti1Image(mask.T.astype(np.uint8), affine)
            nibabel.save(stored, apart / f"{case}_{name}.nii.gz")
    command = (out / "commands.sh").read_text().splitlines()[-1]
    values = command.partition("--values ")[2]
    assert values == "wt=1+2+3,tc=2+3,et=3"
    sets = ["--predictions", f"maps={maps}", "--predictions", f"apart={apart}"]
    pfbench("score", run.path, *sets, "--values", values, "--no-mlflow")
    of_maps, of_files = (run.trial(row.trials[0]) for row in run.run().suites["table5"][1:])
    own = {name: trial.of_target(name).scores("hd95_mm") for name in ("et", "wt", "tc")}
    assert {name: of_files.of_target(name).scores("hd95_mm") for name in own} == own
    assert of_maps.of_target("et").scores("hd95_mm") == own["et"]  # the others hold one another


def test_values_of_targets_that_the_run_does_not_have_are_refused(nested, tmp_path):
    run, _ = nested
    told = ("--predictions", f"m={tmp_path}", "--no-mlflow", "--values")
    said = pfbench("score", run.path, *told, "wt=1,tc=2", expect=2).said
    assert "names wt, tc, and the masks are of et, wt, tc" in said
    assert "--values et=1,wt=2,tc=3" in said
    assert (
        "names no target, or one twice"
        in pfbench("score", run.path, *told, "1,tc=2", expect=2).said
    )


def test_exclusive_targets_are_labels_without_regions():
    assert nnunet_labels({"liver": (1,), "tumour": (2,)}) == {"liver": (1,), "tumour": (2,)}


def test_targets_that_overlap_in_part_are_refused():
    with pytest.raises(UsageError, match="a and b overlap"):
        nnunet_labels({"a": (1, 2), "b": (2, 3)})


def test_a_run_with_a_line_break_in_its_name_writes_no_commands(exported, tmp_path):
    """The name would end a comment of commands.sh and be a command."""
    run = shutil.copytree(exported[0].path, tmp_path / "run\ntouch mark")
    done = pfbench("export", "nnunet", run, tmp_path / "out", expect=2)
    assert "PFB-C18" in done.said and not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_left_alone(exported):
    run, out, _ = exported
    done = pfbench("export", "nnunet", run.path, out, expect=2)
    assert "exists and is not empty" in done.said

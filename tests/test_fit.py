"""The grid of a data set comes from its training cases and suits every system."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from helper_in_process import pfbench

from harness.data.cache import open_volume
from harness.data.case import Scan
from harness.data.choose_view import fitted
from harness.data.fit import Sizes, view
from harness.data.nifti import outline
from harness.data.prepare import enlargement
from harness.data.prepare import fitted as on_grid
from harness.data.reading import Reading, View, suits_every_system
from harness.data.request import DataRequest
from harness.data.scan_view import reduction, view_of
from harness.data.volumes import expected, prepare
from harness.errors import UsageError
from harness.runs.settings import PROFILES, resolve
from harness.systems import catalogue

PAPER, QUICK = PROFILES["paper"].reduce, PROFILES["quick"].reduce
BOUND = {PAPER: 128 * 192 * 192, QUICK: 32 * 64 * 64}
MEDIANS = {  # voxels (D, H, W) and mm, as papers and downloads have them
    "hippocampus": ((35, 51, 35), (1, 1, 1)),
    "prostate": ((20, 320, 319), (3.6, 0.62, 0.62)),
    "spleen": ((90, 512, 512), (5, 0.79, 0.79)),
    "trunk": ((500, 160, 160), (2, 2, 2)),
    "mouse": ((32, 48, 48), (0.05, 0.05, 0.05)),
    "one slice thick": ((2, 40, 40), (1, 1, 1)),
    "whole body": ((1200, 512, 512), (1.5, 1.5, 1.5)),
}


def known(name: str) -> Sizes:
    shape, spacing = MEDIANS[name]
    d, h, w = (have * mm for have, mm in zip(shape, spacing, strict=True))
    return Sizes(shape, (d, h, w), spacing, 5)


@pytest.mark.parametrize("reduce", [PAPER, QUICK], ids=["paper", "quick"])
@pytest.mark.parametrize("name", MEDIANS)
def test_a_grid_suits_every_system_holds_a_median_scan_and_is_not_finer_than_it(name, reduce):
    sizes = known(name)
    made = view(Reading(), reduce, sizes)
    assert suits_every_system(made.grid)
    assert np.prod(made.grid) <= BOUND[reduce]
    assert (np.array(made.voxel_mm) >= np.array(sizes.spacing_mm) * (1 - 1e-5)).all()
    assert enlargement(sizes.shape, sizes.spacing_mm, made.grid, made.voxel_mm) < 1.001


def test_what_fits_comes_in_voxels_of_the_data():
    made = view(Reading(), PAPER, known("hippocampus"))
    assert (made.grid, made.voxel_mm, made.blocks) == ((64, 64, 64), (1, 1, 1), (1, 1, 1))


def test_what_does_not_fit_gets_coarser_in_its_finest_axes_first():
    made = view(Reading(), PAPER, known("spleen"))
    assert made.voxel_mm[0] == 5 and made.voxel_mm[1] == made.voxel_mm[2] > 0.79
    body = view(Reading(), PAPER, known("whole body"))
    assert len(set(body.voxel_mm)) == 1 and body.voxel_mm[0] > 2
    assert body.blocks == (round(body.voxel_mm[0] / 1.5),) * 3


def test_a_grid_or_a_voxel_by_hand_is_taken_as_it_is():
    grid = view(Reading(grid=(64, 96, 96)), QUICK, known("trunk"))
    assert grid.grid == (64, 96, 96)
    np.testing.assert_allclose(grid.voxel_mm, (1000 / 64, 320 / 96, 320 / 96), rtol=1e-5)
    voxel = view(Reading(spacing=(4, 4, 4)), QUICK, known("trunk"))
    assert (voxel.grid, voxel.voxel_mm) == ((256, 96, 96), (4, 4, 4))
    both = view(Reading(grid=(32, 64, 64), spacing=(3, 3, 3)), PAPER, known("trunk"))
    assert (both.grid, both.voxel_mm) == ((32, 64, 64), (3, 3, 3))


@pytest.mark.parametrize(
    "change", ["grid=[32, 32, 32]", "grid=[48, 64, 64]", "grid=[0, 64, 64]", "grid=large",
               "spacing=[0, 1, 1]", "spacing=1"],
)  # fmt: skip
def test_a_grid_that_not_every_system_can_take_is_refused_where_it_was_written(change):
    with pytest.raises(UsageError, match="--set"):
        resolve("paper", None, [f"data.{change}"], None)


@pytest.mark.parametrize("name", catalogue.SYSTEMS)
def test_every_system_learns_on_the_smallest_grid(name):
    grid = (64, 32, 32)
    torch.manual_seed(0)
    method = catalogue.build(name, catalogue.options(name, "quick"), 1, grid)
    image = np.random.default_rng(0).random((1, *grid), np.float32)
    label = np.zeros(grid, bool)
    label[8:20, 8:20, 8:20] = True
    for stage in method.stages:
        loss = stage.losses(*stage.sample(image, label, np.random.default_rng(0)))["total"]
        loss.backward()
        assert torch.isfinite(loss)
    assert method.for_inference().segment(image).shape == grid


def scan_of(shape, spacing_mm, box) -> Scan:
    image = np.random.default_rng(0).random((1, *shape), np.float32)
    label = np.zeros(shape, np.uint8)
    label[box] = 1
    return Scan(image, label, spacing_mm, np.eye(4))


def test_a_scan_that_fits_keeps_its_voxels_in_the_middle_of_the_grid():
    scan = scan_of((20, 40, 30), (3, 1, 1), np.s_[5:10, 10:20, 10:20])
    made = on_grid(scan, (1,), (1, 1, 1), "a", grid=(32, 64, 64), voxel_mm=(3, 1, 1))
    inside = np.s_[6:26, 12:52, 17:47]
    np.testing.assert_array_equal(made.label[inside], scan.label)
    low, high = scan.image.min(), scan.image.max()
    np.testing.assert_allclose(
        made.image[0][inside], (scan.image[0] - low) / (high - low), atol=1e-6
    )
    assert (made.spacing_mm, made.cut) == ((3, 1, 1), 0)


def test_of_a_scan_that_is_larger_nothing_is_cut_off():
    scan = scan_of((64, 160, 64), (1, 1, 1), np.s_[0:64, 150:160, 0:64])
    made = on_grid(scan, (1,), (1, 1, 1), "a", grid=(32, 64, 64), voxel_mm=(1, 1, 1))
    assert made.spacing_mm == (2.5, 2.5, 2.5)
    volume = made.label.sum() * np.prod(made.spacing_mm)
    assert volume == pytest.approx(scan.label.sum(), rel=0.1)


def test_a_voxel_is_the_mean_of_its_block_and_target_where_half_of_it_is():
    scan = scan_of((64, 128, 128), (1, 1, 1), np.s_[10:30, 20:51, 20:60])
    made = on_grid(scan, (1,), (2, 2, 2), "a", grid=(32, 64, 64), voxel_mm=(2, 2, 2))
    blocks = scan.image[0].reshape(32, 2, 64, 2, 64, 2).mean(axis=(1, 3, 5))
    low, high = scan.image.min(), scan.image.max()
    np.testing.assert_allclose(made.image[0], (blocks - low) / (high - low), atol=1e-5)
    mask = scan.label.reshape(32, 2, 64, 2, 64, 2).mean(axis=(1, 3, 5)) >= 0.5
    np.testing.assert_array_equal(made.label, mask)


@pytest.mark.parametrize("shape", [(20, 40, 30), (64, 160, 64)])
@pytest.mark.parametrize("limits", [(), ("robust",)])
def test_a_new_scan_is_seen_as_those_of_the_training_and_its_mask_comes_back(shape, limits):
    from dataclasses import replace

    from harness.data.intensity import clipped

    seen = View(grid=(32, 64, 64), voxel_mm=(2, 1, 1), blocks=(2, 1, 1), limits=limits)
    scan = scan_of(shape, (1.5, 1, 1), np.s_[6:14, 10:30, 8:20])
    image, ends = clipped(scan.image, limits or ("minmax",))
    made = on_grid(replace(scan, image=image, ends=ends), (1,), seen.blocks, "a", grid=seen.grid,
                   voxel_mm=seen.voxel_mm)  # fmt: skip
    field = view_of(scan.image, scan.spacing_mm, "", reduction(seen.grid, seen), seen)
    np.testing.assert_array_equal(field.images[0], made.image)
    back = field.mask([made.label])
    common = 2 * np.logical_and(back, scan.label).sum() / (back.sum() + scan.label.sum())
    assert back.shape == shape and common > 0.8


def write(root: Path, shapes, spacing=(1, 1, 1), channel="T2") -> Path:
    """nnU-Net's layout, a case for each shape (D, H, W)."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    (root / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": channel}, "labels": {"background": 0, "spot": 1}})
    )
    affine = np.diag([*spacing[::-1], 1])
    for number, shape in enumerate(shapes):
        scan = scan_of(shape, spacing, np.s_[4:10, 8:20, 8:20])
        image = (1000 * scan.image[0]).astype(np.int16) + number
        for name, array in (
            (f"imagesTr/c{number}_0000", image),
            (f"labelsTr/c{number}", scan.label),
        ):
            nibabel.save(nibabel.Nifti1Image(array.T, affine), root / f"{name}.nii.gz")
    return root


SHAPES = [(20, 40, 30), (22, 44, 30), (24, 40, 34), (30, 40, 40), (70, 140, 80)]


def test_a_header_tells_shape_and_voxel_without_the_voxels(tmp_path):
    affine = np.array([[0.0, 0, 3, 0], [-1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])
    path = tmp_path / "a.nii.gz"
    voxels = np.random.default_rng(0).random((50, 60, 70), np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    path.write_bytes(path.read_bytes()[:10_000])  # its voxels cannot be read
    assert outline(path) == ((60, 50, 70), (2, 1, 3))


def test_only_training_cases_choose(tmp_path):
    request = DataRequest("folder", write(tmp_path / "data", SHAPES))
    assert fitted(request, lambda ids: ids[:3]).view.grid == (32, 64, 32)
    assert fitted(request, lambda ids: ids[4:]).view.grid == (96, 160, 96)


def test_the_choice_is_told_and_cases_larger_than_the_grid_are_counted(tmp_path):
    made = prepare(DataRequest("folder", write(tmp_path / "data", SHAPES)), tmp_path / "cache")
    choice, larger, *_ = made.notes
    assert choice.startswith("grid 32x64x64 voxels of 1x1x1 mm (D x H x W), chosen; 5 training")
    assert choice.endswith("full resolution is that of the data")
    assert larger == (
        "1 of 5 cases are larger than the grid and seen in voxels up to 2.2 times as large"
    )
    assert made.grid == made.view.grid == (32, 64, 64)
    assert open_volume(tmp_path / "cache", made.keys["c4"]).image.shape == (1, 32, 64, 64)


def test_a_request_that_was_fitted_stays_as_it_is(tmp_path):
    first = fitted(DataRequest("folder", write(tmp_path / "data", SHAPES)), lambda ids: ids[:1])
    assert fitted(first) == first
    assert expected(first).grid == first.view.grid


def test_the_papers_data_sets_keep_the_papers_grid_unless_asked_otherwise(tmp_path):
    root = write(tmp_path / "data", SHAPES)
    assert fitted(DataRequest("liver", root, reduce=QUICK)).view.grid is None
    assert expected(DataRequest("liver", root, reduce=QUICK)).grid == (32, 64, 64)
    asked = DataRequest("liver", root, reading=Reading(grid="auto"))
    assert fitted(asked).view.grid == (32, 64, 64)
    kept = DataRequest("folder", root, reduce=QUICK, reading=Reading(grid="paper"))
    assert fitted(kept).view.grid is None


def test_the_phantom_has_no_other_grid():
    with pytest.raises(UsageError, match="comes on the paper's grid"):
        fitted(DataRequest("phantom", reading=Reading(grid="auto")))


def test_a_run_trains_and_predicts_on_the_grid_of_its_data(tmp_path):
    root, out = write(tmp_path / "data", SHAPES[:4]), tmp_path / "out"
    pfbench("run", "--suite", "table5", "--model", "resunet3d_up", "--dataset", "folder",
            "--data-root", root, "--profile", "quick", "--epochs", 1, "--executor", "inline",
            "--no-mlflow", "--out", out)  # fmt: skip
    assert "- grid 32x64x64 voxels of 1x1x1 mm" in (out / "table.md").read_text(encoding="utf-8")
    pfbench("predict", out, root / "imagesTr" / "c0_0000.nii.gz", "--out", tmp_path / "masks")
    assert nibabel.load(tmp_path / "masks" / "c0.nii.gz").shape == (30, 40, 20)
    assert pfbench("verify", out).code == 0


def dry_run(root: Path, tmp_path: Path, *options):
    return pfbench("run", "--suite", "table5", "--model", "san", "--dataset", "folder",
                   "--data-root", root, "--profile", "quick", "--executor", "inline",
                   "--no-mlflow", "--dry-run", "--out", tmp_path / "out", *options)  # fmt: skip


def test_grid_and_voxel_can_be_said_on_the_command_line(tmp_path):
    root = write(tmp_path / "data", SHAPES[:4])
    dry_run(root, tmp_path, "--grid", "64,32,32", "--spacing", "1,2,2", "--drop-vanished")
    shapes = {
        tuple(json.loads(path.read_bytes())["files"]["label.npy"]["shape"])
        for path in (tmp_path / "out" / "cache").glob("*/meta.json")
    }
    assert shapes == {(64, 32, 32)}

"""Scores on the voxels of the scan hold what resampling costs, and so does the ceiling."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from helper_in_process import pfbench
from helper_made_run import MadeRun

from harness.data.cache import open_volume
from harness.data.datasets import way
from harness.data.nifti import read_label
from harness.data.reading import Reading
from harness.data.request import DataRequest
from harness.data.targets import packed
from harness.data.volumes import prepare
from harness.errors import UsageError
from harness.results import tables
from harness.results.notes import slices_by_label
from harness.runs.settings import PROFILES, changed_protocol
from harness.systems.case_score import CaseScore
from harness.systems.evaluate import evaluate
from harness.systems.metrics import score
from harness.systems.protocol import Protocol

COARSE = Reading(grid=(32, 32, 64), spacing=(2, 2, 2))
TARGET = np.s_[8:15, 9:17, 11:18]  # odd in two axes: voxels of 2 mm cannot be it


class Bright:
    """A system that takes the bright half for the target."""

    remark = ""

    def at(self, case):
        return self

    def segment(self, image):
        return image[0] > 0.5


def write(root: Path, cases: int = 1, target=TARGET, shape=(24, 28, 30)) -> Path:
    """nnU-Net's layout, voxels of 1 mm, each target as bright as nothing else."""
    for case in range(cases):
        label = np.zeros(shape, np.uint8)
        label[target] = 1
        image = label + 0.001 * np.random.default_rng(case).random(label.shape)
        for folder, name, array in (
            ("imagesTr", f"c{case}_0000", image.astype(np.float32)),
            ("labelsTr", f"c{case}", label),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            stored = nibabel.Nifti1Image(array.transpose(2, 1, 0), np.eye(4))
            nibabel.save(stored, root / folder / f"{name}.nii.gz")
    (root / "dataset.json").write_text(
        '{"channel_names": {"0": "T2"}, "labels": {"background": 0, "lump": 1}}'
    )
    return root


def prepared(root: Path, cache: Path, reading=COARSE):
    """The data, and the volume of its first case."""
    made = prepare(DataRequest("folder", root, reading=reading), cache, score=score)
    return made, open_volume(cache, next(iter(made.keys.values())))


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """The row of a case on its scan, and the masks and the truth that it is about."""
    root = write(tmp_path_factory.mktemp("data"))
    made, volume = prepared(root, tmp_path_factory.mktemp("cache"))
    kept = []
    keep = lambda case, masks, dice: kept.append((masks, dice))  # noqa: E731
    of = way("folder", made.grid, made.view)
    found = evaluate(Bright(), [volume], keep, way=of)
    truth = read_label(root / "labelsTr" / "c0.nii.gz").array
    return found.rows[0], kept[0], truth, volume, of


def test_the_scores_are_those_of_the_mask_on_the_voxels_of_the_file(scored):
    row, (masks, dice), truth, *_ = scored
    on_scan = score(masks.scan, truth, (1, 1, 1))
    assert masks.scan.shape == truth.shape and 0 < on_scan.dice < 1
    assert {name: row[name] for name in CaseScore._fields} == on_scan._asdict()
    assert dice == on_scan.dice


def test_the_scores_on_the_grid_stand_beside(scored):
    row, (masks, _), _, volume, _ = scored
    on_grid = score(masks.grid, volume.label > 0, volume.spacing_mm)
    assert on_grid.dice > row["dice"]
    assert {name: row[f"grid_{name}"] for name in CaseScore._fields} == on_grid._asdict()


def test_each_of_several_targets_is_scored_on_the_scan(scored):
    """The second is found, the first is not."""
    row, _, _, volume, of = scored
    volume = replace(
        volume, scan=replace(volume.scan, inside=volume.scan.inside * 3), label=volume.label * 3
    )
    method = SimpleNamespace(
        remark="", segment=lambda image: packed([image[0] > 2, image[0] > 0.5])
    )
    method.at = lambda case: method
    rows = evaluate(method, [volume], lambda *_: None, way=of, targets=("x", "y")).rows
    assert [each["dice"] for each in rows] == [0, row["dice"]]
    assert [each["grid_dice"] for each in rows] == [0, row["grid_dice"]]


def test_a_volume_made_on_the_grid_has_the_same_scores_on_both(tmp_path):
    made = prepare(DataRequest("phantom", cases=3, reduce=(4, 3, 3)), tmp_path)
    volume = open_volume(tmp_path, made.keys["phantom_001"])
    of = way("phantom", made.grid, made.view)
    [row] = evaluate(Bright(), [volume], lambda *_: None, way=of).rows
    assert all(row[name] == row[f"grid_{name}"] for name in CaseScore._fields)


@pytest.mark.parametrize("dataset, where, blocks", [("liver", "scan", 1), ("liver", "grid", None),
                                                    ("folder", "scan", None)])  # fmt: skip
def test_the_blocks_of_a_scan_are_kept_where_its_label_chose_the_volume(
    tmp_path, dataset, where, blocks
):
    root = write(tmp_path / "data")
    asked = DataRequest(dataset, root, reduce=(4, 3, 3), scored_on=where)
    volume = open_volume(tmp_path / "cache", prepare(asked, tmp_path / "cache").keys["c0"])
    assert (volume.scan.blocks is None) == (blocks is None)
    assert blocks is None or volume.scan.blocks.shape == (blocks, 1, 32, 64, 64)


def test_the_ceiling_is_the_label_brought_to_the_grid_and_back(tmp_path):
    """A voxel of 2 mm is eight of the scan, and is target where four of them are."""
    made, _ = prepared(write(tmp_path / "data"), tmp_path / "cache")
    z, y, x = (np.zeros(side) for side in (24, 28, 30))
    z[8:14], z[14:16] = 1, 0.5  # pairs of slices begin at even ones, of columns at odd ones
    y[10:16], y[8:10], y[16:18] = 1, 0.5, 0.5
    x[11:17], x[17:19] = 1, 0.5
    back = z[:, None, None] * y[:, None] * x >= 0.5
    truth = np.zeros(back.shape, bool)
    truth[TARGET] = True
    best = score(back, truth, (1, 1, 1))
    [note] = [note for note in made.notes if note.startswith("ceiling of the grid")]
    assert f"Dice {100 * best.dice:.1f} % in the mean" in note
    assert f"HD95 {best.hd95_mm:.2g} mm in the median" in note


def test_what_the_grid_holds_exactly_has_a_ceiling_of_100_percent(tmp_path):
    made, _ = prepared(write(tmp_path / "data", target=np.s_[8:14, 8:16, 9:17]), tmp_path / "cache")
    assert any("Dice 100.0 % in the mean" in note and "HD95 0 mm" in note for note in made.notes)


@pytest.mark.parametrize("shape", [(24, 28, 30), (23, 29, 31)])
def test_voxels_of_the_data_lose_nothing_whether_an_axis_is_even_or_odd(tmp_path, shape):
    """Around the middle of 23 voxels 32 lie half a voxel away from each."""
    root = write(tmp_path / "data", shape=shape)
    made, volume = prepared(root, tmp_path / "cache", Reading(grid=(32, 32, 64), spacing=(1, 1, 1)))
    assert any("Dice 100.0 % in the mean" in note and "HD95 0 mm" in note for note in made.notes)
    assert np.unique(volume.label[volume.image[0] > 0.5]).tolist() == [1]
    assert np.count_nonzero(volume.label) == 7 * 8 * 7 == np.count_nonzero(volume.image > 0.5)


def test_data_describe_prints_the_ceiling(tmp_path):
    said = pfbench("data", "describe", write(tmp_path, 2), "--dataset", "folder").said
    assert "ceiling of the grid" in said and "in c0" in said


def test_the_table_says_where_masks_were_scored_and_keeps_the_papers_figures_away(tmp_path):
    settings = PROFILES["paper"].model_dump(mode="json")
    run = MadeRun(tmp_path / "grid", rows=("unet3d",))
    assert "[" in tables.markdown(tables.build(run.folder))
    settings["protocol"]["scored_on"] = "scan"
    run = MadeRun(tmp_path / "scan", rows=("unet3d",), settings=settings,
                  trained=Protocol(scored_on="scan"))  # fmt: skip
    table = tables.markdown(tables.build(run.folder))
    assert "scored on the voxels of the scan, in mm" in table
    assert "no values of the paper beside these: masks scored on the voxels of the scan" in table
    assert "[" not in table


def test_one_system_cannot_be_scored_elsewhere_than_the_others():
    with pytest.raises(UsageError, match="all systems are scored alike"):
        changed_protocol(Protocol(), {"scored_on": "scan"}, "exceptions.vnet")


@pytest.mark.parametrize("name, grid, where, said", [
    ("liver", None, "grid", True),
    ("liver", None, "scan", False),  # every slice is segmented there
    ("liver", [32, 64, 64], "grid", False),  # a grid that holds all of the scan
    ("brats", None, "grid", False),
])  # fmt: skip
def test_a_liver_that_its_label_has_found_is_said_under_the_table(name, grid, where, said):
    data = {"name": name, "view": {"grid": grid}}
    notes = slices_by_label(data, {"scored_on": where})
    assert bool(notes) == said and all("which the label tells" in note for note in notes)

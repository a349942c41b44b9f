"""A few voxels, padding and metal do not decide what becomes 0 and 1."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.data import fit, intensity
from harness.data.cache import open_volume
from harness.data.case import Scan
from harness.data.check import check
from harness.data.grid import unit_range
from harness.data.prepare import whole
from harness.data.presets import PRESETS
from harness.data.reading import PLAIN, Reading, View
from harness.data.request import DataRequest
from harness.data.scan_view import view_of
from harness.data.volumes import prepare
from harness.errors import UsageError
from harness.runs.settings import resolve

SHAPE = (40, 64, 64)


def tissue(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise around 40 with a lesion around 100, and the lesion."""
    label = np.zeros(SHAPE, np.uint8)
    label[10:26, 20:36, 20:36] = 1
    image = np.random.default_rng(seed).normal(40, 8, SHAPE) + 60 * label
    return image.astype(np.float32), label


def metal(image):
    image[1, 1, 1] = 30_000


def padding(image):
    image[:, :, :4] = -32_768


def both(image):
    image[:, :, :4] = -3024
    image[1, 1, 1] = 3071


SPOILT = {"metal": metal, "padding": padding, "both": both}


@pytest.mark.parametrize("how", SPOILT)
def test_robust_ends_are_those_of_the_tissue(how):
    image, _ = tissue()
    clean = intensity.robust(image)
    assert clean == pytest.approx(np.percentile(image, (0.5, 99.5)), rel=0.02)
    SPOILT[how](image)
    assert intensity.robust(image) == pytest.approx(clean, abs=1)


def test_air_that_was_set_to_0_is_no_tissue():
    image, _ = tissue()
    image[:, :40] = 0
    low, high = intensity.robust(image)
    assert low > 10 and high < 140


def test_one_value_has_no_ends():
    assert intensity.robust(np.full((4, 4, 4), 7, np.float32)) is None
    assert intensity.pooled([[7.0, 7.0], []]) is None
    assert intensity.pooled([]) is None


@pytest.mark.parametrize(("how", "told"), [("metal", True), ("both", False), ("none", False)])
def test_a_thousandth_of_the_voxels_with_half_of_the_range_is_noticed(how, told):
    image, _ = tissue()
    SPOILT.get(how, lambda image: None)(image)
    assert intensity.outlying(image) is told  # of `both`, padding is 6 % of the voxels


def test_a_scan_is_clipped_before_it_is_resampled_and_stays_as_it_is():
    image, _ = tissue()
    padding(image)
    before = image.copy()
    made, [ends] = intensity.clipped(image[None], ("robust",))
    np.testing.assert_array_equal(image, before)
    assert (float(made.min()), float(made.max())) == pytest.approx(ends)


def test_two_intensities_become_0_and_1_in_every_volume():
    image = np.array([[[[40.0, 140, 240]]], [[[0, 5, 10]]]], np.float32)
    made = unit_range(image, ((-160, 240), None))
    np.testing.assert_allclose(made.ravel(), [0.5, 0.75, 1, 0, 0.5, 1])


@pytest.mark.parametrize(
    ("modality", "ct"),
    [("CT", True), ("ct", True), ("CT-1", True), ("ct_venous", True), ("ctp", False),
     ("T1", False), ("0000", False), ("PET", False)],
)  # fmt: skip
def test_computed_tomography_is_known_by_its_name(modality, ct):
    assert intensity.is_ct(modality) is ct


def write(root: Path, spoil=None, channel="CT", cases=3) -> Path:
    """nnU-Net's layout of one channel."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    (root / "dataset.json").write_text(
        f'{{"channel_names": {{"0": "{channel}"}}, "labels": {{"background": 0, "lesion": 1}}}}'
    )
    for number in range(cases):
        image, label = tissue(number)
        if spoil:
            SPOILT[spoil](image)
        for name, array in ((f"imagesTr/m{number}_0000", np.rint(image).astype(np.int16)),
                            (f"labelsTr/m{number}", label)):  # fmt: skip
            nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), root / f"{name}.nii.gz")
    return root


def prepared(root: Path, tmp_path: Path, **how):
    reading = Reading(grid="paper", **how)
    return prepare(
        DataRequest("folder", root, reduce=(4, 3, 3), reading=reading), tmp_path / "cache"
    )


def test_ct_goes_by_the_targets_of_the_training_cases(tmp_path):
    root = write(tmp_path / "data")
    made = prepared(root, tmp_path)
    [(low, high)] = made.view.limits
    targets = np.concatenate([np.rint(i)[m > 0] for i, m in map(tissue, range(3))])
    assert (low, high) == pytest.approx(np.percentile(targets, (0.5, 99.5)), abs=1)
    again = prepare(
        DataRequest("folder", root, reduce=(4, 3, 3)), tmp_path / "b", training=lambda ids: ids[:1]
    )
    image, label = tissue(0)
    own = np.percentile(np.rint(image)[label > 0], (0.5, 99.5))
    assert again.view.limits[0] == pytest.approx(own, abs=1)
    assert any("intensities from 0 to 1, the rest clipped: CT " in note for note in made.notes)


def test_the_targets_are_read_once(tmp_path, monkeypatch):
    root = write(tmp_path / "data")
    prepared(root, tmp_path)
    monkeypatch.setattr("harness.data.scans.examine", None)  # a second reading would fail
    assert prepared(root, tmp_path).view.limits


def test_other_modalities_go_by_percentiles_of_each_scan(tmp_path):
    made = prepared(write(tmp_path / "data", channel="T2"), tmp_path)
    assert made.view.limits == ("robust",)


def test_mri_of_the_papers_data_sets_keeps_minimum_and_maximum(tmp_path):
    made = prepare(DataRequest("phantom", cases=3, reduce=(4, 3, 3)), tmp_path)
    assert made.view.limits == () and not any("intensities" in note for note in made.notes)
    assert fit.limits(PLAIN, "brats", False, ("t2", "t1ce")) == ("minmax", "minmax")


def test_the_ct_of_a_liver_is_not_scaled_from_air_to_metal(tmp_path):
    """The paper's livers are MRI; here the data set is CT."""
    root = write(tmp_path / "data")
    made = prepare(DataRequest("liver", root, reduce=(4, 3, 3)), tmp_path / "cache")
    [(low, high)] = made.view.limits
    assert -500 < low < high < 500


@pytest.mark.parametrize(
    "name, modalities, expected",
    [("lits", ("ct",), (None,)), ("kits", ("ct",), (None,)), ("lung", ("ct",), (None,)),
     ("totalsegmentator", ("ct", "mr"), (None, "robust")), ("amos", ("image",), ("robust",))],
)  # fmt: skip
def test_no_preset_scales_its_ct_from_air_to_metal(name, modalities, expected):
    """None: by the target of the training cases. AMOS has CT and MRI in one channel."""
    assert PRESETS[name].modalities in ((), modalities)
    assert fit.limits(PLAIN, name, False, modalities) == expected


@pytest.mark.parametrize("channel", ["CT", "T2"])
@pytest.mark.parametrize("spoil", SPOILT)
def test_a_volume_with_outliers_looks_like_its_clean_twin(tmp_path, channel, spoil):
    def tissue_of(name, spoilt):
        made = prepared(write(tmp_path / name, spoilt, channel), tmp_path)
        volume = open_volume(tmp_path / "cache", made.keys["m0"])
        return volume.image[0][3:-3, :, 8:]  # neither padding nor what the grid has beyond the scan

    clean, other = tissue_of("clean", None), tissue_of("spoilt", spoil)
    assert np.abs(clean - other).mean() < 0.02


@pytest.mark.parametrize(
    ("asked", "limits"),
    [("minmax", ()), ("robust", ("robust",)), ((-160, 240), ((-160.0, 240.0),))],
)
def test_what_is_asked_for_wins(tmp_path, asked, limits):
    made = prepared(write(tmp_path / "data"), tmp_path, intensity=asked)
    assert made.view.limits == limits


def test_without_a_target_in_training_percentiles_of_each_scan_decide(tmp_path):
    root = write(tmp_path / "data")
    for number in range(3):
        path = root / f"labelsTr/m{number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE[::-1], np.uint8), np.eye(4)), path)
    assert prepared(root, tmp_path).view.limits == ("robust",)


def test_cases_with_outliers_are_counted_in_one_note(tmp_path):
    root = write(tmp_path / "data", "metal")
    notes = prepared(root, tmp_path).notes
    assert any("range of intensities in 3 of 3 cases (m0, m1, m2): they are clipped" in note
               for note in notes)  # fmt: skip
    checked = check(root, "folder", ()).notes
    assert any("m2): they are clipped" in note for note in checked)
    plain = prepared(root, tmp_path, intensity="minmax").notes
    assert any("--set data.intensity=robust clips them" in note for note in plain)


def test_a_new_scan_is_clipped_as_those_of_the_training(tmp_path):
    image, label = tissue()
    metal(image)
    for limits in (("robust",), ((0.0, 120.0),)):
        made, ends = intensity.clipped(image[None], limits)
        volume = whole(Scan(made, label, (1, 1, 1), np.eye(4), ends=ends), (1,), (4, 3, 3), "a")
        field = view_of(image[None], (1, 1, 1), "folder", (4, 3, 3), View(limits=limits))
        np.testing.assert_array_equal(field.images[0], volume.image)


def test_the_setting_is_one_word_or_two_numbers_in_order():
    assert resolve("paper", None, ["data.intensity=[-160, 240]"], None).data.intensity == (
        -160,
        240,
    )
    for wrong in ("bright", "[240, -160]", "[1]"):
        with pytest.raises(UsageError, match="--set"):
            resolve("paper", None, [f"data.intensity={wrong}"], None)


def test_of_many_cases_a_note_names_three():
    few = intensity.outliers({name: ["ct"] for name in "abc"}, clipped=True)
    assert "(a, b, c): they are clipped" in few
    assert "(a, b, c, …)" in intensity.outliers({name: ["ct"] for name in "abcd"}, clipped=True)

"""The synthetic data are what a benchmark needs: repeatable, learnable, not trivial."""

import time

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from harness.data import phantom
from harness.errors import UsageError

SHAPE = (64, 64, 64)


def population(count: int = 12):
    return [phantom.scan(0, index, SHAPE, ("flair",)) for index in range(count)]


def test_the_same_patient_is_the_same_to_the_last_bit():
    first, again = (phantom.scan(3, 5, (20, 24, 28)) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.label, again.label)


@pytest.mark.parametrize("seed, index", [(4, 5), (3, 6)])
def test_another_seed_or_number_is_another_patient(seed, index):
    first, other = phantom.scan(3, 5, (20, 24, 28)), phantom.scan(seed, index, (20, 24, 28))
    assert (first.label != other.label).any()


def test_a_modality_is_the_same_alone_and_among_others():
    alone = phantom.scan(0, 0, (20, 24, 28), ("t2",))
    np.testing.assert_array_equal(alone.image[0], phantom.scan(0, 0, (20, 24, 28)).image[3])


def test_outside_the_head_all_is_exactly_zero_and_inside_nothing_is():
    made = phantom.scan(0, 0, SHAPE)
    inside = made.image[0] > 0
    assert ((made.image > 0) == inside).all()
    assert 0.2 < inside.mean() < 0.5
    assert not made.label[~inside].any()


def test_every_patient_has_the_nested_labels_of_brats_and_a_lesion_of_some_size():
    for made in population():
        assert set(np.unique(made.label)) == {0, 1, 2, 4}
        assert 0.002 < (made.label > 0).mean() < 0.1


def test_lesions_lie_away_from_the_middle_and_differ():
    centres = np.array([np.argwhere(made.label > 0).mean(axis=0) for made in population()])
    assert centres.std(axis=0).min() > 4
    assert np.median(np.linalg.norm(centres - 31.5, axis=1)) > 8


def test_lesions_are_brighter_but_no_threshold_finds_them():
    """The best threshold for each patient, chosen with the mask, is still a poor segmentation."""
    best = []
    for made in population():
        image, lesion = made.image[0], made.label > 0
        assert image[lesion].mean() > image[(image > 0) & ~lesion].mean() + 0.1
        masks = [image > level for level in np.linspace(0.3, 1.2, 46)]
        best.append(max(2 * (m & lesion).sum() / (m.sum() + lesion.sum()) for m in masks))
    assert np.mean(best) < 0.8


def test_half_the_resolution_loses_detail_of_the_border():
    """What an ideal mask on the low grid scores on the full one (it is 1 for a smooth lesion)."""
    from harness.data.lowres import halve

    lesion = phantom.scan(0, 1, (128, 128, 128), ("flair",)).label > 0
    low = halve(lesion[None]) >= 0.5
    coarse = low[0].repeat(2, 0).repeat(2, 1).repeat(2, 2)
    assert 0.7 < 2 * (coarse & lesion).sum() / (coarse.sum() + lesion.sum()) < 0.97


def neighbourhood(image: np.ndarray) -> np.ndarray:
    """(voxels, features): brightness at three scales relative to a wide surrounding."""
    inside = (image > 0).astype(np.float32)

    def mean(sigma: float) -> np.ndarray:
        return gaussian_filter(image, sigma) / np.maximum(gaussian_filter(inside, sigma), 0.1)

    around = np.maximum(mean(12), 0.01)
    scales = np.stack([mean(sigma) / around * inside for sigma in (1, 2, 4)], axis=-1)
    powers = [scales, scales**2, scales**3, np.ones_like(image)[..., None]]
    return np.concatenate(powers, axis=-1).reshape(image.size, -1)


def best_level(values: list[np.ndarray], lesions: list[np.ndarray]) -> float:
    levels = np.quantile(np.concatenate(values), np.linspace(0.85, 0.999, 60))
    return float(max(levels, key=lambda level: mean_dice([v > level for v in values], lesions)))


def mean_dice(masks: list[np.ndarray], lesions: list[np.ndarray]) -> float:
    pairs = zip(masks, lesions, strict=True)
    return float(np.mean([2 * (m & y).sum() / (m.sum() + y.sum()) for m, y in pairs]))


def test_a_linear_model_of_neighbourhoods_learns_it_and_brightness_alone_does_not():
    """Fitted to eight patients, with its threshold; scored on six others."""
    patients = population(14)
    images = [made.image[0] for made in patients]
    lesions = [(made.label > 0).ravel() for made in patients]
    seen = [neighbourhood(image) for image in images]
    fit, *_ = np.linalg.lstsq(np.concatenate(seen[:8]), np.concatenate(lesions[:8]), rcond=None)
    scores = {}
    for name, values in {
        "brightness": [image.ravel() for image in images],
        "neighbourhood": [features @ fit for features in seen],
    }.items():
        level = best_level(values[:8], lesions[:8])
        scores[name] = mean_dice([v > level for v in values[8:]], lesions[8:])
    assert scores["neighbourhood"] > 0.65
    assert scores["brightness"] < 0.58


def test_a_volume_of_64_takes_a_moment():
    phantom.scan(0, 0, SHAPE, ("flair",))
    began = time.process_time()
    phantom.scan(0, 1, SHAPE, ("flair",))
    assert time.process_time() - began < 0.3


def test_written_patients_are_brats_files_marked_as_synthetic(tmp_path):
    out = tmp_path / "made"
    folders = phantom.write(out, 2, (16, 20, 24), seed=1)
    assert [folder.name for folder in folders] == ["BraTS20_Training_001", "BraTS20_Training_002"]
    assert (out / phantom.MARKER).is_file()
    made = phantom.scan(1, 1, (16, 20, 24))
    seg = nibabel.Nifti1Image.load(folders[1] / "BraTS20_Training_002_seg.nii.gz")
    np.testing.assert_array_equal(np.asarray(seg.dataobj).T, made.label)
    flair = nibabel.Nifti1Image.load(folders[1] / "BraTS20_Training_002_flair.nii.gz")
    np.testing.assert_allclose(flair.get_fdata().T / 1000, made.image[0], atol=1e-3)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="not empty"):
        phantom.write(tmp_path, 1, (16, 16, 16))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_patient_stays_the_same_from_version_to_version():
    """Another picture would be another benchmark: a change here moves every number."""
    made = phantom.scan(0, 1, (32, 64, 64))
    assert np.bincount(made.label.ravel(), minlength=5).tolist() == [126005, 341, 3945, 0, 781]
    means, spreads = made.image.mean((1, 2, 3)), made.image.std((1, 2, 3))
    np.testing.assert_allclose(means, [0.1186, 0.1520, 0.2044, 0.1523], atol=1e-4)
    np.testing.assert_allclose(spreads, [0.1818, 0.2312, 0.3066, 0.2325], atol=1e-4)


def test_what_was_cut_off_is_continued_by_the_same_request_alone(tmp_path, monkeypatch):
    whole = nibabel.save

    def cut(image, path):
        if "003_t2" in path.name:
            raise KeyboardInterrupt
        whole(image, path)

    monkeypatch.setattr(nibabel, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        phantom.write(tmp_path, 3, (16, 16, 16))
    monkeypatch.setattr(nibabel, "save", whole)
    with pytest.raises(UsageError, match="exists and is not empty"):
        phantom.write(tmp_path, 4, (16, 16, 16))
    first = tmp_path / "BraTS20_Training_001"
    before = first.stat().st_mtime_ns
    folders = phantom.write(tmp_path, 3, (16, 16, 16))
    assert first.stat().st_mtime_ns == before
    assert sorted(tmp_path.iterdir()) == sorted([*folders, tmp_path / phantom.MARKER])
    assert [len(list(folder.iterdir())) for folder in folders] == [5, 5, 5]

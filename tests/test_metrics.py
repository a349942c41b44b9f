"""Scores against hand-made distances, medpy, MONAI and brute force."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from medpy.metric import binary
from scipy import ndimage
from scipy.spatial.distance import cdist

from harness.systems import surface_distances as surface
from harness.systems.case_score import CaseScore
from harness.systems.evaluate import summary
from harness.systems.hd95 import hd95
from harness.systems.metrics import score
from harness.systems.overlap import dice, jaccard, overlap

MM = (1.0, 1.0, 1.0)
BRATS = (155 / 128, 1.0, 1.0)


def box(shape=(20, 20, 20), low=(5, 5, 5), high=(12, 12, 12)):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


CUBE = box()
EMPTY = np.zeros_like(CUBE)
SHIFTED = np.roll(CUBE, 3, axis=0)


def blobs(seed, shape=(24, 30, 70), share=0.2, noise=0.0):
    """Smooth blobs, some cut by the border, with single voxels flipped."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    return (field > np.quantile(field, 1 - share)) ^ (rng.random(shape) < noise)


def single(place, shape=(9, 10, 11)):
    mask = np.zeros(shape, dtype=bool)
    mask[place] = True
    return mask


DEGENERATE = {
    "one voxel": (single((0, 0, 0)), single((8, 9, 10))),
    "full volume": (np.ones((9, 10, 11), dtype=bool), single((4, 4, 4))),
    "plane": (single((3,)), single((slice(None), 7))),
    "line at the border": (single((0, slice(None), 10)), single((8, 0))),
    "equal": (single((slice(2, 5), 3)), single((slice(2, 5), 3))),
    "words of 64": (
        box((3, 4, 130), (0, 0, 60), (3, 4, 68)),
        box((3, 4, 130), (1, 1, 2), (2, 2, 129)),
    ),
    "volume of one voxel": (np.ones((1, 1, 1), dtype=bool), np.ones((1, 1, 1), dtype=bool)),
}
SIMILAR = {
    "blobs": (blobs(1), blobs(2)),
    "shifted": (blobs(3), np.roll(blobs(3), 2, axis=2)),
    "noise": (blobs(4), blobs(4, noise=0.01)),
    "two noises": (blobs(5, noise=0.02), blobs(5, noise=0.002)),
}
PAIRS = DEGENERATE | SIMILAR
SPACINGS = [MM, BRATS, (5.0, 0.7, 0.9)]


@pytest.fixture(scope="module")
def monai_hd95():
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")

    def reference(pred, target, spacing):
        tensors = (torch.from_numpy(mask)[None, None] for mask in (pred, target))
        value = metrics.compute_hausdorff_distance(
            *tensors, include_background=True, percentile=95, spacing=spacing
        )
        return float(value)

    return reference


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", PAIRS)
def test_pooled_hd95_is_medpys(name, spacing):
    pred, target = PAIRS[name]
    assert hd95(pred, target, spacing) == pytest.approx(
        binary.hd95(pred, target, spacing), rel=1e-12
    )


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", PAIRS)
def test_largest_directed_hd95_is_monais(name, spacing, monai_hd95):
    pred, target = PAIRS[name]
    assert hd95(pred, target, spacing, "max") == pytest.approx(
        monai_hd95(pred, target, spacing), rel=1e-5
    )


def surface_points(mask, spacing):
    """By definition: a voxel with a face neighbour in the background or outside the volume."""
    padded = np.pad(mask, 1)
    faces = [np.roll(padded, step, axis) for axis in range(3) for step in (1, -1)]
    edge = (padded & ~np.logical_and.reduce(faces))[1:-1, 1:-1, 1:-1]
    return np.argwhere(edge) * np.array(spacing)


def brute_force(pred, target, spacing):
    """(pooled, larger of the directed percentiles) from all pairs of surface voxels."""
    pairs = cdist(surface_points(pred, spacing), surface_points(target, spacing))
    there, back = pairs.min(axis=1), pairs.min(axis=0)
    pooled = np.percentile(np.concatenate([there, back]), 95)
    return pooled, max(np.percentile(there, 95), np.percentile(back, 95))


SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3, 64, 66]))
STEPS = st.floats(0.25, 6)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), spacing=st.tuples(STEPS, STEPS, STEPS))
def test_hd95_of_small_volumes_is_brute_force(data, spacing):
    shape = data.draw(SHAPES)
    pred, target = (data.draw(arrays(bool, shape)) for _ in range(2))
    assume(pred.any() and target.any())
    pooled, largest = brute_force(pred, target, spacing)
    assert hd95(pred, target, spacing) == pytest.approx(pooled, rel=1e-9, abs=1e-12)
    assert hd95(pred, target, spacing, "max") == pytest.approx(largest, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("words_per_query", [1, 10**9], ids=["tree alone", "widest band"])
@settings(max_examples=25, deadline=None)
@given(seeds=st.tuples(st.integers(0, 999), st.integers(0, 999)), noise=st.floats(0, 0.05))
@example(seeds=(0, 0), noise=0.0)
def test_hd95_does_not_depend_on_the_trade_between_bands_and_tree(words_per_query, seeds, noise):
    pred, target = (blobs(seed, (12, 14, 20), noise=noise) for seed in seeds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surface, "WORDS_PER_QUERY", words_per_query)
        ours = score(pred, target, BRATS)
    assert (ours.hd95_mm, ours.hd95_max_mm) == pytest.approx(brute_force(pred, target, BRATS))


@pytest.mark.parametrize("method", ["pooled", "max"])
def test_hd95_is_symmetric(method):
    pred, target = SIMILAR["two noises"]
    assert hd95(pred, target, BRATS, method) == hd95(target, pred, BRATS, method)


def test_a_shift_of_three_slices_costs_three_slice_thicknesses():
    assert hd95(SHIFTED, CUBE, MM) == 3
    assert hd95(SHIFTED, CUBE, (2.5, 1, 1)) == 7.5


def test_spacing_is_that_of_the_axis_that_moved():
    along_width = np.roll(CUBE, 3, axis=2)
    assert hd95(along_width, CUBE, (9, 9, 0.5)) == 1.5


def test_a_far_island_counts_in_the_directed_percentile_alone():
    """68 of the prediction's 1084 surface voxels are far away: more than 5 % of it, less of both.

    The 55th largest distance decides; 16 + 3 * 12 are farther than the face at 70 - 14.
    """
    target = box((16, 16, 80), (1, 1, 1), (15, 15, 15))
    island = box((16, 16, 80), (2, 2, 70), (6, 6, 75))
    assert hd95(target | island, target, MM) == 0
    assert hd95(target | island, target, MM, "max") == 56


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 4, 4), (19, 20, 21)])
def test_overlap_is_counted_to_the_last_voxel_whatever_the_size(shape):
    first, second = np.random.default_rng(0).random((2, *shape)) < 0.4
    first[-1, -1, -1] = second[-1, -1, -1] = True
    counts = first.sum(), second.sum(), (first & second).sum()
    assert overlap(first, second) == counts


def test_overlap_of_a_shifted_cube_is_counted_by_hand():
    """7 slices each, 4 of them shared."""
    assert dice(SHIFTED, CUBE) == pytest.approx(8 / 14)
    assert jaccard(SHIFTED, CUBE) == pytest.approx(4 / 10)


@pytest.mark.parametrize("name", PAIRS)
def test_overlap_is_medpys(name):
    pred, target = PAIRS[name]
    assert dice(pred, target) == pytest.approx(binary.dc(pred, target), abs=1e-15)
    assert jaccard(pred, target) == pytest.approx(binary.jc(pred, target), abs=1e-15)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_masks_of_zeros_and_ones_score_like_booleans(dtype):
    pred, target = SIMILAR["blobs"]
    assert score(pred.astype(dtype), target.astype(dtype), BRATS) == score(pred, target, BRATS)


def test_views_score_like_their_copies():
    pred, target = (mask.transpose(2, 0, 1)[::2] for mask in SIMILAR["blobs"])
    assert score(pred, target, BRATS) == score(pred.copy(), target.copy(), BRATS)


def test_scoring_leaves_the_masks_as_they_were():
    pred, target = (mask.copy() for mask in SIMILAR["noise"])
    score(pred, target, MM)
    assert np.array_equal(pred, SIMILAR["noise"][0])
    assert np.array_equal(target, SIMILAR["noise"][1])


def test_two_empty_masks_agree_perfectly():
    assert score(EMPTY, EMPTY, MM) == CaseScore(1, 1, 0, 0, 0, 0, 0, 0, failed=False)
    assert (dice(EMPTY, EMPTY), jaccard(EMPTY, EMPTY), hd95(EMPTY, EMPTY, MM)) == (1, 1, 0)


@pytest.mark.parametrize("pred, target", [(EMPTY, CUBE), (CUBE, EMPTY)])
def test_missing_the_tumour_is_the_worst_score_not_the_best(pred, target):
    row = score(pred, target, (1, 1, 2))
    diagonal = (20**2 + 20**2 + 40**2) ** 0.5
    assert (row.dice, row.jaccard, row.failed) == (0, 0, True)
    assert row.hd95_mm == row.hd95_max_mm == pytest.approx(diagonal)
    assert row.hd95_voxels == pytest.approx(20 * 3**0.5)
    assert hd95(pred, target, (1, 1, 2), "max") == pytest.approx(diagonal)


@pytest.mark.parametrize("spacing, diagonal_mm", [(BRATS, 312.7), ((1.5, 1.5, 1.5), 450.3)])
def test_the_worst_distance_at_the_papers_size(spacing, diagonal_mm):
    target = np.zeros((128, 192, 192), dtype=bool)
    target[60, 90, 90] = True
    worst = hd95(np.zeros_like(target), target, spacing)
    assert worst == pytest.approx(diagonal_mm, abs=0.05)


def test_the_official_rule_rewards_a_missed_tumour_with_zero():
    assert score(EMPTY, CUBE, BRATS).hd95_official == 0


def test_the_official_distance_ignores_the_spacing():
    pred, target = SIMILAR["blobs"]
    row = score(pred, target, (5.0, 0.7, 0.9))
    assert row.hd95_official == row.hd95_voxels == pytest.approx(binary.hd95(pred, target))


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), BRATS])
@pytest.mark.parametrize("name", SIMILAR)
def test_a_row_holds_what_the_single_metrics_say(name, spacing):
    pred, target = SIMILAR[name]
    row = score(pred, target, spacing)
    assert row.dice == dice(pred, target)
    assert row.jaccard == jaccard(pred, target)
    assert row.hd95_mm == pytest.approx(hd95(pred, target, spacing))
    assert row.hd95_max_mm == pytest.approx(hd95(pred, target, spacing, "max"))
    assert row.hd95_voxels == pytest.approx(hd95(pred, target, MM))


def test_a_single_case_has_its_scores_as_means_and_no_deviation():
    row = score(CUBE, SHIFTED, MM)._asdict()
    found = summary([row])
    assert (found["dice_mean"], found["dice_std"]) == (row["dice"], 0)


def test_volumes_are_in_millilitres():
    row = score(CUBE, SHIFTED | CUBE, (2, 1, 0.5))
    assert row.pred_ml == pytest.approx(7**3 / 1000)
    assert row.target_ml == pytest.approx(10 * 7**2 / 1000)


def test_a_row_is_made_of_plain_numbers_for_json():
    kinds = {type(value) for value in score(SHIFTED, CUBE, BRATS)}
    assert kinds == {float, bool}


@pytest.mark.parametrize("metric", [dice, jaccard, lambda p, t: score(p, t, MM)])
def test_unequal_grids_are_refused_with_both_shapes(metric):
    with pytest.raises(ValueError, match=r"\(20, 20, 20\).*\(20, 20, 19\)"):
        metric(CUBE, CUBE[..., :-1])


def test_a_batch_axis_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 20, 20, 20\)"):
        hd95(CUBE[None], CUBE[None], MM)


@pytest.mark.parametrize(
    "spacing", [(1, 1), (1, 1, 0), (1, -1, 1), (1, 1, math.nan), (math.inf,) * 3]
)
def test_a_spacing_that_is_no_voxel_size_is_refused(spacing):
    with pytest.raises(ValueError, match="three positive numbers"):
        score(CUBE, CUBE, spacing)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="'pooled' or 'max'"):
        hd95(CUBE, CUBE, MM, "mean")  # type: ignore[arg-type]

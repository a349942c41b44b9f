"""Guidance windows: where the searches look, what they find, and that they stay inside."""

import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import cropping

PAPER = (128, 192, 192)  # Sec. IV-A
PATCH = (32, 48, 48)
SMALL, SMALL_PATCH = (32, 48, 48), (8, 12, 12)


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def centre_distance(start, shape=PAPER, patch=PATCH):
    centre = [s + p / 2 - side / 2 for s, p, side in zip(start, patch, shape, strict=True)]
    return np.linalg.norm(centre)


def test_a_window_is_a_view_of_the_volume():
    volume = noise(2, 10, 11, 12)
    part = cropping.window(volume, (1, 2, 3), (4, 5, 6))
    assert np.shares_memory(part, volume)
    np.testing.assert_array_equal(part, volume[:, 1:5, 2:7, 3:9])


@pytest.mark.parametrize("start", [(-1, 0, 0), (0, 0, 7)])
def test_a_window_never_wraps_around_the_rim(start):
    with pytest.raises(ValueError, match=r"leaves the volume \(10, 11, 12\)"):
        cropping.window(noise(10, 11, 12), start, (4, 5, 6))


def test_the_central_window_of_the_paper():
    assert cropping.central_crop(np.broadcast_to(0.0, PAPER), PATCH) == (48, 72, 72)


def test_algorithm_1_as_printed_ends_after_32_windows_of_the_first_shell():
    visited = list(cropping.shells(PAPER, PATCH))
    assert len(visited) == len(set(visited)) == 32
    assert all(centre_distance(start) == pytest.approx(150.09 / 6, abs=1) for start in visited)


def test_algorithm_1_visits_the_polar_axis_z_first():
    # Eq. 9 by hand: radius 25.015, so z moves from 64 to 89 and the patch starts at 73;
    # then 30 degrees: z + 21.66, x + 12.51, and 60 degrees further on: x + 6.25, y + 10.83.
    first = list(itertools.islice(cropping.shells(PAPER, PATCH), 3))
    assert first == [(73, 72, 72), (70, 72, 85), (70, 83, 78)]


def test_skipping_what_lies_outside_reaches_three_shells():
    visited = list(cropping.shells(PAPER, PATCH, outside="skip"))
    assert len(visited) == len(set(visited)) == 78
    assert {round(centre_distance(start) / 25.015) for start in visited} == {1, 2, 3}


def test_an_unknown_way_to_treat_the_outside_is_refused():
    with pytest.raises(ValueError, match="'ignore'"):
        next(cropping.shells(PAPER, PATCH, outside="ignore"))  # type: ignore[arg-type]


def test_the_released_search_has_26_candidates_beside_the_middle():
    visited = list(itertools.chain.from_iterable(cropping.official_shells(PAPER, PATCH)))
    assert len(visited) == len(set(visited)) == 26
    assert max(centre_distance(start) for start in visited) < 27


def test_the_released_search_cuts_coordinates_off():
    circle = [group[0] for group in cropping.official_shells(PAPER, PATCH)][:8]
    # Radius 25.015 in the plane of z and y: 64 + 17.69 -> 81, 64 - 17.69 -> 46, and at 270
    # degrees 64 - 5e-15 -> 63.
    assert [start[0] + 16 for start in circle] == [89, 81, 64, 46, 38, 46, 63, 81]
    assert {start[2] for start in circle} == {72}


def test_the_released_search_mirrors_each_oblique_candidate():
    groups = list(cropping.official_shells(PAPER, PATCH))
    assert [len(group) for group in groups] == [1] * 8 + [2] * 9
    low, high = groups[8]
    assert low[:2] == high[:2] and (low[2], high[2]) == (54, 89)  # 96 - 17.69, 96 + 17.69


def exhaustive(volume, patch, starts):
    """The definition: first start of strictly largest variance, in float64."""
    best, largest = None, -1.0
    for z, y, x in starts:
        part = volume[..., z : z + patch[0], y : y + patch[1], x : x + patch[2]]
        channels = part.reshape(-1, *patch).astype(np.float64)
        variance = sum(((c - c.mean()) ** 2).mean() for c in channels)
        if variance > largest:
            best, largest = (z, y, x), variance
    return best


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("stride, patch", [(4, (8, 8, 8)), (3, (5, 7, 6)), (8, (4, 4, 4))])
def test_the_lattice_search_is_the_exhaustive_search_of_its_lattice(channels, stride, patch):
    volume = noise(*channels, 17, 19, 16)
    starts = itertools.product(
        *(range(0, s - p + 1, stride) for s, p in zip(volume.shape[-3:], patch, strict=True))
    )
    expected = exhaustive(volume, patch, starts)
    assert cropping.selective_lattice_crop(volume, patch, stride) == expected


def test_the_lattice_search_survives_a_large_mean():
    volume = noise(16, 16, 16).astype(np.float64)
    expected = cropping.selective_lattice_crop(volume, (4, 4, 4), 4)
    assert cropping.selective_lattice_crop(volume + 1e6, (4, 4, 4), 4) == expected


@pytest.mark.parametrize("channels", [(), (2,)])
def test_the_selective_search_takes_the_largest_variance_while_it_keeps_improving(channels):
    # Contrast grows towards +z, so ever fewer candidates improve; ten misses in a row end it.
    volume = noise(*channels, *SMALL) * np.linspace(0, 1, SMALL[0])[:, None, None] ** 2
    visited, misses, best = [cropping.central_crop(volume, SMALL_PATCH)], 0, None
    for start in cropping.shells(SMALL, SMALL_PATCH, outside="skip"):
        best = exhaustive(volume, SMALL_PATCH, visited)
        visited.append(start)
        misses = 0 if exhaustive(volume, SMALL_PATCH, visited) == start else misses + 1
        if misses == 10:
            break
    assert misses == 10
    assert cropping.selective_crop(volume, SMALL_PATCH, outside="skip") == best


def blob(shape, centre, radius):
    """A dim volume with a bright textured ball."""
    grid = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    inside = (grid**2).sum(0) < radius**2
    return 0.01 * noise(*shape) + inside * noise(*shape, seed=1)


@pytest.mark.parametrize("search", [cropping.selective_crop, cropping.selective_official_crop])
def test_the_searches_leave_the_middle_for_a_blob_beside_it(search):
    volume = blob((64, 96, 96), (46, 48, 48), 6)
    z, *plane = search(volume, (16, 24, 24))
    assert z > 24  # the middle window covers slices 24 to 40 and misses most of the ball
    assert search is cropping.selective_official_crop or plane == [36, 36]


def test_the_lattice_search_finds_a_blob_in_a_corner():
    start = cropping.selective_lattice_crop(blob((64, 96, 96), (52, 12, 80), 7), (16, 24, 24))
    offsets = np.array((52, 12, 80)) - start
    assert (offsets >= 0).all() and (offsets < (16, 24, 24)).all()


def search_a_row(contrasts, group_sizes):
    """Search candidates side by side, numbered from 0, of the given contrast; the rest is empty."""
    starts = [(0, 0, 2 * i) for i in range(sum(group_sizes))]
    volume = np.zeros((2, 2, 120))
    for number, contrast in contrasts.items():
        cropping.window(volume, starts[number], (2, 2, 2))[0] = contrast
    remaining = iter(starts)
    groups = [tuple(itertools.islice(remaining, size)) for size in group_sizes]
    start = cropping._search(volume, (2, 2, 2), groups)
    return None if start == cropping.central_crop(volume, (2, 2, 2)) else start[2] // 2


@pytest.mark.parametrize(
    "contrasts, found",
    [({9: 1}, 9), ({10: 1}, None), ({5: 1, 15: 2}, 15), ({5: 1, 16: 2}, 5), ({5: 1, 6: 1}, 5)],
)
def test_ten_misses_in_a_row_end_the_search(contrasts, found):
    assert search_a_row(contrasts, [1] * 20) == found


def test_the_released_search_gives_up_only_after_the_mirror_image():
    assert search_a_row({10: 1}, [1] * 9 + [2, 2]) == 10


def test_random_windows_keep_the_authors_24_voxels_from_the_rim():
    volume, generator = np.broadcast_to(0.0, PAPER), np.random.default_rng(0)
    starts = np.array([cropping.random_crop(volume, PATCH, generator) for _ in range(2000)])
    np.testing.assert_array_equal(starts.min(0), (24, 24, 24))
    np.testing.assert_array_equal(starts.max(0), (72, 120, 120))


def test_a_margin_of_zero_reaches_the_corners():
    volume, generator = noise(5, 5, 5), np.random.default_rng(0)
    starts = {cropping.random_crop(volume, (4, 4, 4), generator, margin=0) for _ in range(200)}
    assert starts == set(itertools.product((0, 1), repeat=3))


@pytest.mark.parametrize(
    "side, starts", [(4, {0}), (5, {0, 1}), (6, {1}), (7, {1, 2}), (9, {2, 3})]
)
def test_in_a_small_volume_the_rim_shrinks_to_what_is_left(side, starts):
    """Half of a patch of 4 is a rim of 2, which takes 8 voxels."""
    generator = np.random.default_rng(0)
    crops = [cropping.random_crop(noise(side, 20, 20), (4, 4, 4), generator) for _ in range(60)]
    assert {start[0] for start in crops} == starts
    assert {start[1] for start in crops} == set(range(2, 15))


def test_random_windows_depend_on_the_generator_only():
    crops = [cropping.random_crop(noise(*SMALL), (4, 4, 4), np.random.default_rng(7)) for _ in "ab"]
    assert crops[0] == crops[1]


sides = st.tuples(*[st.integers(1, 14)] * 3)


@settings(max_examples=60, deadline=None)
@given(patch=sides, room=st.tuples(*[st.integers(0, 14)] * 3), seed=st.integers(0, 99))
@pytest.mark.parametrize("name", cropping.CROPPERS)
def test_every_window_lies_inside_its_volume(name, patch, room, seed):
    shape = tuple(p + r for p, r in zip(patch, room, strict=True))
    start = cropping.CROPPERS[name](noise(*shape), patch, np.random.default_rng(seed))
    assert all(type(s) is int and 0 <= s <= r for s, r in zip(start, room, strict=True))


@pytest.mark.parametrize("name", cropping.CROPPERS)
def test_a_patch_larger_than_the_volume_is_refused(name):
    with pytest.raises(ValueError, match=r"\(4, 9, 4\) does not fit into a volume of \(8, 8, 8\)"):
        cropping.CROPPERS[name](noise(8, 8, 8), (4, 9, 4), np.random.default_rng(0))


@pytest.mark.parametrize("name", cropping.CROPPERS)
def test_every_cropper_can_be_sent_to_another_process(name):
    crop = pickle.loads(pickle.dumps(cropping.CROPPERS[name]))
    volume = noise(*SMALL)
    expected = cropping.CROPPERS[name](volume, SMALL_PATCH, np.random.default_rng(0))
    assert crop(volume, SMALL_PATCH, np.random.default_rng(0)) == expected


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mean", [0, 1e4])
@pytest.mark.parametrize("levels", [2, 1000])
def test_no_look_in_float32_changes_the_window(channels, mean, levels):
    """The windows' variances in float64, one by one; few levels and large means make them close."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        volume = (rng.integers(levels, size=(channels, 32, 48, 48)) / levels + mean).astype("f4")
        best, largest, misses = (12, 18, 18), -1.0, -1
        for start in [best, *cropping.shells(volume.shape[1:], (8, 12, 12), outside="skip")]:
            part = cropping.window(volume, start, (8, 12, 12))
            found = part.var(axis=(1, 2, 3), dtype=np.float64).sum()
            misses = 0 if found > largest else misses + 1
            best, largest = (start, found) if found > largest else (best, largest)
            if misses >= 10:
                break
        assert cropping.selective_crop(volume, (8, 12, 12), outside="skip") == best

"""Point-Unet: which voxels become points, who is whose neighbour, and the way back."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from baselines.point_unet import (
    PointPyramid,
    PointUNet,
    RandLANet,
    build_pyramid,
    context_aware_sample,
    open_mask,
    point_features,
    point_loss,
    scatter_to_volume,
)
from baselines.point_unet.randla import Aggregate, Layer, relative_places

SMALL: dict[str, Any] = {"dims": (4, 8, 8), "ratios": (4, 2, 2), "k": 5}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def small_cloud(points: int = 96):
    """A quick network, features and pyramid of a random cloud."""
    torch.manual_seed(0)
    network = RandLANet(**SMALL)
    features = rng().random((points, 4), dtype=np.float32)
    return network, torch.from_numpy(features), network.pyramid(features[:, :3])


# --- sampling ---------------------------------------------------------------------------------


@st.composite
def scenes(draw):
    """An image with background, a region anywhere, and a number of points."""
    generator = rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    modalities = draw(st.integers(1, 2))
    filled, target = draw(st.floats(0, 1)), draw(st.floats(0, 1))
    image = generator.random((modalities, *shape)) * (generator.random(shape) < filled)
    return image, generator.random(shape) < target, draw(st.integers(1, 150))


@settings(max_examples=150, deadline=None)
@given(scenes(), st.integers(0, 1000))
def test_the_sample_keeps_its_promises(scene, seed):
    image, region, n_points = scene
    before = image.copy(), region.copy()
    sample = context_aware_sample(image, region, n_points, rng(seed))
    filled = (image != 0).any(axis=0).ravel()
    target = set(np.flatnonzero(region))
    outside = set(np.flatnonzero(filled if filled.any() else ~filled)) - target
    chosen = set(sample)

    assert len(sample) == n_points
    assert chosen <= target | outside
    assert len(chosen) == min(n_points, len(target | outside))  # repeated for lack of voxels alone
    assert len(chosen & target) >= min(len(target), n_points - n_points // 10)
    assert len(chosen & outside) >= min(len(outside), n_points // 10)
    assert np.array_equal(sample, context_aware_sample(image, region, n_points, rng(seed)))
    assert np.array_equal(image, before[0]) and np.array_equal(region, before[1])


def test_the_region_is_spread_evenly_over_the_order_of_the_sample():
    region = np.zeros((20, 20, 25), bool)
    region.flat[:800] = True
    sample = context_aware_sample(np.ones((1, *region.shape)), region, 4000, rng())
    in_quarters = region.ravel()[sample].reshape(4, 1000).sum(axis=1)
    assert all(150 < count < 250 for count in in_quarters)  # 200 expected, deviation 11


def test_the_other_points_come_from_everywhere():
    region = np.zeros((20, 20, 25), bool)
    sample = context_aware_sample(np.ones((1, *region.shape)), region, 4000, rng())
    per_slab = np.bincount(sample // 1000, minlength=10)
    assert all(340 < count < 460 for count in per_slab)  # 400 expected, deviation 15


def test_a_region_that_is_too_large_leaves_a_tenth_of_the_cloud_to_the_background():
    region = np.ones((20, 20, 25), bool)
    region[:, :, 20:] = False
    sample = context_aware_sample(np.ones((1, *region.shape)), region, 4000, rng())
    assert region.ravel()[sample].sum() == 3600


def test_a_voxel_of_the_region_is_a_point_whatever_its_intensity():
    region = np.zeros((20, 20, 25), bool)
    region[:2] = True
    sample = context_aware_sample(np.ones((1, *region.shape)) * ~region, region, 2000, rng())
    assert region.ravel()[sample].sum() == region.sum()


def test_a_region_that_is_too_large_is_sampled_evenly():
    region = np.ones((20, 20, 25), bool)
    sample = context_aware_sample(np.ones((1, *region.shape)), region, 4000, rng())
    assert all(340 < count < 460 for count in np.bincount(sample // 1000, minlength=10))


def test_a_voxel_that_one_modality_shows_is_a_candidate():
    image = np.zeros((2, 1, 1, 3))
    image[0, 0, 0, 0] = image[1, 0, 0, 2] = 1
    sample = context_aware_sample(image, np.zeros((1, 1, 3), bool), 2, rng())
    assert sorted(sample) == [0, 2]


def test_a_region_on_another_grid_is_refused():
    with pytest.raises(ValueError, match="grid"):
        context_aware_sample(np.ones((1, 2, 3, 4)), np.ones((4, 3, 2), bool), 3, rng())


def test_a_cloud_without_points_is_refused():
    with pytest.raises(ValueError, match="at least one point"):
        context_aware_sample(np.ones((1, 2, 2, 2)), np.ones((2, 2, 2), bool), 0, rng())


def test_a_point_knows_its_relative_place_and_every_intensity():
    image = np.stack([np.arange(24.0).reshape(2, 3, 4), 100 + np.arange(24.0).reshape(2, 3, 4)])
    features = point_features(image, np.array([0, 23, 6]))  # (0,0,0), (1,2,3), (0,1,2)
    rows = [[0, 0, 0, 0, 100], [1 / 2, 2 / 3, 3 / 4, 23, 123], [0, 1 / 3, 1 / 2, 6, 106]]
    assert np.array_equal(features, np.array(rows, dtype=np.float32))
    assert features.dtype == np.float32


# --- neighbours -------------------------------------------------------------------------------


def test_each_level_is_the_first_part_of_the_one_before():
    positions = rng().random((1000, 3), dtype=np.float32)
    pyramid = build_pyramid(positions)
    assert [len(p) for p in pyramid.positions] == [1000, 250, 62, 15, 3, 1]
    for level in pyramid.positions:
        assert np.array_equal(level, positions[: len(level)])


def test_neighbours_are_the_nearest_by_brute_force():
    pyramid = build_pyramid(rng().random((200, 3), dtype=np.float32), (4, 2), k=6)
    for level, found in zip(pyramid.positions, pyramid.neighbours, strict=False):
        distances = torch.cdist(level.double(), level.double())
        assert torch.equal(found, distances.argsort(dim=1)[:, :6])


def test_upsampling_asks_the_nearest_kept_point_by_brute_force():
    pyramid = build_pyramid(rng().random((200, 3), dtype=np.float32), (4, 2), k=6)
    for level, found in enumerate(pyramid.upsample):
        finer, coarser = pyramid.positions[level], pyramid.positions[level + 1]
        assert torch.equal(found, torch.cdist(finer.double(), coarser.double()).argmin(dim=1))


def test_a_level_with_few_points_has_fewer_neighbours():
    pyramid = build_pyramid(rng().random((40, 3), dtype=np.float32), (4, 4), k=16)
    assert [tuple(n.shape) for n in pyramid.neighbours] == [(40, 16), (10, 10)]


def test_threads_do_not_change_the_pyramid():
    positions = rng().integers(0, 6, (300, 3)).astype(np.float32)  # full of ties
    alone, together = build_pyramid(positions), build_pyramid(positions, workers=2)
    for a, b in zip(alone.neighbours + alone.upsample, together[1] + together[2], strict=True):
        assert torch.equal(a, b)


def test_a_pyramid_moves_as_a_whole():
    pyramid = build_pyramid(rng().random((40, 3), dtype=np.float32), (4, 4)).to("meta")
    assert {t.device.type for field in pyramid for t in field} == {"meta"}


@pytest.mark.parametrize("shape", [(0, 3), (5, 4), (5,)])
def test_positions_that_are_no_cloud_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        build_pyramid(np.zeros(shape, np.float32))


# --- network ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, expected",
    [({}, 4_992_762), ({"dims": (16, 64, 128, 256), "ratios": (4, 4, 4, 4)}, 1_240_826)],
)
def test_the_published_settings_have_the_published_number_of_parameters(options, expected):
    assert sum(p.numel() for p in RandLANet(**options).parameters()) == expected


@pytest.mark.parametrize("points, expected", [(365_000, 148.6), (800_000, 325.8)])
def test_the_paper_s_clouds_cost_the_expected_work(points, expected):
    counts = [points // by for by in (1, 4, 16, 64, 256, 512)]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        pyramid = PointPyramid(
            positions=tuple(torch.empty(n, 3) for n in counts),
            neighbours=tuple(torch.empty(n, 16, dtype=torch.long) for n in counts[:-1]),
            upsample=tuple(torch.empty(n, dtype=torch.long) for n in counts[:-1]),
        )
        assert RandLANet()(torch.empty(points, 4), pyramid).shape == (points, 2)
    assert counter.get_total_flops() / 1e9 == pytest.approx(expected, abs=0.05)


def test_each_point_gets_one_logit_per_class():
    network, features, pyramid = small_cloud()
    assert network(features, pyramid).shape == (96, 2)


def test_every_parameter_gets_a_gradient():
    network, features, pyramid = small_cloud()
    point_loss(network(features, pyramid), torch.arange(96) % 2).backward()
    missing = [n for n, p in network.named_parameters() if p.grad is None]
    idle = [n for n, p in network.named_parameters() if p.ndim > 1 and not p.grad.any()]
    assert (missing, idle) == ([], [])


def test_a_state_dict_restores_the_same_network():
    network, features, pyramid = small_cloud()
    network(features, pyramid)  # moves the running statistics
    other = RandLANet(**SMALL)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.eval()(features, pyramid), network.eval()(features, pyramid))


def test_dropout_is_the_only_chance_in_training():
    network, features, pyramid = small_cloud()
    torch.manual_seed(3)
    first = network(features, pyramid)
    torch.manual_seed(3)
    assert torch.equal(network(features, pyramid), first)
    assert not torch.equal(network(features, pyramid), first)


def test_batch_norms_keep_99_percent_of_their_running_statistics():
    norms = [m for m in RandLANet(**SMALL).modules() if isinstance(m, nn.BatchNorm1d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-6, 0.01)}


def test_layers_and_ratios_come_in_pairs():
    with pytest.raises(ValueError, match="4 layers cannot have 5"):
        RandLANet(dims=(16, 64, 128, 256))


def two_clusters():
    """Six points near the origin, six far away; a layer with three neighbours each."""
    torch.manual_seed(0)
    positions = rng().random((12, 3), dtype=np.float32)
    positions[6:] += 100
    pyramid = build_pyramid(positions, (1,), k=3)
    return Layer(8, 4).eval(), torch.rand(12, 8), pyramid.positions[0], pyramid.neighbours[0]


def test_a_point_feels_a_change_in_its_neighbour():
    layer, x, positions, neighbours = two_clusters()
    neighbour = int(neighbours[0][neighbours[0] != 0][0])
    changed = x.clone()
    changed[neighbour] += 1
    before, after = layer(x, positions, neighbours), layer(changed, positions, neighbours)
    assert not torch.allclose(before[0], after[0])


def test_a_point_feels_nothing_of_the_other_cluster():
    layer, x, positions, neighbours = two_clusters()
    changed = x.clone()
    changed[6:] += 1
    before, after = layer(x, positions, neighbours), layer(changed, positions, neighbours)
    assert torch.equal(before[:6], after[:6])


def test_the_order_of_a_point_s_neighbours_does_not_matter():
    layer, x, positions, neighbours = two_clusters()
    torch.testing.assert_close(
        layer(x, positions, neighbours), layer(x, positions, neighbours.flip(1))
    )


def test_places_are_distance_offset_own_and_theirs():
    positions = torch.tensor([[0.0, 0, 0], [1, 2, 2]])
    places = relative_places(positions, torch.tensor([[1], [1]]))
    expected = [[[3.0, -1, -2, -2, 0, 0, 0, 1, 2, 2]], [[0.0, 0, 0, 0, 1, 2, 2, 1, 2, 2]]]
    assert places.tolist() == expected


def test_attention_that_knows_nothing_averages_the_neighbours():
    torch.manual_seed(0)
    aggregate = Aggregate(10, 2, 3).eval()
    nn.init.zeros_(aggregate.score.weight)
    x, places = torch.rand(4, 2), torch.rand(4, 2, 10)
    neighbours = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]])
    result, code = aggregate(x, places, neighbours)
    mean = torch.cat([(x + x.roll(-1, 0)) / 2, code.mean(dim=1)], dim=-1)
    torch.testing.assert_close(result, aggregate.mix(mean))


def test_thinning_keeps_the_largest_value_among_the_neighbours():
    network, features, pyramid = small_cloud()
    seen: dict[str, torch.Tensor] = {}
    network.layers[-1].register_forward_hook(lambda m, args, y: seen.update(dense=y))
    network.bottleneck.register_forward_pre_hook(lambda m, args: seen.update(thin=args[0]))
    network.eval()(features, pyramid)
    for point, thin in enumerate(seen["thin"]):
        around = seen["dense"][pyramid.neighbours[-1][point]]
        assert torch.equal(thin, around.max(dim=0).values)


def test_a_cloud_smaller_than_its_ratios_can_still_be_classified():
    network, features, _ = small_cloud(3)
    assert network.eval()(features, network.pyramid(features[:, :3].numpy())).shape == (3, 2)


def test_the_network_learns_which_side_a_point_is_on():
    network, features, pyramid = small_cloud()
    labels = features[:, 0] > 0.5
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        point_loss(network(features, pyramid), labels).backward()
        optimizer.step()
    right = network(features, pyramid).argmax(dim=1) == labels
    assert right.float().mean() > 0.9


def test_undecided_points_cost_the_logarithm_of_two():
    loss = point_loss(torch.zeros(5, 2), torch.tensor([True, False, True, True, False]))
    assert loss.item() == pytest.approx(math.log(2))


def test_a_point_sure_of_the_wrong_class_costs_its_margin():
    loss = point_loss(torch.tensor([[0.0, 20.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(20.0)


# --- back to the volume -----------------------------------------------------------------------


def test_points_return_to_the_voxels_they_came_from():
    volume = rng().random((3, 4, 5)) * (rng(1).random((3, 4, 5)) < 0.5)
    indices = context_aware_sample(volume[None], volume > 0.7, 80, rng())
    assert np.array_equal(scatter_to_volume(volume.ravel()[indices], indices, (3, 4, 5)), volume)


def test_voxels_without_a_point_are_background():
    volume = scatter_to_volume(np.array([True, True]), np.array([5, 0]), (1, 2, 3))
    assert volume.tolist() == [[[True, False, False], [False, False, True]]]


def drawn(*slices: str) -> np.ndarray:
    return np.array([[[c == "#" for c in row] for row in s.split()] for s in slices])


def test_opening_removes_islands_threads_and_corners():
    blob = ".....  .###.  .###.  .###.  ....."
    before = drawn(
        "#....  .....  .....  .....  .....",
        blob,
        ".....  .###.  .####  .###.  .....",
        blob,
        ".....  .....  .....  .....  ...##",
    )
    empty = ".....  .....  .....  .....  ....."
    after = drawn(
        empty,
        ".....  ..#..  .###.  ..#..  .....",
        blob,
        ".....  ..#..  .###.  ..#..  .....",
        empty,
    )
    assert np.array_equal(open_mask(before), after)


def test_opening_is_the_union_of_the_squares_that_fit():
    mask = rng().random((7, 8, 9)) < 0.93
    squares = np.zeros((3, 3, 3), bool)
    squares[1] = squares[:, 1] = squares[:, :, 1] = True
    expected = np.zeros_like(mask)
    for z, y, x in np.ndindex(5, 6, 7):
        box = (slice(z, z + 3), slice(y, y + 3), slice(x, x + 3))
        if mask[box][squares].all():
            expected[box] |= squares
    assert 0 < expected.sum() < mask.sum()
    assert np.array_equal(open_mask(mask), expected)


# --- both networks ----------------------------------------------------------------------------


def test_both_networks_together_have_the_size_of_the_two():
    with torch.device("meta"):
        network = PointUNet()
    assert sum(p.numel() for p in network.parameters()) == 1_533_971 + 4_992_762


def test_a_volume_goes_through_saliency_and_points_and_comes_back():
    torch.manual_seed(0)
    network = PointUNet(2, san_width=4, dims=(4, 8), ratios=(4, 2)).eval()
    image = rng().random((2, 16, 16, 32), dtype=np.float32)
    with torch.no_grad():
        region = network.saliency(torch.from_numpy(image)[None])[0, 0].numpy() >= 0
        indices, features, pyramid = network.cloud(image, region, 500, rng())
        classes = network(features, pyramid).argmax(dim=1).numpy()
    mask = scatter_to_volume(classes, indices, image.shape[1:])
    assert features.shape == (500, 5)
    assert np.array_equal(mask.ravel()[indices], classes)
    assert mask.sum() == classes.sum()

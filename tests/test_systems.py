"""The contract that every system keeps, whatever it is."""

import json
import math
import time

import numpy as np
import pytest
import torch

from baselines.point_unet.randla import PointNorm
from harness.commands.listing import COSTS, costs
from harness.data.case import PAPER_GRID, Volume
from harness.runs.settings import PROFILES
from harness.systems import catalogue as systems
from harness.systems.cost import adapt_gflops
from harness.systems.methods import UnsoundPrediction, sound
from models import cropping

GRID = (32, 64, 64)
PAPER = {  # spec of the paper's setting: parameters in training, in inference, GFLOPs per volume
    "vnet": (65_175_795, 65_175_795, 15_378),
    "unet3d": (8_212_097, 8_212_097, 4_868),
    "resunet3d": (8_301_217, 8_301_217, 4_955),
    "resunet3d_up": (8_301_217, 8_301_217, 183.5),
    "hdresunet": (8_307_720, 8_307_720, 191.2),
    "san": (1_533_971, 1_533_971, 835.4),
    "point_unet": (1_533_971 + 4_992_762, 1_533_971 + 4_992_762, 984),
    "pfseg": (29_161_426, 23_861_633, 569.8),
}


@pytest.fixture(scope="module")
def counted():
    return costs()


def built(name):
    torch.manual_seed(0)
    return systems.build(name, systems.options(name, "quick"), 1, GRID)


def volume(seed=0):
    rng = np.random.default_rng(seed)
    image = rng.random((1, *GRID), dtype=np.float32)
    label = np.zeros(GRID, bool)
    label[8:20, 20:40, 20:40] = True
    return image, label


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_paper_profile_has_the_published_size_and_cost(name, counted):
    cost = counted["paper"][name]
    total, inference, gflops = PAPER[name]
    assert (cost["parameters"], cost["parameters_inference"]) == (total, inference)
    assert cost["gflops_per_volume"] == pytest.approx(gflops, rel=1e-3)


@pytest.mark.parametrize("profile, factor", [("paper", 10), ("quick", 2)])
def test_the_published_learning_rate_of_points_is_the_one_under_every_table(profile, factor):
    assert systems.options("point_unet", profile)["learning_rate_factor"] == factor
    assert f"{factor}x in " in systems.system("point_unet").deviation


@pytest.mark.parametrize("tpf, gflops", [("tfm", 3511.2), ("none", None)])
def test_fine_tuning_labels_a_volume_and_learns_from_it(tpf, gflops):
    """569.8 to label it; 984.0 forward in training, and twice that back but for the input."""
    options = systems.options("pfseg", "paper") | {"tpf": tpf}
    found = adapt_gflops("pfseg", options, 1, PAPER_GRID)
    assert found == (gflops and pytest.approx(gflops, rel=1e-4))


def test_the_listed_costs_are_those_that_are_counted(counted):
    assert json.loads(COSTS.read_text()) == json.loads(json.dumps(counted))
    assert set(counted) == {systems.size_of(profile) for profile in PROFILES}


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_every_parameter_learns_in_one_of_the_stages(name):
    method = built(name)
    image, label = volume()
    for stage in method.stages:
        stage.network.train()
        losses = stage.losses(*stage.sample(image, label, np.random.default_rng(0)))
        losses["total"].backward()
        assert torch.isfinite(losses["total"])
    idle = [key for key, p in method.network.named_parameters() if p.grad is None]
    assert idle == []


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_the_mask_lies_on_the_grid_of_the_volume_and_comes_out_the_same_twice(name):
    method = built(name)
    image, _ = volume()
    first, again = method.segment(image), method.segment(image)
    assert first.shape == GRID and first.dtype == bool
    assert np.array_equal(first, again)


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_what_is_measured_predicts_what_was_trained(name):
    method = built(name)
    image, _ = volume()
    np.testing.assert_array_equal(
        method.probability(image), method.for_inference().probability(image)
    )


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_training_leaves_the_volume_as_it_was(name):
    method = built(name)
    image, label = volume()
    image.flags.writeable = label.flags.writeable = False
    before = image.copy()
    for stage in method.stages:
        sample = stage.sample(image, label, np.random.default_rng(0))
        stage.losses(*sample)["total"].backward()
    np.testing.assert_array_equal(image, before)


def test_low_resolution_image_patch_and_mask_come_from_one_volume():
    method = built("pfseg")
    image, label = volume()
    low, window, full, start, target = method.sample(image, label, np.random.default_rng(0))
    pooled = torch.nn.functional.avg_pool3d(torch.from_numpy(image)[None], 2)
    box = tuple(slice(s, s + n) for s, n in zip(start, method.window, strict=True))
    torch.testing.assert_close(low, pooled)
    np.testing.assert_array_equal(window[0], image[(slice(None), *box)])
    np.testing.assert_array_equal(full[0], image)
    np.testing.assert_array_equal(target[0, 0] > 0, label)


def of(image):
    return Volume("case", image, np.zeros(image.shape[1:], np.uint8), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("crop, richness", [("central", 0.75), ("selective_lattice", 1)])
def test_richness_is_the_variance_of_the_patch_over_the_largest_there_is(crop, richness):
    """A checkerboard as large as a patch is the richest one; the middle patch has half of it,
    so that a quarter of its voxels are 1: 0.25 * 0.75 of 0.5 * 0.5."""
    rich, plain = (np.zeros((1, *GRID), np.float32) for _ in range(2))
    rich[0, 8:16, 24:40, 24:40] = np.indices((8, 16, 16)).sum(0) % 2
    options = {**systems.options("pfseg", "quick"), "crop": crop}
    method = systems.build("pfseg", options, 1, GRID)
    assert method.particulars([of(rich)])["crop_variance"] == pytest.approx(richness)
    # Nothing is richer in a volume without contrast.
    both = method.particulars([of(rich), of(plain)])["crop_variance"]
    assert both == pytest.approx((richness + 1) / 2)
    assert 0 < method.particulars([of(rich)])["crop_s"] < 1


@pytest.mark.parametrize("crop", cropping.CROPPERS)
def test_the_time_of_cropping_is_that_of_the_search_alone(crop, monkeypatch):
    """Central cropping is three subtractions: a look at the volume would be in its time."""
    image = np.random.default_rng(0).random((4, 128, 192, 192), dtype=np.float32)
    options = {**systems.options("pfseg", "quick"), "crop": crop}
    method = systems.build("pfseg", options, 4, image.shape[1:])
    began = time.perf_counter()
    method.place(image, np.random.default_rng(0))
    alone = time.perf_counter() - began
    monkeypatch.setattr(cropping, "selective_lattice_crop", lambda *_, **__: (0, 0, 0))
    assert method.particulars([of(image)])["crop_s"] < 3 * alone + 0.002


@pytest.mark.parametrize("name, options", [("pfseg", {"crop": "random"}), ("point_unet", {})])
def test_what_is_random_at_test_belongs_to_the_case(name, options):
    image, _ = volume()
    asked = {**systems.options(name, "quick"), **options}
    method = systems.build(name, asked, 1, GRID)
    one, again, other = (method.at(case).probability(image) for case in ("a", "a", "b"))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_an_overshoot_of_a_half_is_a_probability_and_more_is_none():
    edge = np.array([-0.5, 1.5], np.float32)
    assert sound(edge) is edge
    for values, what in (([-0.6, 1], "values from -0.6 to 1"), ([0, math.nan], "1 of 2 voxels")):
        with pytest.raises(UnsoundPrediction, match=what):
            sound(np.array(values, np.float32))


def test_without_guidance_there_is_no_patch_to_tell_about():
    options = {**systems.options("pfseg", "quick"), "sgm": False, "msres": "none"}
    assert systems.build("pfseg", options, 1, GRID).particulars([of(volume()[0])]) == {}


def test_the_batch_norms_of_few_steps_keep_nine_tenths_of_their_statistics():
    norms = [part for part in built("point_unet").network.modules() if isinstance(part, PointNorm)]
    assert norms and {part.momentum for part in norms} == {0.1}


def test_an_unknown_system_is_named_with_its_nearest_neighbour():
    with pytest.raises(Exception, match=r"unknown model 'unet3'\. Did you mean 'unet3d'"):
        systems.build("unet3", {}, 1, GRID)

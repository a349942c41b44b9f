"""Point-Unet with perfect networks: what sampling, scattering and opening cost by themselves."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from baselines.point_unet import PointPyramid
from baselines.point_unet.sampling import room
from harness.data.case import PAPER_GRID, Volume
from harness.data.request import reduced_grid
from harness.runs.settings import PROFILES
from harness.systems import catalogue as systems
from harness.systems.evaluate import evaluate
from harness.systems.overlap import dice
from harness.systems.points import cloud_size

BRIGHT = 0.9  # the intensity of the target, by which the perfect networks know it
SPACING_MM = 1.5


class PerfectSaliency(nn.Module):
    def __init__(self):
        super().__init__()
        self.somewhere = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return 100 * (x - 0.7)


class PerfectPoints(nn.Module):
    def pyramid(self, positions, workers):
        return PointPyramid((), (), ())

    def forward(self, features, pyramid):
        sure = 100 * (features[:, 3] - 0.7)
        return torch.stack([-sure, sure], dim=1)


def perfect(profile, dataset, **changes):
    """Point-Unet of a profile and a data set, with networks that are never wrong."""
    grid = reduced_grid(PROFILES[profile].reduce)
    options = systems.options("point_unet", profile, dataset) | changes
    with torch.device("meta"):
        method = systems.build("point_unet", options, 1, grid)
    method.network.saliency, method.network.points = PerfectSaliency(), PerfectPoints()
    return method


def organ(ml, profile):
    """An ellipsoid of so many ml at 1.5 mm in a body, on the grid of the profile."""
    axes = np.array([0.8, 1.0, 1.25])
    z, y, x = np.meshgrid(
        *[SPACING_MM * (np.arange(side) - side / 2 + 0.5) for side in PAPER_GRID],
        indexing="ij", sparse=True,
    )  # fmt: skip
    radii = axes * (ml * 1000 / (4 / 3 * math.pi * axes.prod())) ** (1 / 3)
    target = ((z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2 <= 1).astype(float)
    body = (z / 200) ** 2 + (y / 130) ** 2 + (x / 140) ** 2 <= 1
    target, body = (_reduced(part, PROFILES[profile].reduce) >= 0.5 for part in (target, body))
    image = np.where(target, BRIGHT, np.where(body, 0.4, 0)).astype(np.float32)[None]
    return Volume(f"organ{ml}", image, target.astype(np.uint8), (SPACING_MM,) * 3)


def _reduced(part, by):
    d, h, w = (side // factor for side, factor in zip(part.shape, by, strict=True))
    return part.reshape(d, by[0], h, by[1], w, by[2]).mean((1, 3, 5))


@pytest.mark.parametrize("ml", [200, 1000, 1500, 1800, 2200])
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("dataset", ["liver", "another organ"])
def test_perfect_networks_find_an_organ_of_any_size(dataset, profile, ml):
    case = organ(ml, profile)
    assert dice(perfect(profile, dataset).segment(case.image), case.label > 0) >= 0.99


@pytest.mark.parametrize("ml", [20, 200, 400])
@pytest.mark.parametrize("profile", PROFILES)
def test_perfect_networks_find_a_glioma_of_any_size(profile, ml):
    case = organ(ml, profile)
    assert dice(perfect(profile, "brats").segment(case.image), case.label > 0) >= 0.99


class RarelyWrongPoints(PerfectPoints):
    """One point in a hundred is taken for what it is not."""

    def forward(self, features, pyramid):
        sure = super().forward(features, pyramid)
        wrong = torch.rand(len(sure), generator=torch.Generator().manual_seed(0)) < 0.01
        return torch.where(wrong[:, None], -sure, sure)


@pytest.mark.parametrize("ml, none, opened", [(5, 0.39, 0.00), (20, 0.71, 0.76), (200, 0.96, 0.96)])
def test_quick_masks_have_the_opening_that_loses_the_least(ml, none, opened):
    """Not chosen by the score of any trained network."""
    case = organ(ml, "quick")

    def ceiling(**changes):
        method = perfect("quick", "brats", **changes)
        method.network.points = RarelyWrongPoints()
        return dice(method.segment(case.image), case.label > 0)

    assert ceiling() > 0.98
    assert ceiling(post="none") == pytest.approx(none, abs=0.01)
    assert ceiling(post="open") == pytest.approx(opened, abs=0.01)


@pytest.mark.parametrize("dataset, points", [("brats", 365_000), ("liver", 800_000)])
def test_the_paper_s_data_sets_have_the_published_clouds(dataset, points):
    options = systems.options("point_unet", "paper", dataset)
    assert cloud_size(options["points"], PAPER_GRID) == points


def test_a_smaller_grid_has_its_share_of_the_points():
    share = systems.options("point_unet", "quick", "brats")["points"]
    assert cloud_size(share, (32, 64, 64)) == round(365_000 / (4 * 3 * 3))


@pytest.mark.parametrize("number", [1, 12_000, 32 * 64 * 64])
def test_a_number_of_points_is_taken_as_it_is(number):
    assert cloud_size(number, (32, 64, 64)) == number


@pytest.mark.parametrize("points", [0, -1, 0.0, 1.5, True, "many", 32 * 64 * 64 + 1])
def test_a_cloud_of_no_size_is_refused(points):
    with pytest.raises(ValueError, match="points is"):
        cloud_size(points, (32, 64, 64))


def test_the_cloud_s_size_is_written_into_the_trial():
    method = perfect("quick", "liver")
    assert (
        method.settled({"points": 0.17})["points"] == method.points == round(0.16954 * 32 * 64**2)
    )


def test_a_region_beyond_the_cloud_is_not_opened():
    """Nine tenths of 10,000 points are for an organ of 18,000 voxels: half of it is found, where
    an opening would leave nothing of a sample."""
    case = organ(2200, "quick")
    method = perfect("quick", "liver", points=10_000, post="open")
    mask = method.segment(case.image)
    assert mask.sum() == 9_000 and not mask[case.label == 0].any()


def test_outside_of_the_region_single_points_are_no_target(monkeypatch):
    """A perfect saliency, and points that take a bright spot of the body for the target."""
    case = organ(200, "quick")
    image = case.image.copy()
    image[0, 4, 20, 20] = image[0, 16, 32, 12] = BRIGHT
    method = perfect("quick", "liver")
    monkeypatch.setattr(type(method.saliency), "segment", lambda saliency, image: case.label > 0)
    assert np.array_equal(method.segment(image), case.label > 0)


def test_a_region_beyond_the_cloud_is_remarked_on_with_its_cases():
    cases = [organ(ml, "quick") for ml in (200, 2200)]
    method = perfect("quick", "liver", points=10_000)
    _, _, remarks = evaluate(method, cases, lambda *_: None)
    assert remarks == [
        "SAN's region is larger than the cloud of 10,000 points, so a sample "
        "(1 of 2 test cases: organ2200)"
    ]


def test_a_target_beyond_the_cloud_is_remarked_on_in_training():
    cases = [organ(ml, "quick") for ml in (200, 2200)]
    assert perfect("quick", "liver").remarks(cases) == []
    [remark] = perfect("quick", "liver", points=10_000).remarks(cases)
    assert "target is larger than the cloud" in remark and "1 of 2 training cases" in remark


def test_training_has_background_whatever_the_size_of_the_target():
    case = organ(2200, "quick")
    method = perfect("quick", "liver", points=10_000)
    _, _, target = method.sample(case.image, case.label > 0, np.random.default_rng(0))
    assert int(target.sum()) == room(10_000) == 9_000

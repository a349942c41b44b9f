"""Pictures of a study: all that was found, nothing that was not, and the same every time."""

import re
from itertools import product
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from helper_made_run import made_study

from harness.report.study_plots import draw
from tuning.importance import importance
from tuning.search import Range

WEIGHTS = ("w_srt", "w_sgl", "w_tfm")
WEIGHT = Range(0.05, 2.0, log=True)
SPACE = dict.fromkeys(WEIGHTS, WEIGHT)
RATE = {"lr": Range(1e-5, 1e-3, log=True)}


def row(number, state, score, params, study="pfseg"):
    value = score if state == "complete" else None
    return {"study": study, "number": number, "state": state, "value": value, "last": score,
            "epochs": 1, **params, "reason": ""}  # fmt: skip


def weight_points(count):
    """The default, then points of which every second is stopped."""
    draws = np.random.default_rng(0).uniform(np.log(0.05), np.log(2.0), (count, 3))
    places = [dict.fromkeys(WEIGHTS, 0.5)]
    places += [dict(zip(WEIGHTS, np.exp(draw), strict=True)) for draw in draws[1:]]
    scores = [0.8 - 0.02 * np.log(place["w_srt"] / 0.9) ** 2 for place in places]
    return [
        row(number, "stopped", score - 0.1, place)
        if number % 2
        else row(number, "complete", score, place)
        for number, (place, score) in enumerate(zip(places, scores, strict=True))
    ]


def rate_points():
    return [
        row(0, "complete", 0.6954, {"lr": 1e-4}, "unet3d"),
        row(1, "complete", 0.7111, {"lr": 2e-4}, "unet3d"),
        row(2, "failed", None, {"lr": 1e-3}, "unet3d"),
    ]


def study(path, points, spaces, references, synthetic=False):
    spans = {name: {key: vars(s) for key, s in space.items()} for name, space in spaces.items()}
    folder = made_study(path, references, spaces=spans, synthetic=synthetic)
    return {path.name: path for path in draw(folder, pd.DataFrame(points))}


def weights(path, points, **options):
    return study(path, points, {"pfseg": SPACE}, {"pfseg": dict.fromkeys(WEIGHTS, 0.5)}, **options)


def rates(path, points):
    return study(path, points, {"unet3d": RATE}, {"unet3d": {"lr": 1e-4}})


def kinds(pictures):
    """Of one study, without its name."""
    return {name.partition("-")[2].partition(".")[0] for name in pictures}


def texts(svg):
    """Text -> x of each place where it stands."""
    found = {}
    for element in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text"):
        x = element.get("x") or re.search(r"translate\(([\d.]+)", element.get("transform"))[1]
        found.setdefault("".join(element.itertext()), []).append(float(x))
    return found


@pytest.fixture(scope="module")
def twenty(tmp_path_factory):
    return weights(tmp_path_factory.mktemp("twenty"), weight_points(20), synthetic=True)


@pytest.fixture(scope="module")
def one_rate(tmp_path_factory):
    return rates(tmp_path_factory.mktemp("rate"), rate_points())


# Which pictures


def test_a_study_has_four_pictures_each_as_png_and_as_svg(twenty):
    assert kinds(twenty) == {"history", "slices", "parallel", "importance"}
    assert len(twenty) == 8
    for name, path in twenty.items():
        assert path.parent.name == "figures"
        if name.endswith(".png"):
            assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        else:
            assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_one_parameter_is_not_compared_with_others(one_rate):
    assert kinds(one_rate) == {"history", "slices"}


def test_four_points_are_too_few_to_tell_what_mattered(tmp_path):
    assert kinds(weights(tmp_path, weight_points(4))) == {"history", "slices", "parallel"}


def test_points_that_were_all_stopped_have_no_lines_to_a_score(tmp_path):
    points = [row(0, "stopped", 0.5, {name: 0.3 for name in WEIGHTS})]
    assert kinds(weights(tmp_path, points)) == {"history", "slices"}


@pytest.mark.parametrize("state", ["failed", "unfinished"])
def test_a_study_without_a_score_has_no_picture(tmp_path, state):
    assert rates(tmp_path, [row(0, state, None, {"lr": 1e-4}, "unet3d")]) == {}


def test_each_study_of_a_folder_has_its_own_pictures(tmp_path):
    spaces = {"pfseg": SPACE, "unet3d": RATE}
    references = {"pfseg": dict.fromkeys(WEIGHTS, 0.5), "unet3d": {"lr": 1e-4}}
    points = [*weight_points(4), *rate_points()]
    pictures = study(tmp_path, points, spaces, references)
    assert {"pfseg-slices.svg", "unet3d-slices.svg"} <= set(pictures)
    assert "lr" not in texts(pictures["pfseg-slices.svg"])


def test_a_study_that_has_not_begun_has_no_picture_yet(tmp_path):
    spaces = {"unet3d": RATE, "vnet": RATE}
    references = {"unet3d": {"lr": 1e-4}, "vnet": {"lr": 1e-4}}
    pictures = study(tmp_path, rate_points(), spaces, references)
    assert not any(name.startswith("vnet") for name in pictures)


# What they show


def test_the_axis_of_a_range_searched_by_ratio_is_logarithmic(one_rate):
    place = texts(one_rate["unet3d-slices.svg"])
    low, middle, high = place["1e-5"][0], place["1e-4"][-1], place["0.001"][0]
    assert middle - low == pytest.approx(high - middle, abs=0.01)


def test_the_axis_of_another_range_is_linear(tmp_path):
    points = [row(n, "complete", 0.7, {"lr": lr}, "unet3d") for n, lr in enumerate((0.1, 0.5))]
    spaces = {"unet3d": {"lr": Range(0.0, 0.8)}}
    pictures = study(tmp_path, points, spaces, {"unet3d": {"lr": 0.1}})
    place = texts(pictures["unet3d-slices.svg"])
    assert place["0.4"][0] - place["0.2"][0] == pytest.approx(place["0.8"][0] - place["0.6"][0])


def test_the_default_value_stands_over_its_line_in_every_panel(twenty):
    place = texts(twenty["pfseg-slices.svg"])["0.5"]
    assert len(place) == 6  # a tick and the line of each panel, one above the other
    assert len({round(x) for x in place}) == 3


def test_a_default_outside_the_range_is_shown_nevertheless(tmp_path):
    points = [row(0, "complete", 0.7, {"lr": 0.005}, "unet3d")]
    pictures = study(tmp_path, points, {"unet3d": RATE}, {"unet3d": {"lr": 0.005}})
    place = texts(pictures["unet3d-slices.svg"])
    assert place["0.005"] > place["0.001"]


@pytest.mark.parametrize("kind", ["history", "slices"])
def test_the_scores_of_default_and_best_are_named_in_percent(one_rate, kind):
    assert {"default (69.5)", "best (71.1)"} <= set(texts(one_rate[f"unet3d-{kind}.svg"]))


def test_of_equal_points_the_same_is_best_in_whatever_order_they_come(tmp_path):
    points = [row(n, "complete", 0.7, {"lr": lr}, "unet3d") for n, lr in enumerate((1e-4, 1e-3))]
    forth, back = rates(tmp_path / "a", points), rates(tmp_path / "b", points[::-1])
    assert forth["unet3d-slices.svg"].read_bytes() == back["unet3d-slices.svg"].read_bytes()


def test_only_the_states_that_occurred_are_in_the_legend(twenty, one_rate):
    weights, rates = texts(twenty["pfseg-history.svg"]), texts(one_rate["unet3d-history.svg"])
    assert "stopped" in weights and "failed" not in weights
    assert "failed" in rates and "stopped" not in rates


def test_unfinished_points_are_not_shown(tmp_path):
    points = rate_points()
    before = rates(tmp_path / "a", points)["unet3d-slices.svg"]
    points.append(row(3, "unfinished", 0.2, {"lr": 5e-4}, "unet3d"))
    assert rates(tmp_path / "b", points)["unet3d-slices.svg"].read_bytes() == before.read_bytes()


def test_synthetic_data_are_called_so_in_every_picture(twenty):
    for name, path in twenty.items():
        assert not name.endswith(".svg") or any("synthetic" in text for text in texts(path)), name


def test_real_data_are_not_called_synthetic(one_rate):
    for name, path in one_rate.items():
        assert not name.endswith(".svg") or not any("synthetic" in t for t in texts(path)), name


def test_equal_studies_give_equal_files_whatever_the_users_style(twenty, tmp_path):
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):
        again = weights(tmp_path, weight_points(20), synthetic=True)
    for name, path in twenty.items():
        assert again[name].read_bytes() == path.read_bytes(), name


# What mattered


def frame(points, score, state="complete"):
    return pd.DataFrame([row(n, state, score(p), p) for n, p in enumerate(points)])


def drawn(count):
    draws = np.random.default_rng(0).uniform(np.log(0.05), np.log(2.0), (count, 3))
    return [dict(zip(WEIGHTS, np.exp(draw), strict=True)) for draw in draws]


def test_the_one_parameter_that_matters_comes_first_with_nearly_all():
    shares = importance(frame(drawn(40), lambda p: 0.8 - 0.1 * np.log(p["w_sgl"]) ** 2), SPACE)
    assert next(iter(shares)) == "w_sgl"
    assert shares["w_sgl"] > 0.9
    assert set(shares) == set(WEIGHTS)


def test_shares_are_those_of_a_sum_worked_out_by_hand():
    # score = 2 u + v with u and v spread evenly over 0 to 1: variances 4/12 and 1/12. The rate is
    # spread evenly by ratio; weighed linearly, nearly all of its range would be the last decade.
    steps = (np.arange(12) + 0.5) / 12
    points = [{"lr": 10 ** (4 * u - 5), "dropout": v} for u, v in product(steps, steps)]
    space = {"lr": Range(1e-5, 1e-1, log=True), "dropout": Range(0, 1)}
    shares = importance(frame(points, lambda p: (np.log10(p["lr"]) + 5) / 2 + p["dropout"]), space)
    assert shares == pytest.approx({"lr": 0.8, "dropout": 0.2}, abs=0.02)


def test_what_only_counts_together_is_nobodys_alone():
    points = [{"a": a, "b": b} for a, b in product(np.linspace(0.05, 0.95, 10), repeat=2)]
    space = {"a": Range(0, 1), "b": Range(0, 1)}
    shares = importance(frame(points, lambda p: float((p["a"] < 0.5) == (p["b"] < 0.5))), space)
    assert sum(shares.values()) < 0.2


def test_stopped_points_and_those_outside_the_ranges_do_not_count():
    def score(params):
        return 0.8 - 0.1 * np.log(params["w_sgl"]) ** 2

    points = frame(drawn(20), score)
    stopped = frame(drawn(20), lambda p: p["w_srt"], "stopped")
    outside = frame([{"w_srt": 5.0, "w_sgl": 0.5, "w_tfm": 0.5}], lambda p: 0.1)
    assert importance(pd.concat([points, stopped, outside]), SPACE) == importance(points, SPACE)


@pytest.mark.parametrize("count, enough", [(7, False), (8, True)])
def test_two_points_for_each_parameter_and_two_more_are_needed(count, enough):
    found = importance(frame(drawn(count), lambda p: p["w_srt"] / 2), SPACE)
    assert (found is not None) == enough


def test_equal_scores_and_single_parameters_tell_nothing():
    assert importance(frame(drawn(20), lambda p: 0.7), SPACE) is None
    rates = [{"lr": 10.0**-power} for power in np.linspace(3, 5, 20)]
    assert importance(frame(rates, lambda p: p["lr"]), RATE) is None

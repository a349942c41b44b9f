"""Pictures: chosen by rule, true to what was scored, and the same every time."""

import re
import struct
import warnings
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from helper_made_run import MadeRun, data, failed, made_run, made_trial, rewrite, row, scored, spec
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from scipy.ndimage import binary_dilation

from harness.data import cache, phantom, prepare
from harness.errors import StateError, UsageError
from harness.report import case_sheet as sheets
from harness.report import figures as pictures
from harness.report.case_choice import choose_cases, draw_sheets, largest_slice, stray_components
from harness.report.outline import outline
from harness.report.patch_size_plot import ladder_plot
from harness.runs.run_folder import RunFolder
from harness.systems.overlap import dice

GRID = (16, 32, 24)
NO_STRAY = pd.Series({"a": 0, "b": 0, "c": 0, "d": 0})


# Which case


def table(**scores):
    return pd.DataFrame.from_dict(scores, orient="index", columns=["vnet", "pfseg"])


def test_best_median_and_worst_are_by_the_mean_over_systems():
    scores = table(a=(0.9, 0.1), b=(0.7, 0.8), c=(0.2, 0.3))  # means 0.50, 0.75, 0.25
    assert choose_cases(scores, NO_STRAY) == {"best": "b", "median": "a", "worst": "c"}


def test_of_equal_cases_the_first_in_order_of_id_is_shown():
    scores = table(c=(0.5, 0.5), b=(0.5, 0.5), a=(0.5, 0.5))
    chosen = choose_cases(scores, pd.Series({"c": 2, "b": 2, "a": 2}))
    assert chosen == {"best": "a", "median": "b", "worst": "a", "stray": "a"}


def test_of_four_cases_the_median_is_the_lower_one():
    scores = table(a=(0.4, 0.4), b=(0.1, 0.1), c=(0.3, 0.3), d=(0.2, 0.2))
    assert choose_cases(scores, NO_STRAY)["median"] == "d"


def test_a_single_case_is_called_the_only_one():
    assert choose_cases(table(a=(0.4, 0.5)), NO_STRAY[:1]) == {"only": "a"}


def test_a_system_without_a_score_leaves_the_mean_to_the_others():
    scores = table(a=(0.6, None), b=(0.9, 0.1))
    assert choose_cases(scores, NO_STRAY)["best"] == "a"


def test_the_case_with_most_stray_components_is_shown_and_none_if_there_are_none():
    scores = table(a=(0.9, 0.9), b=(0.5, 0.5))
    assert choose_cases(scores, pd.Series({"a": 1, "b": 3}))["stray"] == "b"
    assert "stray" not in choose_cases(scores, NO_STRAY)
    assert "stray" not in choose_cases(scores, pd.Series(dtype=int))


# What is counted, and in which slice


def plane(*lines):
    return np.array([[letter == "#" for letter in line] for line in lines])


TARGET = plane("......", ".##...", ".##...", "......")[None]


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        (("......", ".##...", ".##...", "......"), 0),
        (("......", "......", "......", "......"), 0),
        (("......", "..####", "......", "......"), 0),  # one component, half of it in the target
        (("....#.", ".#...#", "......", "......"), 1),  # neighbours across a corner are one
        (("#.....", "......", "......", "......"), 1),  # beside the target is not in it
        (("#....#", "......", "......", "#..#.#"), 5),
    ],
)
def test_stray_components_are_those_that_share_no_voxel_with_the_target(lines, count):
    assert stray_components(plane(*lines)[None], TARGET) == count


def test_components_join_across_slices_and_across_corners():
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    assert stray_components(mask, np.zeros(mask.shape, np.uint8)) == 2


def test_the_slice_is_the_first_with_most_target():
    label = np.zeros((5, 4, 4), np.uint8)
    label[1, 0, 0] = label[2, :2] = label[3, 2:] = 1
    assert largest_slice(label) == 2


def test_without_a_target_it_is_the_middle_slice():
    assert largest_slice(np.zeros((5, 4, 4), np.uint8)) == 2


# Outlines


def signed_area(path):
    loops = np.split(path.vertices, np.flatnonzero(path.codes == path.MOVETO)[1:])
    return sum(
        np.dot(loop[:-1, 0], loop[1:, 1]) - np.dot(loop[1:, 0], loop[:-1, 1]) for loop in loops
    ) / 2  # fmt: skip


def painted(path, shape):
    """The middle of each voxel, as matplotlib fills the path with ten pixels to a voxel."""
    figure = Figure((shape[1], shape[0]), dpi=10)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
    axes.set_axis_off()
    axes.add_patch(PathPatch(path, facecolor="black", linewidth=0))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[5::10, 5::10, 0] == 0


def test_the_outline_of_a_voxel_is_its_four_corners():
    assert sorted(map(tuple, outline(plane("...", ".#.")).vertices[:-1])) == [
        (0.5, 0.5), (0.5, 1.5), (1.5, 0.5), (1.5, 1.5)
    ]  # fmt: skip


def test_nothing_has_no_outline():
    assert len(outline(plane("..")).vertices) == 0


@pytest.mark.parametrize("seed", range(5))
def test_outlines_enclose_the_voxels_and_nothing_else(seed):
    mask = np.random.default_rng(seed).random((12, 9)) < 0.6  # holes and touching corners abound
    path = outline(mask)
    assert signed_area(path) == mask.sum()
    np.testing.assert_array_equal(painted(path, mask.shape), mask)


# The sheet


def blank_sheet(**changes):
    nothing = np.zeros((20, 30), bool)
    panel = sheets.SystemPanel("V-Net", "patch-based", "Dice 1.00", nothing)
    content = {
        "title": "c1: best", "details": "", "modality": "t2", "notes": "", "window": (0.0, 1.0),
        "image": np.ones((20, 30), np.float32), "target": np.zeros((20, 30), bool),
        "panels": (panel,),
        "pixel_mm": (1.0, 1.0),
    }  # fmt: skip
    return sheets.Sheet(**content | changes)


def test_anterior_is_up_and_the_patients_right_on_the_left():
    image = np.full((20, 30), 0.1, np.float32)
    image[-1, -1] = 1  # most anterior, most to the right
    shown = sheets.draw(blank_sheet(image=image)).axes[0].images[0].get_array()
    assert shown[0, 0] == 1


def test_a_millimetre_is_as_long_up_as_across():
    figure = sheets.draw(blank_sheet(image=np.ones((20, 30), np.float32), pixel_mm=(3.0, 1.0)))
    box = figure.axes[0].get_window_extent()
    assert box.height / box.width == pytest.approx(20 * 3 / 30, rel=0.01)


def test_the_background_is_cut_off_but_no_prediction_is():
    image = np.zeros((40, 40), np.float32)
    image[10:30, 10:30] = 1
    mask = np.zeros((40, 40), bool)
    mask[5, 20] = True
    panel = sheets.SystemPanel("V-Net", "patch-based", "", mask)
    blank = np.zeros((40, 40), bool)
    figure = sheets.draw(blank_sheet(image=image, target=blank, panels=(panel,)))
    assert figure.axes[0].images[0].get_array().shape == (25 + 4, 20 + 4)


@pytest.mark.parametrize("systems", [1, 8, 14])
def test_every_system_has_a_panel_beside_input_and_ground_truth(systems):
    panel = sheets.SystemPanel("A system with rather a long name", "patch-free", "failed", None)
    figure = sheets.draw(blank_sheet(panels=(panel,) * systems))
    titled = [axes for axes in figure.axes if axes.get_title()]
    assert len(titled) == systems + 2
    corners = figure.get_window_extent().corners()
    for axes in titled:
        box = axes.get_tightbbox()
        assert box.x0 >= corners[0, 0] and box.x1 <= corners[3, 0]
        assert box.y0 >= corners[0, 1] and box.y1 <= corners[3, 1]


# From the run folder to the files


VOLUMES = {
    f"phantom_{index:03d}": prepare.phantom(
        phantom.scan(0, index, GRID, ("flair",), (4.0, 3.0, 4.0)), (1, 2, 4), (1, 1, 1),
        f"phantom_{index:03d}",
    )
    for index in range(3)
}  # fmt: skip


DATA = data(grid=GRID)
TRIALS = {name: spec(name, data=DATA) for name in ("vnet", "unet3d", "san", "pfseg")}


def masked(folder, name, spread, islands):
    """Finished with masks that are `spread` voxels too large, `islands` more in phantom_001."""
    trial = made_trial(folder, TRIALS[name], result=scored(name))
    rows = []
    for case, volume in VOLUMES.items():
        mask = binary_dilation(volume.label, iterations=spread + 1)
        mask[0, 0, : 2 * islands : 2] |= case == "phantom_001"
        trial.write_mask(case, mask)
        rows.append({"case": case, "dice": dice(mask, volume.label)})
    trial.write_cases(rows)
    return trial


def four_rows(path):
    """Table V: V-Net with five islands, UNet3D failed, SAN unfinished, PFSeg."""
    folder = RunFolder(path)
    trials = {
        "vnet": masked(folder, "vnet", 2, 5),
        "unet3d": made_trial(folder, TRIALS["unet3d"], result=failed("cuda_oom")),
        "san": made_trial(folder, TRIALS["san"]),
        "pfseg": masked(folder, "pfseg", 0, 0),
    }
    return made_run(path, {"table5": [row([t], title=name.upper()) for name, t in trials.items()]})


def drawn(folder, **choice):
    """Name -> path of what is drawn."""
    written = draw_sheets(folder, lambda case, of: VOLUMES[case], folder.path / "figures", **choice)
    return {path.name: path for path in written}


def text(path):
    """Everything that is written in an SVG."""
    return " ".join(" ".join(ElementTree.parse(path).getroot().itertext()).split())


@pytest.fixture
def run(tmp_path):
    return four_rows(tmp_path)


@pytest.fixture(scope="module")
def by_rule(tmp_path_factory):
    """File name -> what is written in it, of the sheets that are drawn by rule."""
    pictures = drawn(four_rows(tmp_path_factory.mktemp("run")))
    return {name: text(path) for name, path in pictures.items() if name.endswith(".svg")}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A sheet, as PNG and as SVG."""
    return tuple(drawn(four_rows(tmp_path_factory.mktemp("run")), cases=["phantom_001"]).values())


def test_every_rule_has_its_sheet_and_the_sheet_says_which(by_rule):
    rules = [rule for name in by_rule for rule in name.split("-")[:-1]]
    assert sorted(rules) == ["best", "median", "stray", "worst"]
    [said] = [said for name, said in by_rule.items() if "stray" in name]
    assert said.index("phantom_001: ") < said.index("stray components of patch-based systems (5)")


def test_one_case_chosen_twice_is_one_sheet_with_both_reasons(by_rule):
    assert len(by_rule) == len(VOLUMES)  # four rules
    [(name, said)] = [item for item in by_rule.items() if item[0].count("-") == 2]
    rule = name.split("-")[0]
    assert re.search(rf"{rule} (of )?mean Dice \(0\.\d+\); most stray", said)


def test_a_case_asked_for_overrides_the_rules(run):
    assert list(drawn(run, cases=["phantom_002"])) == [
        "chosen-phantom_002.png", "chosen-phantom_002.svg"
    ]  # fmt: skip


def test_an_unknown_case_is_named_with_its_likeness(run):
    with pytest.raises(UsageError, match="Did you mean 'phantom_001'"):
        drawn(run, cases=["phantom_01"])


def test_a_system_that_failed_is_shown_as_failed_and_one_that_runs_as_not_finished(one):
    said = text(one[1])
    assert "failed: cuda_oom" in said
    assert "not finished" in said
    assert all(name in said for name in ("VNET", "UNET3D", "SAN", "PFSEG"))


def test_dice_and_stray_components_stand_in_the_corner(one, run):
    label = VOLUMES["phantom_001"].label
    mask = run.trial(TRIALS["vnet"].id).mask("phantom_001", label.shape)
    expected = 2 * (mask & (label > 0)).sum() / (mask.sum() + label.sum())
    assert f"Dice {expected:.2f} stray 5" in text(one[1])


def test_synthetic_data_are_called_so_and_real_data_are_not(one, run):
    assert "synthetic data: not comparable with the paper" in text(one[1])
    rewrite(run.manifest_file, run.run(), synthetic=False)
    real = drawn(run, cases=["phantom_001"])
    assert "synthetic" not in text(real["chosen-phantom_001.svg"])


def test_the_slice_is_named_by_number_and_place(one):
    index = largest_slice(VOLUMES["phantom_001"].label)
    assert f"Axial slice {index + 1} of 16, {index * 4} mm above the lowest" in text(one[1])


def test_png_is_an_image_of_some_size(one):
    content = one[0].read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert 1000 < width < 4000 and 500 < height < 4000


def test_svg_stands_alone_and_bears_no_date(one):
    content = one[1].read_text()
    links = re.findall(r'href="([^"]{,20})', content)
    assert all(link.startswith(("#", "data:image/png")) for link in links)
    assert not re.search(r"dc:date|\d{4}-\d\d-\d\dT", content)


def test_equal_results_give_equal_files_whatever_the_users_style(one, run):
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.dpi": 30}):
        again = drawn(run, cases=["phantom_001"]).values()
        assert matplotlib.rcParams["font.size"] == 20
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in again]


def test_a_mask_that_is_not_what_was_scored_is_not_drawn(run):
    trial = run.trial(TRIALS["vnet"].id)
    trial.write_mask("phantom_002", ~trial.mask("phantom_002", VOLUMES["phantom_002"].label.shape))
    with pytest.raises(StateError, match="does not have the Dice of"):
        drawn(run, cases=["phantom_002"])


def test_a_run_without_a_finished_trial_has_nothing_to_draw(run):
    for name in ("vnet", "pfseg"):
        run.trial(TRIALS[name].id).result_file.unlink()
    with pytest.raises(StateError, match="no finished trial to draw"):
        drawn(run)


def test_what_the_rules_chose_before_is_dropped_and_what_was_asked_for_stays(run):
    for case, volume in VOLUMES.items():
        cache.write(run.path / "cache", case, volume)
    run.write_volume_keys({case: case for case in VOLUMES}, run.path / "cache")
    asked = pictures.draw(run.path, None, ["phantom_002"], None)
    outdated = asked[0].with_name("best-phantom_009.png")
    outdated.write_bytes(b"of a run that had come less far")
    chosen = pictures.draw(run.path, None, (), None)
    assert set(outdated.parent.iterdir()) == {*asked, *chosen}


# Fig. 1


LADDER = pd.DataFrame(
    {
        "label": ["64×96×96", "32×48×48", "128×192×192"],
        "voxels": [589_824, 73_728, 4_718_592],
        "status": ["ok", "ok", "failed"],
        "n_cases": [2, 2, None],
        "dice_mean": [0.71, 0.482, None],
        "dice_std": [0.1, 0.2, None],
        "jaccard_mean": [0.6, 0.3, None],
        "jaccard_std": [0.1, 0.2, None],
        "hd95_mean": [12.5, 40.25, None],
        "hd95_std": [1.0, 2.0, None],
    }
)


def test_the_plot_has_every_size_in_order_and_names_the_failed_one(tmp_path):
    png, svg = ladder_plot(LADDER, tmp_path / "fig1", "synthetic data")
    said = text(svg)
    places = [said.index(label) for label in ("32×48×48", "64×96×96", "128×192×192")]
    assert places == sorted(places)
    assert all(value in said for value in ("48.2", "71.0", "60.0", "12.5", "synthetic data"))
    assert said.count("failed") == 3
    assert "bars: their standard deviation" in said
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_plot_of_failures_alone_is_still_a_plot(tmp_path):
    _, svg = ladder_plot(LADDER[2:], tmp_path / "fig1", "")
    assert "128×192×192" in text(svg)


def test_one_size_alone_is_a_plot_without_a_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, svg = ladder_plot(LADDER[:1], tmp_path / "fig1")
    assert "64×96×96" in text(svg)


def test_a_single_test_case_has_no_standard_deviation_to_explain(tmp_path):
    alone = LADDER.assign(n_cases=1, dice_std=None, jaccard_std=None, hd95_std=None)
    said = text(ladder_plot(alone, tmp_path / "fig1")[1])
    assert "A single test case." in said and "standard deviation" not in said


def test_the_plot_is_the_same_twice(tmp_path):
    first, second = (ladder_plot(LADDER, tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_fig_1_is_drawn_from_the_table_of_the_run(tmp_path):
    run = MadeRun(tmp_path, "fig1", synthetic=True).fail("window5", "cuda_oom")
    png, svg = pictures.draw_ladder(run.folder)
    assert (png, svg) == (tmp_path / "figures" / "fig1.png", tmp_path / "figures" / "fig1.svg")
    means = pd.read_csv(run.trials["window1", 0].cases_file).mean(numeric_only=True)
    said = text(svg)
    assert all(
        figure in said
        for figure in (
            "32×48×48", "128×192×192", "failed", f"{100 * means['dice']:.1f}",
            f"{100 * means['jaccard']:.1f}", f"{means['hd95_mm']:.1f}", "not comparable",
            "Profile paper",
        )
    )  # fmt: skip


def test_a_model_that_has_no_patch_size_is_not_in_fig_1(tmp_path):
    """`run --suite fig1 --model resunet3d --model san` gives San a row of its own."""
    run = MadeRun(tmp_path, "fig1")
    first, *others = run.manifest.suites["fig1"]
    san = {"key": "san", "title": "SAN", "cells": ["SAN"], "system": "san"}
    rows = [first.model_copy(update=san), *others]
    said = text(pictures.draw_ladder(run.change(suites={"fig1": rows}).folder)[1])
    assert "48×64×64" in said and "32×48×48" not in said and "SAN" not in said
    run.change(suites={"fig1": rows[:1]})
    assert pictures.draw_ladder(run.folder) == []


def test_a_run_of_other_suites_has_no_fig_1(tmp_path):
    assert pictures.draw_ladder(MadeRun(tmp_path, rows=["pfseg"]).folder) == []

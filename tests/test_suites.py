"""What each table of the paper consists of, and which rows are one trial."""

from itertools import pairwise
from math import prod

import pytest

from harness.data.split import Split
from harness.data.volumes import Prepared
from harness.errors import UsageError
from harness.results.paper import printed_figures
from harness.runs.plan import plan
from harness.runs.settings import resolve
from harness.runs.suites import SUITES, chosen
from harness.systems.catalogue import SYSTEMS, options
from harness.systems.cost import cost

PAPER_GRID = (128, 192, 192)
SPLIT = Split(("a", "b"), ("c",), ("d",))
# Parameters in training and inference, counted from the authors' code and the paper's text.
SIZES = {
    "table1 selective": (14_655_042, 9_355_249),
    "table2 sgm": (16_472_210, 11_172_417),
    "table2 sgm+encoder": (29_161_426, 23_861_633),
    "table4 unet/sgm": (14_513_170, 9_258_945),
    "table4 unet/msres": (29_070_290, 23_816_065),
    "table4 resunet/ust": (8_388_049, 8_388_049),
    "table4 resunet/srt": (13_163_554, 8_388_049),
    "table4 unet/ust": (8_298_417, 8_298_417),
    "table4 unet/srt": (13_028_354, 8_298_417),
}


def planned(suite, *changes, profile="quick", models=(), rows=(), grid=None):
    grid = grid or (PAPER_GRID if profile == "paper" else (32, 64, 64))
    data = Prepared("phantom", "", ("flair",), "wt", grid, True, dict.fromkeys("abcd", "k"), "f")
    tables = chosen(suite, profile, models, rows)
    return plan(tables, resolve(profile, None, changes, None), data, SPLIT)


def specs(suite, **narrowed):
    return {row.row.key: row.trials[0] for row in planned(suite, **narrowed).rows}


@pytest.mark.parametrize("name", SIZES)
def test_each_variant_has_its_published_number_of_parameters(name):
    suite, key = name.split()
    [row] = [row for row in chosen(suite, "paper")[suite] if row.key == key]
    asked = {**options(row.system, "paper"), **row.options}
    counted = cost(row.system, asked, 1, PAPER_GRID)
    assert (counted["parameters"], counted["parameters_inference"]) == SIZES[name]


@pytest.mark.parametrize("profile", ["quick", "paper"])
@pytest.mark.parametrize("name", SUITES)
def test_every_row_can_be_built_and_has_a_cell_for_each_heading(name, profile):
    for row in planned(name, profile=profile).rows:
        assert len(row.row.cells) == len(SUITES[name].headings)
        assert row.trials[0].system == row.row.system


def test_the_paper_has_figures_for_its_rows_and_no_others():
    for table, printed in printed_figures().items():
        keys = [row.key for row in SUITES[table.removesuffix("-liver")].rows]
        assert set(printed) <= set(keys), table


def test_rows_of_different_tables_that_are_the_same_model_are_one_trial():
    tables = {name: specs(name) for name in ("table1", "table2", "table3", "table4", "table5")}
    plain = [tables["table1"]["selective"], tables["table2"]["none"],
             tables["table3"]["res/none"], tables["table4"]["resunet/sgm"]]  # fmt: skip
    final = [tables["table3"]["msres/tfm"], tables["table4"]["resunet/tpf"],
             tables["table5"]["pfseg"]]  # fmt: skip
    assert len({spec.id for spec in plain}) == 1
    assert len({spec.id for spec in final}) == 1


def test_with_equal_voxels_patch_based_systems_take_eight_windows_of_half_the_side():
    rows = specs("equal_voxels", profile="paper")
    for key, spec in rows.items():
        name, _, drawn = key.partition("/")
        voxels = spec.protocol.windows_per_volume * prod(spec.options.get("window", PAPER_GRID))
        assert spec.system == name
        assert (voxels == prod(PAPER_GRID)) is (drawn != "1")
    assert rows["unet3d/1"].id == specs("table5", profile="paper")["unet3d"].id
    assert rows["pfseg"].id == specs("table5", profile="paper")["pfseg"].base.id


def test_windows_do_not_make_another_trial_of_a_patch_free_system():
    [plain], [changed] = (
        planned("table5", *changes, models=["san"]).rows
        for changes in ((), ("protocol.windows_per_volume=8", "protocol.foreground_share=0.5"))
    )
    assert plain.trials[0].id == changed.trials[0].id


def test_all_are_the_tables_of_the_paper():
    assert set(chosen("all", "quick")) == set(SUITES) - {"equal_voxels"}


def test_the_five_rows_of_a_block_type_share_one_trained_network():
    rows = specs("table3")
    for block in ("res", "msres"):
        trained = rows[f"{block}/none"]
        tuned = [spec for key, spec in rows.items() if key.startswith(block) and spec != trained]
        assert trained.base is None
        assert {spec.base.id for spec in tuned} == {trained.id}
        assert len({spec.id for spec in tuned}) == 4


def test_a_table_with_a_fine_tuned_row_trains_its_base_too():
    trials = planned("table5", models=["pfseg"]).trials
    assert [spec.options["tpf"] for spec in trials.values()] == ["none", "tfm"]


def test_table_5_has_pfseg_as_trained_beside_its_rivals_without_training_it_again():
    rows, every = specs("table5"), planned("table5").trials
    assert rows["pfseg/none"].id == rows["pfseg"].base.id
    assert len(every) == len(rows) == 9


def test_all_suites_together_train_each_model_once():
    everything = planned("all")
    trained = [spec for spec in everything.trials.values() if spec.base is None]
    rows = sum(len(suite.rows) for name, suite in SUITES.items() if name != "equal_voxels")
    # Five croppings, two more MSRes, ten more of the ablation, seven baselines, five windows.
    assert (len(everything.rows), len(trained)) == (rows, 5 + 2 + 10 + 7 + 5)


def test_table_4_adds_one_part_in_each_row():
    rows = list(specs("table4").values())[:7]
    for before, after in pairwise(rows):
        changed = {k for k in after.options if after.options[k] != before.options[k]}
        assert len(changed - {"weights"}) == 1


def test_a_term_that_is_not_there_has_no_weight():
    rows = specs("table4")
    assert rows["unet/ust"].options["weights"] == {"srt": 0, "sgl": 0, "tel": 0, "ssl": 0}
    assert rows["unet/ssl"].options["weights"] == {"srt": 0.5, "sgl": 0, "tel": 0.5, "ssl": 0.5}
    assert rows["unet/sgm"].options["weights"] == dict.fromkeys(("srt", "sgl", "tel", "ssl"), 0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["srt=false", "ssl=none", "tpf=none"], "tel=false and ssl=none"),
        (["srt=false", "tel=false", "ssl=none"], "tpf='tfm' needs the SRT decoder"),
        (["tel=false", "ssl=none"], "both are switched off"),
        (["sgm=false"], "msres='sgm.encoder' puts multi-scale blocks into the guidance module"),
        (["sgm=false", "msres=none", "weights.sgl=0.5"], "L_sgl needs srt=true and sgm=true"),
        (["weights.ust=1"], "there is no weight 'ust'"),
        (["weights.srt=-1"], "must be 0 or more"),
        (["crop=corner"], "crop is 'corner'"),
        (["ssl=pooled"], "pfseg: ssl is 'pooled'; it must be one of exact, pooled_l1_official"),
        (["binarize=hard"], "pfseg: binarize is 'hard'; it must be one of soft, ste"),
        (["tpf=ust"], "tpf is 'ust'"),
        (["backbone=vnet"], "backbone is 'vnet'"),
        (["depth=3"], "unexpected keyword argument 'depth'"),
        (["srt='no'"], "srt is 'no'; it must be true or false"),
        (["sgm=1"], "sgm is 1; it must be true or false"),
        (["tel=null"], "tel is None; it must be true or false"),
        (["weights=0.5"], "weights is 0.5; it must name its terms"),
        (["widths=8"], "pfseg: widths is 8; it must be a list of whole numbers"),
        (["guidance_widths=[4, 8.5, 16, 16]"], "it must be a list of whole numbers"),
    ],
)
def test_combinations_that_mean_nothing_are_refused_with_a_sentence(changes, said):
    with pytest.raises(UsageError, match=said) as caught:
        planned("table5", *(f"systems.pfseg.{change}" for change in changes), rows=("pfseg",))
    assert caught.value.where == "systems.pfseg"


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ([64, 64, 64], r"window of \[64, 64, 64\] is larger than the volume"),
        ([0, 32, 32], r"window of \[0, 32, 32\] has no voxels"),
        ([20, 32, 32], r"window of \[20, 32, 32\] does not suit the network: Sizes"),
        ([16, 16, 16], r"window of \[16, 16, 16\] does not suit the network: .* value per channel"),
        ([16, 32], r"window is \[16, 32\]; it must be three whole numbers"),
        ([16.5, 32, 32], "it must be three whole numbers"),
        (16, "window is 16; it must be three whole numbers"),
        ("abc", "window is 'abc'; it must be three whole numbers"),
    ],
)
def test_a_window_that_no_network_could_be_trained_on_is_refused(window, said):
    with pytest.raises(UsageError, match=said) as caught:
        planned("table5", f"systems.unet3d.window={window}")
    assert caught.value.where == "systems.unet3d"


@pytest.mark.parametrize("name", SYSTEMS)
def test_volumes_too_small_for_a_network_are_refused_before_it_trains(name):
    with pytest.raises(UsageError, match=r"\[(16, 24, 24|8, 12, 12)\] does not suit the network"):
        planned("table5", models=[name], grid=(16, 24, 24))


def test_a_setting_that_would_make_all_rows_alike_is_refused():
    with pytest.raises(UsageError, match="the row 'random cropping' is about crop='random'"):
        planned("table1", "systems.pfseg.crop=central")


def test_rows_can_be_chosen_by_key():
    assert list(specs("table4", rows=["unet/ust", "resunet/ust"])) == ["unet/ust", "resunet/ust"]
    with pytest.raises(UsageError, match="Did you mean 'unet/ust'"):
        planned("table4", rows=["unet/us"])


def test_a_model_that_the_suite_does_not_hold_gets_a_row():
    rows = planned("table1", models=["pfseg", "san"]).rows
    assert [row.row.system for row in rows] == ["pfseg"] * 5 + ["san"]


def test_a_default_and_the_same_value_written_out_are_one_trial():
    plain, written = (
        planned("table5", *changes, models=["resunet3d"]).rows[0].trials[0]
        for changes in ([], ["systems.resunet3d.window=[16, 32, 32]"])
    )
    assert plain.id == written.id

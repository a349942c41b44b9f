"""Several targets at once: one label, K channels, scores of each, their mean; K = 1 as before."""

import csv
import io
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from helper_in_process import pfbench
from helper_made_run import MadeRun, data, spec

from baselines.hdresunet import HDResUNet, depth_to_space, space_to_depth
from harness.data import regions, targets, volumes
from harness.data.cache import open_volume
from harness.data.case import Scan, Volume
from harness.data.prepare import liver
from harness.data.reading import Reading
from harness.data.request import DataRequest, complete
from harness.data.target_labels import codes
from harness.data.volumes import prepare
from harness.errors import DataError, UsageError
from harness.results import tables
from harness.results.compare import compare
from harness.systems import catalogue as systems
from harness.systems.catalogue import SYSTEMS
from harness.systems.evaluate import evaluate, summary
from harness.systems.methods import Patches, WholeVolume
from models import losses
from models.objective import fusion_terms
from models.unet import UNet

GRID = (32, 32, 64)
BRATS = {"wt": (1, 2, 4), "tc": (1, 4), "et": (4,)}
PARTS = {"anterior": (1,), "posterior": (2,)}


# ── what --target says ──────────────────────────────────────────────────────────────────────────


def asked(target: str, dataset: str = "phantom") -> str:
    return complete(DataRequest(dataset, Path("."), target=target)).target


def test_a_comma_parts_targets_and_a_plus_joins_labels():
    found = volumes.expected(DataRequest("lits", Path("."), target="liver+tumour"))
    assert (found.target, found.targets) == ("liver+tumour", {})
    found = volumes.expected(DataRequest("lits", Path("."), target="liver,tumour"))
    assert found.targets == {"liver": (1, 2), "tumour": (2,)}


@pytest.mark.parametrize(
    "dataset, every",
    [
        ("phantom", "wt,tc,et"),
        ("lits", "liver,tumour"),
        ("kits", "kidney,tumour,cyst"),  # not masses, which are tumour and cyst
        ("hippocampus", "anterior,posterior"),
        ("acdc", "lv,myo,rv"),
    ],
)
def test_all_are_those_that_others_do_not_make_up(dataset, every):
    assert asked("all", dataset) == every


@pytest.mark.parametrize(
    "target, what",
    [
        ("wt,wt", "wt twice"),
        ("tc,1+4", "tc and 1+4 are the same labels"),
        ("wt,core", "unknown target 'core'"),
    ],
)
def test_targets_that_are_the_same_or_that_there_are_not_are_refused(target, what):
    with pytest.raises(UsageError, match=what.replace("+", r"\+")):
        asked(target)


def test_all_is_refused_where_nothing_says_which_labels_there_are(tmp_path):
    with pytest.raises(UsageError, match=r"no dataset\.json says which labels there are"):
        complete(DataRequest("folder", folders(tmp_path), target="all"))


def folders(root: Path) -> Path:
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    return root


def test_as_many_labels_as_an_integer_has_bits_are_learned_together(tmp_path):
    def numbers(count: int) -> str:
        return ",".join(map(str, range(1, count + 1)))

    full = complete(DataRequest("folder", folders(tmp_path), target=numbers(64)))
    assert full.target == numbers(64)
    with pytest.raises(UsageError, match="65 targets; at most 64"):
        complete(DataRequest("folder", tmp_path, target=numbers(65)))


def test_as_many_binary_masks_as_a_byte_has_bits_are_learned_together():
    assert [each[0] for each in codes(8)] == [1, 2, 4, 8, 16, 32, 64, 128]
    with pytest.raises(UsageError, match="9 targets of binary masks; at most 8"):
        codes(9)


# ── one label ───────────────────────────────────────────────────────────────────────────────────


def masks(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, 3, 4, 5)) < 0.5


@pytest.mark.parametrize("count, kind", [(1, "uint8"), (8, "uint8"), (9, "uint16"), (64, "uint64")])
def test_masks_come_out_of_a_label_as_they_went_in(count, kind):
    label = targets.packed(masks(count))
    assert (label.shape, label.dtype) == ((3, 4, 5), kind)
    assert np.array_equal(targets.unpacked(label, count), masks(count))
    assert np.array_equal(label > 0, masks(count).any(0))


def test_more_targets_than_bits_are_refused():
    with pytest.raises(ValueError, match="65 targets"):
        targets.packed(masks(65))


def test_nested_regions_are_drawn_in_the_order_of_nnunet():
    """The larger first, each with the label that is its own: oedema 2, core 1, enhancing 4."""
    assert regions.drawing_order(BRATS) == [(0, 2), (1, 1), (2, 4)]
    backwards = dict(reversed(BRATS.items()))
    assert regions.drawing_order(backwards) == [(2, 2), (1, 1), (0, 4)]


def test_exclusive_targets_keep_their_labels():
    assert regions.exclusive(list(PARTS.values())) and not regions.exclusive(list(BRATS.values()))
    first, second = np.zeros((2, 1, 1, 3), bool)
    first[0, 0, 1] = second[0, 0, 2] = True
    assert targets.label_map([first, second], PARTS).ravel().tolist() == [0, 1, 2]


def test_two_names_of_the_same_target_fit_no_label_map():
    with pytest.raises(UsageError, match="a and b overlap"):
        regions.drawing_order({"a": (1, 2), "b": (1, 2)})


def test_targets_that_overlap_in_part_fit_no_label_map():
    with pytest.raises(UsageError, match="a and b overlap") as caught:
        regions.drawing_order({"a": (1, 2), "b": (2, 3)})
    assert caught.value.remedy == "--separate"


# ── from files to the grid ──────────────────────────────────────────────────────────────────────


def phantom(cache: Path, target: str) -> tuple[volumes.Prepared, Volume]:
    made = prepare(DataRequest("phantom", target=target, reduce=(8, 6, 6), cases=1), cache)
    return made, open_volume(cache, made.keys["phantom_001"])


def test_each_target_is_on_the_grid_what_it_is_alone(tmp_path):
    made, together = phantom(tmp_path, "wt,tc,et")
    for place, name in enumerate(("wt", "tc", "et")):
        alone = phantom(tmp_path, name)[1]
        assert np.array_equal(targets.held(together.label, place), alone.label > 0)
        assert np.array_equal(together.image, alone.image)
    assert made.targets == {"wt": (1, 2, 3, 4), "tc": (1, 4), "et": (4,)}


def test_a_liver_is_cut_around_all_targets_together():
    label = np.zeros((150, 40, 40), np.uint8)
    label[10:140, 10:30, 10:30] = 1
    label[100:110, 12:20, 12:20] = 2
    scan = Scan(np.empty((0, *label.shape), np.float32), label, (1.5, 1.5, 1.5), np.eye(4))
    alone = liver(scan, (1, 2), (1, 1, 1), "a")
    made = liver(scan, ((1, 2), (2,)), (1, 1, 1), "a")
    assert np.array_equal(targets.held(made.label, 0), alone.label > 0)
    assert targets.held(made.label, 1).sum() == 10 * 8 * 8


def test_binary_masks_of_several_targets_may_overlap(tmp_path):
    image = np.random.default_rng(0).integers(0, 99, (32, 32, 64)).astype(np.int16)
    for case in ("a", "b", "c"):
        (tmp_path / case).mkdir()
        for place, name in enumerate(("image", "liver", "lesion")):
            voxels = image if name == "image" else np.zeros_like(image, np.uint8)
            if name != "image":
                voxels[8:24, 8:24, 10 : 40 - 20 * (place - 1)] = 1
            voxels = voxels + (ord(case) if name == "image" else 0)
            stored = nibabel.Nifti1Image(voxels.astype(np.int16), np.diag([2.0, 2, 2, 1]))
            nibabel.save(stored, tmp_path / case / f"{name}.nii.gz")
    request = DataRequest(
        "folder",
        tmp_path,
        target="liver,lesion",
        images=("ct={case}/image.nii.gz",),
        labels=("{case}/{target:l@}.nii.gz",),
    )
    made = prepare(request, tmp_path / "cache")
    label = open_volume(tmp_path / "cache", made.keys["a"]).label
    counts = [int(targets.held(label, place).sum()) for place in (0, 1)]
    assert counts[1] > 0 and counts[0] == 3 * counts[1]
    assert made.targets == {"liver": (), "lesion": ()}


def test_a_target_that_vanishes_from_the_grid_is_named(tmp_path):
    label = np.zeros((24, 30, 30), np.uint8)
    label[4:20, 5:25, 5:25], label[11, 15, 15] = 2, 4
    for folder, array in (("images", label * 9), ("labels", label)):
        (tmp_path / folder).mkdir()
        stored = nibabel.Nifti1Image(array.T, np.diag([8.0, 8, 8, 1]))
        nibabel.save(stored, tmp_path / folder / "a.nii.gz")
    reading = Reading(grid="paper")
    asked = DataRequest("folder", tmp_path, target="2,4", reduce=(16, 24, 24), reading=reading)
    with pytest.raises(DataError, match="of its target 4") as caught:
        prepare(asked, tmp_path / "cache")
    assert caught.value.code == "PFB-V35"


def test_the_cases_that_lack_a_target_are_known_by_target(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for case, values in {"a": (1, 2), "b": (1,), "c": (1, 2)}.items():
        label = np.zeros((24, 30, 30), np.uint8)
        for value in values:
            label[8 * value - 6 : 8 * value, 5:25, 5:25] = value
        for folder, array in (("images", label * 9 + ord(case)), ("labels", label)):
            stored = nibabel.Nifti1Image(array.T, np.diag([8.0, 8, 8, 1]))
            nibabel.save(stored, tmp_path / folder / f"{case}.nii.gz")
    made = prepare(DataRequest("folder", tmp_path, target="1,2", reduce=(8, 6, 6)), tmp_path / "c")
    assert made.absent == {"1": frozenset(), "2": frozenset({"b"})}


def test_what_a_class_lacks_is_counted_and_said():
    absent = {"wt": frozenset(), "tc": frozenset({"a"}), "et": frozenset({"a", "b", "t"})}
    said = regions.absences(absent, {"train": ("a", "b"), "test": ("t", "u")})
    assert said == [
        "1 of 2 train cases without tc",
        "none of the 2 train cases has any et: it cannot be learned",
        "1 of 2 test cases without et: an empty prediction scores Dice 100 and HD95 0 there, any "
        "other Dice 0 and the diagonal of the volume",
    ]


def test_of_several_folds_those_are_said_that_have_none_at_all():
    absent = {"et": frozenset({"a", "b", "t"})}
    said = regions.absences(absent, {"train": ("a", "b"), "test": ("t", "u")}, wholly=True)
    assert said == ["none of the 2 train cases has any et: it cannot be learned"]


# ── losses ──────────────────────────────────────────────────────────────────────────────────────


def batch(channels: int, seed: int) -> torch.Tensor:
    return torch.rand(2, channels, 12, 20, 20, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("term", [losses.bce_loss, losses.dice_loss, losses.segmentation_loss])
def test_a_loss_of_three_targets_is_the_mean_of_the_three(term):
    logits, label = batch(3, 0), (batch(3, 1) < 0.3).float()
    alone = [term(logits[:, k : k + 1], label[:, k : k + 1]) for k in range(3)]
    assert float(term(logits, label)) == pytest.approx(float(sum(alone)) / 3, rel=1e-6)


@pytest.mark.parametrize("ssl", ["exact", "pooled_l1_official", "pooled_l1_fixed"])
def test_the_fusion_of_three_targets_is_the_mean_of_three_fusions(ssl):
    sr, image, prob, label = batch(2, 0), batch(2, 1), batch(3, 2), (batch(3, 3) < 0.3).float()
    together = fusion_terms(prob, sr, image, label, ssl=ssl, tel=True)
    alone = [
        fusion_terms(prob[:, k : k + 1], sr, image, label[:, k : k + 1], ssl=ssl, tel=True)
        for k in range(3)
    ]
    for name in ("tel", "ssl"):
        mean = float(sum(each[name] for each in alone)) / 3
        assert float(together[name]) == pytest.approx(mean, rel=1e-5)


# ── systems ─────────────────────────────────────────────────────────────────────────────────────


def built(name: str, count: int, exclusive: bool = False):
    torch.manual_seed(0)
    return systems.build(name, systems.options(name, "quick"), 1, GRID, count, exclusive)


def sample_volume() -> tuple[np.ndarray, np.ndarray]:
    """An image and a label of three targets, one within the other."""
    nested = np.zeros((3, *GRID), bool)
    for place, margin in enumerate((8, 10, 12)):
        nested[place, margin:-margin, margin:-margin, margin:-margin] = True
    image = np.random.default_rng(0).random((1, *GRID), dtype=np.float32)
    return image + nested.sum(0, dtype=np.float32) / 3, targets.packed(nested)


@pytest.mark.parametrize("name", [*SYSTEMS])
def test_every_system_learns_and_draws_three_targets(name):
    method = built(name, 3)
    image, label = sample_volume()
    for stage in method.stages:
        terms = stage.losses(*stage.sample(image, label, np.random.default_rng(0)))
        terms["total"].backward()
        assert torch.isfinite(terms["total"])
        assert all(p.grad is not None for p in stage.network.parameters())
    mask = method.at("a").segment(image)
    assert (mask.shape, mask.dtype, int(mask.max()) < 8) == (GRID, "uint8", True)
    assert method.at("a").probability(image).shape == (3, *GRID)


@pytest.mark.parametrize("name", ["unet3d", "hdresunet", "san", "pfseg"])
def test_three_targets_add_channels_to_the_head_alone(name):
    one, three = built(name, 1).network.state_dict(), built(name, 3).network.state_dict()
    grown = {key for key in one if one[key].shape != three[key].shape}
    assert one.keys() == three.keys() and len(grown) == 2  # a weight and a bias
    assert all(three[key].shape[0] == 3 * one[key].shape[0] for key in grown)


@pytest.mark.parametrize("name", ["unet3d", "hdresunet", "san", "pfseg"])
def test_the_same_target_twice_costs_what_it_costs_once(name):
    """Channel k is held against target k in every voxel: no fold, crop or mean moves it."""
    one, two = built(name, 1), built(name, 2)
    weights = one.network.state_dict()
    for key, own in two.network.state_dict().items():
        times = len(own) // len(weights[key]) if own.ndim else 1
        own.copy_(weights[key].repeat(times, *[1] * (own.ndim - 1)) if times > 1 else weights[key])
    image, label = sample_volume()
    target = targets.held(label, 1)
    found = []
    for method, seen in ((one, target), (two, targets.packed([target, target]))):
        sample = method.sample(image, seen, np.random.default_rng(0))
        found.append({name: float(term.detach()) for name, term in method.losses(*sample).items()})
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_a_map_folded_and_unfolded_is_itself_and_reaches_no_other_target():
    maps = torch.rand(2, 3, 4, 6, 8)
    folded = space_to_depth(maps)
    assert torch.equal(depth_to_space(folded), maps)
    for k in range(3):
        assert torch.equal(depth_to_space(folded[:, 8 * k : 8 * (k + 1)]), maps[:, k : k + 1])


def test_targets_begin_to_differ_alike_in_all_eight_voxels_of_a_block():
    torch.manual_seed(0)
    rows = HDResUNet(1, (4, 4, 8), 3).unet.head.weight.detach().unflatten(0, (3, 8))
    apart = rows - rows[:1]
    assert torch.allclose(apart, apart[:, :1].expand_as(apart), atol=1e-6)
    assert apart[1:].abs().max() > 0.1
    torch.manual_seed(0)
    plain = UNet(8, 8, (4, 4, 8)).head.weight
    torch.manual_seed(0)
    assert torch.equal(HDResUNet(1, (4, 4, 8)).unet.head.weight, plain)


def test_half_a_probability_is_enough_for_each_target():
    probability = np.array([[0.5, 0.49], [0.5, 0.5]])[:, None, None]
    assert built("unet3d", 2).mask(probability).ravel().tolist() == [3, 2]


def test_of_exclusive_targets_the_most_probable_stays():
    method = built("unet3d", 2, exclusive=True)
    probability = np.array([[0.9, 0.6, 0.2, 0.7], [0.8, 0.7, 0.1, 0.7]])[:, None, None]
    assert method.mask(probability).ravel().tolist() == [1, 2, 0, 1]
    method.exclusive = False
    assert method.mask(probability).ravel().tolist() == [3, 3, 0, 3]


def test_points_are_dense_where_any_target_is():
    method = built("point_unet", 2)
    apart = np.zeros((2, *GRID), bool)
    apart[0, 4:8, 4:8, 4:8] = apart[1, 20:24, 20:24, 40:44] = True
    image = np.random.default_rng(0).random((1, *GRID), dtype=np.float32) + 0.1
    *_, seen = method.sample(image, targets.packed(apart), np.random.default_rng(0))
    assert seen.shape == (method.points, 2)
    assert seen.sum(0).tolist() == [64, 64]


# ── plug-ins ────────────────────────────────────────────────────────────────────────────────────


def one_channel(modalities: int) -> torch.nn.Module:
    return torch.nn.Conv3d(modalities, 1, 1)


def deaf(modalities: int, targets: int = 1) -> torch.nn.Module:
    return torch.nn.Conv3d(modalities, 1, 1)


class Halved(WholeVolume):
    """Makes its samples in a way of its own."""

    def sample(self, image, label, rng):
        return super().sample(image / 2, label, rng)


class Aware(Halved):
    several = True


@pytest.mark.parametrize(
    "network, sees, what",
    [
        (one_channel, WholeVolume, "its network takes no `targets`"),
        (deaf, Halved, "does not say `several = True`"),
    ],
)
def test_a_plugin_that_was_not_made_for_several_targets_is_refused(
    monkeypatch, network, sees, what
):
    monkeypatch.setitem(SYSTEMS, "mine", systems.SystemEntry("M", "patch-free", network, sees, ""))
    with pytest.raises(ValueError, match=what):
        systems.build("mine", {}, 1, GRID, 2)
    assert systems.build("mine", {}, 1, GRID).targets == 1


@pytest.mark.parametrize("sees", [Aware, Patches])
def test_a_plugin_that_answers_with_one_channel_is_found_out_before_training(monkeypatch, sees):
    entry = systems.SystemEntry("M", "patch-free", deaf, sees, "")
    monkeypatch.setitem(SYSTEMS, "mine", entry)
    with pytest.raises(ValueError, match="answers with 1 channels for 2 targets"):
        systems.build("mine", {}, 1, GRID, 2).look(1)


# ── scores ──────────────────────────────────────────────────────────────────────────────────────


class Fixed(WholeVolume):
    """Answers with a label that was given to it."""

    answer_with: np.ndarray

    def segment(self, image):
        return self.answer_with


def row(*voxels: list[int]) -> np.ndarray:
    """A label of four voxels in a row, with these for each target."""
    return targets.packed(np.array(voxels, bool)[:, None, None])


def scored(label: np.ndarray, mask: np.ndarray) -> list[dict]:
    method = Fixed(torch.nn.Identity(), (1, 1, 4))
    method.answer_with = mask
    volume = Volume("a", np.zeros((1, 1, 1, 4), np.float32), label, (1, 1, 1))
    return evaluate(method, [volume], lambda *_: None, targets=("x", "y")).rows


def test_a_case_has_a_row_for_each_target():
    label, mask = row([1, 1, 0, 0], [0, 0, 1, 0]), row([1, 1, 0, 0], [0, 0, 0, 0])
    rows = scored(label, mask)
    assert [(r["case"], r["target"], r["dice"], r["failed"]) for r in rows] == [
        ("a", "x", 1.0, False),
        ("a", "y", 0.0, True),
    ]
    assert summary(rows)["dice_mean"] == 0.5


def test_a_target_that_no_test_case_has_is_in_no_mean():
    label, mask = row([1, 1, 0, 0], [0, 0, 0, 0]), row([1, 0, 0, 0], [0, 0, 0, 0])
    rows = scored(label, mask)
    assert rows[1]["dice"] == 1.0  # both empty, which nobody earned
    assert summary(rows)["dice_mean"] == pytest.approx(2 / 3)


def test_one_target_and_several_are_different_trials_and_one_is_the_trial_it_was():
    one, several = data(target="wt"), data(target="wt,tc", targets={"wt": (1, 2), "tc": (1,)})
    turned = data(target="tc,wt", targets={"wt": (1, 2), "tc": (1,)})
    assert len({spec(data=each).id for each in (one, several, turned)}) == 3
    content = spec(data=one).model_dump(mode="json")
    assert content["data"].pop("targets") == {}
    assert type(spec()).model_validate(content).id == spec(data=one).id


# ── tables ──────────────────────────────────────────────────────────────────────────────────────


TWO = {"wt": (1, 2), "tc": (1,)}


@pytest.fixture
def run(tmp_path) -> MadeRun:
    """Two systems that are alike in wt; pfseg is 0.2 better in tc, which two cases do not have."""
    made = MadeRun(tmp_path / "run", rows=["pfseg", "unet3d"], alike=[0.6] * 12, targets=TWO)
    for key, by in (("pfseg", 0.2), ("unet3d", 0.0)):
        dice = [0.4 + by + place / 100 * (key == "pfseg") for place in range(12)]
        made.score_target(key, "tc", dice, missed=(3,), without=(5,))
    return made


def test_a_table_has_the_mean_over_targets_and_by_target_each(run):
    found = tables.build(run.folder)
    [mean], [wt, tc] = found.tables, found.by_target
    shown = {
        name: table.means.set_index("key").loc["unet3d", "dice_mean"]
        for name, table in (("mean", mean), ("wt", wt), ("tc", tc))
    }
    assert shown == pytest.approx({"mean": 0.5, "wt": 0.6, "tc": 0.4})
    assert {*found.frame["target"]} == {"mean", "wt", "tc"}
    assert "target wt" in pfbench("report", run.path, "--by-target", "--no-pictures").out


def test_misses_are_counted_for_each_target_and_summed(run):
    found = tables.build(run.folder)
    missed = [t.means.iloc[0]["n_missed"] for t in (*found.tables, *found.by_target)]
    assert missed == [1, 0, 1]


def test_a_target_that_some_cases_lack_is_noted(run):
    assert any("1 of 12 test cases without tc" in note for note in tables.build(run.folder).notes)


def test_a_table_of_one_target_has_no_column_of_targets(tmp_path):
    found = tables.build(MadeRun(tmp_path / "run", rows=["pfseg"]).folder)
    assert "target" not in found.frame and not found.by_target


def test_targets_are_corrected_together_beside_their_mean(run):
    """Of two rows the mean is one test; by target there are two in a metric, Holm over both."""
    plain = json.loads(pfbench("compare", run.path, "--json").out)["pairs"]
    pairs = json.loads(pfbench("compare", run.path, "--by-target", "--json").out)["pairs"]
    dice = [pair for pair in pairs if pair["metric"] == "dice"]
    assert [pair.get("target", "") for pair in dice] == ["", "wt", "tc"]
    assert dice[0] == next(pair for pair in plain if pair["metric"] == "dice")
    assert dice[0]["difference"] == pytest.approx(dice[2]["difference"] / 2)
    assert dice[2]["p_holm"] == pytest.approx(min(1, 2 * dice[2]["p"]))


def test_each_target_is_named_where_it_is_compared(run):
    titles = [found.title for found in compare([run.folder], [], by_target=True).found]
    assert titles[:3] == ["Dice (%)", "Dice (%), wt", "Dice (%), tc"]


def test_by_target_is_refused_of_one_target(tmp_path):
    one = MadeRun(tmp_path / "run", rows=["pfseg", "unet3d"])
    assert "has one target" in pfbench("compare", one.path, "--by-target", expect=2).said


def test_mlflow_gets_the_mean_and_each_target(run):
    from harness.tracking.desired import final_metrics

    found = final_metrics(run.trials["unet3d", 0].result(), None)
    assert found["test/dice.mean"] == pytest.approx(0.5)
    assert (found["test/dice.wt"], found["test/dice.tc"]) == pytest.approx((0.6, 0.4))
    assert found["Dice"] == found["test/dice.mean"]


def test_the_report_has_a_table_and_a_plot_for_each_target(run):
    from harness.report import write

    text = write.render([run.folder], "md")
    assert "target wt" in text and "target tc" in text and "corrected together" in text
    lines = csv.DictReader(io.StringIO(write.render([run.folder], "csv")))
    assert {line["target"] for line in lines} == {"mean", "wt", "tc"}

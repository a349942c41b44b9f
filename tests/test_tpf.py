"""Test-phase fine-tuning: what it may change, from what it learns, and in which order."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from models import losses, tpf
from models.objective import LossWeights, pfseg_objective
from models.pfseg import PFSeg, PFSegConfig
from models.tpf import Guided, adapt

HR = (16, 16, 16)  # three levels: two voxels a side on the deepest
WINDOW = (4, 4, 4)
RATE = 1e-2  # large, so that one step leaves its mark
STRATEGIES = ("srt", "srt+ust", "srt+ust+tfm", "tfm")


def network(**options):
    """Untrained, but with a reconstruction above zero, where the ReLU lets gradients through,
    and with a mask that covers a part of the volume."""
    torch.manual_seed(0)
    config = PFSegConfig(widths=(4, 4, 4), guidance_widths=(2, 2), msres="none", **options)
    model: Any = PFSeg(config)
    torch.nn.init.zeros_(model.ust.finest[2].bias)
    if model.srt is not None:
        torch.nn.init.constant_(model.srt.finest[2].bias, 0.5)
    return model


def case(seed):
    image = torch.rand(1, 1, *HR, generator=torch.Generator().manual_seed(seed))
    low = torch.nn.functional.avg_pool3d(image, 2)
    return Guided(low, image[..., 6:10, 3:7, 2:6], image, (6, 3, 2))


CASES = [case(1), case(2)]


class Recorded(Sequence):
    """Cases made on demand, and the order in which they were asked for."""

    def __init__(self):
        self.order = []

    def __len__(self):
        return len(CASES)

    def __getitem__(self, index):
        item = CASES[index]
        self.order.append(index)
        return item


def changed(before, after):
    """The parts of the network in which a parameter differs."""
    new = dict(after.named_parameters())
    return {n.split(".")[0] for n, p in before.named_parameters() if not torch.equal(p, new[n])}


def by_hand(start, loss, labels):
    """One epoch of Adam, batch 1, on `loss(network, case, label)`."""
    tuned = copy.deepcopy(start)
    optimizer = torch.optim.Adam(tuned.parameters(), RATE)
    for item, label in zip(CASES, labels, strict=True):
        optimizer.zero_grad()
        loss(tuned, item, label).backward()
        optimizer.step()
    return tuned


def probabilities(model):
    with torch.no_grad():
        return [model.segment(item.low, item.window).sigmoid() for item in CASES]


def fusion_loss(model, item, label):
    output = model(item.low, item.window)
    return sum(losses.fusion_losses(output.sr, output.seg.sigmoid(), item.image, label))


def assert_same_weights(actual, expected):
    torch.testing.assert_close(
        dict(actual.named_parameters()), dict(expected.named_parameters()), rtol=0, atol=1e-7
    )


def test_there_is_no_place_for_labels():
    assert Guided._fields == ("low", "window", "image", "start")
    assert not any("label" in name for name in inspect.signature(adapt).parameters)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_original_network_stays_as_it_is(strategy):
    original = network()
    reference = copy.deepcopy(original)
    adapt(original, CASES, strategy, learning_rate=RATE)
    assert changed(reference, original) == set()
    assert all(p.grad is None for p in original.parameters())


@pytest.mark.parametrize(
    "strategy, parts",
    [
        ("srt", {"encoder", "sgm", "srt"}),
        ("srt+ust", {"encoder", "sgm", "srt", "ust"}),
        ("srt+ust+tfm", {"encoder", "sgm", "srt", "ust"}),
        ("tfm", {"encoder", "sgm", "srt", "ust"}),
    ],
)
def test_only_the_parts_of_the_strategy_learn(strategy, parts):
    original = network()
    assert changed(original, adapt(original, CASES, strategy, learning_rate=RATE)) == parts


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_fine_tuning_twice_gives_the_same_network(strategy):
    first, second = (adapt(network(), CASES, strategy, learning_rate=RATE) for _ in "ab")
    assert changed(first, second) == set()


def test_every_pseudo_label_is_made_before_the_first_step():
    cases = Recorded()
    adapt(network(), cases)
    assert cases.order == [0, 1, 0, 1]


def test_the_default_is_one_epoch_of_the_fusion_loss_alone():
    start = network()
    labels = [prob >= 0.5 for prob in probabilities(start)]
    assert all(0.1 < label.float().mean() < 0.9 for label in labels)
    expected = by_hand(start, fusion_loss, labels)
    assert_same_weights(adapt(start, CASES, learning_rate=RATE), expected)


def test_soft_pseudo_labels_are_those_of_the_network_as_trained():
    start = network()
    labels = [prob.half() for prob in probabilities(start)]
    expected = by_hand(start, fusion_loss, labels)
    assert_same_weights(adapt(start, CASES, learning_rate=RATE, soft=True), expected)


def test_the_fusion_strategy_ignores_the_weights():
    start = network()
    plain, weighted = (
        adapt(start, CASES, "tfm", learning_rate=RATE, weights=w)
        for w in (LossWeights(), LossWeights(tel=0, ssl=0))
    )
    assert changed(plain, weighted) == set()


@pytest.mark.parametrize(
    "strategy, options",
    [("srt+ust", {"tel": False, "ssl": "none"}), ("srt+ust+tfm", {})],
)
def test_the_joint_strategies_minimise_the_training_objective(strategy, options):
    weights = LossWeights(srt=0.3, sgl=4, tel=2, ssl=7)

    def loss(model, item, label):
        output = model(item.low, item.window)
        return pfseg_objective(output, item.image, label, item.start, WINDOW, weights, **options)[
            "total"
        ]

    start = network()
    expected = by_hand(start, loss, [prob >= 0.5 for prob in probabilities(start)])
    assert_same_weights(
        adapt(start, CASES, strategy, learning_rate=RATE, weights=weights), expected
    )


def test_the_reconstruction_strategy_minimises_its_two_terms():
    def loss(model, item, label):
        sr = model(item.low, item.window).sr
        guidance = losses.guidance_loss(sr, item.image, item.start, WINDOW)
        return 0.5 * losses.super_resolution_loss(sr, item.image) + 0.5 * guidance

    start = network()
    expected = by_hand(start, loss, [None, None])
    assert_same_weights(adapt(start, CASES, "srt", learning_rate=RATE), expected)


@pytest.mark.parametrize("soft, dtype", [(False, torch.bool), (True, torch.float16)])
def test_pseudo_labels_are_stored_small(soft, dtype):
    label = tpf.pseudo_label(network(), CASES[0], soft=soft)
    assert label.dtype == dtype and label.shape == (1, 1, *HR)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_network_without_guidance_can_be_fine_tuned(strategy):
    original = network(sgm=False)
    blind = [item._replace(window=None) for item in CASES]
    assert "encoder" in changed(original, adapt(original, blind, strategy, learning_rate=RATE))


def test_without_volumes_the_copy_is_the_original():
    original = network()
    tuned = adapt(original, [])
    assert tuned is not original and changed(original, tuned) == set()


def test_a_network_without_reconstruction_is_refused():
    with pytest.raises(ValueError, match="needs the SRT decoder"):
        adapt(network(srt=False), CASES)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match="tpf is 'ust'"):
        adapt(network(), CASES, "ust")  # type: ignore[arg-type]


def test_a_loss_that_is_no_number_stops_the_fine_tuning():
    broken = CASES[1]._replace(image=torch.full((1, 1, *HR), torch.nan))
    with pytest.raises(FloatingPointError, match="case 1 gave a loss of nan"):
        adapt(network(), [CASES[0], broken])

"""The terms of the objective against numbers worked out by hand and against their definitions."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional

from models import losses, moments
from models.losses import spatial_similarity_loss
from models.objective import (
    EQUATION_19,
    LossWeights,
    fusion_terms,
    pfseg_objective,
    weights_of,
)
from models.pfseg import Output

GRID = (2, 3, 4)


def volume(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_definition(fusion, target):
    """Eq. 15 and 16 with their L x L matrices."""
    a, b = fusion.flatten(2).mT, target.flatten(2).mT
    difference = a @ a.mT - b @ b.mT
    return (difference**2).sum((1, 2)).mean() / a.shape[1] ** 2


# Eq. 1 to 4


def test_cross_entropy_of_a_coin_toss_is_log_2():
    assert losses.bce_loss(torch.zeros(2, 1, *GRID), torch.ones(2, 1, *GRID)) == pytest.approx(
        math.log(2)
    )


def test_dice_by_hand():
    prob, label = torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1, 1, 2, 2)
    prob[0, 0, 0, 0] = torch.tensor([1.0, 0.5])
    label[0, 0, 0, :, 0] = 1
    # 2 * 1 + 1 over (1 + 0.25) + 2 + 1
    assert losses.dice_loss(prob, label).item() == pytest.approx(1 - 3 / 4.25)


def test_dice_of_a_batch_is_the_mean_of_its_volumes():
    prob, label = volume(2, 1, *GRID), volume(2, 1, *GRID, seed=1).round()
    each = [losses.dice_loss(prob[i : i + 1], label[i : i + 1]) for i in range(2)]
    assert losses.dice_loss(prob, label) == pytest.approx(torch.stack(each).mean())


@pytest.mark.parametrize("fill", [0, 1])
def test_a_perfect_prediction_has_no_dice_loss_even_of_an_empty_label(fill):
    label = torch.full((1, 1, *GRID), fill)
    assert losses.dice_loss(label.float(), label) == 0


def test_segmentation_loss_by_hand():
    logits = torch.full((1, 1, 1, 1, 4), math.log(3))  # p = 0.75
    label = torch.tensor([True, True, False, False]).reshape(1, 1, 1, 1, 4)
    bce = -(2 * math.log(0.75) + 2 * math.log(0.25)) / 4
    dice = 1 - (2 * 1.5 + 1) / (4 * 0.5625 + 2 + 1)
    assert losses.segmentation_loss(logits, label).item() == pytest.approx(bce + dice)


def test_a_confident_right_prediction_costs_nothing():
    label = volume(2, 1, *GRID).round()
    assert losses.segmentation_loss(200 * label - 100, label).item() == pytest.approx(0, abs=1e-12)


def test_super_resolution_loss_by_hand():
    """Two voxels of two modalities: errors 0² + 2² in one, 1² + 0² in the other."""
    sr, image = torch.tensor([0.0, 1.0, 3.0, 0.0]), torch.tensor([0.0, 0.0, 1.0, 0.0])
    shape = (1, 2, 1, 1, 2)
    assert losses.super_resolution_loss(sr.reshape(shape), image.reshape(shape)) == 5 / 2


# Eq. 10


def test_guidance_loss_divides_the_windows_error_by_the_whole_volume():
    sr, image = torch.full((1, 1, 4, 4, 4), 3.0), torch.ones(1, 1, 4, 4, 4)
    # 2 * 2 * 1 voxels of error 2² = 16 over 64 voxels
    assert losses.guidance_loss(sr, image, (1, 2, 3), (2, 2, 1)) == 16 / 64


def test_guidance_loss_is_the_masked_error_per_voxel_with_a_window_for_each_volume():
    sr, image = volume(2, 3, 4, 5, 6), volume(2, 3, 4, 5, 6, seed=1)
    mask = torch.zeros_like(sr)
    mask[0, :, 0:2, 1:4, 2:6] = 1
    mask[1, :, 2:4, 0:3, 1:5] = 1
    actual = losses.guidance_loss(sr, image, [(0, 1, 2), (2, 0, 1)], (2, 3, 4))
    per_value = functional.mse_loss(mask * sr, mask * image).item()
    assert actual.item() == pytest.approx(3 * per_value)  # of three modalities


def test_guidance_loss_teaches_nothing_outside_the_window():
    sr = volume(1, 1, 4, 4, 4).requires_grad_()
    losses.guidance_loss(sr, torch.zeros_like(sr), (0, 0, 0), (2, 2, 2)).backward()
    assert (sr.grad != 0).sum() == 8 and (sr.grad[..., :2, :2, :2] != 0).all()


@pytest.mark.parametrize("start", [(3, 0, 0), (-1, 0, 0)])
def test_a_guidance_window_outside_the_volume_is_refused(start):
    sr = volume(1, 1, 4, 4, 4)
    with pytest.raises(ValueError, match=r"leaves the grid \(4, 4, 4\)"):
        losses.guidance_loss(sr, sr, start, (2, 2, 2))


def test_too_few_window_starts_are_refused():
    sr = volume(2, 1, 4, 4, 4)
    with pytest.raises(ValueError, match="1 window starts for a batch of 2"):
        losses.guidance_loss(sr, sr, [(0, 0, 0)], (2, 2, 2))


# Eq. 11 to 14


def test_fusion_masks_every_channel():
    image, mask = volume(2, 3, *GRID), volume(2, 1, *GRID, seed=1)
    fused = losses.fuse(image, mask)
    for channel in range(3):
        torch.testing.assert_close(fused[:, channel], image[:, channel] * mask[:, 0])


def test_target_enhanced_loss_by_hand():
    fusion = torch.tensor([0.5, 1.0]).reshape(1, 1, 1, 1, 2)
    target = torch.tensor([0.0, 3.0]).reshape(1, 1, 1, 1, 2)
    assert losses.target_enhanced_loss(fusion, target) == (0.25 + 4) / 2


@pytest.mark.parametrize(
    "loss",
    [
        losses.bce_loss,
        losses.dice_loss,
        losses.segmentation_loss,
        losses.super_resolution_loss,
        lambda x, y: losses.guidance_loss(x, y, (0, 0, 0), (1, 1, 1)),
        losses.fuse,
        losses.target_enhanced_loss,
        spatial_similarity_loss,
        losses.spatial_similarity_loss_pooled_fixed,
        lambda x, y: losses.spatial_similarity_loss_pooled_official(x, x, y),
    ],
)
def test_two_grids_that_differ_are_both_named(loss):
    with pytest.raises(ValueError, match=r"1, 1, 2, 3, 4\).*1, 1, 2, 3, 5\)"):
        loss(volume(1, 1, 2, 3, 4), volume(1, 1, 2, 3, 5))


# Eq. 15 and 16


@pytest.mark.parametrize("channels", [1, 3])
def test_similarity_loss_equals_its_definition(channels):
    fusion, target = volume(2, channels, *GRID), volume(2, channels, *GRID, seed=1)
    expected = by_definition(fusion, target)
    torch.testing.assert_close(
        spatial_similarity_loss(fusion, target), expected, rtol=1e-13, atol=0
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_similarity_loss_has_the_gradient_of_its_definition(channels):
    fusion = volume(2, channels, *GRID).requires_grad_()
    target = volume(2, channels, *GRID, seed=1)
    (actual,) = torch.autograd.grad(spatial_similarity_loss(fusion, target), fusion)
    (expected,) = torch.autograd.grad(by_definition(fusion, target), fusion)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("channels", [1, 3])
def test_similarity_loss_passes_gradcheck(channels):
    fusion, target = volume(1, channels, 2, 2, 2), volume(1, channels, 2, 2, 2, seed=1)
    assert torch.autograd.gradcheck(spatial_similarity_loss, (fusion.requires_grad_(), target))


def test_similarity_loss_sees_through_an_exchange_of_modalities():
    # A Aᵀ is the same for A Q with Q orthogonal, so the loss is zero although A is not B.
    target = volume(1, 2, *GRID)
    assert spatial_similarity_loss(target.flip(1), target).item() == pytest.approx(0, abs=1e-15)


def test_with_one_modality_it_is_the_target_loss_reweighted_and_an_energy_mismatch():
    f, g = volume(1, 1, *GRID), volume(1, 1, *GRID, seed=1)
    energy = (f**2).mean() - (g**2).mean()
    expected = 0.5 * (losses.target_enhanced_loss(f, g) * ((f + g) ** 2).mean() + energy**2)
    assert spatial_similarity_loss(f, g).item() == pytest.approx(expected.item(), rel=1e-13)


@pytest.mark.parametrize("sigma", [1e-2, 1e-4])
def test_similarity_loss_of_a_near_perfect_prediction_does_not_cancel(sigma):
    shape = (1, 1, 32, 64, 64)
    mask = volume(*shape, seed=2).round()
    target = (mask * volume(*shape)).float()
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    fusion = target + sigma * mask.float() * noise
    a, b = fusion.double(), target.double()
    energy = (a * a).mean() - (b * b).mean()
    expected = 0.5 * (((a - b) ** 2).mean() * ((a + b) ** 2).mean() + energy**2)
    actual = spatial_similarity_loss(fusion, target)
    assert actual > 0
    assert actual.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_perfect_prediction_has_no_similarity_loss(channels):
    target = volume(1, channels, *GRID)
    assert spatial_similarity_loss(target, target) == 0


def test_similarity_loss_of_a_batch_is_the_mean_of_its_volumes():
    fusion, target = volume(2, 3, *GRID), volume(2, 3, *GRID, seed=1)
    each = [spatial_similarity_loss(fusion[i : i + 1], target[i : i + 1]) for i in range(2)]
    assert spatial_similarity_loss(fusion, target) == pytest.approx(torch.stack(each).mean())


def test_similarity_loss_stays_in_float32_under_autocast():
    fusion = volume(1, 1, *GRID, dtype=torch.float32)
    target = volume(1, 1, *GRID, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = spatial_similarity_loss(fusion, target)
    assert actual.dtype == torch.float32
    assert actual == spatial_similarity_loss(fusion, target)


def test_modalities_add_up_in_every_term_as_the_paper_prints_them():
    """Its N counts voxels: four equal modalities make four times the error of a voxel (eq. 1, 10,
    14), and 16 times the squared difference of two similarities (eq. 15)."""

    def terms(copies):
        sr, image = (volume(2, 1, *GRID, seed=s).expand(-1, copies, -1, -1, -1) for s in (0, 1))
        prob, label = volume(2, 1, *GRID, seed=2), volume(2, 1, *GRID, seed=3).round()
        tel, ssl = losses.fusion_losses(sr.contiguous(), prob, image.contiguous(), label)
        return [losses.super_resolution_loss(sr, image),
                losses.guidance_loss(sr, image, (0, 0, 0), (1, 2, 2)), tel, ssl]  # fmt: skip

    ratios = [float(four / one) for four, one in zip(terms(4), terms(1), strict=True)]
    assert ratios == pytest.approx([4, 4, 4, 16])


# Eq. 14 and 16 in one pass


def fused(channels, batch=2):
    """S, p, X, y of a few voxels, S and p with gradients."""
    sr, image = volume(batch, channels, *GRID), volume(batch, channels, *GRID, seed=1)
    prob, label = volume(batch, 1, *GRID, seed=2), volume(batch, 1, *GRID, seed=3).round()
    return sr.requires_grad_(), prob.requires_grad_(), image, label


@pytest.fixture
def tiny_chunks(monkeypatch):
    monkeypatch.setattr(moments, "CHUNK", 5)  # of 24 voxels: the last one is not whole


@pytest.mark.parametrize("channels", [1, 3])
def test_both_fusion_losses_and_their_gradients_equal_their_definitions(channels, tiny_chunks):
    sr, prob, image, label = fused(channels)
    f, g = sr * prob, image * label
    expected = 2 * ((f - g) ** 2).sum(1).mean() + 3 * by_definition(f, g)
    tel, ssl = losses.fusion_losses(sr, prob, image, label)
    torch.testing.assert_close(2 * tel + 3 * ssl, expected, rtol=1e-13, atol=0)
    actual = torch.autograd.grad(2 * tel + 3 * ssl, (sr, prob))
    torch.testing.assert_close(
        actual, torch.autograd.grad(expected, (sr, prob)), rtol=1e-12, atol=1e-16
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_both_fusion_losses_pass_gradcheck(channels, tiny_chunks):
    assert torch.autograd.gradcheck(losses.fusion_losses, fused(channels))


@pytest.mark.parametrize("sigma", [1e-2, 1e-5])
def test_near_a_perfect_prediction_float32_gradients_do_not_cancel(sigma):
    image, label = volume(1, 1, 32, 64, 64), volume(1, 1, 32, 64, 64, seed=1).round()
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    sr, image = (image + sigma * noise).float(), image.float()
    prob = label.float()
    exact = [x.double().requires_grad_() for x in (sr, prob)]
    u, v = exact[0] * exact[1] - image * label, exact[0] * exact[1] + image * label
    means = (u * u).mean(), (v * v).mean(), (u * v).mean()
    expected = torch.autograd.grad((means[0] * means[1] + means[2] ** 2) / 2, exact)
    rounded = [x.requires_grad_() for x in (sr, prob)]
    actual = torch.autograd.grad(losses.fusion_losses(*rounded, image, label.float())[1], rounded)
    for ours, true in zip(actual, expected, strict=True):
        worst = (ours - true).abs().max() / true.abs().max()
        assert worst < 1e-5


def test_the_fusion_losses_are_those_of_fusions_made_before():
    sr, prob, image, label = fused(2)
    f, g = losses.fuse(sr, prob), losses.fuse(image, label)
    tel, ssl = losses.fusion_losses(sr, prob, image, label)
    assert tel.item() == pytest.approx(losses.target_enhanced_loss(f, g).item(), rel=1e-14)
    assert ssl.item() == pytest.approx(spatial_similarity_loss(f, g).item(), rel=1e-14)


def test_half_precision_is_widened_and_its_gradients_go_back_to_it():
    sr, prob, image, label = (x.detach() for x in fused(2))
    half = sr.bfloat16().requires_grad_()
    tel, ssl = losses.fusion_losses(half, prob.float(), image.float(), label.to(torch.uint8))
    (tel + ssl).backward()
    wide = losses.fusion_losses(half.detach().float(), prob.float(), image.float(), label.float())
    assert (tel.dtype, ssl.dtype, half.grad.dtype) == (*[torch.float32] * 2, torch.bfloat16)
    assert (tel, ssl) == wide


def test_what_is_aimed_at_gets_no_gradient():
    sr, prob, image, label = fused(1)
    with pytest.raises(ValueError, match="image and label"):
        losses.fusion_losses(sr, prob, image.requires_grad_(), label)


def test_factors_of_a_fusion_that_do_not_match_are_refused():
    sr, prob, image, label = fused(2)
    with pytest.raises(ValueError, match="the reconstruction is"):
        losses.fusion_losses(sr[:, :1], prob, image, label)
    with pytest.raises(ValueError, match="the mask needs the same batch"):
        losses.fusion_losses(sr, prob, image, label[:1])


# The pooled variants


def pooled(x):
    """Means of 2 x 2 x 2 cells of a (1, C, 2, 4, 4) volume, as C lists of 4."""
    return [
        [x[0, c, :, i : i + 2, j : j + 2].mean() for i in (0, 2) for j in (0, 2)]
        for c in range(x.shape[1])
    ]


@pytest.mark.parametrize("channels", [1, 2])
def test_pooled_official_loss_equals_its_definition(channels):
    shape = (2, 4, 4)
    prob, sr, target = (volume(1, c, *shape, seed=c) for c in (1, channels + 1, channels + 4))
    sr, target = sr[:, :channels], target[:, :channels]
    p, s, g = pooled(prob)[0], pooled(sr), pooled(target)
    total = sum(
        abs(sum(p[i] * a[i] * p[j] * a[j] - b[i] * b[j] for a, b in zip(s, g, strict=True)))
        for i in range(4)
        for j in range(4)
    )
    actual = losses.spatial_similarity_loss_pooled_official(prob, sr, target, pool=2)
    assert actual.item() == pytest.approx(total.item() / (2 * 2) ** 2)  # a slice has 2 x 2 cells


def test_pooled_fixed_loss_equals_its_definition():
    fusion, target = volume(1, 1, 2, 4, 4), volume(1, 1, 2, 4, 4, seed=1)
    (a,), (b,) = pooled(fusion), pooled(target)
    pairs = [abs(a[i] * a[j] - b[i] * b[j]) for i in range(4) for j in range(4)]
    actual = losses.spatial_similarity_loss_pooled_fixed(fusion, target, pool=2)
    assert actual.item() == pytest.approx(sum(pairs).item() / 16)


def test_at_a_perfect_prediction_only_the_official_pooled_loss_is_not_zero():
    image, label = volume(1, 1, 12, 21, 23), volume(1, 1, 12, 21, 23, seed=1).round()
    target = losses.fuse(image, label)
    assert losses.spatial_similarity_loss_pooled_official(label, image, target) > 1e-3
    assert losses.spatial_similarity_loss_pooled_fixed(target, target) == 0


def test_a_grid_smaller_than_a_pooling_cell_is_refused():
    x = volume(1, 1, 9, 10, 10)
    with pytest.raises(ValueError, match=r"\(9, 10, 10\) has no whole cell of side 10"):
        losses.spatial_similarity_loss_pooled_fixed(x, x)


# Binarisation


def test_straight_through_is_a_threshold_forwards_and_the_identity_backwards():
    prob, slopes = torch.tensor([0.1, 0.49, 0.5, 0.9]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    hard = losses.binarize_ste(prob.requires_grad_())
    (gradient,) = torch.autograd.grad(hard, prob, slopes)
    assert hard.tolist() == [0, 0, 1, 1]
    assert torch.equal(gradient, slopes)


# Eq. 19

BOX = ((0, 1, 1), (1, 2, 2))
WEIGHTS = LossWeights(srt=0.25, sgl=2, tel=3, ssl=5)


SEG, SR = volume(1, 1, *GRID) - 0.5, volume(1, 2, *GRID, seed=1)
IMAGE, LABEL = volume(1, 2, *GRID, seed=2), volume(1, 1, *GRID, seed=3).round()


def objective(weights=WEIGHTS, *, seg=SEG, sr=SR, start=BOX[0], size=BOX[1], **options):
    return pfseg_objective(Output(seg, sr), IMAGE, LABEL, start, size, weights, **options)


def test_the_paper_weighs_everything_but_the_segmentation_one_half():
    terms = objective(LossWeights())
    others = terms["srt"] + terms["sgl"] + terms["tel"] + terms["ssl"]
    assert terms["total"].item() == pytest.approx((terms["ust"] + 0.5 * others).item())


def test_terms_are_reported_without_their_weights():
    fusion, target = losses.fuse(SR, SEG.sigmoid()), losses.fuse(IMAGE, LABEL)
    expected = {
        "ust": losses.segmentation_loss(SEG, LABEL),
        "srt": losses.super_resolution_loss(SR, IMAGE),
        "sgl": losses.guidance_loss(SR, IMAGE, *BOX),
        "tel": losses.target_enhanced_loss(fusion, target),
        "ssl": spatial_similarity_loss(fusion, target),
    }
    ust, srt, sgl, tel, ssl = expected.values()
    expected["total"] = ust + 0.25 * srt + 2 * sgl + 3 * tel + 5 * ssl
    torch.testing.assert_close(objective(), expected)


@pytest.mark.parametrize(
    "options, names",
    [
        ({"tel": False}, {"ust", "srt", "sgl", "ssl", "total"}),
        ({"ssl": "none"}, {"ust", "srt", "sgl", "tel", "total"}),
        ({"start": None, "size": None}, {"ust", "srt", "tel", "ssl", "total"}),
    ],
)
def test_a_term_that_is_switched_off_is_absent(options, names):
    assert set(objective(**options)) == names


def test_without_reconstruction_only_the_segmentation_is_left():
    terms = objective(sr=None, tel=False, ssl="none")
    assert set(terms) == {"ust", "total"} and terms["total"] == terms["ust"]


@pytest.mark.parametrize("options", [{"tel": True, "ssl": "none"}, {"tel": False}])
def test_fusion_terms_without_reconstruction_are_refused(options):
    with pytest.raises(ValueError, match="no SRT decoder"):
        objective(sr=None, **options)


@pytest.mark.parametrize(
    "options, message",
    [({"ssl": "l2"}, "ssl is 'l2'"), ({"binarize": "hard"}, "binarize is 'hard'")],
)
def test_an_unknown_choice_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        objective(**options)


def test_half_a_guidance_window_is_refused():
    with pytest.raises(ValueError, match="both its start and its size"):
        objective(size=None)


def test_the_similarity_variants_reach_the_objective():
    sr, image, prob, label = (volume(1, 1, 10, 10, 20, seed=s) for s in range(4))
    target = losses.fuse(image, label)
    official = losses.spatial_similarity_loss_pooled_official(prob, sr, target)
    fixed = losses.spatial_similarity_loss_pooled_fixed(losses.fuse(sr, prob), target)
    terms = partial(fusion_terms, prob, sr, image, label, tel=True)
    assert terms(ssl="pooled_l1_official")["ssl"] == official != fixed
    assert terms(ssl="pooled_l1_fixed")["ssl"] == fixed


def test_binarised_probabilities_enter_dice_and_fusion_and_keep_a_gradient():
    seg = SEG.clone().requires_grad_()
    terms = objective(seg=seg, binarize="ste")
    hard = (seg > 0).double()
    dice = losses.dice_loss(hard, LABEL)
    assert (terms["ust"] - losses.bce_loss(seg, LABEL)).item() == pytest.approx(dice.item())
    expected = losses.target_enhanced_loss(losses.fuse(SR, hard), losses.fuse(IMAGE, LABEL))
    assert terms["tel"].item() == pytest.approx(expected.item())
    (gradient,) = torch.autograd.grad(terms["tel"], seg)
    assert (gradient != 0).any()


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_a_weight_that_is_no_weight_is_refused(weight):
    with pytest.raises(ValueError, match="L_tel"):
        LossWeights(tel=weight)


@pytest.mark.parametrize(
    "losing",
    [
        losses.spatial_similarity_loss_pooled_fixed,
        partial(
            losses.spatial_similarity_loss_pooled_official, volume(1, 1, 8, 8, 8, seed=2).float()
        ),
    ],
)
def test_pooled_similarity_stays_in_float32_under_autocast(losing):
    pair = [volume(1, 1, 8, 8, 8, seed=seed).float() for seed in (0, 1)]
    alone = losing(*pair, pool=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(losing(*pair, pool=2), alone)


def test_weights_are_those_of_equation_19_but_for_what_is_given():
    every = {"srt": True, "sgm": True, "tel": True, "ssl": "exact"}
    assert weights_of({}, **every) == EQUATION_19
    assert weights_of({"tel": 0.5}, **every) == replace(EQUATION_19, tel=0.5)
    without = weights_of({"tel": 0}, **every | {"tel": False, "ssl": "none"})
    assert without == replace(EQUATION_19, tel=0.0, ssl=0.0)
    unguided = weights_of({}, **every | {"sgm": False})
    assert unguided == replace(EQUATION_19, sgl=0.0)
    with pytest.raises(ValueError, match="L_tel needs tel=true"):
        weights_of({"tel": 0.5}, **every | {"tel": False})

"""The network of the paper: its parameter counts, its grids and its switches."""

from typing import Any

import pytest
import torch

from models.blocks import MSResBlock, PlainBlock, ResBlock
from models.pfseg import PFSeg, PFSegConfig, build
from models.unet import UNet

TINY: dict[str, Any] = {"widths": (4, 6, 8), "guidance_widths": (2, 3)}
HR = (24, 16, 16)  # three levels: 3, 2, 2 voxels on the deepest


def tiny(**options):
    torch.manual_seed(0)
    return PFSeg(PFSegConfig(**{**TINY, **options}))


def grid(part):
    return tuple(side // part for side in HR)


def inputs(modalities=1, batch=1):
    generator = torch.Generator().manual_seed(1)
    low = torch.rand(batch, modalities, *grid(2), generator=generator)
    return low, torch.rand(batch, modalities, *grid(4), generator=generator)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(**options):
    with torch.device("meta"):
        return PFSeg(PFSegConfig(**options))


# Counts: Sec. IV of the paper and the authors' two releases (1st and 3rd row).


@pytest.mark.parametrize(
    "options, parts, total, inference",
    [
        (
            {"msres": "none"},
            {"encoder": 3_612_544, "sgm": 442_912, "ust": 5_299_793, "srt": 5_299_793},
            14_655_042,
            9_355_249,
        ),
        (
            {"msres": "sgm"},
            {"encoder": 3_612_544, "sgm": 2_260_080, "ust": 5_299_793, "srt": 5_299_793},
            16_472_210,
            11_172_417,
        ),
        (
            {},
            {"encoder": 16_301_760, "sgm": 2_260_080, "ust": 5_299_793, "srt": 5_299_793},
            29_161_426,
            23_861_633,
        ),
        (
            {"backbone": "unet", "msres": "none"},
            {"encoder": 3_568_480, "sgm": 436_240, "ust": 5_254_225, "srt": 5_254_225},
            14_513_170,
            9_258_945,
        ),
        ({"backbone": "unet"}, {}, 29_070_290, 23_816_065),
        ({"srt": False, "sgm": False, "msres": "none"}, {}, 8_388_049, 8_388_049),
        ({"sgm": False, "msres": "none"}, {}, 13_163_554, 8_388_049),
        (
            {"backbone": "unet", "srt": False, "sgm": False, "msres": "none"},
            {},
            8_298_417,
            8_298_417,
        ),
        ({"backbone": "unet", "sgm": False, "msres": "none"}, {}, 13_028_354, 8_298_417),
    ],
)
def test_parameter_counts_of_the_paper(options, parts, total, inference):
    network = on_meta(**options)
    assert {name: parameters(getattr(network, name)) for name in parts} == parts
    assert parameters(network) == total
    assert parameters(network.segmentation_half()) == inference


def test_the_guidance_module_is_five_percent_of_what_runs_in_a_clinic():
    network = on_meta(msres="none", srt=False)
    assert round(100 * parameters(network.sgm) / parameters(network), 1) == 4.7


@pytest.mark.parametrize("msres", ["none", "sgm+encoder"])
def test_the_paper_sized_network_segments_the_full_grid(msres):
    network = on_meta(msres=msres)
    low = torch.empty(1, 1, 64, 96, 96, device="meta")
    window = torch.empty(1, 1, 32, 48, 48, device="meta")
    output = network(low, window)
    assert output.seg.shape == output.sr.shape == (1, 1, 128, 192, 192)


@pytest.mark.parametrize("backbone", ["unet", "resunet"])
@pytest.mark.parametrize("msres", ["none", "sgm", "sgm+encoder"])
def test_both_tasks_are_written_on_the_full_grid(backbone, msres):
    network = tiny(backbone=backbone, msres=msres, modalities=3)
    output = network(*inputs(modalities=3, batch=2))
    assert output.seg.shape == (2, 1, *HR)
    assert output.sr.shape == (2, 3, *HR)


def test_multi_scale_blocks_never_reach_a_decoder():
    network = tiny()
    assert all(isinstance(b, MSResBlock) for b in [*network.encoder.blocks, *network.sgm.blocks])
    decoders = [*network.ust.modules(), *network.srt.modules()]
    assert not any(isinstance(module, MSResBlock) for module in decoders)


@pytest.mark.parametrize("backbone, block", [("unet", PlainBlock), ("resunet", ResBlock)])
def test_multi_scale_guidance_leaves_the_backbones_encoder(backbone, block):
    network = tiny(backbone=backbone, msres="sgm")
    assert all(type(b) is block for b in [*network.encoder.blocks, network.ust.finest[1]])


def test_the_reconstruction_is_never_negative_and_the_logits_may_be():
    network = tiny()
    for decoder in (network.ust, network.srt):
        torch.nn.init.constant_(decoder.finest[2].bias, -100)
    output = network(*inputs())
    assert output.sr.max() == 0 and output.seg.max() < -50


def test_segment_and_reconstruct_are_the_two_halves_of_forward():
    network, (low, window) = tiny(), inputs()
    output = network(low, window)
    torch.testing.assert_close(network.segment(low, window), output.seg, rtol=0, atol=0)
    torch.testing.assert_close(network.reconstruct(low, window), output.sr, rtol=0, atol=0)


def test_the_segmentation_half_gives_the_same_logits():
    network, (low, window) = tiny().eval(), inputs()
    half = network.segmentation_half()
    assert half.srt is None and not half.training
    torch.testing.assert_close(
        half.segment(low, window), network.segment(low, window), rtol=0, atol=0
    )


def test_the_segmentation_half_takes_no_random_numbers_and_no_memory():
    network = tiny()
    before = torch.get_rng_state()
    half = network.segmentation_half()
    assert torch.equal(torch.get_rng_state(), before)
    assert half.ust.finest[2].weight.data_ptr() == network.ust.finest[2].weight.data_ptr()


def test_training_and_evaluation_agree():
    network, (low, window) = tiny(), inputs()
    train, evaluation = network.train()(low, window), network.eval()(low, window)
    torch.testing.assert_close(train, evaluation, rtol=0, atol=0)


def test_the_window_changes_the_segmentation():
    network, (low, window) = tiny(), inputs()
    assert not torch.equal(network.segment(low, window), network.segment(low, window.flip(2)))


def test_the_two_decoders_share_no_weights():
    network = tiny()
    mine = {id(p) for p in network.ust.parameters()}
    assert mine.isdisjoint(id(p) for p in network.srt.parameters())


def test_every_parameter_learns_from_the_two_tasks():
    network = tiny()
    output = network(*inputs())
    (output.seg.square().mean() + output.sr.square().mean()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "widths, guidance_widths",
    [((8, 8, 16, 32, 64), (4, 8, 16, 16)), ((2, 2, 3, 3, 2), (2, 3, 2, 3))],
)
def test_five_levels_of_small_widths_work(widths, guidance_widths):
    network = tiny(widths=widths, guidance_widths=guidance_widths)
    output = network(torch.rand(1, 1, 32, 16, 16), torch.rand(1, 1, 16, 8, 8))
    assert output.seg.shape == (1, 1, 64, 32, 32) and output.seg.isfinite().all()


def test_a_u_net_takes_one_modality_and_answers_with_one_channel_unless_told():
    assert UNet(widths=(2, 4))(torch.rand(1, 1, 4, 4, 4)).shape == (1, 1, 4, 4, 4)


def test_two_levels_are_the_fewest():
    network = tiny(widths=(2, 4), guidance_widths=(2,))
    output = network(torch.rand(1, 1, 8, 8, 8), torch.rand(1, 1, 4, 4, 4))
    assert output.seg.shape == (1, 1, 16, 16, 16)


def test_without_guidance_and_reconstruction_a_low_resolution_image_suffices():
    network = tiny(srt=False, sgm=False, msres="none")
    low, _ = inputs()
    output = network(low, None)
    assert output.sr is None and output.seg.shape == (1, 1, *HR)
    with pytest.raises(ValueError, match="no SRT decoder"):
        network.reconstruct(low, None)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sgm": False, "msres": "sgm"}, "msres='none'"),
        ({"sgm": False}, "msres='none'"),
        ({"guidance_widths": (4, 8, 16)}, "one level less"),
        ({"widths": (1, 2, 2, 2, 2)}, "two or more channels"),
        ({"widths": (4,)}, "two or more levels"),
        ({"modalities": 0}, "modalities is 0"),
        ({"backbone": "vnet"}, "'vnet'"),
        ({"msres": "all"}, "'all'"),
    ],
)
def test_a_combination_that_means_nothing_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PFSegConfig(**options)


@pytest.mark.parametrize(
    "low, window, message",
    [
        ((12, 8, 10), (6, 4, 5), r"\(12, 8, 10\); sides must be multiples of 4"),
        ((12, 8, 8), (6, 4, 8), r"\(6, 4, 8\) but the half-size image is on \(12, 8, 8\)"),
        ((12, 8, 8), None, "needs a window"),
    ],
)
def test_grids_that_do_not_belong_together_are_refused(low, window, message):
    window = None if window is None else torch.rand(1, 1, *window)
    with pytest.raises(ValueError, match=message):
        tiny()(torch.rand(1, 1, *low), window)


def test_a_window_for_a_network_without_guidance_is_refused():
    with pytest.raises(ValueError, match="must not be given"):
        tiny(sgm=False, msres="none")(*inputs())


def test_options_read_from_a_file_build_the_same_network():
    options = {"widths": [4, 6, 8], "guidance_widths": [2, 3], "msres": "sgm"}
    assert build(2, **options).config == PFSegConfig(modalities=2, msres="sgm", **TINY)

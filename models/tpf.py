"""Test-phase fine-tuning: the network learns from the volumes it is about to segment.

    every volume ──► network as trained ──► pseudo-label        1. all of them first
    every volume, pseudo-label ──► loss ──► one Adam step       2. one epoch, one at a time

Labels appear nowhere: `Guided` has no place for one. The result serves the whole test set, so
scores obtained with it are transductive. Wang et al., arXiv:2210.14645, Sec. III-E, Table III.
"""

import copy
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from models.losses import guidance_loss, super_resolution_loss
from models.objective import (
    EQUATION_19,
    Binarize,
    LossWeights,
    Similarity,
    fusion_terms,
    pfseg_objective,
    probability,
)
from models.pfseg import PFSeg
from models.precision import Precision, autocast

Strategy = Literal["srt", "srt+ust", "srt+ust+tfm", "tfm"]


class Guided(NamedTuple):
    """One unlabelled volume as the network reads it."""

    low: Tensor  # (1, C, D/2, H/2, W/2)
    window: Tensor | None  # (1, C, D/4, H/4, W/4); None for a network without guidance
    image: Tensor  # (1, C, D, H, W)
    start: tuple[int, int, int]  # first voxel (z, y, x) of the window


class Terms(NamedTuple):
    """The objective that the network was trained with."""

    weights: LossWeights
    tel: bool
    ssl: Similarity
    binarize: Binarize


def adapt(
    network: PFSeg,
    cases: Sequence[Guided],
    strategy: Strategy = "tfm",
    *,
    learning_rate: float = 1e-5,
    weights: LossWeights = EQUATION_19,
    tel: bool = True,
    ssl: Similarity = "exact",
    binarize: Binarize = "soft",
    soft: bool = False,
    precision: Precision = "fp32",
    device: torch.device | str | None = None,
) -> PFSeg:
    """A fine-tuned copy of `network`; the original stays as it is.

    Rows of Table III, pseudo-labels in place of labels:
        srt          weighted L_srt + L_sgl; no gradient reaches the UST decoder, so it stays
        srt+ust      L_ust and the above
        srt+ust+tfm  the whole objective (eq. 19)
        tfm          L_tel + L_ssl, unweighted (the paper's choice)
    `tel`, `ssl` and `binarize` as the network was trained.

    Reads each item of `cases` twice and holds one at a time. Pseudo-labels wait in main memory,
    one byte for each voxel; `soft` keeps probabilities instead, in half precision.

    Raises ValueError for a network without SRT decoder or a strategy without a term,
    FloatingPointError when a loss is no number.
    """
    check(strategy, srt=network.srt is not None, tel=tel, ssl=ssl)
    terms = Terms(weights, tel, ssl, binarize)
    tuned = copy.deepcopy(network)
    device = next(network.parameters()).device if device is None else torch.device(device)
    tuned.to(device)
    with autocast(device, precision):
        labels = [pseudo_label(tuned, _to(case, device), soft=soft) for case in cases]
    optimizer = torch.optim.Adam(tuned.parameters(), learning_rate)
    for number, (case, label) in enumerate(zip(cases, labels, strict=True)):
        optimizer.zero_grad()
        with autocast(device, precision):
            loss = objective(tuned, _to(case, device), label.to(device), strategy, terms)
        if not loss.isfinite():
            raise FloatingPointError(f"fine-tuning on case {number} gave a loss of {loss.item()}")
        loss.backward()
        optimizer.step()
    tuned.zero_grad()
    return tuned


def check(strategy: Strategy, *, srt: bool, tel: bool, ssl: Similarity) -> None:
    """ValueError where a network or its objective has nothing that `strategy` could minimise."""
    if strategy not in get_args(Strategy):
        raise ValueError(f"tpf is '{strategy}'; it must be one of {('none', *get_args(Strategy))}")
    if not srt:
        raise ValueError(f"tpf='{strategy}' needs the SRT decoder: srt=true")
    if strategy.endswith("tfm") and not tel and ssl == "none":
        raise ValueError(f"tpf='{strategy}' minimises L_tel and L_ssl, but both are switched off")


def pseudo_label(network: PFSeg, case: Guided, *, soft: bool) -> Tensor:
    """What the network says now, (1, K, D, H, W) in main memory: bool, or float16 if soft."""
    with torch.no_grad():
        prob = network.segment(case.low, case.window).float().sigmoid()
    return (prob.half() if soft else prob >= 0.5).cpu()


def objective(
    network: PFSeg, case: Guided, label: Tensor, strategy: Strategy, terms: Terms
) -> Tensor:
    """The loss of one row of Table III on one volume."""
    low, window, image, start = case
    size = None if window is None else window.shape[2:]
    weights, tel, ssl, binarize = terms
    if strategy == "srt":
        sr = network.reconstruct(low, window)
        loss = weights.srt * super_resolution_loss(sr, image)
        return loss if size is None else loss + weights.sgl * guidance_loss(sr, image, start, size)
    output = network(low, window)
    if strategy == "tfm":
        prob = probability(output.seg, binarize)
        return torch.stack(
            [*fusion_terms(prob, output.sr, image, label, ssl=ssl, tel=tel).values()]
        ).sum()
    whole = strategy == "srt+ust+tfm"
    return pfseg_objective(
        output,
        image,
        label,
        None if window is None else start,
        size,
        weights,
        tel=tel and whole,
        ssl=ssl if whole else "none",
        binarize=binarize,
    )["total"]


def _to(case: Guided, device: torch.device) -> Guided:
    window = None if case.window is None else case.window.to(device)
    return Guided(case.low.to(device), window, case.image.to(device), case.start)

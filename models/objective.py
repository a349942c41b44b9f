"""The objective that PFSeg minimises: the weighted sum of the terms in models/losses.py.

L = L_ust + 0.5 L_srt + 0.5 L_sgl + 0.5 (L_tel + L_ssl)        Wang et al., eq. 13 and 19
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from torch import Tensor

from models import losses
from models.pfseg import Output
from models.precision import wide

Similarity = Literal["exact", "pooled_l1_official", "pooled_l1_fixed", "none"]
Binarize = Literal["soft", "ste"]


@dataclass(frozen=True)
class LossWeights:
    """What each term counts beside L_ust, which counts 1. The defaults are eq. 19's."""

    srt: float = 0.5
    sgl: float = 0.5
    tel: float = 0.5
    ssl: float = 0.5

    def __post_init__(self) -> None:
        for name, weight in asdict(self).items():
            if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise ValueError(f"the weight of L_{name} is {weight!r}; it must be 0 or more")


EQUATION_19 = LossWeights()


def weights_of(
    given: Mapping[str, float], *, srt: bool, sgm: bool, tel: bool, ssl: Similarity
) -> LossWeights:
    """Eq. 19 for the terms that there are, changed by what is `given`; 0 for the others.

    Raises ValueError for an unknown name, and for a weight on a term that there is not.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"weights is {given!r}; it must name its terms, such as {{srt: 0.25}}")
    present = {"srt": srt, "sgl": srt and sgm, "tel": tel, "ssl": ssl != "none"}
    for name, weight in given.items():
        if name not in present:
            raise ValueError(f"there is no weight '{name}'; the weights are {', '.join(present)}")
        if weight and not present[name]:
            needs = {"srt": "srt=true", "sgl": "srt=true and sgm=true", "tel": "tel=true"}
            raise ValueError(
                f"weights.{name} is {weight}, but L_{name} needs "
                f"{needs.get(name, 'an ssl other than none')}"
            )
    default = asdict(EQUATION_19)
    return LossWeights(
        **{name: given.get(name, default[name] if on else 0.0) for name, on in present.items()}
    )


def pfseg_objective(
    output: Output,
    image: Tensor,
    label: Tensor,
    start: losses.Start | None,
    size: Sequence[int] | None,
    weights: LossWeights,
    *,
    ssl: Similarity = "exact",
    tel: bool = True,
    binarize: Binarize = "soft",
) -> dict[str, Tensor]:
    """Eq. 19 as named terms without their weights, and their weighted sum, "total".

    image (B, C, D, H, W); label (B, K, D, H, W), 0..1, of K targets, 1 in the paper; `start`
    (z, y, x) and `size` of the guidance window, None without guidance. Names: ust, srt, sgl, tel,
    ssl, total. A network without SRT decoder has the term ust only, one without guidance has no
    sgl.

    `binarize`: the probability in eq. 4, 11: soft, or 0/1 with a straight-through gradient.

    Raises ValueError when tel or ssl are asked for without an SRT decoder.
    """
    _check(output, start, size, ssl, tel, binarize)
    prob = probability(output.seg, binarize)
    terms = {"ust": losses.bce_loss(output.seg, label) + losses.dice_loss(prob, label)}
    if output.sr is not None:
        terms["srt"] = losses.super_resolution_loss(output.sr, image)
        if start is not None and size is not None:
            terms["sgl"] = losses.guidance_loss(output.sr, image, start, size)
        terms |= fusion_terms(prob, output.sr, image, label, ssl=ssl, tel=tel)
    total = terms["ust"]
    for name, weight in asdict(weights).items():
        if name in terms:
            total = total + weight * terms[name]
    return {**terms, "total": total}


def probability(seg: Tensor, binarize: Binarize) -> Tensor:
    """Logits -> the P of eq. 4 and 11, (B, K, D, H, W): soft, or 0 and 1 (straight-through)."""
    prob = wide(seg).sigmoid()
    return losses.binarize_ste(prob) if binarize == "ste" else prob


def fusion_terms(
    prob: Tensor,
    sr: Tensor,
    image: Tensor,
    label: Tensor,
    *,
    ssl: Similarity,
    tel: bool,
) -> dict[str, Tensor]:
    """The two halves of L_tfm (eq. 13), "tel" and "ssl", as far as they are asked for.

    sr, image (B, C, D, H, W); prob, label (B, K, D, H, W). The mean over the K targets.
    """
    if ssl == "exact":
        both = dict(zip(("tel", "ssl"), losses.fusion_losses(sr, prob, image, label), strict=True))
        return both if tel else {"ssl": both["ssl"]}
    found = [
        _inexact_terms(p, sr, image, y, ssl, tel)
        for p, y in zip(losses.each(prob), losses.each(label), strict=True)
    ]
    return {name: losses.over_targets(terms[name] for terms in found) for name in found[0]}


def _inexact_terms(
    prob: Tensor, sr: Tensor, image: Tensor, label: Tensor, ssl: Similarity, tel: bool
) -> dict[str, Tensor]:
    """The terms of one target where L_ssl is not that of eq. 15; prob and label (B, 1, D, H, W)."""
    terms = {}
    fusion, target = losses.fuse(sr, prob), losses.fuse(image, label)
    if tel:
        terms["tel"] = losses.target_enhanced_loss(fusion, target)
    if ssl == "pooled_l1_official":
        terms["ssl"] = losses.spatial_similarity_loss_pooled_official(prob, sr, target)
    elif ssl == "pooled_l1_fixed":
        terms["ssl"] = losses.spatial_similarity_loss_pooled_fixed(fusion, target)
    return terms


def check_choices(ssl: str, binarize: str) -> None:
    """ValueError for a value that its switch does not have."""
    for switch, value, known in (
        ("ssl", ssl, get_args(Similarity)),
        ("binarize", binarize, get_args(Binarize)),
    ):
        if value not in known:
            raise ValueError(f"{switch} is '{value}'; it must be one of {', '.join(known)}")


def _check(
    output: Output, start: object, size: object, ssl: Similarity, tel: bool, binarize: Binarize
) -> None:
    check_choices(ssl, binarize)
    if (start is None) != (size is None):
        raise ValueError("a guidance window needs both its start and its size")
    if output.sr is None and (tel or ssl != "none"):
        raise ValueError(
            "L_tel and L_ssl compare a reconstruction, but this network has no SRT decoder; "
            "use tel=False and ssl='none' with it"
        )

"""The terms of the paper's objective, one function for each equation.

    p ── (4) dice, (3) bce ──────────► (2) segmentation           y  label
    S ── (1) super-resolution, (10) guidance                      X  image
    p, S ── (11) F = S p ┐                                        S  reconstruction
    y, X ── (12) G = X y ┴─ (14) target-enhanced, (16) similarity p  probability of the target

Eq. 14 and 16 are functions of the moments of F and G (models/moments.py), which they share.

Wang et al., arXiv:2210.14645, Sec. III. Images are (B, C, D, H, W), C modalities; probabilities and
labels (B, K, D, H, W), K targets, of which the paper has K = 1: each term is computed for every
target and averaged over targets. Every function returns a scalar, the mean over the batch. N
counts voxels, as the paper prints it: the errors of several modalities in a voxel add up (eq. 1,
10, 14), as their similarities do (eq. 15), so that the terms of eq. 19 stand to each other as
printed. Terms are computed in float32 or wider, whatever the autocast. A grid
that does not match raises ValueError. Weights live in models/objective.py.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from models.moments import Moments, moments
from models.precision import wide

Start = Sequence[int] | Sequence[Sequence[int]]


def bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Eq. 3: mean binary cross-entropy. Both (B, K, D, H, W); target 0..1."""
    _same_grid("the logits", logits, "the label", target)
    logits = wide(logits)
    return functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))


def dice_loss(prob: Tensor, target: Tensor) -> Tensor:
    """Eq. 4: one minus the soft Dice coefficient, of each target of each volume of the batch.

        L_dice = 1 - (2 Σ p y + 1) / (Σ p² + Σ y² + 1)

    The 1s make an empty prediction of an empty label perfect. The paper binarises p, whose
    gradient is zero almost everywhere; the authors' code keeps it soft, and so do we. Their code
    also loses the factor 2, which we keep. Both (B, K, D, H, W).
    """
    _same_grid("the probability", prob, "the label", target)
    p = wide(prob).flatten(2)
    y = target.flatten(2).to(p.dtype)
    overlap = (p * y).sum(2)  # (B, K)
    return (1 - (2 * overlap + 1) / (p.square().sum(2) + y.square().sum(2) + 1)).mean()


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Eq. 2: L_ust = L_bce + L_dice. Both (B, K, D, H, W)."""
    return bce_loss(logits, target) + dice_loss(wide(logits).sigmoid(), target)


def super_resolution_loss(sr: Tensor, image: Tensor) -> Tensor:
    """Eq. 1: L_srt = (1/N) Σ |S - X|², over voxels; in each the modalities add up."""
    _same_grid("the reconstruction", sr, "the image", image)
    return (wide(sr) - wide(image)).square().mean() * sr.shape[1]


def guidance_loss(sr: Tensor, image: Tensor, start: Start, size: Sequence[int]) -> Tensor:
    """Eq. 10: the reconstruction's error inside the guidance window.

        L_sgl = (1/N) Σ_window |S - X|²

    N counts the voxels of the whole volume, as in the paper and the authors' code. `start`: first
    voxel (z, y, x) of the window of `size`; one for all, or a sequence with one for each volume.
    """
    _same_grid("the reconstruction", sr, "the image", image)
    sums = [
        (wide(_window(s, at, size)) - wide(_window(x, at, size))).square().sum()
        for s, x, at in zip(sr, image, _starts(start, len(sr)), strict=True)
    ]
    return torch.stack(sums).sum() / sr[:, 0].numel()


def fuse(volume: Tensor, mask: Tensor) -> Tensor:
    """Eq. 11 and 12: volume (B, C, D, H, W) times mask (B, 1, D, H, W), in every channel."""
    _check_mask(volume, mask)
    return wide(volume) * wide(mask)


def fusion_losses(sr: Tensor, prob: Tensor, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 14 and eq. 16 of F = fuse(sr, p) and G = fuse(image, y), the mean over targets.

    sr, image (B, C, D, H, W); prob, label (B, K, D, H, W), p and y one target of them (K = 1 in the
    paper). One pass for each target. Gradients for sr and prob; image and label must not ask for
    one.
    """
    _same_grid("the reconstruction", sr, "the image", image)
    for volume, masks in ((sr, prob), (image, label)):
        for mask in each(masks):
            _check_mask(volume, mask)
    _same_grid("the probability", prob, "the label", label)
    found = [moments(sr, p, image, y) for p, y in zip(each(prob), each(label), strict=True)]
    return over_targets(map(_target_enhanced, found)), over_targets(map(_spatial_similarity, found))


def each(masks: Tensor) -> Sequence[Tensor]:
    """(B, K, D, H, W) -> K times (B, 1, D, H, W); a single target is not copied."""
    return (masks,) if masks.shape[1] == 1 else masks.split(1, dim=1)


def over_targets(terms: Iterable[Tensor]) -> Tensor:
    """The mean of a term over the targets."""
    first, *others = terms
    return torch.stack([first, *others]).mean() if others else first


def target_enhanced_loss(fusion: Tensor, target: Tensor) -> Tensor:
    """Eq. 14: the reconstruction has to be right where the mask says target.

    L_tel = (1/N) Σ |F - G|²,   F = fuse(sr, prob) (eq. 11), G = fuse(image, label) (eq. 12)
    """
    return _target_enhanced(_moments_of(fusion, target))


def _target_enhanced(found: Moments) -> Tensor:
    return found.uu.diagonal(dim1=1, dim2=2).sum(1).mean()


def spatial_similarity_loss(fusion: Tensor, target: Tensor) -> Tensor:
    """Eq. 15 and 16, exactly: every pair of voxels has to be as similar as in the target.

        L_ssl = ‖A Aᵀ - B Bᵀ‖² / L²,   A and B: fusion and target as L x C, L = D H W

    The L x L matrices are never formed. With U = A - B and V = A + B,

        ‖A Aᵀ - B Bᵀ‖² = ½ [ tr(UᵀU VᵀV) + tr(UᵀV UᵀV) ]

    in O(L C²) time; for C = 1 a sum of non-negative terms, so nothing cancels where A ≈ B. The
    expansion in AᵀA, AᵀB, BᵀB would return negative losses in float32.
    """
    return _spatial_similarity(_moments_of(fusion, target))


def _spatial_similarity(found: Moments) -> Tensor:
    uu, uv, vv = found
    return (uu * vv + uv * uv.mT).sum((1, 2)).mean() / 2


def spatial_similarity_loss_pooled_official(
    prob: Tensor, sr: Tensor, target: Tensor, pool: int = 10
) -> Tensor:
    """The authors' code in place of eq. 15; a perfect prediction does *not* score zero.

    prob (B, 1, ...), sr and target = fuse(image, label) (B, C, ...) are average-pooled one by
    one and multiplied afterwards. Entrywise L1 norm, divided by the squared number of cells of
    one slice instead of all cells. Voxels beyond the last whole cell are dropped.
    """
    _same_grid("the reconstruction", sr, "the fused target", target)
    _same_grid("the probability", prob, "the first channel of the target", target[:, :1])
    with torch.autocast(sr.device.type, enabled=False):
        p, s, b = (_cells(x, pool) for x in (prob, sr, target))
        in_slice = b.shape[3] * b.shape[4]
        return _pairwise_error(p * s, b).abs().sum((1, 2)).mean() / in_slice**2


def spatial_similarity_loss_pooled_fixed(fusion: Tensor, target: Tensor, pool: int = 10) -> Tensor:
    """The same with its two slips mended: multiplied before pooling, and the mean over pairs."""
    _same_grid("the fusion", fusion, "its target", target)
    with torch.autocast(fusion.device.type, enabled=False):
        return _pairwise_error(_cells(fusion, pool), _cells(target, pool)).abs().mean()


def binarize_ste(prob: Tensor) -> Tensor:
    """0 or 1 at the threshold 0.5, with the gradient of the identity (straight-through)."""
    return (prob >= 0.5).to(prob.dtype) + (prob - prob.detach())


def _moments_of(fusion: Tensor, target: Tensor) -> Moments:
    """Of what has been masked already."""
    _same_grid("the fusion", fusion, "its target", target)
    whole = fusion.new_ones(()).expand(len(fusion), 1, *fusion.shape[2:])
    return moments(fusion, whole, target, whole)


def _cells(volume: Tensor, pool: int) -> Tensor:
    if min(volume.shape[2:]) < pool:
        raise ValueError(f"the grid {tuple(volume.shape[2:])} has no whole cell of side {pool}")
    return functional.avg_pool3d(wide(volume), pool)


def _pairwise_error(a: Tensor, b: Tensor) -> Tensor:
    """A Aᵀ - B Bᵀ, (B, L, L)."""
    a, b = a.flatten(2), b.flatten(2)
    return a.mT @ a - b.mT @ b


def _starts(start: Start, count: int) -> list[Sequence[int]]:
    """One window start for each of `count` volumes."""
    starts: list = list(start) if isinstance(start[0], Sequence) else [start] * count
    if len(starts) != count:
        raise ValueError(f"there are {len(starts)} window starts for a batch of {count}")
    return starts


def _window(volume: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    grid = tuple(volume.shape[1:])
    if any(not 0 <= s <= g - w for s, w, g in zip(start, size, grid, strict=True)):
        raise ValueError(f"a window of {tuple(size)} at {tuple(start)} leaves the grid {grid}")
    z, y, x = (slice(s, s + w) for s, w in zip(start, size, strict=True))
    return volume[:, z, y, x]


def _same_grid(name: str, x: Tensor, other: str, y: Tensor) -> None:
    if x.shape != y.shape:
        raise ValueError(f"{name} is {tuple(x.shape)} but {other} is {tuple(y.shape)}")


def _check_mask(volume: Tensor, mask: Tensor) -> None:
    if mask.shape != (len(volume), 1, *volume.shape[2:]):
        raise ValueError(
            f"the volume is {tuple(volume.shape)} but the mask is {tuple(mask.shape)}; "
            "the mask needs the same batch and grid, and one channel"
        )

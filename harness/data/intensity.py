"""Choose the intensities of a scan that become 0 and 1; those beyond are clipped.

    minmax      minimum and maximum of each volume on the benchmark's grid, as in the paper
    robust      percentiles 0.5 and 99.5 of each scan, its background left out
    low, high   the same two intensities in every scan: a window, or percentiles 0.5 and 99.5 of
                the target's voxels in all training cases, as nnU-Net takes them for CT

A scan is clipped before it is resampled, so that no voxel is a blend of tissue and of what was
filled in around it. Background is the darkest value where more than a thousandth of the voxels
have exactly that: air that was set to 0, padding of -32768.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from harness.data.reading import Limits

TAIL = 0.5  # per cent of the voxels that are clipped at each end
LOOKED_AT = 1_000_000  # voxels of a scan that percentiles are taken of, evenly spread
BACKGROUND = 1e-3  # of the voxels: so many of exactly the same value are no noise
OUTLYING = 0.1  # per cent of the voxels that own more than half of the range: worth a note
LISTED = 3  # cases that a note names, of many
KEPT = 2000  # voxels of a case's target that its percentiles are pooled from
CT = re.compile(r"ct([^a-z]|$)", re.IGNORECASE)

Ends = tuple[float, float] | None
"""Intensities that become 0 and 1; None: minimum and maximum on the grid."""


def is_ct(modality: str) -> bool:
    """Return whether a modality is computed tomography by its name: CT, ct, ct_venous, CT-1."""
    return CT.match(modality) is not None


def clipped(image: np.ndarray, limits: Sequence[Limits]) -> tuple[np.ndarray, tuple[Ends, ...]]:
    """Clip a copy of a scan (C, D, H, W) at the ends of each modality; return it and the ends."""
    if all(rule == "minmax" for rule in limits):
        return image, ()
    ends = tuple(ends_of(channel, rule) for channel, rule in zip(image, limits, strict=True))
    made = np.empty_like(image)
    for channel, pair, place in zip(image, ends, made, strict=True):
        np.clip(channel, *(pair or (None, None)), out=place)
    return made, ends


def ends_of(channel: np.ndarray, rule: Limits) -> Ends:
    """Return the two intensities of a modality (D, H, W) that become 0 and 1."""
    if rule == "minmax":
        return None
    return robust(channel) if rule == "robust" else rule


def robust(channel: np.ndarray) -> Ends:
    """Return percentiles 0.5 and 99.5 without the background; None where they are one value."""
    values = _spread(channel)
    lowest = values.min()
    inside = values[values > lowest]
    if len(values) - len(inside) < BACKGROUND * len(values) or not len(inside):
        inside = values
    low, high = (float(end) for end in np.percentile(inside, (TAIL, 100 - TAIL)))
    return (low, high) if low < high else None


def outlying(channel: np.ndarray) -> bool:
    """Return whether a thousandth of the voxels own more than half of the range of values."""
    low, high = np.percentile(_spread(channel), (OUTLYING / 2, 100 - OUTLYING / 2))
    return bool(high - low < (float(channel.max()) - float(channel.min())) / 2)


def sample(image: np.ndarray, mask: np.ndarray) -> list[list[float]]:
    """Return up to 2000 sorted intensities of the target, for each modality of a scan."""
    found = []
    for channel in image:
        values = np.sort(channel[mask])
        chosen = np.linspace(0, len(values) - 1, min(KEPT, len(values))).round().astype(int)
        found.append([float(value) for value in values[chosen]])
    return found


def pooled(samples: Iterable[Sequence[float]]) -> Ends:
    """Return percentiles 0.5 and 99.5 of all training targets; None where they are equal."""
    values = np.concatenate([np.asarray(one, np.float64) for one in samples] or [np.empty(0)])
    if not len(values):
        return None
    low, high = (float(f"{end:.6g}") for end in np.percentile(values, (TAIL, 100 - TAIL)))
    return (low, high) if low < high else None


def shown(modalities: Sequence[str], limits: Sequence[Limits]) -> str:
    """ "ct -160 to 240 for all; t1 by robust percentiles of each"; "" for the paper's way."""
    if all(rule == "minmax" for rule in limits):
        return ""
    words = {"minmax": "minimum to maximum", "robust": "percentiles 0.5 to 99.5 of each scan"}
    told = [
        f"{modality} {words[rule] if isinstance(rule, str) else f'{rule[0]:g} to {rule[1]:g}'}"
        for modality, rule in zip(modalities, limits, strict=True)
    ]
    return f"intensities from 0 to 1, the rest clipped: {', '.join(told)}"


def outliers(cases: Mapping[str, Sequence[str]], clipped: bool) -> str:
    """Return a sentence on cases whose range a few voxels stretch, by modality; "" for none."""
    known = [case for case, modalities in sorted(cases.items()) if modalities]
    if not known:
        return ""
    names = ", ".join(known[:LISTED]) + (", …" if len(known) > LISTED else "")
    done = "they are clipped" if clipped else "--set data.intensity=robust clips them"
    return (
        f"0.1 % of the voxels own more than half of the range of intensities in {len(known)} of "
        f"{len(cases)} cases ({names}): {done}"
    )


def _spread(channel: np.ndarray) -> np.ndarray:
    """Return about a million voxels of (D, H, W), evenly spread."""
    step = max(1, round((channel.size / LOOKED_AT) ** (1 / 3)))
    return channel[::step, ::step, ::step].ravel()

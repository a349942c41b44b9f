"""Flip, rotation about z and shift of one image and label, 128 x 192 x 192; and the loader.

The same pull of the same voxels asserted first. The loader makes samples for a step that keeps both
cores busy; how long the step waits for them is to be below a fiftieth of it.
"""

import math
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.timing import Row, installed, medians_ms, require_equal
from harness.data.augment import augment, transform
from harness.data.lowres import halve
from harness.data.prefetch import ahead
from models.cropping import selective_crop

ROUNDS = 7
SHAPE, DEGREES, SHIFT = (128, 192, 192), 33, (8.0, -6.0)  # voxels (y, x)
CASE = "flip, turn, shift of a pair"
STEPS, STEP_S = 8, 0.5
Pair = tuple[NDArray[np.float32], NDArray[np.uint8]]
GOALS = {"monai": 8, "cv2 per slice": 1 / 1.3}


def rows() -> Iterator[Row]:
    rng = np.random.default_rng(0)
    image = rng.random((1, *SHAPE), dtype=np.float32)
    label = (rng.random(SHAPE) < 0.3).astype(np.uint8)
    matrix = _matrix()
    functions = {"ours": lambda: transform(image, label, matrix)}
    for name, library, make in (
        ("monai", "monai", _monai),
        ("cv2 per slice", "opencv-python-headless", _cv2),
    ):
        if installed(library):
            functions[name] = make(image, label, matrix)
            _require_same(name, functions["ours"](), functions[name]())
    functions["copying both"] = lambda: (image.copy(), label.copy())
    times = medians_ms(functions, ROUNDS)
    for name in list(functions)[1:]:
        yield Row(CASE, name, times["ours"], times[name], GOALS.get(name))
    for name, wrapped in (("one ahead", ahead), ("in turn", iter)):
        waited, spent = _loading(wrapped, image, label)
        goal = 1.0 if name == "one ahead" else None
        yield Row(f"wait for a sample, {name}", "2 % of the step", waited, 0.02 * spent, goal)


def _matrix() -> NDArray[np.float64]:
    angle = math.radians(DEGREES)
    linear = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear[0] *= -1
    return np.column_stack([linear, -linear @ SHIFT])


def _require_same(name: str, ours: Pair, theirs: Pair) -> None:
    for what, mine, other in zip(("image", "label"), ours, theirs, strict=True):
        apart = float(np.abs(mine.astype(float) - other).mean())
        require_equal(f"{name}, {what}", apart, 0.0, 2e-3)


def _cv2(image: NDArray[np.float32], label: NDArray[np.uint8], matrix: NDArray) -> Callable:
    cv2 = import_module("cv2")
    swapped = matrix[::-1][:, [1, 0, 2]].copy()  # x before y
    centre = (np.array(SHAPE[:0:-1]) - 1) / 2
    swapped[:, 2] += centre - swapped[:, :2] @ centre
    plane = SHAPE[:0:-1]

    def call() -> Pair:
        moved, mask = np.empty_like(image), np.empty_like(label)
        for z in range(len(label)):
            for source, target, how in (
                (image[0, z], moved[0, z], cv2.INTER_LINEAR),
                (label[z], mask[z], cv2.INTER_NEAREST),
            ):
                cv2.warpAffine(source, swapped, plane, dst=target, flags=how | cv2.WARP_INVERSE_MAP)
        return moved, mask

    return call


def _monai(image: NDArray[np.float32], label: NDArray[np.uint8], matrix: NDArray) -> Callable:
    from monai.transforms import Affined

    affine = np.eye(4)
    affine[1:3, 1:] = matrix
    move = Affined(
        ["image", "label"], affine=affine, mode=["bilinear", "nearest"], padding_mode="zeros"
    )
    pair = {"image": torch.from_numpy(image), "label": torch.from_numpy(label)[None]}

    def call() -> Pair:
        moved = move(pair)
        return moved["image"].numpy(), moved["label"][0].numpy()

    return call


def _loading(
    wrapped: Callable[[Iterator[object]], Iterator[object]],
    image: NDArray[np.float32],
    label: NDArray[np.uint8],
) -> tuple[float, float]:
    """Milliseconds that a training step waits for its sample, and that it lasts; medians."""
    layer = torch.nn.Conv3d(8, 8, 3, padding=1)
    low = torch.zeros(1, 8, *(side // 2 for side in SHAPE))

    def samples() -> Iterator[object]:
        for number in range(STEPS):
            moved, mask = augment(image, label, np.random.default_rng(number))
            yield halve(moved), mask, selective_crop(moved, (32, 48, 48))

    def step() -> None:
        until = time.perf_counter() + STEP_S
        while time.perf_counter() < until:
            layer(low).sum().backward()

    coming, waits, steps = wrapped(samples()), [], []
    for _ in range(STEPS):
        began = time.perf_counter()
        next(coming)
        waits.append(time.perf_counter() - began)
        step()
        steps.append(time.perf_counter() - began)
    return 1000 * median(waits), 1000 * median(steps)

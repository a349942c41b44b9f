"""The 27 windows of the paper around a network that does nothing, against MONAI's inferer."""

from collections.abc import Iterator

import torch

from benchmarks.timing import Row, installed, medians_ms, require_equal
from harness.sliding_window import sliding_window

ROUNDS = 5
SHAPE, WINDOW = (128, 192, 192), (64, 96, 96)


def rows() -> Iterator[Row]:
    if not installed("monai"):
        return
    from monai.inferers import sliding_window_inference

    image = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))

    def ours() -> torch.Tensor:
        return sliding_window(lambda x: x, image, WINDOW)

    def monai() -> torch.Tensor:
        with torch.inference_mode():
            probability = sliding_window_inference(
                image[None], WINDOW, 1, torch.sigmoid, overlap=0.5, mode="constant"
            )
        return torch.as_tensor(probability)[0, 0]

    require_equal("27 windows", float((ours() - monai()).abs().max()), 0.0, 1e-6)
    times = medians_ms({"ours": ours, "monai": monai}, ROUNDS)
    yield Row("27 windows", "monai", times["ours"], times["monai"])

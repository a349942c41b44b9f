"""The paper's way of seeing a volume: all of it at half resolution beside one sharp window.

    image ─ halve ────────────► (C, d, h, w) ─┐
          └ crop of a quarter ─► (C, D/4, …) ─┴─ PFSeg ─► logits (K, D, H, W), reconstruction

Wang et al., arXiv:2210.14645, Sec. III. Axes as in `harness.systems.methods`.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.data.case import Volume
from harness.data.lowres import halve
from harness.systems.methods import Grid, Image, Mask, Method, batch, rng_of
from harness.systems.protocol import Options
from models import cropping
from models.objective import Binarize, Similarity, check_choices, pfseg_objective, weights_of
from models.pfseg import PFSeg, check_switch
from models.precision import autocast
from models.tpf import Guided, Strategy, adapt, check


class PatchFree(Method):
    """The paper's framework: half resolution beside one full-resolution guidance patch.

    `crop` places the guidance patch (models.cropping). `tpf` is the test-phase fine-tuning that
    `adapt` does. `weights`, `tel`, `ssl` and `binarize` belong to the objective; weights that are
    not given are eq. 19's. Raises ValueError for combinations that mean nothing.
    """

    network: PFSeg
    several = True

    def __init__(
        self,
        network: PFSeg,
        grid: Grid,
        *,
        crop: str = "selective",
        tpf: Strategy | Literal["none"] = "none",
        weights: Mapping[str, float] | None = None,
        tel: bool = True,
        ssl: Similarity = "exact",
        binarize: Binarize = "soft",
    ) -> None:
        super().__init__(network, grid)
        srt, sgm = network.config.srt, network.config.sgm
        if crop not in cropping.CROPPERS:
            raise ValueError(f"crop is '{crop}'; it must be one of {', '.join(cropping.CROPPERS)}")
        check_choices(ssl, binarize)
        check_switch("tel", tel)
        if not srt and (tel or ssl != "none"):
            raise ValueError(
                "L_tel and L_ssl compare a reconstruction, which srt=false leaves out; "
                "use tel=false and ssl=none with it"
            )
        if tpf != "none":
            check(tpf, srt=srt, tel=tel, ssl=ssl)
        self.window = tuple(side // 4 for side in grid) if sgm else None
        self.crop = cropping.CROPPERS[crop]
        self.tpf = tpf
        self.weights = weights_of(
            {} if weights is None else weights, srt=srt, sgm=sgm, tel=tel, ssl=ssl
        )
        self.tel, self.ssl, self.binarize = tel, ssl, binarize

    @property
    def transductive(self) -> bool:  # type: ignore[override]
        return self.tpf != "none"

    def settled(self, options: Mapping[str, Any]) -> Options:
        return {**options, "weights": asdict(self.weights)}

    def guided(self, image: Image, rng: np.random.Generator) -> Guided:
        start = self.place(image, rng)
        window = batch(cropping.window(image, start, self.window)) if self.window else None
        return Guided(batch(halve(image)), window, batch(image), start)

    def place(self, image: Image, rng: np.random.Generator) -> Grid:
        """Return the first voxel of the guidance patch; the origin where there is no guidance."""
        return self.crop(image, self.window, rng) if self.window else (0, 0, 0)

    def sample(self, image: Image, label: Mask, rng: np.random.Generator) -> tuple[Any, ...]:
        return (*self.guided(image, rng), batch(self.channels(label)))

    def losses(self, *sample: Any) -> dict[str, Tensor]:
        low, window, image, start, label = sample
        return pfseg_objective(
            self.network(low, window),
            image,
            label,
            start if self.window else None,
            self.window,
            self.weights,
            tel=self.tel,
            ssl=self.ssl,
            binarize=self.binarize,
        )

    def probability(self, image: Image) -> NDArray[np.float32]:
        self.network.eval()
        start = self.place(image, rng_of(self.case))
        with torch.inference_mode(), autocast(self.device, self.precision):
            return self._forward(self.tensor(image), start).cpu().numpy()

    def forward(self, image: Tensor) -> Tensor:
        return self._forward(image, (0, 0, 0))

    def _forward(self, image: Tensor, start: Grid) -> Tensor:
        low = nn.functional.avg_pool3d(image[None], 2)
        window = None
        if self.window:
            box = tuple(slice(s, s + w) for s, w in zip(start, self.window, strict=True))
            window = image[(slice(None), *box)][None]
        return self.answer(self.network.segment(low, window).float().sigmoid())

    def adapt(self, images: Sequence[Image]) -> "PatchFree":
        if self.tpf != "none":
            self.network = adapt(
                self.network,
                _LazyCases(images, self.guided),
                self.tpf,
                weights=self.weights,
                tel=self.tel,
                ssl=self.ssl,
                binarize=self.binarize,
                precision=self.precision,
            )
        return self

    def adaptation(self, modalities: int) -> None:
        if self.tpf == "none":
            return
        low = torch.zeros(1, modalities, *(side // 2 for side in self.grid))
        window = torch.zeros(1, modalities, *self.window) if self.window else None
        with torch.no_grad():
            self.network.segment(low, window)
        # The losses have neither convolutions nor matrix products, and not all of them run on meta.
        if self.tpf == "srt":
            self.network.reconstruct(low, window).sum().backward()
        else:
            output = self.network(low, window)
            (output.seg.sum() + output.sr.sum()).backward()

    def for_inference(self) -> "PatchFree":
        half = copy.copy(self)
        half.network = self.network.segmentation_half()
        return half

    def particulars(self, volumes: Sequence[Volume]) -> dict[str, float]:
        """Return the figures of Table I: seconds to place the guidance patch, and its richness.

        Richness is the patch's variance over the largest that any patch of the volume has, found
        by looking at all of them. Seconds are the median over `volumes`, richness the mean.
        """
        if self.window is None:
            return {}
        seconds, richness = [], []
        for volume in volumes:
            image, rng = np.array(volume.image), rng_of(volume.case)
            began = time.perf_counter()
            start = self.place(image, rng)
            seconds.append(time.perf_counter() - began)
            best = cropping.selective_lattice_crop(image, self.window, stride=1)
            largest = cropping.variance(image, best, self.window)
            found = cropping.variance(image, start, self.window)
            richness.append(found / largest if largest else 1.0)
        return {"crop_s": float(np.median(seconds)), "crop_variance": float(np.mean(richness))}


class _LazyCases(Sequence[Guided]):
    """Test volumes that are made ready one at a time, so that memory need not hold all of them."""

    def __init__(
        self, images: Sequence[Image], make: Callable[[Image, np.random.Generator], Guided]
    ) -> None:
        self.images = images
        self.make = make

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        return self.make(self.images[index], np.random.default_rng(index))

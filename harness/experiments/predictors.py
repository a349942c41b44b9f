"""The prediction for a scan: of one network, or of the networks of all folds together.

    images ─ each network ─► probabilities ─ mean over the folds ─► masks

The mean is that of nnU-Net: of probabilities, before a mask is made. One network is in memory at a
time; the weights of the others are read anew for each scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.data.wording import listed
from harness.runs.run_folder import RunFolder
from harness.runs.spec import Device, TrialSpec
from harness.systems.methods import Image, Mask, Method, sound
from harness.trials.network import as_scored, exchange

Probability = NDArray[np.float32]  # (D, H, W), of several targets (K, D, H, W)


class Segmentation(NamedTuple):
    """The masks and probabilities of the images of a scan."""

    masks: list[Mask]
    probabilities: list[Probability]
    """Empty where they are neither asked for nor at hand."""


@dataclass(frozen=True, eq=False)
class OneNetwork:
    """A trained network, whose masks are those that are scored."""

    spec: TrialSpec
    method: Method
    notes: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[TrialSpec, ...]:
        return (self.spec,)

    def adapted(self, images: Sequence[Image]) -> "OneNetwork":
        """The network after fine-tuning on `images`."""
        return OneNetwork(self.spec, self.method.adapt(images).for_inference())

    def predict(
        self, case: str, views: Sequence[Sequence[Image]], probability: bool
    ) -> Segmentation:
        """Return what is found in the images of a scan, given as the one network sees them.

        Raises UnsoundPrediction.
        """
        [images] = views
        method = self.method.at(case)
        masks = [method.segment(image) for image in images]
        return Segmentation(masks, [method.probability(image) for image in images if probability])


@dataclass(frozen=True, eq=False)
class FoldMean:
    """The networks of one row in several folds, which predict by their mean probability."""

    run: Path
    specs: tuple[TrialSpec, ...]
    method: Method

    @classmethod
    def of(cls, run: Path, trials: Sequence[str], device: Device) -> "FoldMean":
        """Load the networks of finished trials, one after the other.

        Raises StateError for a trial that is not finished and for weights that cannot be used.
        """
        method = as_scored(run, trials[0], device).method
        for trial in trials[1:]:
            exchange(method, run, trial)
        return cls(run, tuple(RunFolder(run).trial(trial).spec() for trial in trials), method)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the masks are, and what they lack of those that are scored."""
        folds = listed([str(spec.fold) for spec in self.specs], 10)
        said = f"the mean probability of {len(self.specs)} networks, those of folds {folds}"
        if type(self.method).segment is not Method.segment:
            said += "; what a network's own masks are processed by is left out"
        return (said,)

    def predict(
        self, case: str, views: Sequence[Sequence[Image]], probability: bool
    ) -> Segmentation:
        """Return what is found in the images of a scan, given as each of the folds sees them.

        Raises UnsoundPrediction for the first network that gives no probability.
        """
        method = self.method.at(case)
        total: list[Probability] = []
        for spec, images in zip(self.specs, views, strict=True):
            exchange(method, self.run, spec.id)
            found = [sound(method.probability(image)) for image in images]
            total = [a + b for a, b in zip(total, found, strict=True)] if total else found
        mean = [each / np.float32(len(self.specs)) for each in total]
        return Segmentation([method.mask(each) for each in mean], mean)


Predictor = OneNetwork | FoldMean

"""What a plug-in is written with: one Python file with systems, metrics or data sets of your own.

    from harness.plugin import Patches, System

    SYSTEMS = {"mine": System("My network", network=MyNetwork, sees=Patches, quick={"width": 8})}

`pfbench run --suite table5 --plugin mine.py --model mine` then trains it like all others. The
file may also hold METRICS and DATASETS. It is executed when a command names it with --plugin, and
may import what is installed; other files beside it are not seen, so that the hash of its source
tells everything that you wrote.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from harness.data.case import Case, Scan, Survey, Volume
from harness.data.datasets import Dataset
from harness.data.layout import Surveyor, volumes
from harness.data.prepare import finish
from harness.systems import catalogue as systems
from harness.systems.methods import (
    LowResolution,
    Method,
    Patches,
    PatchFree,
    Stage,
    WholeVolume,
    batch,
    binary_losses,
)
from harness.systems.plugin_metrics import Metric
from models.losses import segmentation_loss

__all__ = [
    "Case",
    "Dataset",
    "LowResolution",
    "Method",
    "Metric",
    "PatchFree",
    "Patches",
    "Scan",
    "Stage",
    "Survey",
    "Surveyor",
    "System",
    "Volume",
    "WholeVolume",
    "batch",
    "binary_losses",
    "finish",
    "segmentation_loss",
    "volumes",
]


@dataclass(frozen=True)
class System:
    """A network and how it sees a volume.

    `network(modalities=C, **options)` returns an `nn.Module` from (B, C, D, H, W) to one channel
    of logits on the same grid. `sees` is Patches (windows of half the side), WholeVolume,
    LowResolution (half the resolution, interpolated back), PatchFree (for networks like PFSeg),
    or your own subclass of Method. `options` hold the full-size values, `quick` what the quick
    profile replaces; those that `sees` takes as keywords, such as the window of Patches, go there.
    `deviation` is printed under every table: what differs from the common protocol.
    """

    title: str
    network: Callable[..., nn.Module]
    sees: type[Method]
    reference: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    end_to_end: bool = True
    deviation: str = ""

    def entry(self) -> systems.System:
        """The same as it stands in `harness.systems.catalogue`."""
        return systems.System(
            self.title,
            "patch-based" if issubclass(self.sees, Patches) else "patch-free",
            self.network,
            self.sees,
            self.reference,
            self.end_to_end,
            self.options,
            self.quick,
            _keywords(self.sees),
            self.deviation,
        )


def _keywords(sees: type[Method]) -> tuple[str, ...]:
    parameters = inspect.signature(sees).parameters.values()
    return tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)

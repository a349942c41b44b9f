"""The system that a plug-in defines, checked when it is created."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from harness.systems import catalogue
from harness.systems.methods import (
    Method,
    Patches,
)


@dataclass(frozen=True)
class System:
    """A system of a plug-in: a network and the method that shows it a volume.

    `network(modalities=C, **options)` returns an `nn.Module` from (B, C, D, H, W) to one channel
    of logits on the same grid; of K targets it is also called with `targets=K`, for K channels. A
    network without that keyword has one target. `sees` is Patches (windows of half the side),
    WholeVolume, LowResolution (half the resolution, interpolated back), PatchFree (for networks
    like PFSeg), or your own subclass of Method. `options` hold the full-size values, `quick` what
    the quick profile replaces; those that `sees` takes as keywords, such as the window of Patches,
    go there. `deviation` is printed under every table: what differs from the common protocol.
    """

    title: str
    network: Callable[..., nn.Module]
    sees: type[Method]
    reference: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    end_to_end: bool = True
    deviation: str = ""

    def entry(self) -> catalogue.SystemEntry:
        """Return this system as an entry of `harness.systems.catalogue`."""
        return catalogue.SystemEntry(
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

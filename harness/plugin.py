"""The names that a plug-in imports: a Python file with systems, metrics or data sets of your own.

    from harness.plugin import Patches, System

    SYSTEMS = {"mine": System("My network", network=MyNetwork, sees=Patches, quick={"width": 8})}

`pfbench run --suite table5 --plugin mine.py --model mine` then trains it like all others. The
file may also hold METRICS and DATASETS. It is executed when a command names it with --plugin, and
may import what is installed; other files beside it are not seen, so that the hash of its source
tells everything that you wrote.
"""

from harness.data.case import Case, Scan, Survey, Volume
from harness.data.datasets import Dataset
from harness.data.layout import Surveyor, volumes
from harness.data.prepare import finish
from harness.systems.methods import (
    LowResolution,
    Method,
    Patches,
    Stage,
    WholeVolume,
    batch,
    binary_losses,
)
from harness.systems.patch_free import PatchFree
from harness.systems.plugin_metrics import Metric
from harness.systems.plugin_system import System
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

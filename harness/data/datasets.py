"""The list of data sets: what their files are called, and how their scans are prepared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from harness.data import brats
from harness.data.by_pattern import Layout
from harness.data.case import Contents, Grid, Scan, Survey, Volume
from harness.data.names import refuse_unsafe
from harness.data.presets import GLIOMA, PRESETS
from harness.data.reading import View
from harness.errors import UsageError

WHOLE = "harness.data.prepare:whole"


@dataclass(frozen=True)
class Dataset:
    """One data set of the list; `modalities` are taken when none are asked for.

    `targets`: name -> the labels it consists of; the first is the default. `survey(root,
    modalities)` finds the cases and reads no voxels. `prepare(scan, labels, reduce, case)` brings
    a scan to the benchmark's grid; the default shows all of it undistorted. `labels` are those
    that a mask may hold, where that is known. `contents(root)`: what the folder itself says its
    modalities and targets are. Functions may stand as "module:name". In place of `survey` and
    `contents`, `layout` says how files are called.
    """

    title: str
    modalities: tuple[str, ...]
    targets: Mapping[str, tuple[int, ...]]
    survey: str | Callable[[Path, Sequence[str]], Survey] = ""
    prepare: str | Callable[[Scan, Any, Grid, str], Volume] = WHOLE
    licence: str = "that of the volumes you bring"
    labels: frozenset[int] = frozenset()
    contents: str | Callable[[Path], Contents] = ""
    editions: bool = False
    """Whether the labels of its masks have had several meanings, see `harness.data.brats`."""
    layout: Layout | None = None
    expected: str = ""
    """Names of files in that layout, for the message that no cases were found."""
    choose: bool = False
    """Whether a person has to name a target; otherwise the first target is the default."""
    synthetic: bool = False
    plugin: str = ""
    """The id of the plug-in that defines this data set; "" for our own."""

    def contents_of(self, root: Path | None) -> Contents:
        """Return modalities, targets and labels, as far as known without reading a mask."""
        if self.contents and root is not None:
            contents: Contents = loaded(self.contents)(root)
            refuse_unsafe(contents.targets, str(root))
            return contents
        default = "" if self.choose else next(iter(self.targets), "")
        return Contents(self.modalities, self.targets, default, self.labels)


DATASETS: dict[str, Dataset] = {
    "phantom": Dataset(
        "Synthetic heads with lesions, made in memory",
        ("flair",),
        brats.REGIONS,
        prepare="harness.data.prepare:phantom",
        licence="none needed",
        synthetic=True,
    ),
    "brats": Dataset(
        "BraTS 2012-2025, glioma MRI: a folder for each patient",
        ("t2",),
        brats.REGIONS,
        prepare="harness.data.prepare:brats",
        licence="research only, from the organisers",
        labels=frozenset(range(5)),
        editions=True,
        layout=GLIOMA,
        expected="folders such as BraTS20_Training_001 directly below",
    ),
    "liver": Dataset(
        "Liver CT in images/ + labels/, nnU-Net's or Decathlon's layout",
        ("ct",),
        {"liver": (1, 2), "tumour": (2,)},
        "harness.data.liver:survey",
        "harness.data.prepare:liver",
        labels=frozenset({0, 1, 2}),
    ),
    "folder": Dataset(
        "Any organ, in nnU-Net's raw layout or Decathlon's: dataset.json names its parts",
        (),
        {},
        "harness.data.folder:survey",
        contents="harness.data.folder:contents",
    ),
    **{
        name: Dataset(
            preset.title,
            preset.modalities,
            preset.targets,
            licence=preset.licence,
            labels=preset.labels,
            layout=preset.layout,
            expected=preset.expected,
            choose=preset.choose,
        )
        for name, preset in PRESETS.items()
    },
}


def loaded(path: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that "module:name" names; return a function unchanged."""
    return resolve_name(path) if isinstance(path, str) else path


def seen_as(dataset: str) -> str:
    """Return the data set whose way to see a scan this one shares, for `scan_view.view_of`.

    Raises UsageError for a plug-in's own, of which the way back to the scan is not known.
    """
    entry = DATASETS[dataset]
    if entry.prepare == WHOLE:
        return "folder"
    if not entry.plugin:
        return dataset
    what = f"{dataset} prepares volumes in its own way; the way back to a scan is not known"
    raise UsageError(what, where="--dataset", remedy="leave out its `prepare`", code="PFB-C42")


def way(dataset: str, grid: Grid, view: View) -> tuple[str, Grid, View]:
    """Return how volumes of `grid` see the scans of `dataset`, for `harness.data.scan_view`.

    Raises UsageError as `seen_as` does.
    """
    from harness.data.scan_view import reduction

    return "" if view.grid else seen_as(dataset), reduction(grid, view), view

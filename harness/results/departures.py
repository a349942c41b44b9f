"""The departures of a run from the paper: in data, networks and training.

A departure marks every verdict on the paper's claims. The paper's figures stand beside ours only
where the data are the paper's, too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.data.case import PAPER_GRID
from harness.results.caveats import SYNTHETIC, caveats
from harness.runs.nested import in_words, pairs
from harness.runs.records import RunManifest
from harness.runs.settings import PAPER

PAPER_TARGET = "wt"
PAPER_MODALITIES = ({"t2"}, {"flair", "t1", "t1ce", "t2"})
"""The modalities of BraTS: the released code reads T2 alone, the text speaks of four modalities."""
LIVER = (
    "liver scans of your own: the paper's are 347 MRI scans of one hospital that nobody else has"
)


def of_data(data: Mapping[str, Any]) -> list[str]:
    """The departures of the volumes from the paper's; `data` is that part of a run's protocol."""
    if data["synthetic"]:
        return [SYNTHETIC.reason]
    if data["name"] == "liver":
        return [LIVER]
    if data["name"] != "brats":
        return [f"data set {data['name']} instead of BraTS"]
    found = []
    if set(data["modalities"]) not in PAPER_MODALITIES:
        found.append(f"modality {', '.join(data['modalities'])} instead of t2")
    if data["target"] != PAPER_TARGET:
        found.append(f"target {data['target']} instead of {PAPER_TARGET}")
    if list(data["grid"]) != list(PAPER_GRID):
        found.append(f"volumes of {_size(data['grid'])} voxels instead of {_size(PAPER_GRID)}")
    return found


def of_scoring(protocol: Mapping[str, Any]) -> list[str]:
    """The departure of scores on the voxels of the scan; the paper's are on the grid."""
    on_scan = protocol.get("scored_on", "grid") == "scan"
    return ["masks scored on the voxels of the scan instead of the grid"] if on_scan else []


def of_training(protocol: Mapping[str, Any]) -> list[str]:
    """The settings of `protocol` that differ from those of the profile `paper`."""
    paper = PAPER.protocol.model_dump(mode="json")
    return [
        f"{key} {in_words(value)} instead of {in_words(paper.get(key))}"
        for key, value in protocol.items()
        if value != paper.get(key) and key != "scored_on"
    ]


def of_systems(settings: Mapping[str, Any]) -> list[str]:
    """The settings of single systems that were changed: by hand, or by a study and --tuned."""
    changed, alone = settings["systems"].items(), settings["exceptions"].items()
    found = [f"{name} with {pairs(options)}, set by the user" for name, options in changed]
    return found + [f"{name} trained with its own {pairs(values)}" for name, values in alone]


def departures(run: RunManifest) -> list[str]:
    """Every departure of a run from the paper."""
    found = [caveat.reason for caveat in caveats(run.synthetic, run.profile)]
    if not run.synthetic:
        found += of_data(run.protocol["data"])
    found += of_scoring(run.settings["protocol"])
    if run.profile == "paper":
        found += of_training(run.settings["protocol"])
    return [*found, *of_systems(run.settings)]


def _size(grid: Sequence[int]) -> str:
    return "×".join(map(str, grid))

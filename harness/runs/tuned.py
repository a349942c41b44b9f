"""The settings that `--tuned` takes from the best.yaml of a study, and the split they belong to."""

from pathlib import Path

from harness.errors import UsageError
from harness.runs.files import JsonObject
from harness.runs.yaml_file import read_config


def tuned_settings(path: Path) -> JsonObject:
    """Read the settings in a best.yaml of `pfbench tune`. Raises UsageError for another file."""
    content = read_config(path)
    if not isinstance(content.get("settings"), dict):
        what = "holds no settings of a study"
        remedy = "pass the best.yaml of `pfbench tune`"
        raise UsageError(what, where=str(path), remedy=remedy, code="PFB-C09")
    return content["settings"]


def refuse_other_split(tuned: Path, digest: str) -> None:
    """Raise UsageError when the settings in a best.yaml were found on another split than this one.

    Validation cases of one split may be test cases of the other.
    """
    found = read_config(tuned).get("split")
    if found == digest:
        return
    what = f"found on split {found}, and this run has {digest}" if found else "names no split"
    remedy = (
        "the data and split of that study, or --tuned-elsewhere where no case that it has seen "
        "is tested here"
    )
    raise UsageError(what, where=str(tuned), remedy=remedy, code="PFB-C19")

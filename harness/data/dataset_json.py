"""Read dataset.json in all its kinds: its channels, labels and cases.

    {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"},
     "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}   Decathlon
    the same, where imagesTr/ has a_0000.nii.gz                                        nnU-Net v1
    {"channel_names": {"0": "CT"}, "labels": {"background": 0, "whole": [1, 2]}}       nnU-Net v2
    {"dataset": {"a": {"images": ["a_ct.nii.gz"], "label": "a_seg.nii.gz"}}}           any folders
    {"training": [{"image": ["a_t1.nii.gz", "a_t2.nii.gz"], "label": …, "fold": 0}]}   MONAI

What cannot be followed is refused, never half followed. Reads no voxels.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.layout import ENDINGS, stem
from harness.data.names import words_of
from harness.errors import DataError

LISTING = "dataset.json"
MAX_JSON_BYTES = 10_000_000
IGNORED = "ignore"
CASES = ("training", "validation")
EXAMPLE = '{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}'


@dataclass(frozen=True)
class Listed:
    """One case in a list: a file for each channel, or one file that holds all channels."""

    id: str
    images: tuple[Path, ...]
    label: Path
    fold: int | None = None


@dataclass(frozen=True)
class Listing:
    """The content of a dataset.json; fields that it does not give are empty."""

    channels: tuple[str, ...] = ()
    labels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    spelled: Mapping[str, str] = field(default_factory=dict)
    """Names of channels and labels as written -> the words made of them, where the two differ."""
    cases: tuple[Listed, ...] = ()
    """The cases in order of the list; empty where the folders decide on the cases."""
    notes: tuple[str, ...] = ()

    @property
    def folds(self) -> dict[str, int]:
        """Case -> fold, where the list has folds."""
        return {case.id: case.fold for case in self.cases if case.fold is not None}


def read(root: Path) -> Listing:
    """Read ROOT/dataset.json. Raises DataError for a file that cannot be followed."""
    return parsed(root, _content(root))


def parsed(root: Path, told: Mapping[str, Any]) -> Listing:
    """Read the content of a dataset.json about the files below `root`. Raises DataError."""
    _refuse_other_files(told)
    channels: tuple[str, ...] = ()
    spelled: dict[str, str] = {}
    numbered = told.get("channel_names", told.get("modality"))
    if numbered is not None:
        channels, spelled = _channels(numbered)
    labels, more = _labels(told["labels"]) if "labels" in told else ({}, {})
    cases, notes = _cases(root, told, len(channels))
    return Listing(channels, labels, {**spelled, **more}, cases, notes)


def _content(root: Path) -> Mapping[str, Any]:
    path = root / LISTING
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("too large")
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise unclear("is no JSON, or larger than 10 MB", "download it again") from None
    if not isinstance(told, dict):
        raise unclear("is no JSON object", 'lines such as "labels": {"background": 0, "liver": 1}')
    return told


def unclear(what: str, remedy: str) -> DataError:
    """Return the error for a dataset.json that cannot be followed."""
    return DataError(what, where=LISTING, remedy=remedy, code="PFB-D09")


def _refuse_other_files(told: Mapping[str, Any]) -> None:
    ending = told.get("file_ending", ENDINGS[0])
    if ending not in ENDINGS:
        what = f"file_ending is {shown(ending)}; only {' and '.join(ENDINGS)} are read"
        raise unclear(what, "convert images and labels to NIfTI, and say so there")


def _channels(numbered: Any) -> tuple[tuple[str, ...], dict[str, str]]:
    """Turn {"0": "T1", "1": "T2"} into ("T1", "T2"), each safe as a word of a command."""
    try:
        if isinstance(numbered, list):
            numbered = dict(enumerate(numbered))
        pairs = sorted((int(number), str(name)) for number, name in numbered.items())
        if not pairs or [number for number, _ in pairs] != list(range(len(pairs))):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        raise unclear("channels are not counted from 0", '"channel_names": {"0": "T2"}') from None
    return words_of([name for _, name in pairs], "channel")


def _labels(labels: Any) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Turn {"tumour": 1}, {"whole": [1, 2]} or Decathlon's {"1": "tumour"} into name -> labels."""
    try:
        pairs = [_pair(key, value) for key, value in labels.items()]
        if not all(0 <= number <= 255 for _, numbers in pairs for number in numbers):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        example = '"labels": {"background": 0, "tumour": 1}'
        raise unclear("labels are not names with numbers from 0 to 255", example) from None
    if IGNORED in (name for name, _ in pairs):
        what = "has a label 'ignore', voxels that nobody judged; here every voxel is scored"
        raise unclear(what, "leave out the cases that have it, and the label")
    words, spelled = words_of([name for name, _ in pairs])
    named = {word: numbers for word, (_, numbers) in zip(words, pairs, strict=True) if any(numbers)}
    if not named:
        raise unclear("names no label but the background", '"tumour": 1')
    return named, spelled


def _pair(key: Any, value: Any) -> tuple[str, tuple[int, ...]]:
    if str(key).isdecimal() and isinstance(value, str):
        key, value = value, int(key)
    numbers = value if isinstance(value, list) else [value]
    if any(isinstance(number, (bool, float)) for number in numbers):
        raise ValueError("no whole number")
    return str(key), tuple(int(number) for number in numbers)


def _cases(
    root: Path, told: Mapping[str, Any], channels: int
) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
    if "dataset" in told:
        return _by_name(root, told["dataset"], channels), ()
    entries: list[tuple[str, Any]] = []
    for key in CASES:
        listed = told.get(key, [])
        if not isinstance(listed, list):
            raise unclear(f"'{key}' is no list", f'"{key}": [{EXAMPLE}]')
        entries += [(key, entry) for entry in listed]
    if not told.get("training"):
        return (), ()
    with_label = [entry for key, entry in entries if key == "training" or _has_label(entry)]
    read = [_entry(root, entry, channels) for entry in with_label]
    ids = _ids([case.images for case in read])
    cases = tuple(
        Listed(case, one.images, one.label, one.fold) for case, one in zip(ids, read, strict=True)
    )
    _refuse_some_folds(cases)
    added = len(with_label) - len(told["training"])
    unused = len(entries) - len(with_label)
    notes = []
    if added:
        notes.append(f"{LISTING}: {added} cases of 'validation' are used like those of 'training'")
    if unused:
        notes.append(f"{LISTING}: {unused} cases of 'validation' have no label and are left out")
    return cases, tuple(notes)


def _by_name(root: Path, listed: Any, channels: int) -> tuple[Listed, ...]:
    """Read nnU-Net v2's {"a": {"images": [one file for each channel], "label": …}} as cases."""
    example = '"dataset": {"a": {"images": ["a_0000.nii.gz"], "label": "a.nii.gz"}}'
    try:
        cases = []
        for case, entry in listed.items():
            unknown = set(entry) - {"images", "label"}
            if unknown or not isinstance(entry["images"], list):
                raise ValueError
            one = _entry(root, {"image": entry["images"], "label": entry["label"]}, channels)
            cases.append(Listed(str(case), one.images, one.label))
        if not cases:
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise unclear("'dataset' does not give images and label of each case", example) from None
    return tuple(cases)


def _has_label(entry: Any) -> bool:
    return isinstance(entry, dict) and "label" in entry


def _entry(root: Path, entry: Any, channels: int) -> Listed:
    """Read one entry of a list, with its paths below `root`."""
    what = "not a list of images and labels"
    try:
        images = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
        label, fold = entry["label"], entry.get("fold")
        if not images or not all(isinstance(path, str) and path for path in (*images, label)):
            raise ValueError
        if fold is not None and (isinstance(fold, bool) or int(fold) < 0):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise unclear(f"{what}: {shown(entry)}", f"lines such as {EXAMPLE}") from None
    if isinstance(entry["image"], list) and channels and len(images) != channels:
        what = f"{len(images)} images in {shown(entry)}, but {channels} channels are named"
        raise unclear(what, "an image for each of channel_names or modality")
    _refuse_escape(root, *images, label)
    paths = tuple(root / path for path in images)
    return Listed("", paths, root / label, None if fold is None else int(fold))


def _ids(images: Sequence[tuple[Path, ...]]) -> list[str]:
    """Return an id for each case: its file's name, its files' common part, or their folder's name.

    The last only where different files would be the same case.
    """
    ids = [_shared([stem(path) or path.name for path in paths]) for paths in images]
    files = {(case, paths) for case, paths in zip(ids, images, strict=True)}
    if not all(ids) or len({case for case, _ in files}) < len(files):
        folders = [paths[0].parent.name for paths in images]
        if len(set(folders)) == len(set(images)):
            return folders
    return ids


def _shared(names: Sequence[str]) -> str:
    """Return the common beginning of names, up to a separator: "a" for "a_t1" and "a_t2"."""
    if len(set(names)) == 1:
        return names[0]
    words = [re.split(r"([_.-])", name) for name in names]
    shared = []
    for parts in zip(*words, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return "".join(shared).rstrip("_.-")


def _refuse_some_folds(cases: Sequence[Listed]) -> None:
    without = [case.id for case in cases if case.fold is None]
    if without and len(without) < len(cases):
        what = f"{len(without)} of {len(cases)} cases have no 'fold', such as {shown(without[0])}"
        raise unclear(what, '"fold": 0 for each case, or for none')


def _refuse_escape(root: Path, *names: str) -> None:
    for name in names:
        if "\0" in name or not (root / name).resolve().is_relative_to(root.resolve()):
            what = f"'{shown(name, 80)}' lies outside the data root"
            remedy = "name files below the folder"
            raise DataError(what, where=LISTING, remedy=remedy, code="PFB-D06")


def shown(value: Any, length: int = 60) -> str:
    """Return a value as a short text of printable characters, for a message."""
    return re.sub(r"[^ -~]", "?", str(value))[:length]

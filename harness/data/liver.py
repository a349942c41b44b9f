"""Abdominal CT with liver masks: the paper's own set is private, so bring another one.

    ROOT/images/<id>.nii.gz         ROOT/labels/<id>.nii.gz      plain
    ROOT/imagesTr/<id>_0000.nii.gz  ROOT/labelsTr/<id>.nii.gz    nnU-Net
    ROOT/dataset.json               {"training": [{"image": …, "label": …}]}, Decathlon

Label 1 is the liver. Finds files, reads no voxels.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.data.case import Case, Survey
from harness.data.layout import Surveyor, nothing_here, stem, twice, volumes
from harness.errors import DataError

LAYOUTS = (("images", "labels"), ("imagesTr", "labelsTr"))
CHANNEL = re.compile(r"_(\d{4})$")  # nnU-Net: one file for each channel of an image
MAX_JSON_BYTES = 10_000_000
Pairs = dict[str, tuple[list[Path], list[Path]]]  # id -> images, labels


def survey(root: Path, modalities: Sequence[str]) -> Survey:
    """Every image with its label, paired by id."""
    found = Surveyor(root)
    try:
        pairs = listed(root) or _folders(root, found.notes)
    except DataError as error:
        return Survey(faults=(error,))
    for case, (images, labels) in sorted(pairs.items()):
        missing = list(_missing(case, images, labels, modalities[0]))
        found.add(case, {modalities[0]: images}, labels, missing)
    found.faults += same_but_for_case(pairs)
    if not pairs:
        found.faults.append(nothing_here(root, "images/ with labels/, imagesTr/ with labelsTr/"))
    return found.done()


def cases(root: Path, modalities: Sequence[str]) -> list[Case]:
    """Every case below `root` in order of id. Raises DataError that lists all faults."""
    return survey(root, modalities).require()


def _missing(
    case: str, images: list[Path], labels: list[Path], modality: str
) -> Iterator[DataError]:
    if not images:
        what, remedy = f"missing {modality}; found a label only", "add it or remove the label"
        yield DataError(what, where=case, remedy=remedy, code="PFB-D01")
    if not labels:
        remedy = "add it or remove the image"
        yield DataError("no label", where=case, remedy=remedy, code="PFB-D02")


def _folders(root: Path, notes: list[str]) -> Pairs:
    """Files of the same name in two folders; of several channels the first."""
    pairs: Pairs = {}
    for image_folder, label_folder in LAYOUTS:
        if not ((root / image_folder).is_dir() and (root / label_folder).is_dir()):
            continue
        labels = volumes(root / label_folder)
        images: dict[str, list[Path]] = defaultdict(list)
        for name, paths in volumes(root / image_folder).items():
            channel = CHANNEL.search(name)
            if channel is None or name in labels:
                images[name] += paths
            elif channel[1] == "0000":
                images[name.removesuffix("_0000")] += paths
            else:
                notes.append(f"{name}: not used, only channel 0000 is")
        for case in sorted({*images, *labels}):
            pairs[case] = (images.get(case, []), labels.get(case, []))
    return pairs


def listed(root: Path) -> Pairs:
    """The pairs that dataset.json lists; none when it lists none (nnU-Net's own has no list)."""
    listing = root / "dataset.json"
    if not listing.is_file():
        return {}
    try:
        if listing.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("too large")
        content = json.loads(listing.read_bytes())
        items = content.get("training", [])
        listed = [(str(item["image"]), str(item["label"])) for item in items]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        what = "not a Decathlon list of images and labels"
        remedy = 'lines such as {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}'
        raise DataError(what, where=listing.name, remedy=remedy, code="PFB-D09") from None
    pairs: Pairs = {}
    for image, label in listed:
        _refuse_escape(root, image, label)
        case = stem(Path(image)) or Path(image).name
        images, labels = pairs.setdefault(case, ([], []))
        images.append(root / image)
        labels.append(root / label)
    return pairs


def _refuse_escape(root: Path, *names: str) -> None:
    for name in names:
        if "\0" in name or not (root / name).resolve().is_relative_to(root.resolve()):
            shown = re.sub(r"[^ -~]", "?", name)[:80]
            what = f"'{shown}' lies outside the data root"
            remedy = "name files below the folder"
            raise DataError(what, where="dataset.json", remedy=remedy, code="PFB-D06")


def same_but_for_case(pairs: Pairs) -> list[DataError]:
    alike = defaultdict(list)
    for case, (images, labels) in pairs.items():
        alike[case.casefold()].append((images + labels)[0])
    return [twice(paths, stem(paths[0])) for paths in alike.values() if len(paths) > 1]

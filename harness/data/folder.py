"""A folder in nnU-Net's raw layout or Decathlon's, of any organ, as it was downloaded.

    ROOT/imagesTr/<id>_0000.nii.gz, <id>_0001.nii.gz, …  ROOT/labelsTr/<id>.nii.gz   nnU-Net
    ROOT/imagesTr/<id>.nii.gz, channels on a 4th axis    ROOT/labelsTr/<id>.nii.gz   Decathlon
    ROOT/dataset.json   channels (channel_names, modality), labels, Decathlon's list (training)

images/ and labels/ will do, too. Without dataset.json channels and labels go by their numbers.
The whole of each scan is brought to the benchmark's grid undistorted (harness.data.prepare.whole).
Finds files, reads no voxels.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.case import Contents, Survey
from harness.data.layout import ENDINGS, Surveyor, nothing_here, stem, volumes
from harness.data.liver import CHANNEL, LAYOUTS, MAX_JSON_BYTES, listed, same_but_for_case
from harness.errors import DataError

Files = dict[int, list[Path]]  # channel -> its files; more than one is a fault
ALL = -1  # in place of a channel: a file that holds all of them
LISTING = "dataset.json"
EVERYTHING = "foreground"
IGNORED = "ignore"


def contents(root: Path) -> Contents:
    """Channels and labels as dataset.json names them, else as the files count them.

    A label can be named by its number, too, and "foreground" is all of them together. DataError
    for a dataset.json that cannot be followed.
    """
    told = _listing(root)
    _refuse_other_files(told)
    numbered = told.get("channel_names", told.get("modality"))
    if numbered is None:
        channels = {channel for files in _folders(root)[0].values() for channel in files} - {ALL}
        modalities = tuple(f"{n:04d}" for n in range(max(channels, default=0) + 1))
    else:
        modalities = _channels(numbered)
    if "labels" not in told:
        return Contents(modalities, {"1": (1,)}, "1", channels=True)
    named = _labels(told["labels"])
    values = sorted({value for values in named.values() for value in values})
    numbers = {str(value): (value,) for value in values}
    targets = {**named, **numbers, EVERYTHING: tuple(values), **named}
    default = next(iter(named)) if len(named) == 1 else ""
    return Contents(modalities, targets, default, frozenset({0, *values}), channels=True)


def survey(root: Path, modalities: Sequence[str]) -> Survey:
    """Every case with its label and the files of `modalities`, paired by id."""
    found = Surveyor(root)
    try:
        known = contents(root).modalities
        images, labels = _listed(root) or _folders(root)
    except DataError as error:
        return Survey(faults=(error,))
    strange = [modality for modality in modalities if modality not in known]
    if strange:
        remedy = f"--modalities {known[0]}"
        what = f"no channel {', '.join(strange)}; found {', '.join(known)}"
        return Survey(faults=(DataError(what, where=LISTING, remedy=remedy, code="PFB-D01"),))
    wanted = {modality: known.index(modality) for modality in modalities}
    for case in sorted({*images, *labels}):
        files, mask = images.get(case, {}), labels.get(case, [])
        missing = _missing(case, files, mask, wanted)
        chosen = {m: files.get(ALL, files.get(n, [])) for m, n in wanted.items()}
        chosen = {modality: paths for modality, paths in chosen.items() if paths}
        found.add(case, chosen, mask, missing, wanted if ALL in files and len(known) > 1 else {})
    pairs = {
        case: [path for paths in files.values() for path in paths] for case, files in images.items()
    }
    found.faults += same_but_for_case({case: (paths, []) for case, paths in pairs.items()})
    if not images and not labels:
        found.faults.append(nothing_here(root, "imagesTr/ with labelsTr/, or images/ with labels/"))
    return found.done()


def names_other_organ(root: Path) -> bool:
    """Whether dataset.json names labels, and the liver is none of them."""
    try:
        labels = _labels(_listing(root)["labels"])
    except (DataError, KeyError):
        return False
    return not any("liver" in name.lower() for name in labels)


def _listing(root: Path) -> Mapping[str, Any]:
    path = root / LISTING
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("too large")
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise _unclear("is no JSON, or larger than 10 MB", "download it again") from None
    if not isinstance(told, dict):
        raise _unclear("is no JSON object", 'lines such as "labels": {"background": 0, "liver": 1}')
    return told


def _unclear(what: str, remedy: str) -> DataError:
    return DataError(what, where=LISTING, remedy=remedy, code="PFB-D09")


def _refuse_other_files(told: Mapping[str, Any]) -> None:
    ending = told.get("file_ending", ENDINGS[0])
    if ending not in ENDINGS:
        what = f"file_ending is {_shown(ending)}; only {' and '.join(ENDINGS)} are read"
        raise _unclear(what, "convert images and labels to NIfTI, and say so there")


def _channels(numbered: Any) -> tuple[str, ...]:
    """{"0": "T1", "1": "T2"} -> ("T1", "T2"), safe as words of a command."""
    try:
        pairs = sorted((int(number), str(name)) for number, name in numbered.items())
        if not pairs or [number for number, _ in pairs] != list(range(len(pairs))):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        raise _unclear("channels are not counted from 0", '"channel_names": {"0": "T2"}') from None
    names = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "channel" for _, name in pairs]
    repeated = {name for name in names if names.count(name) > 1}
    return tuple(
        f"{name}-{number}" if name in repeated else name for number, name in enumerate(names)
    )


def _labels(labels: Any) -> dict[str, tuple[int, ...]]:
    """{"tumour": 1}, {"whole": [1, 2]} or Decathlon's {"1": "tumour"} -> name -> labels."""
    try:
        pairs = dict(_pair(key, value) for key, value in labels.items())
        values = [number for numbers in pairs.values() for number in numbers]
        if not all(0 <= number <= 255 for number in values):
            raise ValueError
    except (AttributeError, TypeError, ValueError):
        example = '"labels": {"background": 0, "tumour": 1}'
        raise _unclear("labels are not names with numbers from 0 to 255", example) from None
    if IGNORED in pairs:
        what = "has a label 'ignore', voxels that nobody judged; here every voxel is scored"
        raise _unclear(what, "leave out the cases that have it, and the label")
    named = {name: numbers for name, numbers in pairs.items() if any(numbers)}
    if not named:
        raise _unclear("names no label but the background", '"tumour": 1')
    return named


def _pair(key: Any, value: Any) -> tuple[str, tuple[int, ...]]:
    if str(key).isdecimal() and isinstance(value, str):
        key, value = value, int(key)
    numbers = value if isinstance(value, list) else [value]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(key)).strip("-")
    return name or "label", tuple(int(number) for number in numbers)


def _listed(root: Path) -> tuple[dict[str, Files], dict[str, list[Path]]] | None:
    """The cases that dataset.json lists, where it does; nnU-Net's name no channels there."""
    pairs = listed(root)
    if not pairs:
        return None
    images: dict[str, Files] = {}
    for case, (paths, _) in pairs.items():
        files: Files = {ALL: paths}
        if len(paths) == 1 and not paths[0].exists():
            channels = _beside(paths[0])
            files = channels or files
        images[case] = files
    return images, {case: labels for case, (_, labels) in pairs.items()}


def _beside(path: Path) -> Files:
    """<id>_0000.nii.gz and so on, for <id>.nii.gz."""
    name = stem(path)
    ending = path.name.removeprefix(name)
    found = sorted(path.parent.glob(f"{name}_[0-9][0-9][0-9][0-9]{ending}"))
    return {int(stem(each)[-4:]): [each] for each in found}


def _folders(root: Path) -> tuple[dict[str, Files], dict[str, list[Path]]]:
    """Case -> its channels, and case -> its label, by the names of the files."""
    images: dict[str, Files] = defaultdict(lambda: defaultdict(list))
    labels: dict[str, list[Path]] = {}
    for image_folder, label_folder in LAYOUTS:
        if not ((root / image_folder).is_dir() and (root / label_folder).is_dir()):
            continue
        labels |= volumes(root / label_folder)
        for name, paths in volumes(root / image_folder).items():
            channel = CHANNEL.search(name)
            whole = channel is None or name in labels
            case = name if whole else name[: -len("_0000")]
            images[case][ALL if whole else int(channel[1])] += paths  # type: ignore[index]
    return {case: dict(files) for case, files in images.items()}, labels


def _missing(
    case: str, files: Files, labels: list[Path], wanted: Mapping[str, int]
) -> list[DataError]:
    faults = []
    absent = [m for m, number in wanted.items() if number not in files and ALL not in files]
    if not files:
        what, remedy = "no image; found a label only", "add it or remove the label"
        faults.append(DataError(what, where=case, remedy=remedy, code="PFB-D01"))
    elif absent:
        what = f"missing channel {', '.join(absent)}"
        remedy = f"add {case}_{wanted[absent[0]]:04d}.nii.gz, or leave it out of --modalities"
        faults.append(DataError(what, where=case, remedy=remedy, code="PFB-D01"))
    if not labels:
        remedy = "add it or remove the image"
        faults.append(DataError("no label", where=case, remedy=remedy, code="PFB-D02"))
    return faults


def _shown(value: Any) -> str:
    return re.sub(r"[^ -~]", "?", str(value))[:40]

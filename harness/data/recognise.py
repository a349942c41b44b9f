"""Recognise the data set of a folder by its file names; propose patterns for an unknown folder."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.data import by_pattern, folder
from harness.data.by_pattern import Files, Layout, looks_like_a_mask
from harness.data.datasets import DATASETS
from harness.data.layout import nothing_here, stem
from harness.data.pattern import Tree
from harness.data.request import DataRequest, complete, contents_of, patterns_of
from harness.data.wording import counted
from harness.errors import DataError

DEPTH, LOOKED_AT = 5, 2000  # folders deep and volumes, for a proposal


def recognised(root: Path) -> str:
    """Return the name of the data set that most cases in `root` are of.

    Raises DataError for a folder of none, with patterns that would fit its files.
    """
    tree = Tree(root)
    found = {
        name: by_pattern.find(entry.layout, tree)
        for name, entry in DATASETS.items()
        if entry.layout
    }
    scores = {name: (files.complete, _with_images(files)) for name, files in found.items()}
    best = max(scores, key=lambda name: scores[name])
    if any((root / name).exists() for name in ("dataset.json", "images", "imagesTr")):
        if scores[best][0] and folder.agrees(root, found[best].cases, DATASETS[best].labels):
            return best
        return "folder" if folder.names_other_organ(root) else "liver"
    if any(scores[best]):
        return best
    raise _unknown(root, tree)


def request_of_all(
    root: Path, dataset: str | None, modalities: Sequence[str], **asked: Any
) -> DataRequest:
    """Return the complete request of all modalities and masks of a folder, of any data set.

    `asked` are further fields of a request. Raises UsageError for a name that does not exist,
    DataError for a folder that is not known.
    """
    name = dataset or ("folder" if asked.get("images") else recognised(root))
    request = DataRequest(name, root, tuple(modalities), **asked)
    if name not in DATASETS:
        return complete(request)
    contents, layout = contents_of(request), patterns_of(request)
    every = contents.targets if layout and layout.has_masks else [*contents.targets][:1]
    target = request.target or contents.default or "+".join(every)
    return complete(
        replace(request, modalities=request.modalities or contents.available, target=target)
    )


def _with_images(files: Files) -> int:
    return sum(bool(images) for images in files.images.values())


def _unknown(root: Path, tree: Tree) -> DataError:
    volumes = [path for path, _ in zip(tree.volumes(DEPTH), range(LOOKED_AT), strict=False)]
    if not volumes:
        known = ", ".join(sorted(set(DATASETS) - {"phantom"}))
        return nothing_here(root, f"the layout of one of {known}")
    what = f"a layout that is not known, with {len(volumes)} volumes such as {volumes[0]}"
    images, labels = _proposed(volumes)
    layout = Layout(tuple(("image", text) for text in images[:1]), tuple(labels[:1]))
    fits = bool(images and labels) and by_pattern.find(layout, tree).complete
    if fits:
        options = [f"--image '{_modality(text)}={text}'" for text in images[:4]]
        remedy = f"{' '.join(options)} --label '{labels[0]}', which fits {counted(fits, 'case')}"
    else:
        remedy = "--image 'NAME={case}/IMAGE.nii.gz' --label '{case}/LABEL.nii.gz'"
    return DataError(what, where=str(root), remedy=remedy, code="PFB-D14")


def _proposed(volumes: list[str]) -> tuple[list[str], list[str]]:
    """Return patterns of images and of labels, the patterns that fit most volumes first."""
    counts = Counter(_shape(path, volumes) for path in volumes)
    shapes = [shape for shape, _ in counts.most_common() if re.fullmatch(r"[ -~]+", shape)]
    labels = [shape for shape in shapes if _of_mask(shape)]
    return [shape for shape in shapes if not _of_mask(shape)], labels


def _of_mask(shape: str) -> bool:
    return any(looks_like_a_mask(part) for part in shape.replace("{case}", "").split("/"))


def _shape(path: str, volumes: list[str]) -> str:
    """Return a path with {case} in place of the text that tells its case from other cases.

    That text is a folder, or a part of the name.
    """
    *folders, name = path.split("/")
    names: dict[int, set[str]] = defaultdict(set)
    for other in volumes[:200]:
        for level, part in enumerate(other.split("/")[:-1]):
            names[level].add(part)
    varied = [level for level, _ in enumerate(folders) if len(names[level]) > 4]
    if varied:
        case = folders[varied[0]]
        parts = [*folders[: varied[0]], "{case}", *folders[varied[0] + 1 :], name]
        return "/".join(part.replace(case, "{case}") for part in parts)
    ending = name[len(stem(Path(name))) :]
    told = re.fullmatch(r"(.*?[0-9]+)([_.-][A-Za-z].*|)", stem(Path(name)))
    if not told:
        return "/".join([*folders, f"{{case}}{ending}"])
    before = re.fullmatch(r"(.*[A-Za-z][_.-])([0-9]+)", told[1])
    if not told[2] and before and len(folders) == 0:
        return f"{before[1]}{{case:#}}{ending}"
    return "/".join([*folders, f"{{case}}{told[2]}{ending}"])


def _modality(shape: str) -> str:
    """Return a modality name for the images of a pattern: "t1" for {case}/{case}_t1.nii.gz."""
    name = stem(Path(shape.rpartition("/")[2].replace("{case}", "").replace("{case:#}", "")))
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "image"

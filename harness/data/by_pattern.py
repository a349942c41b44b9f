"""Find the cases of a folder by patterns: their images and their labels.

A `Layout` is all that tells one data set's folder from another's. Finds files, reads no voxels.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.data.case import Contents, Survey
from harness.data.layout import Surveyor, nothing_here
from harness.data.missing_files import missing_images, missing_labels, unknown_modality
from harness.data.names import words_of
from harness.data.pattern import IMAGE, LABEL, Match, Pattern, Tree
from harness.errors import DataError, UsageError

MASKS = {
    "seg",
    "segm",
    "segmentation",
    "mask",
    "msk",
    "label",
    "labels",
    "dseg",
    "gt",
    "pred",
    "lesion",
    "roi",
}

DEPTH = 4  # folders: deeper down no volume is looked for to name one


@dataclass(frozen=True)
class Layout:
    """The patterns of a data set's file names, see `harness.data.pattern`.

    A case is found by any of the patterns. Modalities of one pattern share a file and are the
    volumes of its fourth axis, in this order.
    """

    images: tuple[tuple[str, str], ...]
    """Pairs of modality and pattern; the modality is "" for a pattern with the field {modality}."""
    labels: tuple[str, ...]
    """Patterns of label maps; with the field {target}, patterns of binary masks."""
    misnamed: tuple[str, ...] = ()
    """Patterns of misnamed labels, for cases without a label by the other patterns."""
    patient: str = ""
    """A pattern on case ids with the field {patient}, for data with several cases of a patient."""
    where: tuple[str, str] = ("", "")
    """The command-line options that gave the patterns of images and of labels."""

    @property
    def has_masks(self) -> bool:
        """Whether the labels are binary masks, one file for each target."""
        return any(
            "target" in Pattern.of(text, self.where[1], LABEL).fields for text in self.labels
        )


@dataclass
class Files:
    """The files of a folder by case: images by modality, labels by target ("" for a label map)."""

    images: dict[str, dict[str, list[Path]]]
    labels: dict[str, dict[str, list[Path]]]
    misnamed: dict[str, list[Path]] = field(default_factory=dict)
    usual: str = ""
    """The pattern that fits most labels."""
    faults: list[DataError] = field(default_factory=list)

    @property
    def cases(self) -> list[str]:
        return sorted({*self.images, *self.labels})

    @property
    def complete(self) -> int:
        """The number of cases that have an image and a label."""
        return sum(bool(self.images.get(case)) for case, found in self.labels.items() if found)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(sorted({name for found in self.images.values() for name in found}))

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(sorted({name for found in self.labels.values() for name in found} - {""}))


def given(images: Sequence[str], labels: Sequence[str], patient: str = "") -> Layout:
    """Make a layout of a person's patterns; `images` are "MODALITY=PATTERN" or only a pattern.

    Raises UsageError for what is no pattern.
    """
    for texts, option in ((images, "--label"), (labels, "--image")):
        if texts and not (labels if texts is images else images):
            what, remedy = "images and labels are found by patterns together", f"{option} PATTERN"
            raise UsageError(what, where=option, remedy=remedy, code="PFB-C51")
    pairs = []
    for text in images:
        name, equals, pattern = text.partition("=")
        if not equals or "{" in name or "/" in name:
            name, pattern = "", text
        if not name and "modality" not in Pattern.of(pattern, "--image", IMAGE).fields:
            name = "image"
        pairs.append((name, pattern))
    made = Layout(tuple(pairs), tuple(labels), patient=patient, where=("--image", "--label"))
    for _, pattern in made.images:
        Pattern.of(pattern, "--image", IMAGE)
    if made.has_masks and not all(
        "target" in Pattern.of(text, "--label", LABEL).fields for text in labels
    ):
        what, remedy = "label maps and binary masks do not go together", "{target} in all or none"
        raise UsageError(what, where="--label", remedy=remedy, code="PFB-C51")
    return made


def find(layout: Layout, tree: Tree) -> Files:
    """Find the files that fit the patterns.

    Raises UsageError where a pattern fits in two ways, or a person's pattern fits nothing.
    """
    labels: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    taken: set[str] = set()
    found_by: Counter[str] = Counter()
    for text in layout.labels:
        for match in Pattern.of(text, layout.where[1], LABEL).find(tree):
            if match.path not in taken:
                taken.add(match.path)
                found_by[text] += 1
                paths = labels[match.fields["case"]][match.fields.get("target", "")]
                paths.append(tree.root / match.path)
    misnamed = {
        match.fields["case"]: [tree.root / match.path]
        for text in layout.misnamed
        for match in Pattern.of(text, layout.where[1], LABEL).find(tree)
    }
    taken |= {str(path.relative_to(tree.root)) for paths in misnamed.values() for path in paths}
    images = _images(layout, tree, taken)
    usual = max(layout.labels, key=lambda text: found_by[text])
    if layout.where[0]:
        _refuse_idle(layout, tree, images, found_by)
    return Files(
        images, {case: dict(found) for case, found in labels.items()}, misnamed, usual, tree.faults
    )


def _refuse_idle(
    layout: Layout,
    tree: Tree,
    images: Mapping[str, Mapping[str, Sequence[Path]]],
    found_by: Mapping[str, int],
) -> None:
    """Raise UsageError for a modality none of whose patterns fits a file, and for labels alike."""
    modalities = {name for found in images.values() for name in found}
    idle = [text for name, text in layout.images if not modalities or name not in {"", *modalities}]
    where, texts = (layout.where[0], idle) if idle else (layout.where[1], layout.labels)
    if not idle and any(found_by[text] for text in layout.labels):
        return
    beside = list(itertools.islice(tree.volumes(DEPTH), 1))
    remedy = f"a pattern for files such as {beside[0]}" if beside else "the folder of the volumes"
    what = f"'{texts[0]}' fits no file below {tree.root.name or tree.root}"
    raise UsageError(what, where=where, remedy=remedy, code="PFB-C51")


def _images(layout: Layout, tree: Tree, labels: set[str]) -> dict[str, dict[str, list[Path]]]:
    """Return case -> modality -> files; a case's folder counts as a case even without images."""
    found: dict[str, dict[str, list[Path]]] = defaultdict(dict)

    def add(match: Match, modality: str) -> None:
        paths = found[match.fields["case"]].setdefault(modality, [])
        if tree.root / match.path not in paths:
            paths.append(tree.root / match.path)

    for name, text in layout.images:
        pattern = Pattern.of(text, layout.where[0], IMAGE)
        for match in pattern.case_folders(tree):
            found[match.fields["case"]]
        for match in pattern.find(tree):
            modality = name or match.fields["modality"]
            if match.path not in labels and (name or not looks_like_a_mask(modality)):
                add(match, modality)
    return dict(found)


def looks_like_a_mask(modality: str) -> bool:
    """Return whether a modality is named like a label: "seg", "desc-lesion_mask"."""
    return bool(MASKS & set(re.split(r"[^a-z0-9]+", modality.lower())))


def contents(files: Files, layout: Layout, named: Contents) -> Contents:
    """Return the modalities and targets of a folder, as far as its file names show them.

    `named` are those of the data set; where it names none, they are what is found.
    """
    own = tuple(dict.fromkeys(name for name, _ in layout.images if name))
    found = tuple(name for name in own if name in files.modalities)
    available = found or files.modalities
    chosen = tuple(name for name in named.modalities if name in available)
    modalities = chosen or available or named.modalities or own
    if not layout.has_masks:
        return replace(named, modalities=modalities, available=available)
    words, spelled = words_of(files.targets, "mask")
    targets: dict[str, tuple[int, ...]] = {word: (1,) for word in words}
    default = words[0] if len(words) == 1 else ""
    return Contents(
        modalities,
        targets,
        default,
        frozenset({0, 1}),
        spelled=spelled,
        available=available,
        masks=True,
    )


def survey(
    root: Path, layout: Layout, modalities: Sequence[str], targets: Sequence[str], expected: str
) -> Survey:
    """Find each case with the files of `modalities`, and its label or the masks of `targets`."""
    files = find(layout, Tree(root))
    words, _ = words_of(files.targets, "mask")
    written = dict(zip(words, files.targets, strict=True))
    targets = [written.get(target, target) for target in targets]
    found = Surveyor(root)
    found.faults += files.faults
    if not files.cases:
        found.faults.append(nothing_here(root, expected))
        return found.done()
    absent = [name for name in modalities if name not in files.modalities]
    if absent and files.modalities:
        found.faults.append(unknown_modality(absent, files.modalities))
        return found.done()
    for case in files.cases:
        images = files.images.get(case, {})
        labels = _labels(case, files, targets, found.notes)
        missing = [
            *missing_images(case, images, modalities),
            *missing_labels(case, files.usual, labels),
        ]
        chosen = {name: images[name] for name in modalities if name in images}
        channels = _channels(layout, images, chosen)
        label, *more = labels.values()
        masks = more if layout.has_masks else None
        found.add(case, chosen, label, missing, channels, masks)
    return found.done()


def _labels(
    case: str, files: Files, targets: Sequence[str], notes: list[str]
) -> dict[str, list[Path]]:
    """Return target -> files, in the order asked for; "" -> the label map."""
    found = files.labels.get(case, {})
    if not found and case in files.misnamed:
        notes.append(f"{case}: mask taken from the misnamed {files.misnamed[case][0].name}")
        return {"": files.misnamed[case]}
    return {target: found.get(target, []) for target in targets or ("",)}


def _channels(
    layout: Layout, images: Mapping[str, list[Path]], chosen: Iterable[str]
) -> dict[str, int]:
    """Return the index of each modality in its file, for modalities that share a file."""
    order = list(dict.fromkeys(name for name, _ in layout.images))
    shared: dict[Path, list[str]] = defaultdict(list)
    for name in sorted(images, key=lambda name: order.index(name) if name in order else 0):
        for path in images[name]:
            shared[path].append(name)
    return {
        name: names.index(name)
        for names in shared.values()
        for name in names
        if len(names) > 1 and name in chosen
    }

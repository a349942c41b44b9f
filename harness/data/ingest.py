"""Bring one case into the cache: read, check, prepare and store it, unless it is there already."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from harness.data import intensity, itk
from harness.data.case import PAPER_GRID, Case, FaultyCase, Grid, OnScan, Scan, Spacing, Volume
from harness.data.nifti import place, unreadable
from harness.data.of_plugin import plugin_faults
from harness.data.prepare import region
from harness.data.reading import PAPERS, View
from harness.data.regions import Labels
from harness.data.scan_view import reduction, there_and_back, view_of
from harness.data.target import Ceiling, Target, measured, on_scan, vanished
from harness.data.targets import held, packed
from harness.errors import DataError, together

if TYPE_CHECKING:
    from harness.data.scans import Findings, Rules

# A change to one of these prepares every volume anew.
PREPARING = (
    "grid",
    "header",
    "intensity",
    "itk",
    "lowres",
    "nifti",
    "phantom",
    "prepare",
    "scan_view",
    "scans",
    "target",
    "targets",
)


class Agreement(Protocol):
    """The scores of a mask, as `harness.systems.metrics.score` gives them."""

    @property
    def dice(self) -> float: ...

    @property
    def hd95_mm(self) -> float: ...


Score = Callable[[np.ndarray, np.ndarray, Spacing], Agreement]
"""A function of prediction and target (D, H, W) and the sides of a voxel in mm."""


@dataclass(frozen=True)
class Job:
    """The instructions to prepare one case."""

    name: str
    source: Case | FaultyCase | int
    """The files of the case, or the number of a phantom."""
    rules: "Rules"
    recipe: Callable[[Scan, Any, Grid, str], Volume]
    modalities: tuple[str, ...]
    targets: Mapping[str, Labels]
    """The labels that each target consists of, by its name."""
    reduce: Grid
    grid: Grid
    """The paper's grid, divided by `reduce`."""
    seed: int
    """The seed of the phantom."""
    plugin: str = ""
    """The plug-in whose recipe it is; it is hashed like our own code."""
    view: View = PAPERS
    """The grid and the intensities that scans are brought to."""
    drop_vanished: bool = False
    """Whether a case is left out, and is no fault, when nothing of its target is on the grid."""
    seen_as: str | None = None
    """The way to see a scan, see `harness.data.datasets.way`; None where there is none back."""
    by_blocks: bool = False
    """Whether the blocks that cover a scan are kept beside the volume that its label chose."""
    score: Score | None = None
    """How masks are compared, for the ceiling of the grid; None: there is no ceiling."""

    @property
    def labels(self) -> Labels | tuple[Labels, ...]:
        """The labels of the target as a recipe gets them; of several targets those of each."""
        every = tuple(self.targets.values())
        return every[0] if len(every) == 1 else every

    @property
    def foreground(self) -> Labels:
        """The labels of all targets."""
        return tuple(sorted({label for labels in self.targets.values() for label in labels}))


@dataclass(frozen=True)
class Outcome:
    """The result of preparing one case: a key in the cache, or faults."""

    name: str
    key: str = ""
    labels: tuple[int, ...] = ()
    content: str = ""
    """A hash of the voxels, equal for any file format; "" where nothing was stored."""
    notes: tuple[str, ...] = ()
    faults: tuple[DataError, ...] = ()
    targets: Mapping[str, Target] = field(default_factory=dict)
    """Each target by its name; empty for a case with faults."""
    spacing_mm: Spacing | None = None
    """The voxel size of the case on the grid."""
    outlying: tuple[str, ...] = ()
    """Modalities of which a thousandth of the voxels own more than half of the range."""
    dropped: bool = False
    """Whether the case is left out, because nothing of its target is left on the grid."""
    ceilings: Mapping[str, Ceiling] = field(default_factory=dict)
    """The best that the grid allows on the scan, by target; none without a target or a way back."""


def ingest(job: Job, cache_root: Path) -> Outcome:
    """Bring one case into the cache; its faults are returned, not raised.

    Raises StorageError when the cache cannot be written.
    """
    from harness.data import cache

    try:
        key = _key(job)
        known = cache.lookup(cache_root, key)
        if known is None:
            outcome, volume = _looked_at(job, job.recipe)
            if volume is None:
                return outcome
            known = cache.write(cache_root, key, volume, _noticed(outcome))
    except DataError as fault:
        return Outcome(job.name, faults=(fault,))
    targets = {name: Target(**one) for name, one in known["targets"].items()}
    labels, notes = tuple(known["labels"]), tuple(known["notes"])
    apart = tuple(known["outlying"])
    content = known["content"]
    z, y, x = known["spacing_mm"]
    best = {name: Ceiling(**one) for name, one in known["ceilings"].items()}
    outcome = Outcome(
        job.name, key, labels, content, notes, (), targets, (z, y, x), apart, ceilings=best
    )
    return _judged(outcome, job)


def inspect(job: Job) -> Outcome:
    """Return the outcome of `ingest` without a cache: only the mask is brought to the grid."""

    def outline(scan: Scan, *how: Any) -> Volume:
        return job.recipe(scan if job.plugin else replace(scan, image=scan.image[:0]), *how)

    try:
        outcome, volume = _looked_at(job, outline)
    except DataError as fault:
        return Outcome(job.name, faults=(fault,))
    return outcome if volume is None else _judged(outcome, job)


@dataclass(frozen=True, eq=False)
class Sight:
    """A scan as it was read, and the way in which its labels come to the grid."""

    scan: Scan
    job: Job

    def on_grid(self, label: np.ndarray, labels: Sequence[Labels]) -> np.ndarray:
        """Bring a label map (D, H, W) of the scan to the grid, as its reference.

        `labels` are those of each target in it. Returns a label (D, H, W) like that of a volume.
        """
        image = self.scan.image if self.job.plugin else self.scan.image[:0]
        given = replace(self.scan, image=image, label=label)
        targets = dict(zip(self.job.targets, labels, strict=True))
        volume = prepared(given, replace(self.job, targets=targets), self.job.recipe)
        return np.asarray(volume.label)


def sight(job: Job) -> Sight:
    """Read the scan of a case. Raises DataError with every fault of its files."""
    found = _read(job)
    if found.scan is None:
        raise together(found.faults, "the data")
    return Sight(found.scan, job)


def sampled(job: Job) -> list[list[float]] | None:
    """Return intensities of a case's target in each modality; None where it cannot be read."""
    found = _read(job)
    if found.scan is None:
        return None
    return intensity.sample(found.scan.image, region(found.scan.label, job.foreground))


def content_key(job: Job) -> str:
    """Return a hash of a case's files and of how they are read: equal for equal targets."""
    return digest([job.modalities, job.foreground, job.rules.unoriented, _files(job), _code()])[:32]


def _looked_at(job: Job, recipe: Callable[..., Volume]) -> tuple[Outcome, Volume | None]:
    """Read a case and prepare it by `recipe`; the volume is None for a case with faults."""
    found = _read(job)
    scan = found.scan
    if scan is None:
        return Outcome(job.name, labels=found.labels, faults=found.faults), None
    content = "" if isinstance(job.source, int) else _content(scan.image)
    channels = zip(job.modalities, scan.image, strict=True)
    apart = tuple(name for name, channel in channels if intensity.outlying(channel))
    image, ends = intensity.clipped(scan.image, job.view.limits)
    volume = prepared(replace(scan, image=image, ends=ends), job, recipe)
    seen = _measured(scan, volume, job)
    masks = {name: region(scan.label, labels) for name, labels in job.targets.items()}
    found_best = {name: ceiling(job, mask, scan.spacing_mm) for name, mask in masks.items()}
    best = {name: one for name, one in found_best.items() if one}
    notes, grid_mm = scan.notes, volume.spacing_mm
    looked = Outcome(
        job.name, "", found.labels, content, notes, (), seen, grid_mm, apart, ceilings=best
    )
    every = [*masks.values()]
    label = packed(every) if len(every) > 1 else every[0].astype(np.uint8)
    return looked, replace(volume, scan=_on_scan(job, scan, label))


def ceiling(job: Job, mask: np.ndarray, spacing_mm: Spacing) -> Ceiling | None:
    """Return how well the mask of a scan, brought to the grid and back, agrees with itself.

    None without a target, a way back or a score.
    """
    if job.seen_as is None or job.score is None or not mask.any():
        return None
    way = (job.seen_as, reduction(job.grid, job.view), job.view)
    found = job.score(there_and_back(mask, spacing_mm, *way), mask, spacing_mm)
    return Ceiling(found.dice, found.hd95_mm)


def _on_scan(job: Job, scan: Scan, label: np.ndarray) -> OnScan | None:
    """Return the targets on the voxels of its scan; None where there is no way back to them."""
    if job.seen_as is None:
        return None
    if not job.by_blocks:
        return on_scan(label, scan.spacing_mm)
    way = (job.seen_as, reduction(job.grid, job.view), job.view)
    blocks = view_of(scan.image, scan.spacing_mm, *way).images
    return on_scan(label, scan.spacing_mm, np.stack(blocks))


def prepared(scan: Scan, job: Job, recipe: Callable[..., Volume]) -> Volume:
    """Bring a scan to the grid; of several targets a plug-in's own recipe is asked for each.

    Raises DataError where its answers are not the same image.
    """
    how = (job.reduce, job.name)
    if not job.plugin or len(job.targets) == 1:
        with plugin_faults(job.plugin, "prepare", job.name):
            return recipe(scan, job.labels, *how)
    with plugin_faults(job.plugin, "prepare", job.name):
        first, *others = [recipe(scan, labels, *how) for labels in job.targets.values()]
    for other in others:
        if other.spacing_mm != first.spacing_mm or not np.array_equal(other.image, first.image):
            what = "its plug-in sees the scan in another way for each target"
            remedy = "--target with one, or a `prepare` whose image is that of all targets"
            raise DataError(what, where=job.name, remedy=remedy)
    return replace(first, label=packed([one.label for one in (first, *others)]), cut=None)


def _measured(scan: Scan, volume: Volume, job: Job) -> dict[str, Target]:
    """Measure each target in the file and on the grid."""
    cuts = volume.cut if isinstance(volume.cut, tuple) else (volume.cut,) * len(job.targets)
    found = {}
    for number, (name, labels) in enumerate(job.targets.items()):
        mask, on_grid = region(scan.label, labels), held(volume.label, number)
        both = (mask, scan.spacing_mm, on_grid, volume.spacing_mm)
        found[name] = measured(*both, cuts[number])
    return found


def _noticed(outcome: Outcome) -> dict[str, Any]:
    """Return the facts of a case that the cache keeps beside its volume."""
    if not outcome.targets:
        raise ValueError(f"{outcome.name} was not looked at")
    return {
        "labels": outcome.labels,
        "notes": outcome.notes,
        "content": outcome.content,
        "targets": {name: one.as_json() for name, one in outcome.targets.items()},
        "outlying": outcome.outlying,
        "ceilings": {name: asdict(one) for name, one in outcome.ceilings.items()},
    }


def _judged(outcome: Outcome, job: Job) -> Outcome:
    """Return the outcome, with a fault or left out where the grid has nothing of the target."""
    gone = {name: target for name, target in outcome.targets.items() if target.gone}
    if not gone:
        return outcome
    if job.drop_vanished:
        return replace(outcome, dropped=True)
    named = len(outcome.targets) > 1
    faults = tuple(vanished(job.name, one, name if named else "") for name, one in gone.items())
    return replace(outcome, key="", faults=faults)


def _content(image: np.ndarray) -> str:
    """Hash the voxels (C, D, H, W), in their stored values and common orientation."""
    total = hashlib.sha256(repr(image.shape).encode())
    for channel in image:
        total.update(np.ascontiguousarray(channel).data)
    return total.hexdigest()


def _read(job: Job) -> "Findings":
    from harness.data import phantom, scans

    if not isinstance(job.source, int):
        return scans.examine(job.source, job.rules)
    z, y, x = job.reduce
    spacing_mm = (z * phantom.BRATS_SHAPE[0] / PAPER_GRID[0], float(y), float(x))
    made = phantom.scan(job.seed, job.source, job.grid, job.modalities, spacing_mm)
    return scans.Findings(made, ())


def _key(job: Job) -> str:
    """Return the key of a case: a hash of its files, the recipe, and the code that follows it."""
    rules = job.rules
    recipe = (
        job.name,
        rules.dataset,
        job.modalities,
        list(job.targets.items()),
        job.reduce,
        job.view.model_dump(mode="json"),
        *(["blocks"] if job.by_blocks else []),
    )
    return digest([recipe, _files(job), _code()])[:32]


def _files(job: Job) -> list[Any]:
    """Return the content hashes of a case's files, or the seed and number of a phantom."""
    if isinstance(job.source, Case):
        hashes: list[Any] = [_file_hash(path) for path in _with_companions(job.source)]
        return [*hashes, sorted(job.source.channels.items()), job.plugin]
    return [job.seed, job.source]


def _with_companions(case: Case) -> list[Path]:
    """Return the files of a case, with the files of voxels beside a .mhd."""
    found = list(case.files)
    for path in case.files:
        if itk.is_itk(path) and (voxels := itk.companion(path, place(path))):
            found.append(voxels)
    return found


def _file_hash(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(error, path) from None


@once
def _code() -> str:
    here = Path(__file__).parent
    return digest([(here / f"{name}.py").read_text(encoding="utf-8") for name in PREPARING])


def digest(content: object) -> str:
    """Return the SHA-256 of `content` as JSON."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()

"""The run folder: the one truth, from which tables, reports and MLflow are derived.

    RUN/run.json                 what was asked, and the trials that belong to it
    RUN/split.json               which case trains, validates, tests, in each fold if there are any
    RUN/data.json                which entry of the cache is a case
    RUN/plugins/<name>-<hash>.py source of plug-ins that were used; never executed from here unasked
    RUN/trials/<id>/             one trial, see harness.runs.trial_folder
    RUN/points/                  of a study, see harness.runs.study_folder
    RUN/table.csv, table.md      derived

Every file is written whole or not at all: temporary file, fsync, rename.
"""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.data.cache import open_volume
from harness.data.case import Volume
from harness.data.split import Split
from harness.errors import StateError, StorageError, UsageError
from harness.runs import records
from harness.runs.crash_points import crash_point
from harness.runs.files import (
    damaged,
    read_json,
    refuse_foreign,
    remove_temporary,
    write_bytes,
    write_json,
)
from harness.runs.locks import held
from harness.runs.records import (
    FOLDS,
    MANIFEST,
    SCHEMA,
    SPLIT,
    VOLUME_KEYS,
    AnyManifest,
    FoldsRecord,
    RunManifest,
    SplitRecord,
    StudyManifest,
    VolumeKeys,
)
from harness.runs.spec import TrialSpec
from harness.runs.trial_folder import TrialFolder

ENDINGS = ("csv", "html", "md", "tex")
"""Endings of files in a run folder that are derived, and may be made anew."""
FOLDERS = ("trials", "points", "plugins", "cache")


def refuse_among_records(place: Path, option: str) -> None:
    """Raise UsageError for an output that would replace a record of a run, or lie among them."""
    real = place.resolve()
    for outer in real.parents:
        inside = real.relative_to(outer).parts
        derived = place.suffix.lstrip(".") in ENDINGS or not real.is_file()
        if RunFolder(outer).begun and (inside[0] in FOLDERS or not derived):
            what = f"{place} is a record of the run in {outer}, or lies among its records"
            remedy = f"a name of its own, or another folder than {inside[0]}"
            raise UsageError(what, where=option, remedy=remedy, code="PFB-C46")


def splits_of(record: SplitRecord | FoldsRecord) -> dict[int, Split]:
    """The splits in split.json, by fold; a single split under 0.

    Raises ValueError for a case or patient in two parts.
    """
    folds = record.folds if isinstance(record, FoldsRecord) else {"0": record}
    return {
        int(number): Split.from_json(folds[number].content) for number in sorted(folds, key=int)
    }


class RunFolder:
    """The folder of one run or study."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.manifest_file = self.path / "run.json"
        self.split_file = self.path / "split.json"
        self.volume_keys_file = self.path / "data.json"
        self.probe_file = self.path / "probe.json"
        self.lock_file = self.path / "driver.lock"
        self._own = False

    def trial(self, trial_id: str) -> TrialFolder:
        return TrialFolder(self.path / "trials" / trial_id)

    @property
    def begun(self) -> bool:
        """Whether a run or study was begun in the folder; a link in place of run.json counts."""
        return os.path.lexists(self.manifest_file)

    def _refuse_foreign(self) -> None:
        """Raise StateError, at the first use of the folder, where something in it leads out."""
        if not self._own:
            refuse_foreign(self.path)
            self._own = True

    def recognise(self) -> None:
        """Raise StateError unless this is the folder of a run or study of this version."""
        if not self.begun:
            remedy = "pass the folder that `pfbench run` printed as its output"
            what = "is not a run folder"
            raise StateError(what, where=str(self.path), remedy=remedy, code="PFB-K02")
        self._refuse_foreign()
        schema = read_json(self.manifest_file).get("schema")
        if schema != SCHEMA:
            what = f"was written by another version (schema {schema}, not {SCHEMA})"
            where = str(self.manifest_file)
            raise StateError(what, where=where, remedy="another --out", code="PFB-K07")

    def manifest(self) -> AnyManifest:
        """Read run.json, of a run or a study.

        Raises StateError as `recognise` does, and for a damaged file.
        """
        self.recognise()
        return records.read(self.manifest_file, MANIFEST)

    def run(self) -> RunManifest:
        """Read run.json of a run. Raises StateError for the folder of a study."""
        manifest = self.manifest()
        if isinstance(manifest, StudyManifest):
            remedy = f"pfbench report {self.path}"
            raise StateError("is a study, not a run", where=str(self.path), remedy=remedy)
        return manifest

    def study(self) -> StudyManifest:
        """Read run.json of a study. Raises StateError for the folder of a run."""
        manifest = self.manifest()
        if isinstance(manifest, RunManifest):
            what, remedy = "holds a run, not a study", "another --out"
            raise StateError(what, where=str(self.path), remedy=remedy)
        return manifest

    def write(self, manifest: AnyManifest) -> None:
        manifest.write(self.manifest_file)

    def split(self) -> Split:
        """Read which case trains, validates, tests; in a cross-validation, in its first fold.

        Raises StateError for a missing or damaged split.json.
        """
        return next(iter(self.splits().values()))

    def splits(self) -> dict[int, Split]:
        """Read the splits of a cross-validation, by fold; a single split stands alone, under 0.

        Raises StateError for a missing or damaged split.json.
        """
        content = read_json(self.split_file)
        try:
            if "folds" in content:
                return splits_of(records.read(self.split_file, FOLDS))
            return splits_of(records.read(self.split_file, SPLIT))
        except ValueError as error:
            raise damaged(self.split_file, str(error)) from error

    def split_of(self, spec: TrialSpec) -> Split:
        """Read the split of a trial, with the errors of `splits`.

        A single split is that of all trials. Raises StateError for a fold that a cross-validation
        does not have.
        """
        known = self.splits()
        if "folds" not in read_json(self.split_file):
            return known[0]
        if spec.fold not in known:
            listed = ", ".join(map(str, known))
            what = f"has folds {listed}, and trial {spec.id} is of fold {spec.fold}"
            raise damaged(self.split_file, what)
        return known[spec.fold]

    def write_split(self, split: Split) -> None:
        write_json(self.split_file, split.to_json())

    def write_folds(self, splits: Mapping[int, Split]) -> None:
        """Write the splits of a cross-validation, by fold."""
        write_json(self.split_file, {"folds": {n: s.to_json() for n, s in splits.items()}})

    def test_cases(self, spec: TrialSpec) -> tuple[str, ...]:
        """Read the cases that test a trial: of its split, or all of another origin."""
        if spec.test is None:
            return self.split_of(spec).test
        return tuple(sorted(self.volume_keys().of(spec.test.fingerprint)))

    def volume_keys(self) -> VolumeKeys:
        """Read where the prepared volumes are.

        Raises StateError for a missing or damaged data.json.
        """
        return records.read(self.volume_keys_file, VOLUME_KEYS)

    def write_volume_keys(
        self,
        keys: Mapping[str, str],
        cache: Path,
        sets: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Write where the volumes are; a cache within the folder can be moved with it.

        `sets` are those of further volumes, by fingerprint.
        """
        cache = cache.absolute()
        inside = cache.is_relative_to(self.path)
        place = str(cache.relative_to(self.path) if inside else cache)
        further = {"sets": {name: dict(one) for name, one in sets.items()}} if sets else {}
        VolumeKeys(keys=dict(keys), cache=place, **further).write(self.volume_keys_file)

    def volumes(
        self, cases: Sequence[str], cache: Path | None = None, of: str = ""
    ) -> list[Volume]:
        """Open the prepared volumes of `cases`, memory-mapped.

        `cache` is given where the cache is no longer where the run left it; `of` is a fingerprint,
        where the run has several sets of volumes. Raises DataError for a missing volume, StateError
        for a case that the run does not have.
        """
        known = self.volume_keys()
        place = cache or self.path / known.cache
        return [open_volume(place, known.key(case, of)) for case in cases]

    def volume(self, case: str, cache: Path | None = None, of: str = "") -> Volume:
        """Open the prepared volume of one case, with the errors of `volumes`."""
        [found] = self.volumes([case], cache, of)
        return found

    def test_volumes(self, spec: TrialSpec, cache: Path | None = None) -> list[Volume]:
        """Open the volumes that test a trial, with the errors of `volumes`."""
        return self.volumes(self.test_cases(spec), cache, spec.tested)

    def write_probe_limit(self, limit_s: float) -> None:
        write_json(self.probe_file, {"limit_s": limit_s})

    def probe_limit_s(self) -> float:
        """The time limit in seconds for the timed steps of a probe in this folder."""
        return float(read_json(self.probe_file)["limit_s"])

    def keep(self, sources: Mapping[str, bytes]) -> None:
        """Copy the source of plug-ins (id -> source) into the folder, readable by its owner."""
        for plugin_id, path in zip(sources, self.kept(list(sources)), strict=True):
            write_bytes(path, sources[plugin_id])

    def kept(self, plugin_ids: Sequence[str]) -> tuple[Path, ...]:
        """Paths of the copies of these plug-ins in the folder."""
        return tuple(self.path / "plugins" / f"{plugin_id}.py" for plugin_id in plugin_ids)

    def trials(self) -> list[TrialFolder]:
        """The trials of the run, in the order of its table."""
        return [self.trial(trial_id) for trial_id in self.run().trials]

    def create(self) -> None:
        """Make the folder, readable by its owner only: it may hold patients' data."""
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            shown = ascii(str(self.path))
            raise UsageError(
                "is no name in UTF-8", where=shown, remedy="another --out", code="PFB-C18"
            ) from error
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            is_file = isinstance(error, FileExistsError)
            why = os.strerror(error.errno or errno.EIO).lower()
            raise self._unusable(
                "is a file, not a folder" if is_file else f"cannot be created: {why}"
            ) from error
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise self._unusable("is not writable")

    def _unusable(self, what: str) -> StorageError:
        remedy = "pass --out with a folder that you may write to"
        return StorageError(what, where=str(self.path), remedy=remedy, code="PFB-S02")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; the kernel frees the lock when the holder dies.

        Raises ClusterError naming the host and process that holds it, StateError where something
        in the folder leads out of it.
        """
        self._refuse_foreign()
        with held(self.lock_file, 0, "wait for it to end, or pass another --out"):
            crash_point("locked")
            remove_temporary(self.path)
            yield

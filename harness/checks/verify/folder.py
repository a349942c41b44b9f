"""`pfbench verify`: checks that a run or study is unchanged, and that its files agree.

    run.json ─► split.json, data.json ─► every trial ─► masks against labels ─► the tables

Nothing is trained or written. What is wrong is a fault with its file and line, what is only odd a
note; what could not be looked at is said to be so.
"""

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

from harness.checks.verify.inspection import Fault, Inspection
from harness.checks.verify.outcome import check_case, check_outcome
from harness.checks.verify.predictions import check_predictions
from harness.checks.verify.rows import check_rows
from harness.checks.verify.study import check_study
from harness.checks.verify.tables import DAMAGED, check_tables, in_words
from harness.checks.verify.trial import Trial, check_training, read
from harness.data.cache import open_volume
from harness.data.ingest import digest as fingerprint
from harness.data.split import Split
from harness.data.wording import counted
from harness.errors import INCOMPLETE, ClusterError, DataError, PfbenchError, StateError
from harness.runs.files import JsonObject
from harness.runs.records import (
    FOLDS,
    MANIFEST,
    SPLIT,
    VOLUME_KEYS,
    AnyManifest,
    FoldsRecord,
    RunManifest,
    SplitRecord,
    StudyManifest,
)
from harness.runs.run_folder import RunFolder, splits_of
from harness.runs.spec import code_version, digest
from harness.runs.trial_folder import WEIGHTS

OF_TRIALS = (
    "to mend trials: move the folders that are named away, and repeat the command in run.json if "
    "it is yours, which trains these anew"
)
OF_TABLES = "to mend tables: `pfbench report` makes them anew from results that are whole"
OF_RECORDS = (
    "run.json, split.json and data.json cannot be made from the rest: take them from a copy, or "
    "begin another --out"
)
BEGUN_BY = (
    "to tell damage from what this version reads otherwise: verify it with {}, which began it; "
    "nothing has to be removed"
)


@dataclass(frozen=True)
class Report:
    """The faults and notes that `verify` found, and what it could not check."""

    trials: int
    faults: tuple[Fault, ...]
    """The faults in order of file and line."""
    notes: tuple[str, ...]
    unchecked: tuple[str, ...] = ()
    """What could not be checked, and why: neither right nor wrong."""
    deep: bool = False
    begun_by: str = ""
    """The version of pfbench that began the run, where it is another one."""

    @property
    def exit_code(self) -> int:
        """The exit code: 5 with a fault (such a folder cannot be trusted or continued), else 0.

        4 where a deep check had to leave something out: who asks for it wants to rely on it.
        """
        if self.faults:
            return StateError.exit_code
        return INCOMPLETE if self.deep and self.unchecked else 0

    @property
    def record(self) -> JsonObject:
        """The report as a record for JSON."""
        faults = [asdict(fault) for fault in self.faults]
        return {
            "trials": self.trials,
            "faults": faults,
            "notes": list(self.notes),
            "unchecked": list(self.unchecked),
        }

    @property
    def lines(self) -> list[str]:
        """The report as lines: of each fault, note and gap, then the total, and the remedy."""
        notes = [f"note: {note}" for note in self.notes]
        gaps = [f"not checked: {gap}" for gap in self.unchecked]
        return [*map(str, self.faults), *notes, *gaps, self._total, *self._remedies]

    @property
    def _remedies(self) -> list[str]:
        if self.faults and self.begun_by:
            return [BEGUN_BY.format(self.begun_by)]
        files = [PurePath(fault.file) for fault in self.faults]
        remedies = {
            OF_TRIALS if "trials" in file.parts
            else OF_TABLES if file.stem == "table"
            else OF_RECORDS
            for file in files
        }  # fmt: skip
        return sorted(remedies, reverse=True)

    @property
    def _total(self) -> str:
        trials = f"in {counted(self.trials, 'trial')}"
        if self.faults:
            return f"{counted(len(self.faults), 'fault')} {trials}"
        if self.unchecked:
            return (
                f"no fault {trials} in what could be checked; the rest is neither right nor wrong"
            )
        return f"no fault found {trials}"


def verify(run: Path, cache: Path | None = None, *, deep: bool = False) -> Report:
    """Check the folder of a run or study; `cache` is the place of the volumes if they were moved.

    `deep`: predict every mask again, score it, distances too, and count the networks' operations.

    Raises StateError when it is no such folder, ClusterError while a driver works on it.
    """
    folder = RunFolder(run)
    folder.recognise()
    found = Inspection(folder.path, deep=deep)
    trials = _check(folder, cache, found)
    _access(found)
    faults, notes, gaps = tuple(sorted(found.faults)), tuple(found.notes), tuple(found.gaps)
    return Report(trials, faults, notes, gaps, found.deep, found.begun_by)


def _check(folder: RunFolder, cache: Path | None, found: Inspection) -> int:
    """Check one folder, and the comparison inside a study; returns the number of trials."""
    with _undisturbed(folder):
        content = found.record(folder.manifest_file, MANIFEST)
        splits = _splits(folder, found)
        if content is None or splits is None:
            return 0
        with _joinable(folder.manifest_file, found):
            _protocol(content, splits, folder, found)
        with _joinable(folder.volume_keys_file, found):
            _data(content, splits, folder, found)
        trials: list[str] = []
        with _joinable(folder.manifest_file, found):
            if isinstance(content, StudyManifest):
                trials = check_study(content, folder, found)
            else:
                trials = _check_run(content, splits, folder, cache, found)
            _strays(trials, folder, found)
    comparison = RunFolder(folder.path / "comparison")
    if isinstance(content, RunManifest) or not comparison.path.exists():
        return len(trials)
    if not comparison.begun:
        found.note("comparison holds no run: the study was cut off before its last part")
        return len(trials)
    return len(trials) + _check(comparison, cache, found)


@contextmanager
def _joinable(path: Path, found: Inspection) -> Iterator[None]:
    """Let what records make the block raise be a fault: each fits its type, but not the others."""
    try:
        yield
    except PfbenchError:
        raise
    except DAMAGED as error:
        found.fault(path, f"does not fit the other records: {in_words(error)}")


@contextmanager
def _undisturbed(folder: RunFolder) -> Iterator[None]:
    """Keep drivers out during the block. Raises ClusterError when a driver is at work."""
    lock = folder.lock_file
    if not lock.exists():
        yield
        return
    with open(lock, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            what, remedy = "a driver works on it, so its files still change", "wait for it to end"
            where = str(folder.path)
            raise ClusterError(what, where=where, remedy=remedy, code="PFB-K10") from error
        yield


def _splits(folder: RunFolder, found: Inspection) -> dict[int, Split] | None:
    path = folder.split_file
    crossed = "folds" in (found.json(path) or {})
    record: SplitRecord | FoldsRecord | None
    record = found.record(path, FOLDS) if crossed else found.record(path, SPLIT)
    if record is None:
        return None
    try:
        return splits_of(record)
    except ValueError as error:
        found.fault(path, str(error))
        return None


def _protocol(
    content: AnyManifest, splits: dict[int, Split], folder: RunFolder, found: Inspection
) -> None:
    """Check run.json against itself and the split, or the splits of all folds."""
    path, protocol = folder.manifest_file, content.protocol
    if digest(protocol) != content.protocol_hash:
        what = f"protocol: has hash {digest(protocol)}, not {content.protocol_hash}"
        found.fault(path, what)
    said = _digest(splits, protocol.get("folds"))
    if said and protocol.get("cases") != said:
        what = f"has digest {said}, not {protocol.get('cases')} as in run.json"
        found.fault(folder.split_file, what)
    data = protocol.get("data", {})
    expected = {"dataset": data.get("name"), "synthetic": data.get("synthetic")}
    if isinstance(content, RunManifest):
        expected |= {"fingerprint": data.get("fingerprint"), "profile": protocol.get("profile")}
        for key in ("profile", "protocol", "systems", "exceptions", "split"):
            if content.settings.get(key) != protocol.get(key):
                found.fault(path, f"settings.{key}: differs from protocol.{key}")
    for key, value in expected.items():
        if getattr(content, key) != value:
            found.fault(path, f"{key}: is {getattr(content, key)}, but {value} in protocol")
    if protocol.get("code") != code_version():
        found.begun_by = str(protocol.get("code"))
        found.note(f"written by {found.begun_by}, looked at by {code_version()}")


def _digest(splits: dict[int, Split], folds: object) -> str:
    """The digest of the split, or of the splits of all folds; "" where some folds are elsewhere."""
    if folds is None:
        return splits[0].digest if 0 in splits else ""
    return digest([one.digest for one in splits.values()]) if len(splits) == folds else ""


def _data(
    content: AnyManifest, splits: dict[int, Split], folder: RunFolder, found: Inspection
) -> None:
    """Check the volumes named in data.json against the split; a study's have no test cases."""
    path = folder.volume_keys_file
    data = found.record(path, VOLUME_KEYS)
    if data is None or (isinstance(content, RunManifest) and content.given_alone):
        return
    keys, protocol_data = data.keys, content.protocol.get("data", {})
    cases = {case for split in splits.values() for case in (*split.train, *split.validation)}
    known = {protocol_data.get("fingerprint")}
    if isinstance(content, RunManifest):
        cases |= {case for split in splits.values() for case in split.test}
        known |= {fold.data.get("fingerprint") for fold in content.folds.values()}
    if keys.keys() != cases:
        found.fault(path, "keys: are not the cases of split.json")
    elif _fingerprint(keys) not in known:
        found.fault(path, "keys: are not those of the run's fingerprint")
    for name, further in data.sets.items():
        if _fingerprint(further) != name:
            found.fault(path, f"sets.{name}: are not the volumes of this fingerprint")


def _fingerprint(keys: dict[str, str]) -> str:
    return fingerprint(sorted(keys.items()))[:16]


def _check_run(
    run: RunManifest,
    splits: dict[int, Split],
    folder: RunFolder,
    cache: Path | None,
    found: Inspection,
) -> list[str]:
    trials = {name: read(folder.trial(name), found) for name in run.trials}
    check_rows(run, trials, folder.manifest_file, found)
    found.records_alone = not any(trial.folder.of_voxels() for trial in trials.values())
    alike: dict[tuple[str, tuple[str, ...]], list[Trial]] = {}
    for trial in trials.values():
        cases = _cases(trial, run, splits)
        check_training(trial, _of_fold(trial, run, splits), found)
        check_outcome(trial, _base(trial, trials, found), run, cases, found)
        if trial.spec and trial.scored:
            alike.setdefault((trial.spec.tested, cases), []).append(trial)
    _copies(trials.values(), found)
    if found.records_alone and alike:
        found.unchecked(
            "masks and weights: none is here, as in what `pfbench export records` writes"
        )
        alike.clear()
    if run.given_alone:
        found.unchecked("masks against references: only `pfbench score` has these")
        alike.clear()
    for (volumes, cases), scored in alike.items():
        _labels(scored, cases, volumes, folder, cache, found)
    check_tables(run, folder, found)
    return list(trials)


def _cases(trial: Trial, run: RunManifest, splits: dict[int, Split]) -> tuple[str, ...]:
    """The cases that test a trial: of its split, or of another origin."""
    if trial.spec and trial.spec.test:
        other = run.tests.get(trial.spec.test.name)
        return tuple(other.cases) if other else ()
    split = _split(trial, splits)
    return split.test if split else ()


def _split(trial: Trial, splits: dict[int, Split]) -> Split | None:
    first = next(iter(splits.values()))
    if trial.spec is None or len(splits) == 1:
        return first
    return splits.get(trial.spec.fold)


def _of_fold(trial: Trial, run: RunManifest, splits: dict[int, Split]) -> JsonObject:
    """The protocol as the specification of a trial has to repeat it: with cases of its fold."""
    if trial.spec is None or not run.folds:
        return run.protocol
    fold, split = run.folds.get(str(trial.spec.fold)), _split(trial, splits)
    return {
        **run.protocol,
        "data": fold.data if fold else None,
        "cases": split.digest if split else None,
    }


def _base(trial: Trial, trials: dict[str, Trial], found: Inspection) -> Trial | None:
    """The trial whose network this trial takes; a fault where that trial is not in the run."""
    if trial.spec is None or trial.spec.base is None:
        return None
    base = trials.get(trial.spec.base.id)
    if base is None or base.spec is None:
        what = f"the trial whose network it takes, {trial.spec.base.id}, is not in the run"
        found.fault(trial.folder.spec_file, what)
    return base


def _copies(trials: Iterable[Trial], found: Inspection) -> None:
    """Check that no two seeds or folds have the same weights, as only a copied file has."""
    first: dict[str, Trial] = {}
    for trial in trials:
        weights = trial.scored.sha256.get(WEIGHTS) if trial.scored else None
        if trial.spec is None or weights is None:
            continue
        other = first.setdefault(weights, trial)
        if other.spec and (other.spec.seed, other.spec.fold) != (trial.spec.seed, trial.spec.fold):
            what = f"is the network of trial {other.folder.id}, of another seed or fold"
            found.fault(trial.folder.weights_file, what)


def _labels(
    trials: list[Trial],
    cases: tuple[str, ...],
    volumes: str,
    folder: RunFolder,
    cache: Path | None,
    found: Inspection,
) -> None:
    """Score the masks again, case by case, so that each label is read once; deep, predict them.

    `volumes` is the fingerprint of the volumes with these `cases`.
    """
    data = found.record(folder.volume_keys_file, VOLUME_KEYS)
    place = cache or folder.path / (data.cache if data else "")
    if data is None or not place.is_dir():
        found.unchecked("masks against labels: the prepared volumes are not there (--cache DIR)")
        return
    if found.deep:  # before any metric of a plug-in runs in this process
        for trial in trials:
            check_predictions(trial, cases, data.of(volumes), place, folder, found)
    for case in cases:
        try:
            volume = open_volume(place, data.of(volumes).get(case, "no-entry"))
        except DataError:
            found.unchecked(
                f"masks of {case}: its label cannot be read (repeat the command in run.json)"
            )
            continue
        for trial in trials:
            check_case(trial, volume, found)


def _strays(trials: list[str], folder: RunFolder, found: Inspection) -> None:
    present = {path.name for path in (folder.path / "trials").glob("*")}
    for name in sorted(present - set(trials)):
        found.note(f"trials/{name} belongs to no row")
    for path in sorted(folder.path.rglob(".*.tmp")):
        found.note(f"{path.relative_to(found.root)} is left of a write that was cut off")


def _access(found: Inspection) -> None:
    """Note files that others may read; no fault, as copies lose the run's access rights."""
    paths = [found.root, *found.root.rglob("*")]
    others = sum(bool(path.lstat().st_mode & 0o077) for path in paths if not path.is_symlink())
    if others:
        found.note(f"others may read {others} of its files and folders: chmod -R go= on it")

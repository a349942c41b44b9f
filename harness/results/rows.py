"""The rows of the tables of one or several runs, each with its trials and their scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from harness.errors import UsageError
from harness.results.scores import Scores
from harness.runs.nested import difference
from harness.runs.records import RunManifest
from harness.runs.run_folder import RunFolder
from harness.runs.suite import parted
from harness.runs.suites import OURS, SUITES
from harness.runs.trial_folder import TrialFolder
from harness.systems.catalogue import Kind, SystemEntry


@dataclass(frozen=True)
class ResultRow:
    """One row of one table; `trials` has one entry for each seed and fold, in this order."""

    run: RunFolder
    """The run that asked for the row; of several runs, the first."""
    suite: str
    key: str
    title: str
    cells: tuple[str, ...]
    system: str
    entry: SystemEntry
    """The entry of the system as the run recorded it, also for a plug-in that is not in use."""
    trials: tuple[TrialFolder, ...]
    again: tuple[TrialFolder, ...] = ()
    """Trials of the same seeds and folds in further runs: read for their costs, not for their
    scores."""

    @property
    def kind(self) -> Kind:
        return self.entry.kind

    def scores(
        self, metric: str, scale: float = 1.0, trials: Sequence[TrialFolder] | None = None
    ) -> Scores:
        """The scores of the finished `trials` times `scale`, by patient; by default of all trials.

        Raises StateError where the scores of a trial or the patients of the run cannot be read.
        """
        runs = {
            number: {case: score * scale for case, score in scores.items()}
            for number, scores in self.by_training(metric, trials).items()
        }
        return Scores(runs, unit=self.patients)

    def by_training(
        self, metric: str, trials: Sequence[TrialFolder] | None = None
    ) -> dict[int, dict[str, float]]:
        """The score of each case in each training; the folds of a seed are one training."""
        chosen = self.trials if trials is None else trials
        return {
            number: {case: s for trial in group for case, s in trial.scores(metric).items()}
            for number, group in enumerate(trainings(chosen))
        }

    @property
    def patients(self) -> Mapping[str, str]:
        """Case -> patient; empty where every case is a patient of its own."""
        where = parted(self.suite)[1]
        return self.run.run().tests[where].patients if where else self.run.split().patients

    @cached_property
    def folds(self) -> tuple[int, ...]:
        """The folds whose networks test cases of their own; () where there is one split.

        On data of another origin the network of each fold is a training of its own.
        """
        if parted(self.suite)[1]:
            return ()
        found = sorted({trial.spec().fold for trial in self.trials})
        return tuple(found) if self.run.run().folds else ()


def trainings(trials: Sequence[TrialFolder]) -> list[tuple[TrialFolder, ...]]:
    """The trials that together score each case once: the folds of a seed, else each trial alone."""
    groups: dict[tuple[int, int | None], list[TrialFolder]] = {}
    for trial in trials:
        spec = trial.spec()
        groups.setdefault((spec.seed, spec.fold if spec.test else None), []).append(trial)
    return [tuple(group) for group in groups.values()]


def rows(folder: RunFolder, suite: str | None = None) -> list[ResultRow]:
    """The rows of `suite`, or of every suite of the run, in the order of the tables.

    UsageError when the run does not have that suite, StateError for the folder of a study.
    """
    run = folder.run()
    tables = run.suites
    if suite is not None and suite not in tables:
        raise UsageError(
            f"this run has {', '.join(tables)}, not {suite}",
            where=str(folder.path),
            remedy=f"pfbench run --suite {suite} --out {folder.path}",
        )
    return [
        ResultRow(
            folder,
            name,
            row.key,
            row.title,
            tuple(row.cells),
            row.system,
            run.system(row.system),
            tuple(folder.trial(trial) for trial in row.trials),
        )
        for name, table in tables.items()
        if suite in (None, name)
        for row in table
    ]


def merged_rows(folders: Sequence[RunFolder]) -> list[ResultRow]:
    """The rows of several runs with the seeds of all runs, suite by suite in the paper's order.

    The same seed and fold in two runs is one network and counts once: by the first that is
    finished. Raises
    UsageError for runs of different protocols, whose numbers do not compare, StateError for what is
    no run.
    """
    found: dict[tuple[str, str], list[ResultRow]] = {}
    for folder in folders:
        for row in rows(folder):
            found.setdefault((row.suite, row.key), []).append(row)
    common_protocol(folders)
    merged = [_merged(same) for same in found.values()]
    suites = list(dict.fromkeys([*OURS, *(row.suite for row in merged)]))
    return sorted(merged, key=lambda row: (suites.index(row.suite), _place(row)))


def _merged(same: Sequence[ResultRow]) -> ResultRow:
    by_network: dict[tuple[int, int], TrialFolder] = {}
    trials = [trial for row in same for trial in row.trials]
    for trial in trials:
        spec = trial.spec()
        network = spec.seed, spec.fold
        if by_network.setdefault(network, trial).state() != "ok":
            by_network[network] = trial
    chosen = tuple(by_network[network] for network in sorted(by_network))
    return replace(same[0], trials=chosen, again=tuple(t for t in trials if t not in chosen))


def _place(row: ResultRow) -> int:
    """The index of the row in its suite; rows that the suite does not list come last."""
    keys = [known.key for known in SUITES[row.suite].rows] if row.suite in SUITES else []
    return keys.index(row.key) if row.key in keys else len(keys)


def common_protocol(folders: Sequence[RunFolder]) -> RunManifest:
    """The manifest of the first run; UsageError when another run has a different protocol."""
    first, *others = folders
    run = first.run()
    for folder in others:
        other = folder.run()
        if other.protocol_hash != run.protocol_hash:
            raise UsageError(
                f"protocol {other.protocol_hash} is not {run.protocol_hash}, that of "
                f"{first.path} ({difference(run.protocol, other.protocol)})",
                where=str(folder.path),
                remedy="give runs of one protocol only",
                code="PFB-C05",
            )
    return run

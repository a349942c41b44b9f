"""From a suite and settings to the list of trials: the content of a run before anything runs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from harness.data.datasets import Prepared
from harness.data.split import Split
from harness.errors import UsageError
from harness.runs import plugins as registry
from harness.runs.files import JsonObject
from harness.runs.nested import merged
from harness.runs.settings import Settings, changed_protocol
from harness.runs.spec import Data, Device, TrialSpec, code_version, digest
from harness.runs.suite import MEASURED, Row
from harness.runs.suites import refuse_overruled, suite
from harness.systems.catalogue import options, system
from harness.systems.protocol import Options

WHOLE = {"windows_per_volume": 1, "foreground_share": 0.0}


@dataclass(frozen=True)
class PlannedRow:
    """One row of a table with its trials, one for each seed."""

    suite: str
    row: Row
    trials: tuple[TrialSpec, ...]


@dataclass(frozen=True)
class Plan:
    """The rows of a run, in the order of its tables."""

    settings: Settings
    data: Data
    split: Split
    rows: tuple[PlannedRow, ...]
    keys: dict[str, str]
    """The entry in the cache of each case."""
    notes: tuple[str, ...] = ()

    @property
    def suites(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.suite for row in self.rows))

    @cached_property
    def trials(self) -> dict[str, TrialSpec]:
        """The trials by id, each once for all its rows, a base before the trials that use it."""
        found: dict[str, TrialSpec] = {}
        for row in self.rows:
            for spec in row.trials:
                for needed in filter(None, (spec.base, spec)):
                    found[needed.id] = needed
        return found

    @property
    def to_train(self) -> list[str]:
        """Ids of the trials that train, from the table's end: whole-volume systems take longest."""
        return [trial for trial, spec in reversed(self.trials.items()) if spec.base is None]

    @property
    def to_adapt(self) -> list[str]:
        """Ids of the trials that fine-tune the network of another trial."""
        return [trial for trial, spec in self.trials.items() if spec.base is not None]

    @property
    def to_measure(self) -> list[str]:
        """Ids of the trials to measure: their row is in a table that shows a measured figure."""
        shown = [row for row in self.rows if MEASURED & set(suite(row.suite).shows)]
        measured = {spec.id for row in shown for spec in row.trials}
        return [trial for trial in self.trials if trial in measured]

    @cached_property
    def names(self) -> dict[str, str]:
        """The name of each trial for people, by trial id, from the first row that shows it."""
        names: dict[str, str] = {}
        for row in self.rows:
            for spec in row.trials:
                names.setdefault(spec.id, f"{row.row.title} seed {spec.seed}")
        for row in self.rows:
            for spec in row.trials:
                if spec.base:
                    names.setdefault(spec.base.id, f"{row.row.title} as trained seed {spec.seed}")
        return names

    @property
    def protocol(self) -> JsonObject:
        """The settings that must be equal for two numbers to be comparable."""
        return {
            "profile": self.settings.profile,
            "protocol": self.settings.protocol.model_dump(mode="json"),
            "systems": self.settings.systems,
            "exceptions": self.settings.exceptions,
            "split": self.settings.split.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
            "cases": self.split.digest,
            "code": code_version(),
        }

    @property
    def protocol_hash(self) -> str:
        return digest(self.protocol)


def plan(
    tables: Mapping[str, Sequence[Row]],
    settings: Settings,
    prepared: Prepared,
    split: Split,
    *,
    seeds: int = 1,
    device: Device = "cpu",
) -> Plan:
    """Plan every row of every suite in `tables`, with a resolved specification for each seed.

    Raises UsageError for settings that no network can be built from.
    """
    data = described(prepared)
    planned = tuple(
        PlannedRow(name, row, tuple(trials_of(row, settings, data, split, seeds, device)))
        for name, table in tables.items()
        for row in table
    )
    return Plan(settings, data, split, planned, dict(prepared.keys), prepared.notes)


def described(prepared: Prepared) -> Data:
    """The prepared volumes as a specification names them."""
    return Data(
        name=prepared.dataset,
        modalities=prepared.modalities,
        target=prepared.target,
        grid=prepared.grid,
        fingerprint=prepared.fingerprint,
        synthetic=prepared.synthetic,
        view=prepared.view,
    )


def trials_of(
    row: Row, settings: Settings, data: Data, split: Split, seeds: int, device: Device
) -> Iterator[TrialSpec]:
    """One trial specification for each seed; the values of the row win over the settings."""
    changed = settings.systems.get(row.system, {})
    refuse_overruled(row, changed)
    asked = merged(merged(options(row.system, settings.profile, data.name), changed), row.options)
    settled = _settled(row.system, asked, data)
    where = f"row {row.title}"
    protocol = changed_protocol(settings.protocol_of(row.system), row.protocol, where)
    if system(row.system).kind == "patch-free":  # is the same whatever is said of windows
        protocol = protocol.model_copy(update=WHOLE)
    for seed in range(seeds):
        yield TrialSpec(
            system=row.system,
            options=settled,
            protocol=protocol,
            data=data,
            split=split.digest,
            fold=settings.split.fold,
            seed=seed,
            device=device,
            code=code_version(),
            plugins=registry.used_by(row.system, data.name),
        )


def _settled(name: str, asked: Options, data: Data) -> Options:
    """The options with every default written out, as the system reports them when it is built.

    The system is built without memory, so that a wrong option is refused before anything runs.
    """
    if registry.plugin_of(name):
        return _settled_plugin(name, asked, data)
    try:
        content = _tried(name, json.dumps(asked), len(data.modalities), data.grid)
    except (ValueError, TypeError) as error:
        where, remedy = f"systems.{name}", "correct it, leave it out, or reduce volumes less"
        raise UsageError(str(error), where=where, remedy=remedy, code="PFB-C14") from error
    return json.loads(content)


@cache
def _tried(name: str, asked: str, modalities: int, grid: tuple[int, int, int]) -> str:
    """The settled options as JSON, cached: a command plans repeatedly, building takes a second."""
    import torch

    from harness.systems import catalogue as systems

    with torch.device("meta"):
        method = systems.build(name, json.loads(asked), modalities, grid)
        method.look(modalities)
    return json.dumps(method.settled(json.loads(asked)))


def _settled_plugin(name: str, asked: Options, data: Data) -> Options:
    """The settled options of a plug-in's network, which is also run once from end to end.

    What it cannot do is better known now than after its training.
    """
    import torch

    from harness.systems import catalogue as systems
    from harness.systems.cost import cost

    try:
        with torch.device("meta"):
            method = systems.build(name, asked, len(data.modalities), data.grid)
        cost(name, asked, len(data.modalities), data.grid)
    except Exception as error:  # whatever it raises
        what = f"cannot be built or applied: {type(error).__name__}: {error}"
        remedy = "pfbench check-plugin FILE, which tells each step"
        raise UsageError(what, where=f"systems.{name}", remedy=remedy, code="PFB-C43") from error
    return method.settled(asked)

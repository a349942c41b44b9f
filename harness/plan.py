"""From a suite and settings to the list of trials: what a run consists of before anything runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.datasets import Prepared
from harness.data.split import Split
from harness.errors import UsageError
from harness.settings import Settings
from harness.spec import Data, TrialSpec, code_version, digest
from harness.suites import Row, chosen, refuse_overruled
from harness.systems import options


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
    """Case -> its entry in the cache."""
    notes: tuple[str, ...] = ()

    @property
    def suites(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.suite for row in self.rows))

    @property
    def trials(self) -> dict[str, TrialSpec]:
        """id -> trial, each once whatever the number of rows, a base before those it serves."""
        found: dict[str, TrialSpec] = {}
        for row in self.rows:
            for spec in row.trials:
                for needed in filter(None, (spec.base, spec)):
                    found[needed.id] = needed
        return found

    @property
    def names(self) -> dict[str, str]:
        """id -> what a person calls the trial, after the first row that shows it."""
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
    def protocol(self) -> dict[str, Any]:
        """What must be equal for two numbers to be comparable."""
        return {
            "profile": self.settings.profile,
            "protocol": self.settings.protocol.model_dump(mode="json"),
            "systems": self.settings.systems,
            "split": self.settings.split.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
            "cases": self.split.digest,
            "code": code_version(),
        }

    @property
    def protocol_hash(self) -> str:
        return digest(self.protocol)


def plan(
    suite_name: str,
    settings: Settings,
    prepared: Prepared,
    split: Split,
    *,
    models: Sequence[str] = (),
    rows: Sequence[str] = (),
    seeds: int = 1,
    device: str = "cpu",
) -> Plan:
    """Every row of the suite with a resolved specification for each seed.

    `models` narrows the suite to these and adds those it does not hold; `rows` to these keys.
    Raises UsageError for settings that no network can be built from.
    """
    data = Data(
        name=prepared.dataset,
        modalities=prepared.modalities,
        target=prepared.target,
        grid=prepared.grid,
        fingerprint=prepared.fingerprint,
        synthetic=prepared.synthetic,
    )
    tables = chosen(suite_name, settings.profile, models, rows)
    common = {
        "protocol": settings.protocol,
        "data": data,
        "split": split.digest,
        "fold": settings.split.fold,
        "device": device,
        "code": code_version(),
    }
    planned = tuple(
        PlannedRow(name, row, tuple(_trials(row, settings, data, common, seeds)))
        for name, table in tables.items()
        for row in table
    )
    return Plan(settings, data, split, planned, dict(prepared.keys), prepared.notes)


def _trials(
    row: Row, settings: Settings, data: Data, common: dict[str, Any], seeds: int
) -> Iterator[TrialSpec]:
    changed = settings.systems.get(row.system, {})
    refuse_overruled(row, changed)
    asked = merged(merged(options(row.system, settings.profile), row.options), changed)
    settled = _settled(row.system, asked, data)
    for seed in range(seeds):
        yield TrialSpec.model_validate(
            {"system": row.system, "options": settled, "seed": seed, **common}
        )


def _settled(name: str, asked: dict[str, Any], data: Data) -> dict[str, Any]:
    """The options with every default written out, as the system itself says when it is built.

    Built without memory, so that a wrong option is refused before anything runs.
    """
    import torch

    from harness import systems

    try:
        with torch.device("meta"):
            method = systems.build(name, asked, len(data.modalities), data.grid)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error), where=f"systems.{name}", code="PFB-C02") from error
    return method.settled(asked)


def merged(base: Any, changes: Any) -> dict[str, Any]:
    """`base` with `changes` written into it, groups key by key."""
    result = dict(base)
    for key, value in changes.items():
        group = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if group else value
    return result

"""From a suite and settings to the list of trials: what a run consists of before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.datasets import Prepared
from harness.data.split import Split
from harness.settings import Settings
from harness.spec import Data, TrialSpec, code_version, digest
from harness.suites import Row, suite
from harness.systems import options, system


@dataclass(frozen=True)
class Plan:
    """The trials of a run, in the order of its table."""

    suite: str
    settings: Settings
    data: Data
    split: Split
    trials: tuple[TrialSpec, ...]
    keys: dict[str, str]
    """Case -> its entry in the cache."""
    notes: tuple[str, ...] = ()

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
    seeds: int = 1,
    device: str = "cpu",
) -> Plan:
    """Every (system, seed) of the suite as a resolved specification.

    `models` narrows the suite to these and adds those it does not hold.
    """
    data = Data(
        name=prepared.dataset,
        modalities=prepared.modalities,
        target=prepared.target,
        grid=prepared.grid,
        fingerprint=prepared.fingerprint,
        synthetic=prepared.synthetic,
    )
    rows = suite(suite_name).rows
    if models:
        rows = tuple(row for row in rows if row.system in models)
        present = {row.system for row in rows}
        rows += tuple(Row(name) for name in models if system(name) and name not in present)
    trials = tuple(
        _trial(row, settings, data, split, seed, device) for row in rows for seed in range(seeds)
    )
    return Plan(suite_name, settings, data, split, trials, dict(prepared.keys), prepared.notes)


def _trial(
    row: Row, settings: Settings, data: Data, split: Split, seed: int, device: str
) -> TrialSpec:
    changed = settings.systems.get(row.system, {})
    resolved = merged(merged(options(row.system, settings.profile), row.options), changed)
    return TrialSpec.model_validate(
        {
            "system": row.system,
            "options": resolved,
            "protocol": settings.protocol,
            "data": data,
            "split": split.digest,
            "fold": settings.split.fold,
            "seed": seed,
            "device": device,
            "code": code_version(),
        }
    )


def merged(base: Any, changes: Any) -> dict[str, Any]:
    """`base` with `changes` written into it, groups key by key."""
    result = dict(base)
    for key, value in changes.items():
        group = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if group else value
    return result

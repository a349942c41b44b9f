"""The settings of a run: a profile, changed by a file, changed by options of the command."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from harness.data.reading import PLAIN, Reading
from harness.errors import UsageError, together, unknown
from harness.runs.files import JsonObject
from harness.runs.nested import merged, nest
from harness.runs.tuned import tuned_settings
from harness.runs.yaml_file import line_of, parse_value, read_config
from harness.systems.catalogue import SYSTEMS
from harness.systems.protocol import Frozen, Protocol

Where = Callable[[Sequence[str]], str]
"""A function that says where a person wrote a nested key: "suite.yaml:14", "--set"."""
Model = TypeVar("Model", bound=BaseModel)


class SplitSettings(Frozen):
    kind: Literal["seeded", "official", "site"] = "seeded"
    """By patient from a seed, the released code's cut (sorted, one validation case), or a site of
    the table of patients that tests while the others train."""
    seed: int = Field(0, ge=0, lt=2**32)
    fold: int = Field(0, ge=0, le=9999)
    """The number of the fold that is tested; a seeded split has 0 to 4."""
    folds: int = Field(5, ge=2, le=1000)
    """The number of folds that a seeded split makes: with 5, a fifth of the patients tests."""
    group: str = ""
    """How cases are grouped by patient: a pattern on ids such as {patient}_frame#, a CSV of
    case,patient, or none for cases that are patients of their own; "" for the grouping that the
    layout of the data set gives."""
    file: str = ""
    """The file of a split that is given: splits_final.json, a split.json, a data list with folds,
    or a CSV of case,fold; "" for the folds of the data set, if it has any, and none to use no file.
    """


class Phantom(Frozen):
    """The embedded synthetic data set."""

    cases: int = Field(36, ge=3, le=10_000)
    """36 cases give 8 for testing, enough for intervals and tests, and 25 to train."""
    seed: int = Field(0, ge=0, lt=2**32)


class Settings(Frozen):
    """The settings of a run, without the place where it runs."""

    profile: Literal["quick", "small", "paper"]
    reduce: tuple[int, int, int]
    """Block mean per axis (D, H, W) from the paper's 128x192x192 grid."""
    protocol: Protocol
    split: SplitSettings = SplitSettings()
    phantom: Phantom = Phantom()
    data: Reading = PLAIN
    """The way in which scans are read."""
    systems: dict[str, JsonObject] = Field(default_factory=dict)
    """Options of single systems, where they differ from those of the profile."""
    exceptions: dict[str, JsonObject] = Field(default_factory=dict)
    """Protocol values of single systems, where they differ, such as a tuned learning rate."""

    def protocol_of(self, name: str) -> Protocol:
        """The protocol under which the system `name` is trained; UsageError for a wrong value."""
        return changed_protocol(self.protocol, self.exceptions.get(name, {}), f"exceptions.{name}")


def changed_protocol(protocol: Protocol, changes: Mapping[str, Any], where: str) -> Protocol:
    """The `protocol` with `changes`, checked. Raises UsageError that names the wrong field."""
    if changes.get("scored_on", protocol.scored_on) != protocol.scored_on:
        what, remedy = "scored_on: all systems are scored alike", "--set protocol.scored_on=scan"
        raise UsageError(what, where=where, remedy=remedy, code="PFB-C09")
    return _validated(Protocol, {**protocol.model_dump(), **changes}, lambda keys: where)


PAPER = Settings(profile="paper", reduce=(1, 1, 1), protocol=Protocol())

# The paper in a few minutes: a volume of 32x64x64, a quarter of the channels, five epochs,
# and a learning rate that suits networks so small and so few steps.
QUICK = Settings(
    profile="quick",
    reduce=(4, 3, 3),
    protocol=Protocol(epochs=5, learning_rate=5e-3, validate_every=1),
)

# The same networks and volumes, trained as the paper trains its own: until the learning rate has
# fallen to a thousandth. That many epochs are never reached before.
SMALL = Settings(
    profile="small",
    reduce=QUICK.reduce,
    protocol=Protocol(epochs=1000, learning_rate=5e-3, learning_rate_floor=5e-6),
)

PROFILES: dict[str, Settings] = {"quick": QUICK, "small": SMALL, "paper": PAPER}
MAX_SHOWN = 60  # characters of a wrong value


def resolve(
    profile: str,
    config: Path | None,
    changes: Sequence[str],
    epochs: int | None,
    tuned: Path | None = None,
) -> Settings:
    """Build the settings from profile, --tuned, --config, --epochs, --set, in this order.

    Raises UsageError that names place and key of a fault.
    """
    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    settings = PROFILES[profile]
    for content, where in _sources(config, changes, epochs, tuned):
        settings = _changed(settings, content, where)
    return settings


def with_tuned(settings: Settings, path: Path) -> Settings:
    """The `settings` changed by those in a best.yaml. Raises UsageError for another file."""
    return _changed(settings, tuned_settings(path), partial(_line_of_tuned, path))


def _line_of_tuned(path: Path, keys: Sequence[str]) -> str:
    return line_of(path, ("settings", *keys))


def _sources(
    config: Path | None, changes: Sequence[str], epochs: int | None, tuned: Path | None
) -> Iterator[tuple[Mapping[str, Any], Where]]:
    """The changes to the profile, each with its source; a later one overrides an earlier one."""
    if tuned:
        yield tuned_settings(tuned), partial(_line_of_tuned, tuned)
    if config:
        yield read_config(config), partial(line_of, config)
    if epochs is not None:
        yield {"protocol": {"epochs": epochs}}, lambda keys: "--epochs"
    for change in changes:
        yield _parse_change(change), lambda keys: "--set"


def _parse_change(change: str) -> JsonObject:
    """The nested change for an argument of --set.

    "protocol.learning_rate=3e-4" -> {"protocol": {"learning_rate": 3e-4}}.
    """
    key, equals, value = change.partition("=")
    if not equals or not key:
        what = f"'{change}' is not of the form key.path=value"
        remedy = "--set protocol.learning_rate=3e-4"
        raise UsageError(what, where="--set", remedy=remedy, code="PFB-C09")
    plain = not value or _is_text(key.split("."))
    return nest(key, value if plain else parse_value(value, f"--set {key}"))


def _is_text(keys: Sequence[str]) -> bool:
    """Whether the setting is a text, taken as typed: YAML would read a pattern's brackets."""
    kind: Any = Settings
    for key in keys:
        if not (
            isinstance(kind, type) and issubclass(kind, BaseModel) and key in kind.model_fields
        ):
            return False
        kind = kind.model_fields[key].annotation
    return kind is str


def _changed(settings: Settings, content: Mapping[str, Any], where: Where) -> Settings:
    """The `settings` with the changes of one source, checked to the protocol of each system."""
    made = _validated(Settings, merged(settings.model_dump(), content), where)
    for group in ("systems", "exceptions"):
        for name in getattr(made, group):
            if name not in SYSTEMS:
                place = where((group, name))
                raise unknown("model", name, SYSTEMS, where=place, code="PFB-C09")
    for name, changes in made.exceptions.items():
        inside = partial(_below, where, ("exceptions", name))
        _validated(Protocol, {**made.protocol.model_dump(), **changes}, inside)
    return made


def _below(where: Where, group: Sequence[str], keys: Sequence[str]) -> str:
    return where((*group, *keys))


def _validated(kind: type[Model], content: Mapping[str, Any], where: Where) -> Model:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = [_fault(kind, fault, where) for fault in error.errors()]
        raise together(faults, "the settings") from error


def _fault(kind: type[BaseModel], fault: Any, where: Where) -> UsageError:
    """One fault that pydantic found, with the text that the person wrote and its place."""
    keys = tuple(map(str, fault["loc"]))
    name = ".".join(keys)
    if fault["type"] == "extra_forbidden":
        return unknown("key", name, _siblings(kind, keys), where=where(keys), code="PFB-C09")
    written = repr(fault.get("input"))
    shown = written if len(written) <= MAX_SHOWN else f"{written[:MAX_SHOWN]}…"
    what = f"{name}={shown}: {fault['msg'].removeprefix('Value error, ')}"
    remedy = "correct it, or leave it out"
    return UsageError(what, where=where(keys), remedy=remedy, code="PFB-C09")


def _siblings(kind: type[BaseModel], keys: Sequence[str]) -> list[str]:
    """The known keys at the level of an unknown key."""
    for key in keys[:-1]:
        kind = kind.model_fields[key].annotation  # type: ignore[assignment]
    return [".".join((*keys[:-1], field)) for field in kind.model_fields]

"""What a run is asked to do: a profile, changed by a file, changed by options."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from harness.errors import UsageError, unknown
from harness.nested import nest
from harness.spec import Frozen, Protocol
from harness.systems import SYSTEMS

MAX_CONFIG_BYTES = 1_000_000


class Split(Frozen):
    kind: Literal["seeded", "official"] = "seeded"
    """80/20 by patient from a seed, or the released code's cut (sorted, one validation case)."""
    seed: int = Field(0, ge=0, lt=2**32)
    fold: int = Field(0, ge=0, le=4)


class Phantom(Frozen):
    """The embedded synthetic data set."""

    cases: int = Field(10, ge=3, le=10_000)
    seed: int = Field(0, ge=0, lt=2**32)


class Settings(Frozen):
    """Everything about a run that is not where it runs."""

    profile: Literal["quick", "paper"]
    reduce: tuple[int, int, int]
    """Block mean per axis (D, H, W) from the paper's 128x192x192 grid."""
    protocol: Protocol
    split: Split = Split()
    phantom: Phantom = Phantom()
    systems: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of single systems that differ from the profile's."""
    exceptions: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Protocol values of single systems that differ, such as a tuned learning rate."""

    def protocol_of(self, name: str) -> Protocol:
        """The protocol under which the system `name` is trained; UsageError for a wrong value."""
        return changed_protocol(self.protocol, self.exceptions.get(name, {}), f"exceptions.{name}")


def changed_protocol(protocol: Protocol, changes: Mapping[str, Any], where: str) -> Protocol:
    """`protocol` with `changes`, checked; UsageError names the field at fault."""
    try:
        return Protocol.model_validate({**protocol.model_dump(), **changes})
    except ValidationError as error:
        raise invalid(error, where) from error


PAPER = Settings(profile="paper", reduce=(1, 1, 1), protocol=Protocol())

# Half an hour of the paper in three minutes: a volume of 32x64x64, a quarter of the channels,
# and a learning rate that suits networks so small and so few steps.
QUICK = Settings(
    profile="quick",
    reduce=(4, 3, 3),
    protocol=Protocol(epochs=8, learning_rate=5e-3, validate_every=1),
)

PROFILES: dict[str, Settings] = {"quick": QUICK, "paper": PAPER}


def resolve(
    profile: str,
    config: Path | None,
    changes: Sequence[str],
    epochs: int | None,
    tuned: Path | None = None,
) -> Settings:
    """Profile, then --tuned, --config, --epochs, --set; UsageError names the key at fault."""
    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    content = PROFILES[profile].model_dump()
    if tuned:
        _merge(content, tuned_settings(tuned), str(tuned))
    if config:
        _merge(content, read_config(config), str(config))
    if epochs is not None:
        content["protocol"]["epochs"] = epochs
    for change in changes:
        _merge(content, _parse_change(change), "--set")
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        raise invalid(error, str(config) if config else "settings") from error
    for name in (*settings.systems, *settings.exceptions):
        if name not in SYSTEMS:
            raise unknown("model", name, SYSTEMS)
        settings.protocol_of(name)
    return settings


def tuned_settings(path: Path) -> dict[str, Any]:
    """The settings in a best.yaml that `pfbench tune` wrote; UsageError for another file."""
    content = read_config(path)
    if not isinstance(content.get("settings"), dict):
        what = "holds no settings of a study"
        raise UsageError(what, where=str(path), remedy="pass the best.yaml of `pfbench tune`")
    return content["settings"]


def invalid(error: ValidationError, where: str) -> UsageError:
    """UsageError that names every field at fault, one per line."""
    lines = [
        f"{'.'.join(map(str, fault['loc']))}={fault.get('input')!r}: {fault['msg']}"
        for fault in error.errors()
    ]
    return UsageError("; ".join(lines), where=where, code="PFB-C09")


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, read without running code; UsageError when it is not one."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UsageError("is larger than 1 MB", where=str(path), code="PFB-C13")
        content = _StrictLoader(path.read_text()).get_single_data()
    except OSError as error:
        raise UsageError(error.strerror or "cannot be read", where=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(" ".join(str(error).split()), where=str(path), code="PFB-C10") from error
    if not isinstance(content, dict):
        raise UsageError("does not hold a mapping of settings", where=str(path), code="PFB-C09")
    return content


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without aliases and duplicate keys, both of which hide what is set."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"aliases are not accepted, line {event.start_mark.line + 1}")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                first = seen[key.value]
                raise yaml.YAMLError(f"key '{key.value}' stands twice, lines {first} and {line}")
            seen[key.value] = line
        return super().construct_mapping(node, deep)


def _parse_change(change: str) -> dict[str, Any]:
    """ "protocol.learning_rate=3e-4" -> {"protocol": {"learning_rate": "3e-4"}}."""
    key, equals, value = change.partition("=")
    if not equals or not key:
        raise UsageError(
            f"'{change}' is not of the form key.path=value",
            where="--set",
            remedy="--set protocol.learning_rate=3e-4",
        )
    parsed: Any = yaml.safe_load(value) if value else ""
    if isinstance(parsed, str):
        parsed = _number(parsed)
    return nest(key, parsed)


def _number(text: str) -> float | str:
    """YAML 1.1 takes 1e-3 for text; people mean the number."""
    try:
        return float(text)
    except ValueError:
        return text


def _merge(base: dict[str, Any], changes: Mapping[str, Any], where: str) -> None:
    """Write `changes` into `base`, nested mappings key by key."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value, where)
        elif isinstance(value, Mapping) and key in base:
            raise UsageError(f"'{key}' is a single value, not a group", where=where)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value

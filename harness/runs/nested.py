"""Nested settings: merge changes into them, flatten them, list the keys where two differ."""

from collections.abc import Mapping
from typing import Any

from harness.data.wording import listed


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `base` with `changes` written into it, groups key by key."""
    result = dict(base)
    for key, value in changes.items():
        group = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if group else value
    return result


def nest(key: str, value: Any) -> dict[str, Any]:
    """The nested settings for a dotted key: "a.b", 1 -> {"a": {"b": 1}}."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The nested settings with dotted keys: {"a": {"b": 1}} -> {"a.b": 1}."""
    result: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        result |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return result


def pairs(content: Mapping[str, Any]) -> str:
    """The nested settings as text: {"a": {"b": 0.25, "c": True}} -> "a.b 0.25, a.c yes"."""
    return ", ".join(f"{key} {in_words(value)}" for key, value in flat(content).items())


def in_words(value: Any) -> str:
    """The text for a single value, as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def difference(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> str:
    """The first few keys that differ between two settings, as "key: old → new"."""
    old, new = flat(earlier), flat(later)
    changed = [f"{k}: {old.get(k)} → {new.get(k)}" for k in old | new if old.get(k) != new.get(k)]
    return listed(changed, 4, "; ")

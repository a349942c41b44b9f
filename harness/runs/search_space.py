"""The parameters that a study may change: names for people, the settings behind them, and ranges.

w_srt, w_sgl, w_tel, w_ssl    weights of the objective (eq. 19)
w_tfm                         w_tel and w_ssl together, as in the paper
lr                            the learning rate
protocol.KEY, options.KEY     any other number of the protocol or of the system
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError, unknown
from harness.runs.nested import flat, merged, nest
from harness.runs.settings import Settings
from harness.runs.yaml_file import read_config
from harness.systems.catalogue import options, system
from tuning.search import Params, Range

KEYS: dict[str, tuple[str, ...]] = {
    "w_srt": ("options.weights.srt",),
    "w_sgl": ("options.weights.sgl",),
    "w_tfm": ("options.weights.tel", "options.weights.ssl"),
    "w_tel": ("options.weights.tel",),
    "w_ssl": ("options.weights.ssl",),
    "lr": ("protocol.learning_rate",),
}
EQUATION_19 = 0.5
WEIGHT = Range(0.05, 2.0, log=True)
AROUND = 10.0  # a learning rate is looked for between a tenth and ten times the present one


@dataclass(frozen=True)
class Space:
    """The search space of one study: numbers of one system to vary, and their present values."""

    name: str
    system: str
    ranges: Mapping[str, Range]
    reference: Params
    """The parameters that are evaluated first, with which all other points are compared."""


def loss_weights(split_tfm: bool, ranges: Mapping[str, Range]) -> Space:
    """The space of the loss weights of eq. 19; L_tel and L_ssl are apart when `split_tfm`."""
    names = ("w_sgl", "w_srt", *(("w_ssl", "w_tel") if split_tfm else ("w_tfm",)))
    _refuse_others(ranges, names)
    chosen = {name: ranges.get(name, WEIGHT) for name in names}
    return Space("pfseg", "pfseg", chosen, dict.fromkeys(names, EQUATION_19))


def learning_rate(name: str, settings: Settings, ranges: Mapping[str, Range]) -> Space:
    """The space of the learning rate of one system, around its present learning rate."""
    system(name)
    _refuse_others(ranges, ("lr",))
    now = settings.protocol_of(name).learning_rate
    chosen = ranges.get("lr", Range(now / AROUND, min(now * AROUND, 1.0), log=True))
    return Space(name, name, {"lr": chosen}, {"lr": now})


def from_file(path: Path, settings: Settings, ranges: Mapping[str, Range]) -> Space:
    """Read a search space from a space.yaml: the model, and a range for each name.

        model: unet3d
        space:
          protocol.learning_rate: {low: 1.0e-5, high: 1.0e-2, log: true}
          protocol.plateau_epochs: {low: 3, high: 20, integer: true}

    Raises UsageError that names the key at fault.
    """
    content = read_config(path)
    if set(content) != {"model", "space"} or not isinstance(content["space"], dict):
        what = f"holds {', '.join(content) or 'nothing'}, not model and space"
        remedy = "model: unet3d and space: {lr: {low: 1e-4, high: 1e-2, log: true}}"
        raise UsageError(what, where=str(path), remedy=remedy, code="PFB-C15")
    name = str(content["model"])
    system(name)
    chosen = {key: _range(key, value, path) for key, value in content["space"].items()}
    _refuse_others(ranges, tuple(chosen))
    chosen = dict(sorted({**chosen, **ranges}.items()))
    if not chosen:
        remedy = "space: {lr: {low: 1e-4, high: 1e-2, log: true}}"
        raise UsageError("the space is empty", where=str(path), remedy=remedy, code="PFB-C15")
    return Space(name, name, chosen, _now(name, chosen, settings))


def changes(params: Mapping[str, float]) -> dict[str, Any]:
    """The settings for values by parameter name: {"options": {...}, "protocol": {...}}."""
    result: dict[str, Any] = {"options": {}, "protocol": {}}
    for name, value in params.items():
        for key in keys_of(name):
            result = merged(result, nest(key, value))
    return result


def even(space: Space) -> bool:
    """Whether all points take the same memory: true where only weights and rates are searched."""
    changed = changes(space.reference)["options"]
    return not changed.keys() - {"weights"}


def _range(name: str, value: Any, path: Path) -> Range:
    keys_of(name)
    try:
        return Range(**value)
    except (TypeError, ValueError) as error:
        what = f"{value!r} is no range: {error}"
        where, remedy = f"{path}: space.{name}", "{low: 0.05, high: 2, log: true}"
        raise UsageError(what, where=where, remedy=remedy, code="PFB-C15") from error


def keys_of(name: str) -> tuple[str, ...]:
    """The settings that a parameter stands for. Raises UsageError for an unknown name."""
    if name.startswith(("protocol.", "options.")):
        return (name,)
    if name not in KEYS:
        raise unknown("parameter", name, [*KEYS, "protocol.KEY", "options.KEY"])
    return KEYS[name]


def _now(name: str, chosen: Mapping[str, Range], settings: Settings) -> Params:
    """The value that each parameter has without a study."""
    asked = merged(options(name, settings.profile), settings.systems.get(name, {}))
    known = flat({"options": asked, "protocol": settings.protocol_of(name).model_dump()})
    if "weights" in system(name).method_options:
        known |= {f"options.weights.{term}": EQUATION_19 for term in ("srt", "sgl", "tel", "ssl")}
    reference = {}
    for parameter in chosen:
        value = known.get(keys_of(parameter)[0])
        if not isinstance(value, int | float) or isinstance(value, bool):
            what = f"{name} has no number of this name"
            remedy = "protocol.KEY or options.KEY of a number that it has"
            raise UsageError(what, where=f"space.{parameter}", remedy=remedy, code="PFB-C15")
        reference[parameter] = value
    return reference


def _refuse_others(ranges: Mapping[str, Range], names: Sequence[str]) -> None:
    for name in ranges:
        if name not in names:
            raise unknown("parameter of this study", name, names)

"""What a study may change: names for people, the settings they stand for, and their ranges.

w_srt, w_sgl, w_tel, w_ssl    weights of the objective (eq. 19)
w_tfm                         w_tel and w_ssl together, as in the paper
lr                            the learning rate
protocol.KEY, options.KEY     any other number of the protocol or of the system
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError, unknown
from harness.runs.nested import flat, merged, nest
from harness.runs.settings import Settings
from harness.runs.yaml_file import read_config
from harness.systems.catalogue import SYSTEMS, options, system
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
HELP = {
    "--model": "--fair-budget for baselines beside pfseg, or tune lr; a space.yaml names its model",
    "--space": "tune space",
    "--split-tfm": "tune loss-weights",
    "--fair-budget": "tune loss-weights",
}
AROUND = 10.0  # a learning rate is looked for between a tenth and ten times the present one


@dataclass(frozen=True)
class Space:
    """What one study searches: the numbers of one system, and where they stand now."""

    name: str
    system: str
    ranges: Mapping[str, Range]
    reference: Params
    """Evaluated first: what everything else is compared with."""


def loss_weights(split_tfm: bool, ranges: Mapping[str, Range]) -> Space:
    """The weights of eq. 19, L_tel and L_ssl apart when `split_tfm`."""
    names = ("w_sgl", "w_srt", *(("w_ssl", "w_tel") if split_tfm else ("w_tfm",)))
    _refuse_others(ranges, names)
    chosen = {name: ranges.get(name, WEIGHT) for name in names}
    return Space("pfseg", "pfseg", chosen, dict.fromkeys(names, EQUATION_19))


def learning_rate(name: str, settings: Settings, ranges: Mapping[str, Range]) -> Space:
    """The learning rate of one system, around the one it has."""
    system(name)
    _refuse_others(ranges, ("lr",))
    now = settings.protocol_of(name).learning_rate
    chosen = ranges.get("lr", Range(now / AROUND, min(now * AROUND, 1.0), log=True))
    return Space(name, name, {"lr": chosen}, {"lr": now})


def from_file(path: Path, settings: Settings, ranges: Mapping[str, Range]) -> Space:
    """A space.yaml: the model, and a range for each name.

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
    """Values under people's names -> {"options": {...}, "protocol": {...}}."""
    result: dict[str, Any] = {"options": {}, "protocol": {}}
    for name, value in params.items():
        for key in _keys(name):
            result = merged(result, nest(key, value))
    return result


def even(space: Space) -> bool:
    """Whether every point takes the memory of every other: weights and rates do not change it."""
    changed = changes(space.reference)["options"]
    return not changed.keys() - {"weights"}


def parse_ranges(texts: Sequence[str]) -> dict[str, Range]:
    """ "w_srt=0.05:2:log" -> {"w_srt": Range(0.05, 2, log=True)}; UsageError says what is wrong."""
    ranges = {}
    for text in texts:
        name, _, bounds = text.partition("=")
        low, _, rest = bounds.partition(":")
        high, _, scale = rest.partition(":")
        _keys(name)
        if scale not in ("", "log", "int"):
            what, where = f"'{scale}' is neither log nor int", f"--range {name}"
            remedy = f"{where}=0.05:2:log"
            raise UsageError(what, where=where, remedy=remedy, code="PFB-C15")
        try:
            ranges[name] = Range(
                float(low), float(high), log=scale == "log", integer=scale == "int"
            )
        except ValueError as error:
            what = f"'{bounds}' is no range: {error}"
            example = f"--range {name}=0.05:2:log"
            where = f"--range {name}"
            raise UsageError(what, where=where, remedy=example, code="PFB-C15") from error
    return ranges


def _range(name: str, value: Any, path: Path) -> Range:
    _keys(name)
    try:
        return Range(**value)
    except (TypeError, ValueError) as error:
        what = f"{value!r} is no range: {error}"
        where, remedy = f"{path}: space.{name}", "{low: 0.05, high: 2, log: true}"
        raise UsageError(what, where=where, remedy=remedy, code="PFB-C15") from error


def _keys(name: str) -> tuple[str, ...]:
    if name.startswith(("protocol.", "options.")):
        return (name,)
    if name not in KEYS:
        raise unknown("parameter", name, [*KEYS, "protocol.KEY", "options.KEY"])
    return KEYS[name]


def _now(name: str, chosen: Mapping[str, Range], settings: Settings) -> Params:
    """Where each parameter stands without a study."""
    asked = merged(options(name, settings.profile), settings.systems.get(name, {}))
    known = flat({"options": asked, "protocol": settings.protocol_of(name).model_dump()})
    if "weights" in system(name).method_options:
        known |= {f"options.weights.{term}": EQUATION_19 for term in ("srt", "sgl", "tel", "ssl")}
    reference = {}
    for parameter in chosen:
        value = known.get(_keys(parameter)[0])
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


def chosen_spaces(
    what: str,
    settings: Settings,
    ranges: Mapping[str, Range],
    models: tuple[str, ...],
    file: Path | None,
    *,
    split_tfm: bool,
    fair_budget: bool,
) -> tuple[Space, ...]:
    """The studies that a command asks for.

    With `fair_budget` every baseline (or those in `models`) gets a study of its learning rate
    beside that of the loss weights. Raises UsageError for options that do not go together.
    """
    models = tuple(dict.fromkeys(models))
    given = {
        "--model": bool(models),
        "--space": file is not None,
        "--split-tfm": split_tfm,
        "--fair-budget": fair_budget,
    }
    if what == "loss-weights":
        of_fair = {"--model"} if fair_budget else set()
        _refuse_idle(what, given, {"--split-tfm", "--fair-budget"} | of_fair)
        rates = {name: span for name, span in ranges.items() if name == "lr" and fair_budget}
        weights = {name: span for name, span in ranges.items() if name not in rates}
        others = _baselines(models) if fair_budget else ()
        fair = [learning_rate(name, settings, rates) for name in others]
        return (loss_weights(split_tfm, weights), *fair)
    if what == "lr":
        _refuse_idle(what, given, {"--model"})
        names = models or tuple(SYSTEMS)
        return tuple(learning_rate(name, settings, ranges) for name in names)
    if what == "space" and file:
        _refuse_idle(what, given, {"--space"})
        return (from_file(file, settings, ranges),)
    raise unknown("study", what, ("loss-weights", "lr", "space"))


def _refuse_idle(study: str, given: Mapping[str, bool], used: Set[str]) -> None:
    """UsageError for an option that this study would pass over in silence."""
    for option, there in given.items():
        if there and option not in used:
            raise UsageError(
                f"has no part in tune {study}", where=option, remedy=HELP[option], code="PFB-C15"
            )


def _baselines(models: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are to be tuned beside pfseg, which has its budget in the loss weights."""
    if "pfseg" in models:
        what, remedy = "pfseg gets its trials for the loss weights", "baselines only"
        raise UsageError(what, where="--model", remedy=remedy, code="PFB-C15")
    return models or tuple(name for name in SYSTEMS if name != "pfseg")

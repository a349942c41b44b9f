"""The spaces of the studies of `pfbench tune`, from WHAT, --model, --space, --range and others."""

from collections.abc import Sequence, Set

from harness.commands.options import SpaceOptions
from harness.errors import UsageError, unknown
from harness.runs.search_space import Space, from_file, keys_of, learning_rate, loss_weights
from harness.runs.settings import Settings
from harness.systems.catalogue import SYSTEMS
from tuning.search import Range

STUDIES = ("loss-weights", "lr", "space")
HELP = {
    "--model": "--fair-budget for baselines beside pfseg, or tune lr; a space.yaml names its model",
    "--space": "tune space",
    "--split-tfm": "tune loss-weights",
    "--fair-budget": "tune loss-weights",
}


def spaces_of(options: SpaceOptions, settings: Settings) -> tuple[Space, ...]:
    """The spaces of the studies that the options ask for, one for each study.

    With --fair-budget every baseline (or those of --model) gets a study of its learning rate
    beside that of the loss weights. Raises UsageError for options that do not go together.
    """
    ranges = parsed_ranges(options.ranges or ())
    models = tuple(dict.fromkeys(options.models or ()))
    if options.what == "loss-weights":
        of_fair = {"--model"} if options.fair_budget else set()
        _refuse_idle(options, {"--split-tfm", "--fair-budget"} | of_fair)
        if not options.fair_budget:
            return (loss_weights(options.split_tfm, ranges),)
        rates = {name: span for name, span in ranges.items() if name == "lr"}
        weights = {name: span for name, span in ranges.items() if name != "lr"}
        fair = [learning_rate(name, settings, rates) for name in _baselines(models)]
        return (loss_weights(options.split_tfm, weights), *fair)
    if options.what == "lr":
        _refuse_idle(options, {"--model"})
        return tuple(learning_rate(name, settings, ranges) for name in models or SYSTEMS)
    if options.what == "space":
        if options.space is None:
            raise UsageError("needs --space FILE", where="tune space", remedy="-C space.yaml")
        _refuse_idle(options, {"--space"})
        return (from_file(options.space, settings, ranges),)
    raise unknown("study", options.what, STUDIES)


def _refuse_idle(options: SpaceOptions, used: Set[str]) -> None:
    """UsageError for an option that this study would ignore."""
    given = {
        "--model": options.models,
        "--space": options.space,
        "--split-tfm": options.split_tfm,
        "--fair-budget": options.fair_budget,
    }
    for option, value in given.items():
        if value and option not in used:
            what, remedy = f"has no part in tune {options.what}", HELP[option]
            raise UsageError(what, where=option, remedy=remedy, code="PFB-C15")


def _baselines(models: tuple[str, ...]) -> tuple[str, ...]:
    """The baselines to tune beside pfseg, whose budget goes into the loss weights."""
    if "pfseg" in models:
        what, remedy = "pfseg gets its trials for the loss weights", "baselines only"
        raise UsageError(what, where="--model", remedy=remedy, code="PFB-C15")
    return models or tuple(name for name in SYSTEMS if name != "pfseg")


def parsed_ranges(texts: Sequence[str]) -> dict[str, Range]:
    """The ranges by name: "w_srt=0.05:2:log" -> {"w_srt": Range(0.05, 2, log=True)}."""
    ranges = {}
    for text in texts:
        name, _, bounds = text.partition("=")
        keys_of(name)  # refuses a name that stands for no setting
        ranges[name] = _parsed_range(name, bounds)
    return ranges


def _parsed_range(name: str, bounds: str) -> Range:
    where = f"--range {name}"
    remedy = f"{where}=0.05:2:log"
    low, _, rest = bounds.partition(":")
    high, _, scale = rest.partition(":")
    if scale not in ("", "log", "int"):
        what = f"'{scale}' is neither log nor int"
        raise UsageError(what, where=where, remedy=remedy, code="PFB-C15")
    try:
        return Range(float(low), float(high), log=scale == "log", integer=scale == "int")
    except ValueError as error:
        what = f"'{bounds}' is no range: {error}"
        raise UsageError(what, where=where, remedy=remedy, code="PFB-C15") from error

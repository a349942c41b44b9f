"""The network of a finished trial, loaded to be applied to new scans."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from harness.errors import StateError, UsageError
from harness.runs import plugins as registry
from harness.runs.records import RowRecord, Scored
from harness.runs.run_folder import RunFolder
from harness.runs.spec import Device, TrialSpec
from harness.runs.suite import parted
from harness.runs.trial_folder import TrialFolder
from harness.systems import catalogue as systems
from harness.systems.methods import Method
from harness.trials.checkpoint import load_weights, read_weights
from models.tpf import Strategy, check


class Trained(NamedTuple):
    """A method with its trained weights, and the specification that it was built from."""

    spec: TrialSpec
    method: Method


def choose_trials(
    run: Path, name: str | None, seed: int | None, fold: int | None = None
) -> tuple[str, ...]:
    """The ids of the trials of one row that `name`, `seed` and `fold` select, by fold.

    `name` is an id, the key or title of a row, or a system with one row; None will do where there
    is one row. Without `seed` it is the lowest. Without `fold` they are all folds of a
    cross-validation; otherwise, and with an id, there is one trial. Raises UsageError that lists
    the candidates when none or several rows are meant.
    """
    folder = RunFolder(run)
    manifest = folder.run()
    if name in manifest.trials:
        return (str(name),)
    own = [rows for table, rows in manifest.suites.items() if not parted(table)[1]]
    meant = _meant([row for rows in own for row in rows], name)
    networks = {t: (spec.seed, spec.fold) for t in meant for spec in [folder.trial(t).spec()]}
    if seed is None:
        seed = min((of for of, _ in networks.values()), default=0)
    folds = sorted({at for of, at in networks.values() if of == seed and fold in (None, at)})
    chosen = [[t for t in meant if networks[t] == (seed, at)] for at in folds]
    if chosen and all(len(trials) == 1 for trials in chosen):
        return tuple(trial for [trial] in chosen)
    candidates = "\n".join(f"  {t}  {manifest.names[t]}" for t in meant or manifest.trials)
    fit = f"{len(chosen[0])} trials fit" if chosen else "no trial fits"
    asked = f"'{name}', seed {seed}" if name else f"seed {seed}"
    asked += "" if fold is None else f", fold {fold}"
    what = f"{fit} {asked}; pass the id of one of\n{candidates}"
    raise UsageError(what, where="--model", code="PFB-C01")


def _meant(rows: Sequence[RowRecord], name: str | None) -> list[str]:
    """Ids of the trials, each once, of the rows with this name, else of the rows of this system.

    Without a name they are those of all rows.
    """
    for fields in (("key", "title"), ("system",)):
        named = [row for row in rows if name is None or name in (getattr(row, f) for f in fields)]
        if named:
            return list(dict.fromkeys(trial for row in named for trial in row.trials))
    return []


def as_scored(run: Path, trial: str, device: Device) -> Trained:
    """Load the network whose scores are in the table, wherever it was trained, on `device`.

    Raises StateError for a trial that did not finish and for weights that cannot be used.
    """
    folder = _finished(RunFolder(run).trial(trial))
    return _load(folder.spec(), _weighed(run, folder), device)


def exchange(method: Method, run: Path, trial: str) -> None:
    """Put the weights of another trial of the same row into the network of `method`.

    Raises StateError as `as_scored` does.
    """
    load_weights(method.network, _weighed(run, _finished(RunFolder(run).trial(trial))))


def _weighed(run: Path, folder: TrialFolder) -> TrialFolder:
    """The finished trial that has the weights of this one: its own, or those of its base."""
    spec = folder.spec()
    if spec.base and not spec.tuned:  # scored elsewhere with the weights of its base
        return _finished(RunFolder(run).trial(spec.base.id))
    return folder


def as_trained(run: Path, trial: str, tpf: Strategy | Literal["none"], device: Device) -> Trained:
    """Load the network before any fine-tuning on test volumes, ready to `adapt` to others by `tpf`.

    Raises UsageError where it has not what `tpf` needs, and StateError as `as_scored` does.
    """
    folder = _finished(RunFolder(run).trial(trial))
    spec = folder.spec()
    _refuse_impossible(spec, tpf)
    if spec.base:
        folder = _finished(RunFolder(run).trial(spec.base.id))
    changed = spec.model_copy(update={"options": {**spec.options, "tpf": tpf}})
    return _load(changed, folder, device)


def threads_of(run: Path, trial: str) -> int:
    """The number of processors that scored a finished trial; another sums in another order."""
    result = RunFolder(run).trial(trial).result()
    known = result.environment.get("threads") if isinstance(result, Scored) else None
    return int(known or torch.get_num_threads())


def _finished(folder: TrialFolder) -> TrialFolder:
    state = folder.state()
    if folder.spec().given:
        what = "has no network here: its masks were made by another tool"
        raise StateError(what, where=f"trial {folder.id}", remedy="that tool")
    if state == "ok":
        return folder
    said = {"new": "has not been trained", "interrupted": "is not fully trained"}
    remedy = "repeat its `pfbench run`; with --retry-failed where the trial failed"
    raise StateError(said.get(state, "failed"), where=f"trial {folder.id}", remedy=remedy)


def _refuse_impossible(spec: TrialSpec, tpf: Strategy | Literal["none"]) -> None:
    if "tpf" not in systems.system(spec.system).method_options:
        able = ", ".join(name for name, s in systems.SYSTEMS.items() if "tpf" in s.method_options)
        what = f"{spec.system} has no test-phase fine-tuning; {able} has"
        raise UsageError(what, where="--tpf", remedy="leave it out", code="PFB-C02")
    options = spec.options
    try:
        if tpf != "none":
            check(tpf, srt=options["srt"], tel=options["tel"], ssl=options["ssl"])
    except ValueError as error:
        raise UsageError(str(error), where="--tpf", code="PFB-C02") from error


def _load(spec: TrialSpec, source: TrialFolder, device: Device) -> Trained:
    """Build the system that `spec` describes, with the weights of the trial `source`.

    Whether the weights fit is seen first, on a network without memory: the specification of a
    stranger may describe one that no machine holds.
    """
    registry.require(registry.needed_to_predict(spec.plugins, spec.system, spec.data.name))
    try:
        with torch.device("meta"):
            described = _built(spec)
    except Exception as error:  # of whatever stands in the options
        what = "describes a network that this version cannot build"
        remedy = "move its folder away and repeat its `pfbench run`, which trains it anew"
        where = f"trial {source.id}"
        raise StateError(what, where=where, remedy=remedy, code="PFB-K06") from error
    weights = read_weights(described.network, source)
    method = build(spec.model_copy(update={"device": device}))
    method.network.load_state_dict(weights)
    return Trained(spec, method)


def build(spec: TrialSpec) -> Method:
    """Build the system of a trial, with initial weights drawn from the trial's seed.

    Raises UsageError for a plug-in that the system needs and that is not in use.
    """
    registry.require(registry.needed_to_predict(spec.plugins, spec.system, spec.data.name))
    torch.manual_seed(spec.seed)
    method = _built(spec)
    method.network.to(spec.device)
    method.follow(spec.protocol)
    return method


def _built(spec: TrialSpec) -> Method:
    data = spec.data
    seen = (len(data.modalities), data.grid, len(data.names), data.exclusive)
    return systems.build(spec.system, spec.options, *seen)

"""Checks that the outcome of a finished trial is unchanged and agrees with itself.

result.json          tells the sums of the files, and the means of the scores
cases.csv            has the test cases of the split, with scores that are possible
masks/               one for each of them, on the grid, and it gives the scores
weights.safetensors  fit the network that the spec describes, and are finite
measurement.json     has the quantiles of its own times
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.checks.verify.inspection import CsvLine, Inspection, same
from harness.checks.verify.trial import Trial
from harness.data.case import Spacing, Volume
from harness.data.targets import held
from harness.errors import StateError
from harness.runs import plugins as registry
from harness.runs.records import Measured, RunManifest, Scored
from harness.runs.spec import TrialSpec
from harness.runs.trial_folder import CASES, HISTORY, RESULT_FILE, WEIGHTS
from harness.systems.case_score import BESIDE, CaseScore
from harness.systems.catalogue import Kind
from harness.systems.cost import cost, parameters
from harness.systems.evaluate import Line, of_cases, summary, without_target
from harness.systems.metrics import score
from harness.systems.overlap import overlap
from harness.systems.plugin_metrics import Metric
from harness.systems.plugin_metrics import scores as plugin_scores
from harness.systems.plugin_metrics import summary as plugin_summary

Figures = dict[str, float | None]
"""Scores by name; None for a plug-in's metric that failed."""
Scores = Callable[[NDArray[Any], NDArray[Any], Spacing, int | None, str], Figures]
"""A function from mask, label, spacing and a prefix of names to scores by name."""
SCORES = tuple(name for name in CaseScore._fields if name != "failed")


def check_outcome(
    trial: Trial, base: Trial | None, run: RunManifest, cases: Sequence[str], found: Inspection
) -> None:
    """Check everything but the masks' scores.

    `base` is the trial whose network this trial takes, `cases` are those that test it.
    """
    if trial.spec and trial.scored:
        _sums(trial, trial.spec, trial.scored, cases, found)
        kind = run.system(trial.spec.system).kind
        _result(trial, trial.spec, kind, trial.scored, base, found)
        on_scan = trial.spec.protocol.scored_on == "scan"
        names = trial.spec.data.names
        _scores(trial.scored, trial.folder.cases_file, cases, names, on_scan, found)
        _masks(trial, trial.spec, cases, found, on_grid=not run.given_alone)
        if has_weights(trial.spec):
            _weights(trial, base, found)
        if found.deep and trial.method:
            _counts(trial.spec, trial.scored, trial.folder.result_file, found)
    if isinstance(trial.measurement, Measured):
        _measurement(trial.measurement, trial.folder.measurement_file, found)


def has_weights(spec: TrialSpec) -> bool:
    """Whether a trial has weights of its own: masks were not given, and it is not merely moved."""
    return not spec.given and (spec.base is None or spec.tuned)


def _sums(
    trial: Trial, spec: TrialSpec, result: Scored, cases: Sequence[str], found: Inspection
) -> None:
    path = trial.folder.path
    names = {CASES, *(f"masks/{case}.npz" for case in cases)}
    if has_weights(spec):
        names.add(WEIGHTS)
    if spec.base is None and not spec.given:
        names.add(HISTORY)
    if different := result.sha256.keys() ^ names:
        found.fault(trial.folder.result_file, f"sha256: differs in {', '.join(sorted(different))}")
    voxels = {name for name in names if name == WEIGHTS or name.startswith("masks/")}
    there = names - voxels if found.records_alone else names
    for name in sorted(there & result.sha256.keys()):
        if found.sum_of(path / name) not in (None, result.sha256[name]):
            found.fault(path / name, "is not what was written (SHA-256)")


def _counts(spec: TrialSpec, result: Scored, path: Path, found: Inspection) -> None:
    """Count the operations of the network again."""
    channels, grid = len(spec.data.modalities), spec.data.grid
    targets = len(spec.data.names)
    again = cost(spec.system, spec.options, channels, grid, targets)["gflops_per_volume"]
    if result.gflops_per_volume is None or not same(result.gflops_per_volume, again):
        what = f"gflops_per_volume: is {result.gflops_per_volume}, but {again} were counted again"
        found.fault(path, what)


def _result(
    trial: Trial,
    spec: TrialSpec,
    kind: Kind,
    result: Scored,
    base: Trial | None,
    found: Inspection,
) -> None:
    """Check result.json against the specification: names, counts and the fine-tuned trial."""
    path = trial.folder.result_file
    expected: dict[str, object] = {
        "system": spec.system,
        "kind": kind,
        "transductive": spec.tuned,
        "base": spec.base.id if spec.base else None,
    }
    said = result.environment.get("precision", spec.protocol.precision)
    if said != spec.protocol.precision:
        found.fault(path, f"environment.precision: is {said}, not {spec.protocol.precision}")
    if trial.method:
        expected["parameters"] = parameters(trial.method.network)
        expected["parameters_inference"] = parameters(trial.method.for_inference().network)
    if base and base.scored:
        expected["epochs"] = base.scored.epochs
    elif spec.base:
        found.fault(path, f"base: trial {spec.base.id} did not finish")
    for key, value in expected.items():
        if getattr(result, key) != value:
            found.fault(path, f"{key}: is {getattr(result, key)}, not {value}")


def _scores(
    result: Scored,
    path: Path,
    cases: Sequence[str],
    targets: Sequence[str],
    on_scan: bool,
    found: Inspection,
) -> None:
    """Check cases.csv against the cases that test and the targets, and result.json against it."""
    lines = found.table(path)
    if not lines:
        return
    several = len(targets) > 1
    beside = tuple(f"{BESIDE}{name}" for name in CaseScore._fields) if on_scan else ()
    columns = ("case", *(("target",) if several else ()), *CaseScore._fields, *beside)
    if tuple(lines[0].cells)[: len(columns)] != columns:
        found.fault(path, f"columns are not {', '.join(columns)}", 1)
        return
    extra = tuple(lines[0].cells)[len(columns) :]
    expected = [(case, target) for case in cases for target in targets]
    for line, (case, target) in zip(lines, expected, strict=False):
        if line.cells["case"] != case:
            what = f"case {line.cells['case']}, where the split has {case}"
            found.fault(path, what, line.number)
        if several and line.cells["target"] != target:
            what = f"target {line.cells['target']}, where the trial has {target}"
            found.fault(path, what, line.number)
    if len(lines) != len(expected):
        have, need = len(lines) // len(targets), len(cases)
        found.fault(path, f"{have} cases, but the split has {need} for testing")
    text = {"case", "failed", f"{BESIDE}failed", *(("target",) if several else ())}
    rows = [found.numbers(path, line, text=text, blank=set(extra)) for line in lines]
    rows = [{name: row[name] for name in row if name not in beside} for row in rows]
    if all(row.keys() >= set(SCORES) for row in rows):
        for line, row in zip(lines, rows, strict=True):
            for what in _impossible(row, line):
                found.fault(path, what, line.number)
        named = [
            {**row, **{key: line.cells[key] for key in ("case", "target") if key in line.cells}}
            for line, row in zip(lines, rows, strict=True)
        ]
        _all_summed_up(result, named, targets, path.with_name(RESULT_FILE), found)


def _all_summed_up(
    result: Scored,
    rows: Sequence[Line],
    targets: Sequence[str],
    path: Path,
    found: Inspection,
) -> None:
    """Check the figures of result.json, those of each of several targets, too."""
    _summed_up(result, rows, path, found)
    for target in filter(None, targets):
        if target not in result.targets:
            found.fault(path, f"targets.{target}: is missing")
            continue
        own = [
            {key: value for key, value in row.items() if key != "target"}
            for row in rows
            if row["target"] == target
        ]
        _summed_up(result.of_target(target), own, path, found, f"targets.{target}.")


def _impossible(row: dict[str, float], line: CsvLine) -> list[str]:
    """The faults of a row of scores that no mask can have."""
    dice, jaccard = row["dice"], row["jaccard"]
    wrong = [f"{name} is {row[name]!r}" for name in SCORES if row[name] < 0]
    wrong += [f"{name} is {row[name]!r}" for name in ("dice", "jaccard") if row[name] > 1]
    if not same(jaccard * (2 - dice), dice):
        wrong.append(f"dice {dice!r} and jaccard {jaccard!r} do not belong together")
    if line.cells["failed"] != str(_missed(row)):
        volumes = f"{row['pred_ml']:g} ml for {row['target_ml']:g} ml"
        wrong.append(f"failed is {line.cells['failed']} with {volumes}")
    if row["hd95_official"] != (0 if _missed(row) else row["hd95_voxels"]):
        wrong.append(f"hd95_official is {row['hd95_official']!r}")
    return wrong


def _missed(row: dict[str, float]) -> bool:
    """Whether exactly one of the two masks is empty."""
    return (row["pred_ml"] == 0) != (row["target_ml"] == 0)


def _summed_up(
    result: Scored,
    rows: Sequence[Line],
    path: Path,
    found: Inspection,
    of: str = "",
) -> None:
    """Check means, deviations and counts; `of` is what the keys begin with in result.json."""
    names = (*SCORES, "case", "target")
    extra = {name: None for row in rows for name in row if name not in names}
    whole = of_cases([{**extra, **row} for row in rows], tuple(extra))
    for name, value in plugin_summary(whole, tuple(extra)).items():
        said = result.extra_metrics.get(name, math.nan)
        if not same(said, value):
            what = f"{of}extra_metrics.{name}: is {said!r}, but cases.csv gives {value!r}"
            found.fault(path, what)
    cases = len({row["case"] for row in rows})
    of_population = math.sqrt((cases - 1) / cases)
    for name, value in summary(rows).items():
        said = result.metrics[name]
        # Deviations were those of the population in runs made before they were of the sample.
        before = value * of_population if name.endswith("_std") else value
        if not same(said, value) and not same(said, before):
            found.fault(path, f"{of}metrics.{name}: is {said!r}, but cases.csv gives {value!r}")
    missed, empty = sum(_missed(row) for row in rows), without_target(rows)
    counts = {"n_cases": cases, "n_failed": missed, "n_without_target": empty}
    for name, count in counts.items():
        if getattr(result, name) != count:
            found.fault(path, f"{of}{name}: is {getattr(result, name)}, but cases.csv has {count}")


def _masks(
    trial: Trial, spec: TrialSpec, cases: Sequence[str], found: Inspection, *, on_grid: bool
) -> None:
    """Check that each mask is of a test case, and lies on the grid where all cases share one."""
    for path in sorted(trial.folder.path.glob("masks/*.npz")):
        if path.stem not in cases:
            found.fault(path, "is of no test case")
            continue
        kind = "b" if len(spec.data.names) == 1 else "u"
        try:
            shape, dtype = trial.folder.mask_form(path.stem)
            if dtype.kind != kind or (on_grid and shape != spec.data.grid):
                found.fault(path, f"is {dtype} on {shape}, not a mask on {spec.data.grid}")
            elif on_grid:
                trial.folder.mask(path.stem, shape)
        except StateError as error:
            found.fault(path, error.what)


def check_case(trial: Trial, volume: Volume, found: Inspection) -> None:
    """Check a case's lines in cases.csv against the overlap and volume of its masks."""
    path, spec = trial.folder.cases_file, trial.spec
    lines = found.table(path) if path.exists() else None
    extra = registry.metrics(spec.plugins) if spec and not trial.lacks_plugin else {}
    scores = partial(_all_scores, extra) if found.deep else _overlap
    for place, target in enumerate(spec.data.names if spec else ("",)):
        named = (volume.case, target)
        line = next((line for line in lines or () if _named(line) == named), None)
        try:
            given = _given(trial, volume, scores, place if target else None)
        except StateError as error:
            found.fault(trial.folder.mask_path(volume.case), error.what)
            return
        except (ArithmeticError, TypeError, ValueError) as error:
            what = f"does not fit the label of its case: {error}"
            found.fault(trial.folder.mask_path(volume.case), what)
            return
        if line is not None:
            _check_line(line, given, path, found)


def _named(line: CsvLine) -> tuple[str, str]:
    """The case of a line, and its target where there are several."""
    return line.cells.get("case", ""), line.cells.get("target", "")


def _check_line(line: CsvLine, given: Figures, path: Path, found: Inspection) -> None:
    blank = {name for name, value in given.items() if value is None}
    said = found.numbers(path, line, text=line.cells.keys() - given, blank=blank)
    for name, value in given.items():
        if name in line.cells and not _alike(said.get(name), value):
            what = f"{name} is {line.cells[name]}, but mask and label give {value!r}"
            found.fault(path, what, line.number)


def _alike(first: float | None, second: float | None) -> bool:
    return first == second if first is None or second is None else same(first, second)


def _given(trial: Trial, volume: Volume, scores: Scores, place: int | None) -> Figures:
    """Return what masks and labels of a case give, by the column of cases.csv.

    `place`: of which of several targets. Raises StateError for a mask that cannot be read, or is on
    another grid.
    """
    mask = trial.folder.mask(volume.case, volume.label.shape)
    on_grid = mask, volume.label, volume.spacing_mm
    if trial.spec is None or trial.spec.protocol.scored_on == "grid":
        return scores(*on_grid, place, "")
    on_scan = on_grid
    if volume.scan:
        mask = trial.folder.mask_on_scan(volume.case, volume.scan.shape)
        on_scan = mask, volume.scan.label, volume.scan.spacing_mm
    return scores(*on_scan, place, "") | scores(*on_grid, place, BESIDE)


def _all_scores(
    extra: Mapping[str, Metric],
    mask: NDArray[Any],
    label: NDArray[Any],
    spacing_mm: Spacing,
    place: int | None,
    before: str,
) -> Figures:
    """Return every score of a mask, distances and plug-ins' too, as when the trial was scored."""
    if place is not None:
        mask, label = held(mask, place), held(label, place)
    found = score(mask, label > 0, spacing_mm)
    figures = {f"{before}{name}": getattr(found, name) for name in SCORES}
    beside = before or not extra
    return figures if beside else figures | plugin_scores(extra, mask, label > 0, spacing_mm)[0]


def _overlap(
    mask: NDArray[Any], label: NDArray[Any], spacing_mm: Spacing, place: int | None, before: str
) -> Figures:
    pair = (mask, label) if place is None else (held(mask, place), held(label, place))
    counts = overlap(*pair)
    voxel_ml = math.prod(spacing_mm) / 1000
    return {
        f"{before}dice": counts.dice,
        f"{before}jaccard": counts.jaccard,
        f"{before}pred_ml": counts.pred * voxel_ml,
        f"{before}target_ml": counts.target * voxel_ml,
    }


def _weights(trial: Trial, base: Trial | None, found: Inspection) -> None:
    path = trial.folder.weights_file
    weights = _loaded(path)
    if weights is None:
        if path.exists():
            found.fault(path, "cannot be loaded")
        return
    if trial.method:
        needed = {name: _form(part) for name, part in trial.method.network.state_dict().items()}
        given = {name: _form(part) for name, part in weights.items()}
        for name in sorted(needed.keys() | given.keys()):
            if needed.get(name) != given.get(name):
                what = f"{given.get(name, 'missing')}, where the network has {needed.get(name)}"
                found.fault(path, f"{name}: {what}")
    for name, part in weights.items():
        if part.is_floating_point() and not part.isfinite().all():
            found.fault(path, f"{name}: is not finite")
    before = _loaded(base.folder.path / path.name) if base else None
    if before and _equal(before, weights):
        found.fault(path, "is the network of its base, not fine-tuned")


def _loaded(path: Path) -> dict[str, Tensor] | None:
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    names = first.keys()
    return names == second.keys() and all(torch.equal(first[name], second[name]) for name in names)


def _form(part: Tensor) -> str:
    return f"{part.dtype} {tuple(part.shape)}"


def _measurement(measured: Measured, path: Path, found: Inspection) -> None:
    seconds = measured.inference_s
    if seconds != sorted(seconds):
        found.fault(path, "inference_s: is not sorted")
    by_process = measured.inference_s_by_process
    if by_process and sorted(chain.from_iterable(by_process)) != seconds:
        found.fault(path, "inference_s_by_process: holds other times than inference_s")
    expected = {
        "inference_s_p50": statistics.median(seconds),
        "inference_s_p90": statistics.quantiles(seconds, n=10, method="inclusive")[-1],
    }
    for key, value in expected.items():
        if not same(getattr(measured, key), value):
            found.fault(path, f"{key}: is {getattr(measured, key)!r}, not {value!r}")

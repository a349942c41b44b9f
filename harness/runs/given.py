"""Masks that another tool made, as a trial and a row of a run: scores without a training.

FACTS.yaml ─► read_facts ─► ReportedFacts            what somebody reports of the tool
scores     ─► write_trial ─► trials/<id>/    spec.json, cases.csv, masks/, result.json
              add_rows    ─► run.json
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import Field, ValidationError

import harness
from harness.data.regions import Labels
from harness.errors import UsageError, together, unknown
from harness.runs.files import JsonObject
from harness.runs.manifest import in_use, joined
from harness.runs.records import (
    MadeBy,
    Reported,
    RowRecord,
    RunManifest,
    Scored,
    SystemRecord,
    wrong_keys,
)
from harness.runs.redact import storable
from harness.runs.run_folder import RunFolder
from harness.runs.score_figures import score_figures
from harness.runs.spec import GIVEN, Data, TrialSpec, code_version
from harness.runs.suites import FIGURES
from harness.runs.trial_folder import TrialFolder
from harness.runs.yaml_file import line_of, read_config
from harness.systems.evaluate import Line
from harness.systems.protocol import Frozen, Protocol

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class ReportedFacts(Frozen):
    """What somebody reports of a tool that made masks; nothing of it was measured here."""

    title: str = Field("", max_length=60)
    """The name of the row; by default that of `--predictions`."""
    reference: str = Field("", max_length=200)
    """Where the tool was published."""
    time_s: float | None = Field(None, gt=0)
    """Seconds from a volume in memory to its mask."""
    memory_mib: float | None = Field(None, gt=0)
    """Peak MiB of inference."""
    parameters: int | None = Field(None, ge=0)
    gflops: float | None = Field(None, ge=0)
    """10⁹ operations for a volume."""
    training_s: float | None = Field(None, ge=0)
    device: str = Field("", max_length=80)
    """The device of these figures."""
    note: str = Field("", max_length=300)
    """A sentence for under every table, such as how long it was trained."""


def read_facts(path: Path | None, names: Iterable[str]) -> dict[str, ReportedFacts]:
    """The facts in a YAML file, `NAME: {time_s: 1.2, parameters: 31000000}`, for each of `names`.

    Names that the file does not have get none. Raises UsageError that names file and line for a
    name, key or value that does not fit.
    """
    content = read_config(path) if path else {}
    known, found = list(names), {}
    for name, about in content.items():
        where = line_of(path, (name,)) if path else ""
        if name not in known:
            raise unknown("name", str(name), known, where=where, code="PFB-C09")
        try:
            found[name] = ReportedFacts.model_validate(about)
        except ValidationError as error:
            raise together(
                [
                    UsageError(
                        f"{key or name}: {what}",
                        where=where,
                        remedy=f"one of {', '.join(ReportedFacts.model_fields)}",
                        code="PFB-C09",
                    )
                    for key, what in wrong_keys(error)
                ],
                "the facts",
            ) from error
    return {name: found.get(name, ReportedFacts()) for name in known}


def system_of(name: str, facts: ReportedFacts) -> SystemRecord:
    """The system of given masks, as run.json keeps it."""
    return SystemRecord(
        title=facts.title or name,
        kind="given masks",
        reference=facts.reference,
        end_to_end=True,
        deviation="",
    )


def spec_of(
    name: str,
    seed: int,
    masks: str,
    values: Mapping[str, Labels],
    data: Data,
    about: JsonObject,
) -> TrialSpec:
    """The specification of given masks; `masks` is the digest of their files.

    `values` are the labels in the masks, by target, "" for the only one. `about` is the protocol of
    the run, whose split and code they are scored by.
    """
    named = {target: list(labels) for target, labels in values.items()}
    return TrialSpec(
        system=f"{GIVEN}{name}",
        options={"masks": masks, "values": named if data.targets else named.get("", [])},
        protocol=Protocol.model_validate(about["protocol"]),
        data=data,
        split=about["cases"],
        fold=about["split"].get("fold", 0),
        seed=seed,
        device="cpu",
        code=about["code"],
    )


def write_trial(
    folder: RunFolder,
    spec: TrialSpec,
    rows: Sequence[Line],
    masks: Iterable[tuple[str, NDArray[Any]]],
    facts: ReportedFacts,
    files: int,
    seconds: float,
) -> TrialFolder:
    """Write scores, masks and, last, the result; a trial that is there already stays as it is.

    What was reported of the tool is written anew. `files` is the number of mask files.
    """
    trial = folder.trial(spec.id)
    trial.write_spec(spec)
    with trial.alone():
        before = trial.result()
        if not isinstance(before, Scored):
            attempt = trial.begin("train")
            for case, mask in masks:
                trial.write_mask(case, mask)
            trial.write_cases(rows)
            before = _scored(trial, spec, rows, seconds, attempt)
        told = _told(facts, files, spec, before)
        before.model_copy(update=told).write(trial.result_file)
        _reported(trial, facts)
    return trial


def _scored(
    trial: TrialFolder,
    spec: TrialSpec,
    rows: Sequence[Line],
    seconds: float,
    attempt: int,
) -> Scored:
    return Scored(
        schema=1,
        status="ok",
        reason="",
        system=spec.system,
        kind="given masks",
        **score_figures(rows),
        n_cases=len({row["case"] for row in rows}),
        transductive=False,
        parameters=None,
        parameters_inference=None,
        gflops_per_volume=None,
        epochs=None,
        memory={},
        environment={"pfbench": harness.__version__},
        sha256=trial.sums(),
        attempts=attempt,
        seconds={"test": seconds},
    )


def _told(facts: ReportedFacts, files: int, spec: TrialSpec, result: Scored) -> JsonObject:
    """The fields of the result that say where the masks come from, and what was reported."""
    source = f"masks of another tool, {files} files for {result.n_cases} cases, SHA-256 "
    source += str(spec.options["masks"])
    if spec.code != code_version():
        source += f"; scored by {code_version()}"
    training = {} if facts.training_s is None else {"train": facts.training_s}
    return {
        "parameters": facts.parameters,
        "parameters_inference": facts.parameters,
        "gflops_per_volume": facts.gflops,
        "seconds": {"test": result.seconds["test"], **training},
        "remarks": [source, *([facts.note] if facts.note else [])],
    }


def _reported(trial: TrialFolder, facts: ReportedFacts) -> None:
    """Write the reported time and memory; without any, no figure of before is left."""
    if facts.time_s is None and facts.memory_mib is None:
        trial.measurement_file.unlink(missing_ok=True)
        return
    Reported(
        schema=1,
        attempts=0,
        status="reported",
        inference_s_p50=facts.time_s,
        inference_peak_mib=facts.memory_mib,
        device=f"{facts.device or 'a device that is not named'} (reported, not measured)",
    ).write(trial.measurement_file)


def add_rows(
    folder: RunFolder,
    run: RunManifest,
    tables: Sequence[str],
    trials: Mapping[str, Sequence[TrialFolder]],
    facts: Mapping[str, ReportedFacts],
    command: str,
) -> RunManifest:
    """Write run.json with a row for each name in each of `tables`; returns it.

    `trials`: name -> its trials, in order of seed.
    """
    made_by = MadeBy(command=storable(command), version=harness.__version__)
    given = {f"{GIVEN}{name}": system_of(name, facts[name]) for name in trials}
    rows = [
        RowRecord(
            key=name,
            title=given[f"{GIVEN}{name}"].title,
            cells=[given[f"{GIVEN}{name}"].title],
            system=f"{GIVEN}{name}",
            trials=[trial.id for trial in its],
            made_by=[made_by],
        )
        for name, its in trials.items()
    ]
    suites = joined(folder, run.suites, dict.fromkeys(tables, rows))
    names = {
        trial.id: f"{given[f'{GIVEN}{name}'].title} seed {seed}"
        for name, its in trials.items()
        for seed, trial in enumerate(its)
    }
    ids = [*run.trials, *names]
    changed = run.model_copy(
        update={
            "suites": suites,
            "trials": in_use(folder, ids, suites),
            "names": {**run.names, **names},
            "given": {**run.given, **given},
        }
    )
    folder.write(changed)
    return changed


def refuse_taken(name: str, run: RunManifest, tables: Sequence[str]) -> None:
    """Raise UsageError for a name that a row cannot have, or that a trained row has."""
    if not NAME.fullmatch(name):
        what = f"'{name}' cannot name a row"
        remedy = "letters, digits, '.', '_' and '-', at most 40; a title goes into --facts"
        raise UsageError(what, where="--predictions", remedy=remedy)
    for table in tables:
        for row in run.suites.get(table, ()):
            if row.key == name and not row.system.startswith(GIVEN):
                what = f"'{name}' is a row of {table} that was trained here"
                raise UsageError(what, where="--predictions", remedy="another name")


SHOWN = (*FIGURES, "time", "memory", "parameters")
"""The columns of a table that has given masks alone."""

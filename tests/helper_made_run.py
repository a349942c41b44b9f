"""Run folders as a run leaves them, in milliseconds: the product's own records, complete.

    data, spec                        what a trial is
    scored, failed, measured, history what a trial leaves
    made_trial                        the folder of one trial
    row, made_run                     the folder of a run around its trials
    made_study                        the folder of a study around its points
    rewrite                           other values in a record that is there
    MadeRun                           rows of the paper's tables, whose scores are known beforehand

A test names what it is about; everything else has a sensible value.
"""

import contextlib
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import numpy as np

from harness.data.split import Split
from harness.runs.files import write_json
from harness.runs.records import (
    STATISTICS,
    Failed,
    Measured,
    Record,
    RowRecord,
    RunManifest,
    Scored,
    StudyManifest,
)
from harness.runs.run_folder import RunFolder
from harness.runs.settings import PROFILES
from harness.runs.spec import Data, TrialSpec, digest
from harness.runs.suite import Row
from harness.runs.suites import suite
from harness.runs.trial_folder import TrialFolder
from harness.systems import catalogue
from harness.systems.evaluate import summary
from harness.systems.protocol import Protocol

GRID = (128, 192, 192)
DIAGONAL = 300.17  # mm, of a volume of GRID whose voxels are 1 mm wide
METRICS = dict.fromkeys(sorted(STATISTICS), 0.5)
TERMS = ("ust", "srt", "sgl", "tel", "ssl")
NO_TRIAL = "0" * 16
"""Stands for a trial where nobody looks at it."""
R = TypeVar("R", bound=Record)


@contextlib.contextmanager
def unsynced() -> Iterator[None]:
    """Write without waiting for the disk, which is nine tenths of making a run."""
    with mock.patch("os.fsync"):
        yield


# ── a trial ─────────────────────────────────────────────────────────────────────────────────────


def data(**changes: Any) -> Data:
    """The volumes of the phantom in the quick profile."""
    phantom = {"name": "phantom", "modalities": ("flair",), "target": "wt", "grid": (32, 64, 64),
               "fingerprint": "f00d", "synthetic": True}  # fmt: skip
    return Data(**phantom | changes)


def spec(system: str = "unet3d", seed: int = 0, **changes: Any) -> TrialSpec:
    """A trial of `system` on the phantom."""
    complete = {"system": system, "seed": seed, "options": {}, "protocol": Protocol(),
                "data": data(), "split": "s", "device": "cpu", "code": "c"}  # fmt: skip
    return TrialSpec(**complete | changes)


def history(epochs: int, terms: Sequence[str] = (), **columns: float) -> list[dict[str, float]]:
    """A training whose loss falls, with a column for each of the loss's `terms`."""
    return [
        {
            "epoch": epoch,
            **{f"loss_{term}": 1 / (epoch + place) for place, term in enumerate(terms)},
            "loss": 1 / epoch,
            "lr": 1e-5 if epoch > 4 else 1e-4,
            "val_dice": min(0.1 * epoch, 0.9),
            "seconds": 60.0,
            **columns,
        }
        for epoch in range(1, epochs + 1)
    ]


def scored(system: str = "unet3d", **changes: Any) -> Scored:
    """A trial of `system` that came to its end with 0.5 in every metric."""
    environment = {"device": "AMD EPYC", "threads": 1, "precision": "fp32",
                   "layout": "channels_first", "pfbench": "0.1.0", "python": "3.11.7",
                   "torch": "2.13.0"}  # fmt: skip
    complete = {"schema": 1, "status": "ok", "reason": "", "system": system,
                "kind": catalogue.system(system).kind, "metrics": METRICS, "n_cases": 1,
                "n_failed": 0, "transductive": False, "parameters": 8_000_000,
                "parameters_inference": 8_000_000, "gflops_per_volume": 5000.0, "epochs": 6,
                "seconds": {"train": 100.0, "test": 20.0}, "memory": {"train_peak_mib": 6000.0},
                "sha256": {}, "environment": environment, "attempts": 1}  # fmt: skip
    return Scored(**complete | changes)


def failed(reason: str, detail: str = "") -> Failed:
    """A trial that has no numbers."""
    return Failed(schema=1, status="failed", reason=reason, detail=detail, attempts=1)


def measured(seconds: Sequence[float] = (1.0,) * 5, **changes: Any) -> Measured:
    """Repetitions of inference that took `seconds`."""
    complete = {"schema": 1, "status": "ok", "inference_s": sorted(seconds),
                "inference_s_p50": statistics.median(seconds),
                "inference_s_p90": statistics.quantiles(seconds, n=10, method="inclusive")[-1],
                "inference_peak_mib": 900.0, "device": "AMD EPYC", "threads": 2,
                "precision": "fp32", "layout": "channels_first", "attempts": 1}  # fmt: skip
    return Measured(**complete | changes)


@unsynced()
def made_trial(
    folder: RunFolder,
    trial_spec: TrialSpec,
    epochs: Sequence[Mapping[str, float]] = (),
    result: Scored | Failed | None = None,
    measurement: Measured | Failed | None = None,
) -> TrialFolder:
    """The folder of a trial that has come as far as what is given; again for one that went on."""
    trial = folder.trial(trial_spec.id)
    trial.write_spec(trial_spec)
    if epochs:
        trial.write_history(epochs)
    if result:
        result.write(trial.result_file)
    if measurement:
        measurement.write(trial.measurement_file)
    return trial


# ── a run ───────────────────────────────────────────────────────────────────────────────────────


def row(trials: Sequence[TrialFolder], **changes: Any) -> RowRecord:
    """The row of a table that is made from `trials`, the seeds of one system."""
    system = trials[0].spec().system
    title = catalogue.system(system).title
    complete = {"key": system, "title": title, "cells": [title], "system": system,
                "trials": [trial.id for trial in trials]}  # fmt: skip
    return RowRecord(**complete | changes)


@unsynced()
def made_run(
    path: Path,
    suites: Mapping[str, Sequence[RowRecord]],
    beside: Iterable[TrialFolder] = (),
    *,
    cases: Sequence[str] = ("c",),
    **changes: Any,
) -> RunFolder:
    """The folder of a finished run of trials that are there, in the quick profile.

    `beside` are trials that no table shows, as the base of a fine-tuned one. `changes` are other
    values in run.json.
    """
    folder = RunFolder(path)
    shown = {trial: each.title for rows in suites.values() for each in rows
             for trial in each.trials}  # fmt: skip
    shown |= {trial.id: f"{_title(trial)} as trained" for trial in beside}
    specs = {trial: folder.trial(trial).spec() for trial in shown}
    common = _manifest(next(iter(specs.values())).data, changes.get("profile", "quick"))
    settings = PROFILES[common["profile"]].model_dump(mode="json")
    complete = {"kind": "run", "fingerprint": common["protocol"]["data"]["fingerprint"],
                "settings": settings, "notes": [], "suites": dict(suites), "mlflow": "off",
                "names": {t: f"{title} seed {specs[t].seed}" for t, title in shown.items()},
                "command": f"pfbench run --suite {next(iter(suites))} --data-root DATA_ROOT",
                "trials": list(shown)}  # fmt: skip
    _write_data(folder, cases)
    folder.write(RunManifest(**common | complete | changes))
    return folder


def made_study(
    path: Path,
    references: Mapping[str, Mapping[str, float]],
    *,
    spaces: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    **changes: Any,
) -> RunFolder:
    """The folder of a finished study, whose points are proposed and ended by the test.

    `references`: search -> the settings as they are; `spaces`: search -> parameter -> its range.
    """
    folder = RunFolder(path)
    common = _manifest(data(), "quick")
    protocol = common["protocol"] | {
        "settings": PROFILES["quick"].model_dump(mode="json"),
        "spaces": spaces or {},
        "seeds": 1,
    }
    complete = {"kind": "study", "suites": list(references), "references": dict(references),
                "protocol": protocol, "command": "pfbench tune"}  # fmt: skip
    _write_data(folder, ("c",))
    folder.write(StudyManifest(**common | complete | changes))
    return folder


def _title(trial: TrialFolder) -> str:
    return catalogue.system(trial.spec().system).title


def _manifest(volumes: Data, profile: str) -> dict[str, Any]:
    """What run.json holds of runs and of studies."""
    settings = PROFILES[profile].model_dump(mode="json")
    protocol = {key: settings[key]
                for key in ("profile", "protocol", "systems", "exceptions", "split")}  # fmt: skip
    protocol |= {"cases": "c", "code": "0.1.0+abc", "data": volumes.model_dump(mode="json")}
    return {"schema": 3, "run_id": "r1", "dataset": volumes.name, "profile": profile,
            "synthetic": volumes.synthetic, "protocol": protocol,
            "protocol_hash": digest(protocol), "status": "finished"}  # fmt: skip


def _write_data(folder: RunFolder, cases: Sequence[str]) -> None:
    """split.json and data.json; the volumes themselves are not there."""
    folder.write_split(Split(("a",), ("b",), tuple(cases)))
    folder.write_volume_keys({case: f"key-{case}" for case in cases}, folder.path / "cache")


def rewrite(path: Path, record: R, **changes: Any) -> None:
    """Write `record` again, with other values."""
    content = record.model_dump(by_alias=True, exclude_unset=True)
    type(record)(**content | changes).write(path)


# ── rows of the paper's tables ──────────────────────────────────────────────────────────────────


class MadeRun:
    """Finished rows of the paper's suites; row number k has a mean Dice of about 70 + 2 k %.

    With `alike`, the Dice of each case, all rows score that, and take as long as each other.
    """

    @unsynced()
    def __init__(
        self,
        path: Path,
        *suites: str,
        rows: Sequence[str] | None = None,
        seeds: Sequence[int] = (0,),
        cases: int = 12,
        alike: Sequence[float] = (),
        epochs: int = 6,
        device: str = "AMD EPYC",
        trained: Protocol | None = None,
        **changes: Any,
    ) -> None:
        self.folder = RunFolder(path)
        self.path = self.folder.path
        self.cases = [f"case-{number:04}" for number in range(len(alike) or cases)]
        self.alike, self.epochs, self.device, self.trained = (
            alike,
            epochs,
            device,
            trained or Protocol(),
        )
        self.data = data(name="brats", modalities=("t2",), grid=GRID, fingerprint="f" * 16,
                         synthetic=changes.get("synthetic", False))  # fmt: skip
        self.trials: dict[tuple[str, int], TrialFolder] = {}
        changes = {"profile": "paper", **changes}
        tables = {name: self._rows(name, rows, seeds, changes["profile"])
                  for name in suites or ("table5",)}  # fmt: skip
        made_run(path, tables, cases=self.cases, **changes)
        for key in self.folder.volume_keys().keys.values():
            write_json(self.path / "cache" / key / "meta.json", {"spacing_mm": [1.0, 1.0, 1.0]})

    @property
    def manifest(self) -> RunManifest:
        return self.folder.run()

    def change(self, **about: Any) -> "MadeRun":
        """Other values in run.json."""
        rewrite(self.folder.manifest_file, self.manifest, **about)
        return self

    def score(
        self,
        key: str,
        dice: Sequence[float] = (),
        hd95: Sequence[float] = (),
        seed: int | None = None,
        missed: Sequence[int] = (),
    ) -> "MadeRun":
        """The scores of the first cases: by default the Dice of all rows, and an HD95 of 5 mm.

        Of all seeds, or of one; `missed` are places of cases whose target was not found.
        """
        dice = dice or self.alike
        hd95 = hd95 or [5.0] * len(dice)
        cases = self.cases[: len(dice)]
        lines = [
            _line(*each, missed=place in missed)
            for place, each in enumerate(zip(cases, dice, hd95, strict=True))
        ]
        for each in self._seeds(key, seed):
            self._score(key, each, lines)
        return self

    def _seeds(self, key: str, seed: int | None) -> list[int]:
        """`seed`, or all that the row was trained with."""
        return [each for row, each in self.trials if row == key and seed in (None, each)]

    def shift(self, key: str, by: float, seed: int | None = None) -> "MadeRun":
        """The Dice of all rows, and `by` more in each case."""
        return self.score(key, [dice + by for dice in self.alike], seed=seed)

    def miss(self, key: str, case: str, seed: int = 0) -> "MadeRun":
        """As if nothing had been found in a case."""
        dice, hd95 = (self.trials[key, seed].scores(name) for name in ("dice", "hd95_mm"))
        missed = _line(case, 0.0, DIAGONAL, missed=True)
        lines = [missed if each == case else _line(each, dice[each], hd95[each]) for each in dice]
        return self._score(key, seed, lines)

    def cost(
        self,
        key: str,
        *,
        processes: Sequence[Sequence[float]] = ((1.0,) * 5,),
        mib: float = 6000.0,
        device: str = "",
        seed: int | None = None,
    ) -> "MadeRun":
        """Seconds of inference, memory of training, and where both were measured.

        Of all seeds, or of one; the seconds by process.
        """
        device = device or self.device
        seconds = [second for process in processes for second in process]
        for each in self._seeds(key, seed):
            trial = self.trials[key, each]
            result = trial.result()
            about = {"memory": {"train_peak_mib": mib},
                     "environment": result.environment | {"device": device}}  # fmt: skip
            rewrite(trial.result_file, result, **about)
            by_process = [list(process) for process in processes]
            record = measured(seconds, device=device, inference_s_by_process=by_process)
            record.write(trial.measurement_file)
        return self

    def took(self, key: str, p50: float, p90: float, seed: int = 0) -> "MadeRun":
        """Median and 90th percentile of the repetitions of inference, in seconds."""
        trial = self.trials[key, seed]
        about = {"inference_s_p50": p50, "inference_s_p90": p90}
        rewrite(trial.measurement_file, trial.measurement(), **about)
        return self

    def fail(self, key: str, reason: str, detail: str = "", seed: int = 0) -> "MadeRun":
        """As if the trial had left nothing but its reason."""
        trial = self.trials[key, seed]
        for path in (trial.result_file, trial.cases_file, trial.measurement_file):
            path.unlink()
        trial.write_failure("train", reason, detail)
        return self

    def unfinish(self, key: str, seed: int = 0) -> "MadeRun":
        """As if the trial had not come to its end."""
        self.trials[key, seed].result_file.unlink()
        return self

    def _rows(
        self, name: str, keys: Sequence[str] | None, seeds: Sequence[int], profile: str
    ) -> list[RowRecord]:
        known = [each.in_profile(profile) for each in suite(name).rows]
        chosen = [each for each in known if keys is None or each.key in keys]
        for number, each in enumerate(chosen):
            for seed in seeds:
                self._add(name, each, seed, number)
        return [
            row([self.trials[each.key, seed] for seed in seeds],
                key=each.key, title=each.title, cells=list(each.cells))
            for each in chosen
        ]  # fmt: skip

    def _add(self, name: str, each: Row, seed: int, number: int) -> None:
        its_spec = spec(each.system, seed, options={"row": f"{name} {each.key}"}, data=self.data,
                        protocol=self.trained)  # fmt: skip
        place = 0 if self.alike else number
        environment = scored().environment | {"device": self.device}
        result = scored(each.system, epochs=self.epochs, environment=environment,
                        gflops_per_volume=5000.0 / (1 + place))  # fmt: skip
        mib = 900.0 + 50 * place
        measurement = measured([1.0 + place] * 5, inference_peak_mib=mib, device=self.device)
        epochs = history(self.epochs, TERMS if each.system == "pfseg" else ())
        trial = made_trial(self.folder, its_spec, epochs, result, measurement)
        self.trials[each.key, seed] = trial
        if self.alike:
            self.score(each.key, self.alike, seed=seed)
        else:
            dice = self._drawn(number, seed)
            self.score(each.key, dice, [round(30 * (1 - value), 3) for value in dice], seed)

    def _drawn(self, number: int, seed: int) -> list[float]:
        """The Dice of row `number`: cases are hard or easy for all systems alike."""
        hard = np.random.default_rng(0).normal(0, 0.06, len(self.cases))
        noise = np.random.default_rng([number, seed]).normal(0, 0.01, len(self.cases))
        return np.clip(0.7 + 0.02 * number + hard + noise, 0, 1).round(6).tolist()

    def _score(self, key: str, seed: int, lines: Sequence[dict[str, Any]]) -> "MadeRun":
        trial = self.trials[key, seed]
        trial.write_cases(lines)
        missed = sum(line["failed"] for line in lines)
        about = {"metrics": summary(lines), "n_cases": len(lines), "n_failed": missed}
        rewrite(trial.result_file, trial.result(), **about)
        return self


def _line(case: str, dice: float, hd95: float, *, missed: bool = False) -> dict[str, Any]:
    """The scores of one test case, as cases.csv has them."""
    return {"case": case, "dice": dice, "jaccard": dice / (2 - dice), "hd95_mm": hd95,
            "hd95_max_mm": hd95, "hd95_voxels": hd95, "hd95_official": hd95, "target_ml": 12.0,
            "failed": missed}  # fmt: skip

"""A finished run written by hand: every file that a report reads, and scores known beforehand."""

import json

import numpy as np
import pandas as pd

from harness.runs.run_folder import SCHEMA, RunFolder
from harness.runs.settings import PAPER
from harness.runs.spec import Data, TrialSpec
from harness.runs.suites import suite
from harness.systems import catalogue
from harness.systems.case_score import MEANS

GRID = (128, 192, 192)
SPACING = (1.0, 1.0, 1.0)
DIAGONAL = 300.17  # mm
TERMS = ("ust", "srt", "sgl", "tel", "ssl")


METRICS = {f"{name}_{part}": 0.0 for name in MEANS for part in ("mean", "std")}


def scored(system, **about):
    """result.json of a trial that came to its end."""
    return {
        "schema": 1, "status": "ok", "reason": "", "system": system,
        "kind": catalogue.system(system).kind, "metrics": METRICS, "n_cases": 8, "n_failed": 0,
        "transductive": False, "parameters": 8_000_000, "parameters_inference": 8_000_000,
        "gflops_per_volume": 500.0, "epochs": 80, "seconds": {"train": 60.0},
        "memory": {"train_peak_mib": 6000.0}, "sha256": {}, "environment": {"device": "cpu"},
        **about,
    }  # fmt: skip


def measured(processes, **about):
    """measurement.json; `processes` are the seconds of the repetitions in each."""
    seconds = sorted(second for process in processes for second in process)
    return {
        "schema": 1, "status": "ok", "inference_s": seconds,
        "inference_s_by_process": [list(process) for process in processes],
        "inference_s_p50": float(np.median(seconds)), "inference_s_p90": seconds[-1],
        "inference_peak_mib": 900.0, "device": "cpu", "threads": 2, "precision": "fp32",
        "layout": "channels_first", **about,
    }  # fmt: skip


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


class WrittenRun:
    """Rows of Table V on `cases` test cases; row number k has a mean Dice of about 70 + 2 k %."""

    def __init__(self, path, *, cases=12, seeds=(0,), rows=None, device="AMD EPYC", epochs=6,
                 synthetic=False, name="table5"):  # fmt: skip
        self.folder = RunFolder(path)
        self.path = self.folder.path
        self.cases = [f"case-{number:04}" for number in range(cases)]
        self.device, self.epochs = device, epochs
        self.data = Data(name="brats", modalities=("t2",), target="wt", grid=GRID,
                         fingerprint="f" * 16, synthetic=synthetic)  # fmt: skip
        self.rows = [row.in_profile("paper") for row in suite(name).rows
                     if rows is None or row.key in rows]  # fmt: skip
        self.trials = {}
        self._splits()
        for number, row in enumerate(self.rows):
            for seed in seeds:
                self._add(name, row, seed, number)
        settings = PAPER.model_dump(mode="json")
        protocol = {key: settings[key] for key in ("profile", "protocol", "systems", "exceptions")}
        protocol |= {"split": settings["split"], "cases": "c", "code": "0.1.0+abc",
                     "data": self.data.model_dump(mode="json")}  # fmt: skip
        self.content = {
            "schema": SCHEMA, "kind": "run", "run_id": "r", "dataset": "brats", "profile": "paper",
            "synthetic": synthetic, "protocol": protocol,
            "protocol_hash": "0123456789abcdef", "fingerprint": "f" * 16, "settings": settings,
            "notes": [], "command": "pfbench run --suite table5 --data-root DATA_ROOT",
            "status": "finished", "mlflow": "off",
            "names": {t.id: f"{row.title} seed {seed}" for (row, seed), t in self._named()},
            "trials": [trial.id for trial in self.trials.values()],
            "suites": {name: [
                {"key": row.key, "title": row.title, "cells": row.cells, "system": row.system,
                 "trials": [self.trials[row.key, seed].id for seed in seeds]}
                for row in self.rows
            ]},
        }  # fmt: skip
        self.change()

    def change(self, **about):
        """Other values in run.json."""
        self.content |= about
        put(self.path / "run.json", self.content)
        return self

    def fail(self, key, reason, detail="", seed=0):
        """As if the trial had left nothing but its reason."""
        trial = self.trials[key, seed]
        for name in ("result.json", "cases.csv", "measurement.json"):
            (trial.path / name).unlink()
        trial.write_failure("train", reason, detail)
        return self

    def miss(self, key, case, seed=0):
        """As if nothing had been found in a case."""
        path = self.trials[key, seed].path / "cases.csv"
        table = pd.read_csv(path)
        table.loc[table["case"] == case, ["dice", "jaccard", "hd95_mm", "failed"]] = (
            0.0, 0.0, DIAGONAL, True,
        )  # fmt: skip
        table.to_csv(path, index=False)
        result = json.loads((path.parent / "result.json").read_text())
        put(path.parent / "result.json", result | {"n_failed": 1})
        return self

    def took(self, key, p50, p90, seed=0):
        """Seconds that the repetitions of inference took."""
        path = self.trials[key, seed].path / "measurement.json"
        seconds = {"inference_s_p50": p50, "inference_s_p90": p90}
        put(path, json.loads(path.read_text()) | seconds)
        return self

    def _named(self):
        rows = {row.key: row for row in self.rows}
        return [((rows[key], seed), trial) for (key, seed), trial in self.trials.items()]

    def _splits(self):
        put(self.path / "split.json", {"train": ["a"], "validation": ["b"], "test": self.cases})
        keys = {case: f"key-{case}" for case in self.cases}
        put(self.path / "data.json", {"keys": keys, "cache": "cache"})
        for key in keys.values():
            put(self.path / "cache" / key / "meta.json", {"spacing_mm": SPACING})

    def _add(self, name, row, seed, number):
        spec = TrialSpec(system=row.system, options={"row": f"{name} {row.key}"}, data=self.data,
                         protocol=PAPER.protocol, split="s", seed=seed, device="cpu",
                         code="c")  # fmt: skip
        trial = self.trials[row.key, seed] = self.folder.trial(spec.id)
        put(trial.path / "spec.json", spec.model_dump(mode="json"))
        self._score(trial, number, seed)
        put(trial.path / "measurement.json", measured(
            [[1.0 + number] * 5], inference_s_p90=1.1 + number,
            inference_peak_mib=900.0 + 50 * number, device=self.device,
        ))  # fmt: skip
        self._train(trial, row)

    def _score(self, trial, number, seed):
        hard = np.random.default_rng(0).normal(0, 0.06, len(self.cases))  # for all systems alike
        noise = np.random.default_rng([number, seed]).normal(0, 0.01, len(self.cases))
        dice = np.clip(0.7 + 0.02 * number + hard + noise, 0, 1).round(6)
        table = pd.DataFrame({
            "case": self.cases, "dice": dice, "jaccard": dice / (2 - dice),
            "hd95_mm": (30 * (1 - dice)).round(3), "failed": False, "target_ml": 12.0,
        })  # fmt: skip
        table.to_csv(trial.path / "cases.csv", index=False)
        metrics = {}
        for column in ("dice", "jaccard", "hd95_mm"):
            metrics |= {
                f"{column}_mean": table[column].mean(),
                f"{column}_std": float(np.nan_to_num(table[column].std())),
            }
        for column in ("hd95_max_mm", "hd95_voxels", "hd95_official"):
            metrics |= {f"{column}_mean": 1.0, f"{column}_std": 0.0}
        put(trial.path / "result.json", scored(
            trial.spec().system, metrics=metrics, n_cases=len(table),
            gflops_per_volume=5000.0 / (1 + number), epochs=self.epochs, environment={
                "device": self.device, "threads": 1, "precision": "fp32",
                "layout": "channels_first", "pfbench": "0.1.0", "python": "3.11.7",
                "torch": "2.13.0",
            },
        ))  # fmt: skip

    def _train(self, trial, row):
        epochs = np.arange(1, self.epochs + 1)
        history = {"epoch": epochs}
        if row.system == "pfseg":
            history |= {f"loss_{term}": 1 / (epochs + k) for k, term in enumerate(TERMS)}
        history |= {"loss": 1.5 / epochs, "lr": np.where(epochs > 4, 1e-5, 1e-4),
                    "val_dice": 1 - 1 / (epochs + 1), "seconds": 1.0}  # fmt: skip
        pd.DataFrame(history).to_csv(trial.path / "history.csv", index=False)

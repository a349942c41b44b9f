"""The figures of a finished trial: one table, from which all other names of a figure are derived.

The columns of suites, table.csv, reports and `pfbench list metrics`, the scores that are compared
and claimed, and the names in MLflow come from here. To add one: let a function compute it (a score
is a field of `harness.systems.case_score.CaseScore`) and write its line into `MEASURES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

CASES: Final = "cases.csv"
RESULT: Final = "result.json"
MEASUREMENT: Final = "measurement.json"


class Finished(Protocol):
    """The scores of a finished trial, as a type that `harness.runs.records.Scored` satisfies."""

    @property
    def metrics(self) -> Mapping[str, float]: ...

    @property
    def extra_metrics(self) -> Mapping[str, float]: ...

    @property
    def n_cases(self) -> int: ...

    @property
    def n_without_target(self) -> int: ...


@dataclass(frozen=True)
class Measure:
    """One figure: its name in suites, its place in files, and its name and unit for readers."""

    name: str
    heading: str
    """The heading of the column of this figure in tables."""
    unit: str
    """The unit of the figure as tables show it; "" for counts."""
    where: Literal["cases.csv", "result.json", "measurement.json"]
    key: str
    """Column of cases.csv, or key of the JSON file, with dots between levels; "" for what only all
    cases together say, which stands in table.csv alone."""
    column: str
    """The column of table.csv; "" for a figure that is in MLflow alone."""
    meaning: str
    digits: int = 2
    scale: float = 1
    """The factor by which the figure in files is multiplied to get the figure in `unit`."""
    better: Literal["max", "min", ""] = ""
    """Which end of the values tables mark as the best; "" marks none."""
    place: str = ""
    """The column of table.csv with the device that the figure depends on."""
    paper: str = ""
    """The name of the figure in printed_figures.json."""
    mlflow: str = ""
    """The name of the figure in MLflow, for a score that of its mean; a name without "/" is a
    column of the run's view."""
    shown: bool = True
    """Whether a suite may show the figure. Others stand beside a shown one, for comparison with
    other tools."""
    counted: bool = False
    """Whether the figure depends on the network alone, so that all seeds of a row have the same
    value."""
    centre: Literal["mean", "median"] = "mean"
    """For a score, the statistic that carries interval, test and verdict; the column of table.csv
    holds the mean even so."""
    beside: str = ""
    """The shown figure beside which this one stands in every table, to show what the mean of that
    figure hides."""

    @property
    def title(self) -> str:
        """The heading with its unit: "Dice (%)"."""
        return self.heading if self.unit in self.heading else f"{self.heading} ({self.unit})"

    @property
    def label(self) -> str:
        """The heading without its unit: "HD95"."""
        return self.heading.partition(" (")[0]

    @property
    def source(self) -> str:
        """The file and key that hold the figure: "cases.csv: hd95_mm"."""
        return f"{self.where}: {self.key}" if self.key else f"table.csv: {self.column}"

    @property
    def side(self) -> int:
        """The better direction: 1 where more is better, -1 where less is better, 0 for neither."""
        return {"max": 1, "min": -1}.get(self.better, 0)

    @property
    def difference_unit(self) -> str:
        """The unit of the difference between two values of the figure."""
        return "percentage points" if self.unit == "%" else self.unit

    @property
    def headline(self) -> bool:
        """Whether MLflow compares runs by the figure: by scores and by the cost of a prediction."""
        return bool(self.mlflow) and "/" not in self.mlflow and self.where != RESULT

    @property
    def spread(self) -> str:
        """The column of table.csv with the standard deviation over patients; "" without one."""
        return f"{self.name}_std" if self.where == CASES and self.shown else ""

    @property
    def spread_of_seeds(self) -> str:
        """The column of table.csv with the standard deviation over trainings; "" without one."""
        return f"{self.name}_seed_std" if self.spread else ""

    @property
    def spread_of_folds(self) -> str:
        """The column of table.csv with the standard deviation over the means of the folds of a
        cross-validation, which other tables do not have; "" without one."""
        return f"{self.name}_fold_std" if self.spread else ""

    @property
    def paper_column(self) -> str:
        """The column of table.csv with the value in the paper; "" where the paper prints none."""
        return self.paper and f"paper_{self.paper}"

    @property
    def columns(self) -> dict[str, str]:
        """The columns of table.csv for this figure, each with the part of the figure in it."""
        parts = {self.column: "mean", self.spread: "std", self.spread_of_seeds: "seed_std"}
        return {column: part for column, part in parts.items() if column}

    def of(self, result: Finished, measurement: object | None, part: str = "mean") -> float | None:
        """The unscaled value of the figure for a finished trial; None where it was not measured.

        Where no test case has a target there is no score, whatever was predicted.

        `measurement` is the record of measurement.json; `part` of a score is "mean" or "std".
        What only cases.csv can say is None.
        """
        if self.where == CASES:
            if result.n_without_target == result.n_cases:
                return None
            return {**result.metrics, **result.extra_metrics}.get(f"{self.key}_{part}")
        name, _, phase = self.key.partition(".")
        figure = getattr(result if self.where == RESULT else measurement, name, None)
        return figure.get(phase) if isinstance(figure, Mapping) else figure


# fmt: off
MEASURES: tuple[Measure, ...] = (
    Measure("dice", "Dice", "%", CASES, "dice", "dice_mean",
            "twice the common voxels over those of both masks; 0 to 1 in files",
            scale=100, better="max", paper="dice", mlflow="Dice"),
    Measure("hd95", "HD95 (mm)", "mm", CASES, "hd95_mm", "hd95_mean",
            "95th percentile of the distances between the surfaces, both directions pooled",
            better="min", paper="hd95", mlflow="HD95 mm", centre="median"),
    Measure("hd95_median", "HD95, median (mm)", "mm", CASES, "", "hd95_median",
            "median of HD95 over the test cases: single missed targets do not move it",
            better="min", shown=False, beside="hd95"),
    Measure("missed", "Missed", "", CASES, "", "n_missed",
            "test cases whose target was not found at all, of all trainings",
            digits=0, shown=False, beside="hd95"),
    Measure("false_alarms", "False alarms", "", CASES, "", "n_false_alarms",
            "test cases without a target in which something was found, of all trainings",
            digits=0, shown=False, beside="hd95"),
    Measure("one_empty", "Missed or false alarm", "", RESULT, "n_failed", "",
            "test cases of which exactly one mask is empty, of one training",
            digits=0, mlflow="Missed or false alarm", shown=False),
    Measure("jaccard", "Jaccard", "%", CASES, "jaccard", "jaccard_mean",
            "common voxels over those of either mask; 0 to 1 in files",
            scale=100, better="max", paper="jaccard", mlflow="Jaccard"),
    Measure("hd95_max", "HD95, larger direction (mm)", "mm", CASES, "hd95_max_mm", "hd95_max_mean",
            "the larger of the two directed percentiles, as MONAI computes it",
            better="min", mlflow="test/hd95_max_mm.mean", shown=False),
    Measure("hd95_voxels", "HD95 (voxels)", "voxels", CASES, "hd95_voxels", "hd95_voxels_mean",
            "HD95 without the size of a voxel: what the paper prints",
            better="min", mlflow="test/hd95_voxels.mean", shown=False),
    Measure("hd95_official", "HD95, released code (voxels)", "voxels", CASES, "hd95_official",
            "hd95_official_mean",
            "HD95 in voxels, but 0 where a mask is empty: what the released code computes",
            better="min", shown=False),
    Measure("time", "Time (s)", "s", MEASUREMENT, "inference_s_p50", "time_s_p50",
            "median from an array in memory to a mask in memory, over repetitions on one volume",
            digits=3, better="min", place="device", paper="time_s", mlflow="Time s"),
    Measure("time_p90", "Time, 90th percentile (s)", "s", MEASUREMENT, "inference_s_p90",
            "time_s_p90", "90th percentile of the repetitions",
            digits=3, better="min", place="device", mlflow="perf/inference_s.p90", shown=False),
    Measure("memory", "Memory (MiB)", "MiB", MEASUREMENT, "inference_peak_mib", "infer_peak_mib",
            "peak of inference: of the process on a CPU, of the allocator on a GPU",
            digits=0, place="device", mlflow="Memory MiB"),
    Measure("train_mib", "Training memory (MiB)", "MiB", RESULT, "memory.train_peak_mib",
            "train_peak_mib",
            "peak of training: of the process on a CPU, of the allocator on a GPU",
            digits=0, place="train_device", paper="train_mib", mlflow="Training MiB"),
    Measure("crop_s", "Cropping (ms)", "ms", MEASUREMENT, "crop_s", "crop_s",
            "median time to choose the guidance patch of a volume; seconds in files",
            scale=1000, place="device", paper="crop_s", mlflow="perf/crop_s"),
    Measure("crop_variance", "Richness (%)", "%", MEASUREMENT, "crop_variance", "crop_variance",
            "variance of the guidance patch over the largest that a patch of its volume has",
            digits=1, scale=100, better="max", mlflow="crop/variance"),
    Measure("parameters", "Parameters", "", RESULT, "parameters", "parameters",
            "numbers that training adjusts", digits=0, mlflow="Parameters", counted=True),
    Measure("parameters_inference", "Parameters at inference", "", RESULT, "parameters_inference",
            "parameters_inference", "those that are left for inference",
            digits=0, mlflow="model/parameters_inference", shown=False, counted=True),
    Measure("gflops", "GFLOPs", "", RESULT, "gflops_per_volume", "gflops_per_volume",
            "10⁹ operations for a volume with all its windows; a multiply-add is two",
            digits=1, mlflow="GFLOPs", counted=True),
    Measure("adapt_gflops", "GFLOPs of fine-tuning", "", RESULT, "adapt_gflops", "adapt_gflops",
            "10⁹ operations to label a test case and to learn from it",
            digits=1, shown=False, counted=True),
    Measure("adapt_s", "Fine-tuning (s)", "s", RESULT, "seconds.adapt", "adapt_s",
            "test-phase fine-tuning on all test cases together",
            place="train_device", shown=False),
    Measure("adapt_mib", "Memory of fine-tuning (MiB)", "MiB", RESULT, "memory.adapt_peak_mib",
            "adapt_peak_mib", "peak of test-phase fine-tuning, as that of training",
            digits=0, place="train_device", shown=False),
    Measure("train_s", "Training (s)", "s", RESULT, "seconds.train", "",
            "from the first step to the last, validation included",
            mlflow="Training s", shown=False),
)
# fmt: on
BY_NAME = {measure.name: measure for measure in MEASURES}
SCORES = tuple(measure for measure in MEASURES if measure.where == CASES and measure.shown)
"""The figures that exist for each case and by which systems are compared."""
DICE, HD95, JACCARD, TIME, TIME_P90, GFLOPS = (
    BY_NAME[name] for name in ("dice", "hd95", "jaccard", "time", "time_p90", "gflops")
)


def of_plugin(name: str, title: str, better: Literal["max", "min", ""]) -> Measure:
    """The figure for a metric that a plug-in adds to cases.csv."""
    return Measure(
        name,
        title,
        "",
        CASES,
        name,
        f"{name}_mean",
        "of a plug-in",
        digits=3,
        better=better,
        mlflow=f"test/{name}.mean",
    )


def measures_of(result: Finished) -> tuple[Measure, ...]:
    """The figures in `MEASURES` and those of the plug-in metrics in a finished trial."""
    added = dict.fromkeys(name.rpartition("_")[0] for name in result.extra_metrics)
    return (*MEASURES, *(of_plugin(name, name, "") for name in added))

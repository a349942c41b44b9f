"""The JSON files of a run folder as types, for the code that writes and the code that reads them.

run.json           RunManifest | StudyManifest      what was asked
split.json         SplitRecord | FoldsRecord        which case trains, validates, tests
data.json          VolumeKeys                       which entry of the cache is a case
result.json        Scored | Failed                  how training and scoring ended
measurement.json   Measured | Reported | Failed     time and memory of inference
measuring.json     Measuring                        the same of some processes, before the last
probe_*.json       ProbedTraining, ProbedInference | Failed
point.json         PointRecord                      one point of a study
points/…/result.json   PointEnd

Names from a record become names of files and folders, so that they are checked as they are read.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from harness.errors import StateError, printable
from harness.runs.files import JsonObject, damaged, read_json, write_json
from harness.runs.plugin_file import COPY
from harness.runs.spec import code_version, fold_in_words
from harness.runs.suite import Suite, elsewhere, parted
from harness.runs.suites import suite
from harness.systems import catalogue
from harness.systems.case_score import MEANS
from harness.systems.catalogue import SYSTEMS, Kind, SystemEntry

TrialId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A name that is safe as that of a file or folder: of a case, suite, system, data set, …"""
Text = Annotated[str, AfterValidator(printable)]
"""A text for people, without what a terminal would obey."""
TableName = Annotated[
    str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[A-Za-z0-9][A-Za-z0-9_-]{0,31})?$")
]
"""The name of a suite, or of one on a data set of another origin: "table5@hospital_b"."""
FoldNumber = Annotated[str, Field(pattern="^[0-9]{1,4}$")]
T = TypeVar("T")
E = TypeVar("E")
MOST = 10_000
"""More notes, settings or starts than anybody makes; a record from elsewhere may hold a million."""
MOST_TRIALS = 100_000
MOST_ROWS = 1_000
"""Of all tables of a run: every pair of a table's rows is compared."""


def _once(values: list[E]) -> list[E]:
    known = set()
    for value in values:
        if value in known:
            raise ValueError(f"has {value} twice")
        known.add(value)
    return values


def _few(content: JsonObject) -> JsonObject:
    """The content, which is free in form, with at most `MOST` values at all levels together."""
    count, inside = 0, list[Any]([content])
    while inside:
        each = inside.pop()
        values = [*each.values()] if isinstance(each, dict) else each
        count += len(values)
        if count > MOST:
            raise ValueError(f"holds more than {MOST:,} values")
        inside += [value for value in values if isinstance(value, dict | list)]
    return content


Content = Annotated[JsonObject, AfterValidator(_few)]
"""An object whose keys other code knows."""
Notes = Annotated[list[Text], Field(max_length=MOST)]
Trials = Annotated[list[TrialId], Field(max_length=MOST_TRIALS), AfterValidator(_once)]
"""Ids of trials, each once."""
STATISTICS = {f"{name}_{part}" for name in MEANS for part in ("mean", "std")}
SCHEMA: Literal[3] = 3
"""Version of run.json."""
GIVEN_ALONE = "given-masks"
"""The profile of a folder that holds given masks alone: nothing was trained."""


class Record(BaseModel):
    """A JSON record: unknown keys are let through; numbers must be numbers, and finite."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)

    def write(self, path: Path) -> None:
        """Write the keys that were given to the file, whole or not at all."""
        write_json(path, self.model_dump(mode="json", by_alias=True, exclude_unset=True))


class Sealed(Record):
    """A record with a checksum of itself: what was changed in it afterwards is found."""

    seal: str | None = None
    """SHA-256 of the other keys; None in records of earlier versions."""

    def write(self, path: Path) -> None:
        content = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        write_json(path, content | {"seal": seal_of(content)})


def seal_of(content: Mapping[str, object]) -> str:
    """The SHA-256 of a record's keys, without that of its seal."""
    rest = {key: value for key, value in content.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def broken_seal(content: Mapping[str, object]) -> bool:
    """Whether a record was changed after it was written."""
    return "seal" in content and content["seal"] != seal_of(content)


class Ended(Sealed):
    """The record of how an action of a trial ended."""

    schema_: Literal[1] = Field(1, alias="schema")
    attempts: int | None = None
    """The number of times the action was started."""


CUDA_OOM = "cuda_oom"
"""The reason of a trial that the memory of its GPU does not hold."""


class Failed(Ended):
    """The record of a failed action: why there are no numbers."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["failed"]
    reason: Text = Field(min_length=1)
    """The reason as one word for tables, see harness.trials.failure."""
    detail: Text


class TargetScored(Record):
    """The scores of one of several targets, with the meanings of the fields of `Scored`."""

    metrics: dict[str, float]
    extra_metrics: dict[str, float] = Field(default_factory=dict)
    n_failed: int
    n_without_target: int

    @field_validator("metrics")
    @classmethod
    def _complete(cls, metrics: dict[str, float]) -> dict[str, float]:
        return _all_statistics(metrics)


def _all_statistics(metrics: dict[str, float]) -> dict[str, float]:
    if metrics.keys() != STATISTICS:
        raise ValueError(f"differ in {', '.join(sorted(metrics.keys() ^ STATISTICS))}")
    return metrics


class Scored(Ended):
    """result.json of a trial that was trained and scored to the end."""

    status: Literal["ok"]
    reason: Literal[""]
    system: Name
    kind: Kind
    metrics: dict[str, float]
    """Mean and standard deviation over the test cases, of each score of cases.csv; of several
    targets those of the mean over the targets of a case."""
    extra_metrics: dict[str, float] = Field(default_factory=dict)
    """Mean and standard deviation over the test cases, of each metric that plug-ins brought."""
    extra_faults: dict[Text, Text] = Field(default_factory=dict, max_length=MOST)
    """The reason why a plug-in's metric has no value, by metric and case."""
    remarks: Notes = Field(default_factory=list)
    """Remarks on the training or the masks, which are printed under every table."""
    n_cases: int
    n_failed: int
    """The number of test cases of which exactly one mask is empty, which have the worst score; of
    several targets the sum over targets."""
    n_without_target: int = 0
    """The number of test cases whose reference has no voxel to find."""
    targets: dict[str, TargetScored] = Field(default_factory=dict)
    """The scores of each of several targets, by its name; empty for one target."""
    transductive: bool
    parameters: int | None
    """None for given masks of which nobody said it, as the next ones."""
    parameters_inference: int | None
    gflops_per_volume: float | None
    adapt_gflops: float | None = None
    """GFLOPs of fine-tuning on one test case; None without fine-tuning."""
    epochs: int | None
    seconds: dict[str, NonNegativeFloat] = Field(min_length=1, max_length=MOST)
    """Seconds of each phase, by phase."""
    memory: dict[str, NonNegativeFloat]
    """Memory of training, in MiB; empty where `memory_unknown` says why."""
    memory_unknown: Text = ""
    sha256: dict[str, str]
    """SHA-256 of each file of the trial, by file."""
    environment: dict[Text, Text | int] = Field(min_length=1, max_length=MOST)
    base: TrialId | None = None
    """The id of the trial whose network was fine-tuned."""

    @field_validator("metrics")
    @classmethod
    def _complete(cls, metrics: dict[str, float]) -> dict[str, float]:
        return _all_statistics(metrics)

    def of_target(self, name: str) -> "Scored":
        """The result as if `name` were the only target. KeyError for a target that is not there."""
        own = self.targets[name]
        return self.model_copy(
            update={
                "metrics": own.metrics,
                "extra_metrics": own.extra_metrics,
                "n_failed": own.n_failed,
                "n_without_target": own.n_without_target,
                "targets": {},
            }
        )


class Footprint(Record):
    """Memory of inference, device and precision of the measurement, and particulars of a system."""

    inference_peak_mib: PositiveFloat
    inference_reserved_mib: NonNegativeFloat | None = None
    """Memory that torch's allocator held, in MiB; None on a CPU."""
    resident_before_mib: NonNegativeFloat | None = None
    """Resident memory of the process when the weights were loaded, in MiB."""
    bare_process_mib: NonNegativeFloat | None = None
    """Resident memory of the process before there was a network, in MiB: Python and its libraries.
    """
    peak_since_loading: bool | None = None
    """Whether the peak was taken after loading; False where the system cannot reset its counter, so
    that the peak may be that of loading."""
    cudnn_search: bool | None = None
    """Whether cuDNN's fastest algorithm was searched for."""
    deterministic: bool | None = None
    """Whether algorithms that sum in any order were excluded."""
    crop_s: NonNegativeFloat | None = None
    """Seconds to choose one guidance patch."""
    crop_variance: float | None = None
    """Richness of the guidance patch, as a share of the richest patch there is."""
    device: Text
    threads: int
    precision: Text
    layout: Text = ""


class MeasuredProcess(Footprint):
    """The measurements that one process has made of a trial."""

    inference_s: list[PositiveFloat] = Field(min_length=1)
    """Seconds of each repetition, in their order."""


class Measured(Footprint, Ended):
    """measurement.json of a trial that could be measured."""

    status: Literal["ok"]
    inference_s: list[PositiveFloat] = Field(min_length=2, max_length=MOST_TRIALS)
    """Seconds of each repetition, of all processes, sorted."""
    inference_s_by_process: list[list[PositiveFloat]] = Field(default_factory=list)
    """Seconds of each repetition in each process, in the order of measurement."""
    inference_s_p50: PositiveFloat
    inference_s_p90: PositiveFloat
    warm_up_s: NonNegativeFloat | None = None
    """Seconds for which, at least, each process predicted before it was timed."""
    node: Text = ""

    @property
    def by_process(self) -> list[list[float]]:
        """Seconds of the repetitions in each process; one list where a single process measured."""
        return self.inference_s_by_process or [self.inference_s]


class Reported(Ended):
    """measurement.json of given masks: figures that somebody reported, and nobody measured here."""

    status: Literal["reported"]
    inference_s_p50: PositiveFloat | None
    inference_peak_mib: PositiveFloat | None
    device: Text
    """The device in words, with the remark that its figures were reported."""


class Measuring(Record):
    """measuring.json: the processes that have measured a trial, while more are to come."""

    processes: list[MeasuredProcess]


class Paced(Record):
    """The training times of one network, in seconds, as a probe has timed them."""

    steps: int
    """How many steps were timed."""
    step_s: float
    once_s: float
    """Seconds by which the first step was longer than the others."""
    epoch_s: float = 0.0
    """Seconds for the checkpoint that every epoch ends with."""
    validate_s: float = 0.0
    """Seconds of one validation case."""


class ProbedTraining(Ended):
    """probe_training.json of a trial that could be trained."""

    status: Literal["ok"]
    build_s: float
    count_s: float
    segment_s: float
    """Seconds to segment one test case in the process that trains."""
    paces: list[Paced]
    """The training times of each network that the system trains."""
    peak_mib: float
    reserved_mib: float | None = None
    device_mib: float | None
    """Memory of the whole GPU, in MiB; None on a CPU."""
    device: Text
    threads: int
    precision: Text
    layout: str


class ProbedInference(Ended):
    """probe_inference.json of a trial that could be applied to a volume."""

    status: Literal["ok"]
    inference_s: float
    peak_mib: float
    reserved_mib: float | None = None
    device: Text
    threads: int


class SplitRecord(Record):
    """split.json: the case ids of each part."""

    train: list[Name]
    validation: list[Name]
    test: list[Name]
    patients: dict[Name, str] = Field(default_factory=dict)
    sites: dict[Name, str] = Field(default_factory=dict)

    @property
    def content(self) -> JsonObject:
        """The content of the file, for `harness.data.split.Split.from_json`."""
        return self.model_dump(mode="json", exclude_unset=True)


class FoldsRecord(Record):
    """split.json of a cross-validation: the split of each fold."""

    folds: dict[FoldNumber, SplitRecord] = Field(min_length=1)


class VolumeKeys(Record):
    """data.json: where the prepared volumes are."""

    keys: dict[Name, Name]
    """The entry in the cache of each case."""
    cache: Text = "cache"
    """Folder of the cache: below the run folder, or absolute."""
    sets: dict[Name, dict[Name, Name]] = Field(default_factory=dict)
    """The entries of further volumes, by their fingerprint: those of folds whose intensities
    differ, and those of other origins."""

    @field_validator("cache")
    @classmethod
    def _below(cls, cache: str) -> str:
        if ".." in PurePath(cache).parts:
            raise ValueError("leads out of the run folder")
        return cache

    def of(self, fingerprint: str) -> dict[str, str]:
        """The entry in the cache of each case of the volumes with this fingerprint."""
        return self.sets.get(fingerprint, self.keys)

    def key(self, case: str, fingerprint: str = "") -> str:
        """The entry in the cache of `case`. Raises StateError for a case outside the run."""
        known = self.of(fingerprint)
        if case not in known:
            what, remedy = f"has no case '{case}'", "the data of this run, or its own command again"
            raise StateError(what, where="data.json", remedy=remedy, code="PFB-K08")
        return known[case]


class SystemRecord(BaseModel):
    """The system of a plug-in as run.json keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: Text
    kind: Kind
    reference: Text
    end_to_end: bool
    deviation: Text

    @property
    def entry(self) -> SystemEntry:
        """The system without its code: enough to make a table, not to build the network."""
        return SystemEntry(network="", method="", **self.model_dump())


class MetricRecord(BaseModel):
    """The metric of a plug-in as run.json keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: Text
    better: Literal["max", "min", ""]


class PluginRecord(BaseModel):
    """The plug-in as run.json keeps it; its source lies in plugins/."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str = Field(pattern=f"^{COPY.pattern}$")
    systems: dict[Name, SystemRecord]
    metrics: dict[Name, MetricRecord]
    datasets: dict[Name, Text]
    """The title of each data set, by name."""


class SuiteColumns(BaseModel):
    """The columns of a suite that is not built in, in run.json to make its tables again."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: Text = Field(min_length=1)
    headings: list[Text] = Field(min_length=1, max_length=MOST)
    shows: list[str] = Field(min_length=1, max_length=MOST)
    notes: Notes

    @property
    def suite(self) -> Suite:
        """The suite without its rows, which stand in the run folder itself."""
        return Suite(self.title, (), tuple(self.headings), tuple(self.shows), tuple(self.notes))


class MadeBy(Record):
    """The command that made trials of a row, and the version of pfbench that carried it out."""

    command: Text
    version: Text


class RowRecord(Record):
    """One row of a table, as run.json keeps it."""

    key: Text
    title: Text
    cells: Notes
    system: Name
    trials: Trials
    """Ids of the trials of the row, one for each seed and fold, in order of seed, then fold."""
    made_by: list[MadeBy] = Field(default_factory=list, max_length=MOST)
    """The commands that asked for the row, the first one first; none in a run of before."""


class FoldRecord(Record):
    """One fold of a cross-validation, as run.json keeps it."""

    name: Text = ""
    """The name of the fold, such as the site that tests; "" where folds have numbers alone."""
    data: Content
    """The volumes of the fold, as the specifications of its trials name them."""

    def said(self, number: int) -> str:
        """The fold in words: "fold 2", "fold 2 (site_b)"."""
        return fold_in_words(number, self.name)


class OtherRecord(Record):
    """A data set of another origin on which the trained networks are scored."""

    cases: list[Name]
    synthetic: bool
    content: str
    """The fingerprint of the files and of how they are read, whatever the fold."""
    patients: dict[Name, str] = Field(default_factory=dict)
    """Case -> patient; empty where every case is a patient of its own."""
    notes: Notes = Field(default_factory=list)


class Manifest(Sealed):
    """The part of run.json that a run and a study have in common."""

    schema_: Literal[3] = Field(SCHEMA, alias="schema")
    run_id: Name
    dataset: Name
    profile: Name
    synthetic: bool
    protocol: Content
    """The settings that must be equal for two numbers to be comparable."""
    protocol_hash: str
    plugins: list[PluginRecord] = Field(default_factory=list)
    given: dict[str, SystemRecord] = Field(default_factory=dict)
    """The systems of masks that another tool made, by name."""
    command: Text
    status: Literal["running", "interrupted", "finished"]

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of several targets in order; () for one target."""
        data = self.protocol["data"]
        return tuple(data["target"].split(",")) if data.get("targets") else ()

    def system(self, name: str) -> SystemEntry:
        """The system called `name`: built in, of a plug-in in use, or as the run recorded it.

        Raises UsageError when neither knows the name.
        """
        told = {key: each for plugin in self.plugins for key, each in plugin.systems.items()}
        told |= self.given
        if name not in SYSTEMS and name in told:
            return told[name].entry
        return catalogue.system(name)

    def metric(self, name: str) -> MetricRecord:
        """Title and direction of a plug-in's metric."""
        told = {key: each for plugin in self.plugins for key, each in plugin.metrics.items()}
        return told.get(name, MetricRecord(title=name, better=""))


class RunManifest(Manifest):
    """run.json of `pfbench run`."""

    kind: Literal["run"]
    fingerprint: str
    """The fingerprint of the content of the data."""
    settings: Content
    notes: Notes
    suites: dict[TableName, list[RowRecord]]
    suite_files: dict[Name, SuiteColumns] = Field(default_factory=dict)
    names: dict[TrialId, Text] = Field(max_length=MOST_TRIALS)
    """The name of each trial for people, by trial id."""
    trials: Trials
    mlflow: Literal["off", "here", "elsewhere"] = "off"
    folds: dict[FoldNumber, FoldRecord] = Field(default_factory=dict)
    """The folds of a cross-validation, by number; empty for a single split."""
    tests: dict[Name, OtherRecord] = Field(default_factory=dict)
    """The data sets of other origins, by name."""

    @field_validator("suites")
    @classmethod
    def _apart(cls, suites: dict[str, list[RowRecord]]) -> dict[str, list[RowRecord]]:
        for name, rows in suites.items():
            _once([f"{name}.{row.key}" for row in rows])
        count = sum(map(len, suites.values()))
        if count > MOST_ROWS:
            raise ValueError(f"have {count:,} rows, and no run has more than {MOST_ROWS:,}")
        return suites

    @property
    def given_alone(self) -> bool:
        """Whether the folder holds given masks alone, without volumes and without training."""
        return self.profile == GIVEN_ALONE

    def suite(self, name: str) -> Suite:
        """The suite called `name`, with the columns that it had in this run."""
        table, where = parted(name)
        if table not in self.suite_files:
            return suite(name)
        return elsewhere(self.suite_files[table].suite, where)


class StudyManifest(Manifest):
    """run.json of `pfbench tune`."""

    kind: Literal["study"]
    suites: list[Name]
    """The names of the searches."""
    references: dict[Name, dict[str, float]]
    """The present settings of each search, with which every point is compared."""
    lanes: dict[Name, PositiveInt] = Field(default_factory=dict)
    """The number of points of each search that train at the same time on paper, which decides
    their order; none for a search that has not begun, or was begun by an earlier version."""
    notes: Notes = Field(default_factory=list)
    """Notes on the volumes and the split."""

    @property
    def settings(self) -> JsonObject:
        """The settings that all points share: those of the study, without the searched ones."""
        return self.protocol["settings"]


class PointRecord(Record):
    """point.json of a study."""

    study: Name
    number: int = Field(ge=0)
    system: Name
    params: dict[str, float]
    trials: Trials = Field(min_length=1)


class PointEnd(Sealed):
    """result.json of a point."""

    schema_: Literal[1] = Field(1, alias="schema")
    state: Literal["complete", "stopped", "failed"]
    reason: Text
    detail: Text
    value: float | None


Result = Scored | Failed
Measurement = Measured | Reported | Failed
AnyManifest = RunManifest | StudyManifest
RESULT: TypeAdapter[Result] = TypeAdapter(Annotated[Result, Field(discriminator="status")])
MEASUREMENT: TypeAdapter[Measurement] = TypeAdapter(
    Annotated[Measurement, Field(discriminator="status")]
)
PROBED_TRAINING: TypeAdapter[ProbedTraining | Failed] = TypeAdapter(
    Annotated[ProbedTraining | Failed, Field(discriminator="status")]
)
PROBED_INFERENCE: TypeAdapter[ProbedInference | Failed] = TypeAdapter(
    Annotated[ProbedInference | Failed, Field(discriminator="status")]
)
MANIFEST: TypeAdapter[AnyManifest] = TypeAdapter(
    Annotated[AnyManifest, Field(discriminator="kind")]
)
MEASURING = TypeAdapter(Measuring)
SPLIT = TypeAdapter(SplitRecord)
FOLDS = TypeAdapter(FoldsRecord)
VOLUME_KEYS = TypeAdapter(VolumeKeys)
POINT = TypeAdapter(PointRecord)
POINT_END = TypeAdapter(PointEnd)


def read(path: Path, kind: TypeAdapter[T]) -> T:
    """Read the record in `path`.

    Raises StateError naming file and key when it is missing or damaged.
    """
    content = read_json(path)
    try:
        record = kind.validate_python(content)
    except ValidationError as error:
        key, what = wrong_keys(error)[0]
        said = f"lacks '{key}'" if what == MISSING else f"{key}: {what}"
        if what in (MISSING, FOREIGN) and (other := written_by_another(path, said)):
            raise other from error
        raise damaged(path, said) from error
    if isinstance(record, Ended | PointEnd) and broken_seal(content):
        raise damaged(path, CHANGED)
    return record


MISSING = "is missing"
FOREIGN = "does not belong here"
CHANGED = "was changed after it was written (its seal)"


def written_by_another(path: Path, what: str) -> StateError | None:
    """The error for a file that the version of pfbench which began its run can read.

    None where this version began it, or nothing says which.
    """
    for folder in path.parents[:4]:
        if (folder / "run.json").is_file():
            code = written_by(folder / "run.json")
            if code in ("", code_version()):
                return None
            what = f"{what}: the run was begun by {code}, this is {code_version()}"
            remedy = "that version of pfbench, which reads it; nothing has to be removed"
            return StateError(what, where=str(path), remedy=remedy, code="PFB-K07")
    return None


def written_by(manifest: Path) -> str:
    """The version and code that began the run of this run.json; "" where it does not say."""
    protocol = read_json(manifest).get("protocol")
    code = protocol.get("code") if isinstance(protocol, dict) else None
    return code if isinstance(code, str) else ""


def wrong_keys(error: ValidationError) -> list[tuple[str, str]]:
    """The faults of a record in few words, each after its dotted key."""
    plain = {"missing": MISSING, "extra_forbidden": FOREIGN}
    return [
        (".".join(map(str, fault["loc"])), plain.get(fault["type"], fault["msg"]))
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]

"""What run.json, result.json and measurement.json have to hold, to be checked after the fact."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, TypeAdapter
from pydantic import field_validator as validated

from harness.systems.evaluate import MEANS

TrialId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
STATISTICS = {f"{name}_{part}" for name in MEANS for part in ("mean", "std")}


class Record(BaseModel):
    """Keys that are not named are let through; numbers are numbers, and finite."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Failed(Record):
    """Why there are no numbers; result.json or measurement.json."""

    model_config = ConfigDict(extra="forbid")

    schema_: Literal[1] = Field(alias="schema")
    status: Literal["failed"]
    reason: str = Field(min_length=1)
    detail: str
    attempts: int | None = None


class Scored(Record):
    """result.json of a trial that came to its end."""

    status: Literal["ok"]
    reason: Literal[""]
    system: str
    kind: str
    metrics: dict[str, float]
    extra_metrics: dict[str, float] = Field(default_factory=dict)
    extra_faults: dict[str, str] = Field(default_factory=dict)
    n_cases: int
    n_failed: int
    n_without_target: int = 0
    transductive: bool
    parameters: int
    parameters_inference: int
    gflops_per_volume: float
    epochs: int
    seconds: dict[str, NonNegativeFloat] = Field(min_length=1)
    memory: dict[str, NonNegativeFloat] = Field(min_length=1)
    sha256: dict[str, str]
    environment: dict[str, str | int] = Field(min_length=1)
    base: TrialId | None = None
    attempts: int | None = None

    @validated("metrics")
    @classmethod
    def _complete(cls, metrics: dict[str, float]) -> dict[str, float]:
        if metrics.keys() != STATISTICS:
            raise ValueError(f"differ in {', '.join(sorted(metrics.keys() ^ STATISTICS))}")
        return metrics


class Measured(Record):
    """measurement.json of a trial that could be measured."""

    status: Literal["ok"]
    inference_s: list[PositiveFloat] = Field(min_length=2)
    inference_s_p50: PositiveFloat
    inference_s_p90: PositiveFloat
    inference_peak_mib: PositiveFloat
    device: str
    threads: int
    precision: str
    attempts: int | None = None


class Row(Record):
    """One row of a table, in run.json."""

    key: str
    title: str
    cells: list[str]
    system: str
    trials: list[TrialId]


class Common(Record):
    """What run.json holds of a run and of a study."""

    dataset: str
    profile: str
    synthetic: bool
    protocol: dict[str, Any]
    protocol_hash: str
    status: Literal["running", "interrupted", "finished"]


class Run(Common):
    kind: Literal["run"]
    fingerprint: str
    settings: dict[str, Any]
    notes: list[str]
    suites: dict[str, list[Row]]
    names: dict[str, str]
    trials: list[TrialId]


class Study(Common):
    kind: Literal["study"]
    suites: list[str]
    references: dict[str, dict[str, float]]


class Point(Record):
    """point.json of a study."""

    study: str
    number: int
    system: str
    params: dict[str, float]
    trials: list[TrialId] = Field(min_length=1)


class End(Record):
    """result.json of a point."""

    state: Literal["complete", "stopped", "failed"]
    reason: str
    detail: str
    value: float | None


RESULT: TypeAdapter[Scored | Failed] = TypeAdapter(
    Annotated[Scored | Failed, Field(discriminator="status")]
)
MEASUREMENT: TypeAdapter[Measured | Failed] = TypeAdapter(
    Annotated[Measured | Failed, Field(discriminator="status")]
)
FOLDER: TypeAdapter[Run | Study] = TypeAdapter(Annotated[Run | Study, Field(discriminator="kind")])
POINT = TypeAdapter(Point)
END = TypeAdapter(End)

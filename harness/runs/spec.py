"""The specification of a trial, which determines its result, and the id that is made from it.

A trial's id is a hash of its `TrialSpec`: the same settings, data and code give the same id and
are never computed twice; any difference gives another id and another folder.
"""

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

import harness
from harness.data.names import TARGET
from harness.data.reading import PAPERS, View
from harness.data.regions import Labels, exclusive
from harness.runs.plugin_file import COPY
from harness.systems.catalogue import SYSTEMS
from harness.systems.protocol import Frozen, Options, Protocol

RESULT_CODE: tuple[str, ...] = ("models", "baselines", "harness/data", "harness/systems")


Device = Literal["cpu", "cuda"]
GIVEN = "given."
"""How the systems of masks that another tool made are called: "given.nnunet"."""


class Data(Frozen):
    """The data of a trial, named by content: two folders with the same voxels are the same data."""

    name: str
    modalities: tuple[str, ...]
    target: str
    grid: tuple[int, int, int]
    fingerprint: str
    synthetic: bool
    view: View = PAPERS
    """The view of the scans in training, which new scans have to have."""
    targets: dict[str, Labels] = Field(default_factory=dict)
    """Of several targets, the labels that each consists of, in the order of `target`; none where
    each has a file of its own. Empty for one target, whatever its labels."""

    @model_validator(mode="after")
    def _name_files(self) -> Self:
        """Refuse several targets of which one could not be part of the name of a file."""
        for name in self.names if self.targets else ():
            if not re.fullmatch(TARGET, name) or name not in self.targets:
                raise ValueError(f"target {name!r} is no name, or has no labels")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of several targets; one empty name for one target."""
        return tuple(self.target.split(",")) if self.targets else ("",)

    @property
    def labels(self) -> dict[str, Labels]:
        """The labels of each of several targets, in the order of `names`; {} for one target."""
        return {name: self.targets[name] for name in self.names if name}

    @property
    def exclusive(self) -> bool:
        """Whether a voxel is of one target at most."""
        return exclusive(list(self.targets.values())) and all(self.targets.values())


class OtherSet(Frozen):
    """Volumes of another origin, on which a trained network is scored and from which none learns
    with a label; named by content."""

    name: str
    fingerprint: str
    synthetic: bool


class TrialSpec(Frozen):
    """Everything that determines the numbers of one trial."""

    schema_version: Literal[1] = 1
    system: str
    options: Options
    """The options of the network and of its view of a volume, complete for the profile."""
    protocol: Protocol
    data: Data
    split: str
    """Digest of the split: which case trains, validates, tests."""
    fold: int = Field(0, ge=0)
    seed: int = Field(0, ge=0, lt=2**32)
    device: Device
    code: str
    plugins: tuple[Annotated[str, Field(pattern=f"^{COPY.pattern}$")], ...] = ()
    """Ids of the plug-ins of the system, the data set and the metrics: "name-<hash of the source>",
    in order."""
    test: OtherSet | None = None
    """The volumes that test in place of the test cases of the split; None for those."""

    @property
    def id(self) -> str:
        """The id of the trial: 16 hexadecimal digits, safe as a folder name."""
        content = self.model_dump(mode="json")
        for (*outer, key), before in LATER.items():
            place = content
            for name in outer:
                place = place[name]
            if place[key] == before:
                del place[key]
        return digest(content)

    def in_words(self, fold: str = "") -> str:
        """The training in words: "seed 0", "seed 0 fold 2 (site_b)", "seed 0 on hospital_b".

        `fold` are the words for its fold in a cross-validation.
        """
        where = f"on {self.test.name}" if self.test else ""
        return " ".join(filter(None, (f"seed {self.seed}", fold, where)))

    @property
    def given(self) -> bool:
        """Whether the masks were made by another tool, so that there is no training here."""
        return self.system.startswith(GIVEN)

    @property
    def base(self) -> "TrialSpec | None":
        """The trial whose network this one takes; None if it trains its own.

        Rows of a table that differ in test-phase fine-tuning alone share their trained network,
        and so do the tests of a network on data of several origins.
        """
        if not self.tuned and self.test is None:
            return None
        options = {**self.options, "tpf": "none"} if self.tuned else self.options
        return self.model_copy(update={"options": options, "test": None})

    @property
    def first_stage(self) -> "TrialSpec | None":
        """The trial that trains the first of the networks of this one, as a system of its own.

        None where all are trained by this trial, or by its base.
        """
        entry = SYSTEMS.get(self.system)
        if self.base or entry is None or entry.first_stage is None:
            return None
        name, same = entry.first_stage
        options = {key: self.options[here] for key, here in same.items() if here in self.options}
        return self.model_copy(update={"system": name, "options": options})

    @property
    def after(self) -> "TrialSpec | None":
        """The trial that has to be finished before this one; None if it needs no other."""
        return self.base or self.first_stage

    @property
    def tuned(self) -> bool:
        """Whether the network is fine-tuned on the test volumes."""
        return self.options.get("tpf", "none") != "none"

    @property
    def tested(self) -> str:
        """The fingerprint of the volumes that test."""
        return self.test.fingerprint if self.test else self.data.fingerprint


def fold_in_words(number: int, name: str) -> str:
    """A fold in words: "fold 2", "fold 2 (site_b)"."""
    return f"fold {number} ({name})" if name else f"fold {number}"


LATER: dict[tuple[str, ...], object] = {
    ("plugins",): [],
    ("protocol", "windows_per_volume"): 1,
    ("protocol", "foreground_share"): 0.0,
    ("protocol", "scored_on"): "grid",
    ("data", "view"): PAPERS.model_dump(mode="json"),
    ("data", "targets"): {},
    ("test",): None,
}
"""Fields that came when trials had been kept already, with the value that those trials had.

A trial with that value is the same whether or not the field exists, so older folders are read.
"""


def digest(content: object) -> str:
    """The first 16 digits of the SHA-256 of `content` as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_version() -> str:
    """Version and hash of the source files that can move a number; the command line is not one."""
    top = Path(harness.__file__).parent.parent
    sources = sorted(
        source
        for part in RESULT_CODE
        for source in ((top / part).glob("**/*.py") if (top / part).is_dir() else [top / part])
    )
    total = hashlib.sha256()
    for source in sources:
        total.update(source.relative_to(top).as_posix().encode() + b"\0" + source.read_bytes())
    return f"{harness.__version__}+{total.hexdigest()[:12]}"

"""The session of a run or study: a held folder, a log, a mirror in MLflow, a report.

hold ─► Session.begin ─► work ─► Session.close ─► Session.end
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.data.divide import Division, Roster, divide
from harness.data.request import DataRequest
from harness.errors import StateError, TrackingError, UsageError
from harness.experiments.stopping import Stopped, carry_on
from harness.runs.manifest import MlflowPlace
from harness.runs.records import AnyManifest, RunManifest
from harness.runs.redact import redact
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen
from harness.runs.settings import Settings
from harness.tracking import mirror
from harness.trials.placement import Placement

COMPARISON = "comparison"
"""The folder, in that of a study, of the run that compares what it found."""


@dataclass(frozen=True)
class Mirroring:
    """Whether and where a folder is mirrored to MLflow."""

    uri: str
    experiment: str
    wanted: bool = True
    required: bool = False
    """Whether a folder that cannot be mirrored is an error, before anything is trained."""

    def refuse_unusable(self) -> None:
        """UsageError for a tracking URI that MLflow does not know."""
        if self.wanted:
            mirror.checked(self.uri)

    def place(self, folder: RunFolder) -> MlflowPlace:
        """The kind of place of the mirror; its URI may hold a password and is not written down."""
        if not self.wanted:
            return "off"
        return "here" if mirror.is_default(self.uri, folder.path) else "elsewhere"

    @property
    def shown(self) -> str:
        """The URI without credentials, for printing; "off" without a mirror."""
        return redact(self.uri) if self.wanted else "off"

    def start(self, folder: RunFolder) -> mirror.Mirror | None:
        """Start a process that mirrors the folder; returns None if no mirror is wanted.

        Raises TrackingError where the mirror is required and cannot be written.
        """
        if self.required:
            mirror.mirror(folder.path, self.uri, self.experiment)
        return mirror.start(folder.path, self.uri, self.experiment) if self.wanted else None


@dataclass(frozen=True)
class ExperimentRequest:
    """The options that `pfbench run` and `pfbench tune` share."""

    settings: Settings
    data: DataRequest
    seeds: int
    placement: Placement
    out: Path
    cache: Path
    mirroring: Mirroring
    command: str


class Session:
    """The folder of one request while a command works in it."""

    def __init__(self, request: ExperimentRequest, folder: RunFolder, screen: Screen) -> None:
        self.request, self.folder, self.screen = request, folder, screen
        self._mirror: mirror.Mirror | None = None
        self._late: TrackingError | None = None

    def begin(self) -> None:
        """Start the mirror, once the manifest is written.

        Raises TrackingError where the mirror is required and cannot be written.
        """
        self._mirror = self.request.mirroring.start(self.folder)

    def close(self, manifest: AnyManifest, *, interrupted: bool) -> None:
        """Write the final status to the manifest, the report, and the rest of the mirror."""
        status = "interrupted" if interrupted else "finished"
        self.folder.write(manifest.model_copy(update={"status": status}))
        write_report(self.folder, self.screen)
        self._late = self._mirror.late() if self._mirror else None
        if self._late:
            self.screen.warn(self._late)

    def end(self, stopped: Stopped | None) -> None:
        """Raise the interruption, or TrackingError where a required mirror is incomplete."""
        if stopped:
            raise stopped
        if self._late and self.request.mirroring.required:
            raise self._late


def hold(request: ExperimentRequest, screen: Screen, work: Callable[[Session], int]) -> int:
    """Do `work` in the locked folder of the request; returns the exit code.

    Raises ClusterError while another process holds the folder.
    """
    refuse_nested(request.out, request.cache, request.data.root)
    folder = RunFolder(request.out)
    folder.create()
    with folder.lock():
        session = Session(request, folder, screen)
        return carry_on(lambda: work(session), request.command, screen)


def refuse_nested(out: Path, cache: Path, root: Path | None) -> None:
    """UsageError for an output folder or cache that holds the scans, and for a run within a run."""
    remedy = "a folder of its own"
    for option, folder in (("--out", out.resolve()), ("--cache", cache.resolve())):
        if root is not None and root.resolve().is_relative_to(folder):
            what = f"{folder} is the data root, or lies around it"
            raise UsageError(what, where=option, remedy=remedy, code="PFB-C46")
    for outer in out.resolve().parents:
        if RunFolder(outer).begun and out.resolve() != outer / COMPARISON:
            what = f"{out} lies in the folder of another run, {outer}"
            raise UsageError(what, where="--out", remedy=remedy, code="PFB-C46")


def divided(settings: Settings, known: Roster) -> Division:
    """The division of the cases into training, validation and test.

    Raises UsageError for settings of the split that do not fit the cases, DataError for too few.
    """
    return divide(known, **settings.split.model_dump())


def recorded(settings: Settings, made: Division) -> Settings:
    """The settings as they are recorded: split files by content, not by path."""
    split = settings.split.model_copy(update={"group": made.group, "file": made.file})
    return settings.model_copy(update={"split": split})


def write_report(folder: RunFolder, screen: Screen) -> None:
    """Write report.html of a run or study; with pictures where they take seconds.

    A report that cannot be made does not take the results with it: the reason is printed.
    """
    from harness.report import write  # loads torch, which a refusal should not wait for
    from harness.report.case_pictures import quick

    place = write.default_place([folder], "html")
    run = folder.manifest()
    with_volumes = isinstance(run, RunManifest) and not run.given_alone
    try:
        write.write([folder], place, pictures=with_volumes and quick([folder]))
    except StateError as error:
        screen.say(f"warning: no report: {error}")

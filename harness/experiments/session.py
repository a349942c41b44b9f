"""What a run and a study share: a folder that is held, a log, a mirror in MLflow, a report.

hold ─► Session.begin ─► work ─► Session.close ─► Session.end
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.data import datasets
from harness.data.divide import Division, Roster, divide
from harness.errors import StateError, TrackingError
from harness.experiments.stopping import Stopped, carry_on
from harness.runs.manifest import MlflowPlace
from harness.runs.records import AnyManifest
from harness.runs.redact import redact
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen
from harness.runs.settings import Settings
from harness.tracking import mirror
from harness.trials.placement import Placement


@dataclass(frozen=True)
class Mirroring:
    """Whether and where MLflow shows a folder."""

    uri: str
    experiment: str
    wanted: bool = True
    required: bool = False
    """A folder that MLflow cannot show is an error, before anything is trained."""

    def refuse_unusable(self) -> None:
        """UsageError for an address that MLflow does not know."""
        if self.wanted:
            mirror.checked(self.uri)

    def place(self, folder: RunFolder) -> MlflowPlace:
        """Where the mirror is; its URI may hold a password and is not written down."""
        if not self.wanted:
            return "off"
        return "here" if self.uri == mirror.default_uri(folder.path) else "elsewhere"

    @property
    def shown(self) -> str:
        """The URI as it may be printed."""
        return redact(self.uri) if self.wanted else "off"

    def start(self, folder: RunFolder) -> mirror.Mirror | None:
        """Follow the folder from a process of its own.

        Raises TrackingError where the mirror is required and cannot be written.
        """
        if self.required:
            mirror.mirror(folder.path, self.uri, self.experiment)
        return mirror.start(folder.path, self.uri, self.experiment) if self.wanted else None


@dataclass(frozen=True)
class ExperimentRequest:
    """What `pfbench run` and `pfbench tune` are both asked for."""

    settings: Settings
    data: datasets.DataRequest
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
        """Start the mirror, now that the folder says what is asked.

        Raises TrackingError where the mirror is required and cannot be written.
        """
        self._mirror = self.request.mirroring.start(self.folder)

    def close(self, manifest: AnyManifest, *, interrupted: bool) -> None:
        """Write the last word to the manifest, the report, and what MLflow still lacks."""
        status = "interrupted" if interrupted else "finished"
        self.folder.write(manifest.model_copy(update={"status": status}))
        write_report(self.folder, self.screen)
        self._late = self._mirror.late() if self._mirror else None
        if self._late:
            self.screen.warn(self._late)

    def end(self, stopped: Stopped | None) -> None:
        """Raise what stopped the work, or TrackingError where a required mirror lacks something."""
        if stopped:
            raise stopped
        if self._late and self.request.mirroring.required:
            raise self._late


def hold(request: ExperimentRequest, screen: Screen, work: Callable[[Session], int]) -> int:
    """The exit code of `work`, done in the folder of the request while nobody else works there.

    Raises ClusterError while another process holds the folder.
    """
    folder = RunFolder(request.out)
    folder.create()
    with folder.lock():
        session = Session(request, folder, screen)
        return carry_on(lambda: work(session), request.command, screen)


def divided(settings: Settings, known: Roster) -> Division:
    """Which of the cases train, validate and test.

    Raises UsageError for settings of the split that do not fit the cases, DataError for too few.
    """
    return divide(known, **settings.split.model_dump())


def recorded(settings: Settings, made: Division) -> Settings:
    """The settings as they are written down: files of a split by content, not by place."""
    split = settings.split.model_copy(update={"group": made.group, "file": made.file})
    return settings.model_copy(update={"split": split})


def write_report(folder: RunFolder, screen: Screen) -> None:
    """Write report.html of a run or study; with pictures where they take seconds.

    A report that cannot be made does not take the results with it: the reason is printed.
    """
    from harness.report import write  # loads torch, which a refusal should not wait for
    from harness.report.case_pictures import quick

    place = write.default_place([folder], "html")
    is_run = folder.manifest().kind == "run"
    try:
        write.write([folder], place, pictures=is_run and quick([folder]))
    except StateError as error:
        screen.say(f"warning: no report: {error}")

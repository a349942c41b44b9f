"""The plug-ins that a command uses, and which of them a trial depends on.

Their systems and data sets join the built-in lists when a command names their file. A run folder
records names and titles (harness.runs.records), so its tables can be made again without the
plug-in, its networks only with it. The plug-ins in use are one set for the whole process.
"""

from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.runs.plugin_file import Plugin, load, wrong
from harness.runs.records import MetricRecord, PluginRecord, SystemRecord
from harness.systems.catalogue import SYSTEMS

if TYPE_CHECKING:
    from harness.systems.plugin_metrics import Metric

GROUP = "pfbench.models"
_active: dict[str, Plugin] = {}


def add(paths: Iterable[Path]) -> list[Plugin]:
    """Put these plug-ins into use; the same source twice is one plug-in.

    Raises UsageError for a file that cannot be used, and for a name that is taken.
    """
    plugins = []
    for path in paths:
        plugin = load(path)
        if plugin.id not in _active:
            _refuse_taken(plugin, path)
            _join(plugin)
        plugins.append(_active[plugin.id])
    return plugins


def add_installed(names: Iterable[str] | None = None) -> None:
    """Use the installed packages whose entry points in `pfbench.models` have these names, or all.

    The entry point names a module of one file, which is used like a file named by --plugin.
    """
    wanted = None if names is None else set(names)
    if wanted == set():
        return
    for name, entry in _installed().items():
        if wanted is None or name in wanted:
            add([_source(entry)])


def installed() -> tuple[str, ...]:
    """The names of plug-ins that installed packages offer; none of their code is executed."""
    return tuple(_installed())


def clear() -> None:
    """Take every plug-in out of use."""
    from harness.data.datasets import DATASETS

    for plugin in _active.values():
        for name in plugin.systems:
            del SYSTEMS[name]
        for name in plugin.datasets:
            del DATASETS[name]
    _active.clear()


def active() -> tuple[Plugin, ...]:
    """The plug-ins in use, in the order they were named."""
    return tuple(_active.values())


def used_by(system: str, dataset: str) -> tuple[str, ...]:
    """Ids of the plug-ins that the numbers of such a trial depend on.

    Those that bring the system or the data set, and all that bring metrics.
    """
    return tuple(
        sorted(
            plugin.id
            for plugin in _active.values()
            if system in plugin.systems or dataset in plugin.datasets or plugin.metrics
        )
    )


def metrics(ids: Sequence[str]) -> dict[str, "Metric"]:
    """The metrics that the given plug-ins add, by name."""
    found: dict[str, Metric] = {}
    for plugin_id in ids:
        found |= _active[plugin_id].metrics
    return found


def in_use(ids: Sequence[str]) -> bool:
    """Whether all of the given plug-ins are in use."""
    return all(plugin_id in _active for plugin_id in ids)


def needed_to_predict(ids: Sequence[str], system: str, dataset: str) -> tuple[str, ...]:
    """Those of the given plug-ins without which such a trial's network cannot be built or fed.

    None where system and data set are ours, and the plug-ins bring metrics.
    """
    from harness.data.datasets import DATASETS

    others = [*_active.values()]
    ours = system in SYSTEMS and not any(system in each.systems for each in others)
    ours_too = dataset in DATASETS and not any(dataset in each.datasets for each in others)
    return () if ours and ours_too else tuple(ids)


def require(ids: Sequence[str]) -> None:
    """Raise UsageError that names the missing plug-ins unless all of the given ones are in use."""
    for plugin_id in ids:
        if plugin_id in _active:
            continue
        name, _, _ = plugin_id.rpartition("-")
        given = [plugin.id for plugin in _active.values() if plugin.name == name]
        what = f"is needed, and {given[0]} was given" if given else "is needed"
        remedy = f"--plugin RUN_DIR/plugins/{plugin_id}.py, which the run kept; look into it first"
        where = f"plug-in {plugin_id}"
        what = f"{what}: its code is run only when you name it"
        raise UsageError(what, where=where, remedy=remedy, code="PFB-C44")


def sources(ids: Iterable[str]) -> dict[str, bytes]:
    """The source code of the given plug-ins, by id."""
    return {plugin_id: _active[plugin_id].source for plugin_id in ids}


def merged(earlier: Sequence[PluginRecord], ids: Iterable[str]) -> list[PluginRecord]:
    """The plug-in records for a run folder: the records that it had `earlier`, and new ones."""
    now = [_record(_active[plugin_id]) for plugin_id in sorted(ids)]
    known = {each.id for each in now}
    return [*(each for each in earlier if each.id not in known), *now]


def plugin_of(system: str) -> str:
    """The name of the plug-in in use that brings the system; "" for a built-in system."""
    return next((each.name for each in _active.values() if system in each.systems), "")


def _join(plugin: Plugin) -> None:
    from dataclasses import replace

    from harness.data.datasets import DATASETS

    _active[plugin.id] = plugin
    SYSTEMS.update(plugin.systems)
    DATASETS.update({k: replace(entry, plugin=plugin.id) for k, entry in plugin.datasets.items()})


def _refuse_taken(plugin: Plugin, path: Path) -> None:
    from harness.data.datasets import DATASETS
    from harness.systems.case_score import CaseScore

    taken = {
        "SYSTEMS": set(SYSTEMS),
        "DATASETS": set(DATASETS),
        "METRICS": {"case", *CaseScore._fields, *(m for p in active() for m in p.metrics)},
    }
    given = {"SYSTEMS": plugin.systems, "DATASETS": plugin.datasets, "METRICS": plugin.metrics}
    for group, names in given.items():
        for name in sorted(taken[group] & set(names)):
            raise wrong(path, f"{group} has '{name}', which there is already", "another name")


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _source(entry: EntryPoint) -> Path:
    """The path of the module file that an entry point names."""
    try:
        spec = find_spec(entry.module)
    except ImportError as error:
        raise _unusable(entry, f"{type(error).__name__}: {error}") from error
    if spec is None or not spec.origin:
        raise _unusable(entry, f"there is no module {entry.module}")
    return Path(spec.origin)


def _unusable(entry: EntryPoint, what: str) -> UsageError:
    where = f"entry point {GROUP} {entry.name}"
    remedy = "install its package again, or remove it"
    return UsageError(what, where=where, remedy=remedy, code="PFB-C41")


def _record(plugin: Plugin) -> PluginRecord:
    return PluginRecord(
        id=plugin.id,
        systems={
            name: SystemRecord(
                title=entry.title,
                kind=entry.kind,
                reference=entry.reference,
                end_to_end=entry.end_to_end,
                deviation=entry.deviation,
            )
            for name, entry in plugin.systems.items()
        },
        metrics={
            name: MetricRecord(title=metric.title, better=metric.better)
            for name, metric in plugin.metrics.items()
        },
        datasets={name: entry.title for name, entry in plugin.datasets.items()},
    )

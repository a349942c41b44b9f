"""The section on a run's protocol, and on its deviations from the paper's."""

from collections.abc import Sequence

from harness.report.document import Bullets, Cell, Facts, Section, Table
from harness.runs.files import JsonObject
from harness.runs.nested import flat, in_words, pairs
from harness.runs.records import RunManifest
from harness.runs.run_folder import RunFolder
from harness.runs.settings import PAPER

NAMES = {
    "epochs": "epochs at most",
    "learning_rate": "learning rate",
    "plateau_epochs": "epochs without a lower training loss before the learning rate is divided",
    "plateau_divisor": "what it is divided by",
    "learning_rate_floor": "learning rate at which training ends",
    "augment": "flips, shifts and rotations",
    "selection": "weights that are scored",
    "validate_every": "epochs between validations",
    "windows_per_volume": "windows of a volume in an epoch, of patch-based systems",
    "foreground_share": "share of these windows that is around the target",
    "precision": "numbers",
    "checkpointing": "inner activations computed again, not kept",
    "layout": "layout in memory",
}
PAPERS = {
    "learning_rate",
    "plateau_epochs",
    "plateau_divisor",
    "augment",
    "windows_per_volume",
    "foreground_share",
}
"""Settings of training that the paper states."""
RELEASED = {"epochs", "learning_rate_floor"}
"""Settings of training that only the released code has; all other settings are ours."""


def section(folders: Sequence[RunFolder], systems: Sequence[str]) -> Section:
    """The protocol section; `systems` are the systems in the tables."""
    run = folders[0].manifest()
    protocol, settings = run.protocol, run.settings
    departures = deviations(folders, systems)
    lead = (
        "Every system has the same cases, the same seeds, the same training rule and the same "
        "scoring code. Two numbers may be compared only if this hash is equal; it covers the "
        "settings, the content of the data, the split and the code that can move a number.",
    )
    said = departures or ("none",)
    return Section(
        "protocol",
        "Protocol",
        lead,
        (_facts(folders[0]), Bullets(said, "Deviations")),
        (_rule(settings["protocol"]), _settings(protocol)),
    )


def _facts(folder: RunFolder) -> Facts:
    run = folder.manifest()
    data, split = run.protocol["data"], run.settings["split"]
    made, tested = folder.split(), [len(one.test) for one in folder.splits().values()]
    sizes = ", ".join(f"{len(cases)} for {part}" for part, cases in made.parts.items())
    how = {
        "seeded": f"by patient, from seed {split.get('seed')}",
        "official": "of the authors",
        "site": "by site",
    }
    given = split.get("file", "") not in ("", "none")
    way = f"as {split['file']} gives it" if given else how.get(split.get("kind", ""), "")
    drawn = f"fold {split.get('fold', 0)}, {way}"
    if isinstance(run, RunManifest) and run.folds:
        sizes = f"{sum(tested)} cases, each tested once"
        names = ", ".join(one.said(int(number)) for number, one in run.folds.items())
        drawn = f"{len(tested)} of {run.protocol['folds']} folds, {way}: {names}"
    if made.patients:
        sizes += f" of {len(set(made.patients.values()))} patients"
    kind = "synthetic" if data["synthetic"] else "patients"
    which = f"target {data['target']}; content {data['fingerprint']}"
    return Facts(
        (
            ("Protocol", run.protocol_hash),
            ("Data", f"{data['name']} ({kind}), {', '.join(data['modalities'])}; {which}"),
            ("Volumes", f"{'×'.join(map(str, data['grid']))} voxels"),
            ("Split", f"{sizes}; {drawn}"),
            ("Profile", run.profile),
            ("Code", run.protocol["code"]),
        )
    )


def deviations(folders: Sequence[RunFolder], systems: Sequence[str]) -> tuple[str, ...]:
    """The deviations of these runs from the paper, and of one of `systems` from the others."""
    run = folders[0].manifest()
    settings = run.settings
    found = _of_training(settings["protocol"])
    own_grid = run.protocol["data"].get("view", {}).get("grid")  # told by a note
    if list(settings["reduce"]) != list(PAPER.reduce) and not own_grid:
        blocks = "×".join(map(str, settings["reduce"]))
        found.append(f"volumes are averaged over blocks of {blocks} voxels of the paper's grid")
    if run.profile != "paper":
        found.append(f"networks of profile {run.profile}, smaller than the paper's")
    if isinstance(run, RunManifest) and run.folds:
        found.append("each case is tested, in cross-validation; the paper tests one part of them")
    if settings["split"].get("file", "") not in ("", "none"):
        found.append(f"the split is that of {settings['split']['file']}, not the authors'")
    elif settings["split"]["kind"] == "site":
        found.append("each site tests while the others train; the authors' code cuts one list")
    elif settings["split"]["kind"] != "official":
        found.append(
            "the split is seeded, with validation cases of its own; the authors' code "
            "cuts the sorted list and validates on one case"
        )
    found += [run.system(name).deviation for name in systems]
    for name, changed in settings["systems"].items():
        found.append(f"{name}: {pairs(changed)}, set by the user")
    for name, changed in settings["exceptions"].items():
        found.append(f"{name}: trained with its own {pairs(changed)}")
    for each in (folder.manifest() for folder in folders):
        found += each.notes if isinstance(each, RunManifest) else []
    return tuple(dict.fromkeys(filter(None, found)))


def _of_training(protocol: JsonObject) -> list[str]:
    paper = PAPER.protocol.model_dump(mode="json")
    return [
        f"{NAMES.get(key, key)}: {in_words(value)}, {_source(key)} {in_words(paper.get(key))}"
        for key, value in protocol.items()
        if value != paper.get(key)
    ]


def _rule(protocol: JsonObject) -> Table:
    """The table of every training setting beside the paper's value."""
    paper = PAPER.protocol.model_dump(mode="json")
    rows = tuple(
        (
            Cell(NAMES.get(key, key)),
            Cell(in_words(value), tone="" if value == paper.get(key) else "best"),
            Cell(in_words(paper.get(key)) if key in PAPERS else ""),
            Cell("" if key in PAPERS else f"{in_words(paper.get(key))}, {_source(key)}"),
        )
        for key, value in protocol.items()
    )
    caption = "How every system is trained (bold: another value than the profile of the paper's)"
    return Table(caption, ("Setting", "This run", "Paper", "Not in the paper"), rows)


def _source(key: str) -> str:
    """The origin, in words, of a setting's value in the profile `paper`."""
    if key in PAPERS:
        return "in the paper"
    return "in the released code" if key in RELEASED else "by our default"


def _settings(protocol: JsonObject) -> Table:
    rows = tuple((Cell(k), Cell(in_words(v))) for k, v in flat(protocol).items() if v != {})
    return Table("What the hash covers", ("Key", "Value"), rows, 2)

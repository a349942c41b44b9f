"""The notes under the tables: all that a reader has to know of their figures."""

from collections.abc import Sequence
from math import isclose
from statistics import fmean

import pandas as pd

from harness.data.regions import tested_without
from harness.data.wording import counted
from harness.results.caveats import caveats
from harness.results.cells import columns, number
from harness.results.departures import of_data, of_scoring, of_systems, of_training
from harness.results.rows import merged_rows, trainings
from harness.results.table_data import Record, ResultTable, absent, dice_by_fold
from harness.runs.files import JsonObject
from harness.runs.measures import DICE, GFLOPS, MEASURES, TIME, TIME_P90
from harness.runs.records import Failed, Measured, Scored
from harness.runs.run_folder import RunFolder
from harness.runs.suite import parted
from harness.runs.trial_folder import TrialFolder
from harness.systems.case_score import BESIDE

STEADY = 1.5  # times the median: what the 90th percentile of a time may be without a word
TRANSDUCTIVE = "† fine-tuned on the test volumes, without their labels: its scores are transductive"
OVER_PATIENTS = "over the patients"
OVER_SEEDS = "over the trainings, whatever the patients"
UNITS = (
    "Dice and Jaccard in percent; HD95 pooled over both directions, in mm; ±: standard deviation "
    "of the sample {over}; missed, false alarms: cases in which one of the two masks is empty, of "
    "all trainings, each at the worst HD95; time: median seconds from array to mask; memory: peak "
    "MiB of inference."
)
BRACKETS = "In brackets: the paper's value (its HD95 is in voxels)."
NOT_BESIDE = "no values of the paper beside these: {}"


def notes_under(shown: Sequence[ResultTable], folders: Sequence[RunFolder]) -> tuple[str, ...]:
    """Return the notes under the tables of runs: all that a reader has to know of their figures."""
    run = folders[0].run()
    lines = pd.concat([table.frame[table.frame["row"] == "trial"] for table in shown])
    trials = lines.drop_duplicates("trial")
    done = int(trials["status"].isin(["ok", "failed"]).sum())
    notes = []
    if done < len(trials):
        notes.append(f"incomplete: {done} of {len(trials)} trials finished")
    notes += trained_twice(folders)
    notes += [caveat.note for caveat in caveats(run.synthetic, run.profile)]
    others = [*of_data(run.protocol["data"]), *of_scoring(run.settings["protocol"])]
    if others and not run.synthetic and not run.given_alone:
        notes.append(NOT_BESIDE.format(", ".join(others)))
    if run.profile == "paper":
        notes += of_training(run.settings["protocol"])
    notes += device_notes(shown)
    notes += unsteady_notes(shown)
    notes += over_targets(folders)
    notes += several_scans(folders)
    notes += without_target(folders)
    notes += _scored_on(run.settings["protocol"])
    notes += slices_by_label(run.protocol["data"], run.settings["protocol"])
    notes += _idle_validation(folders[0], run.settings["protocol"])
    notes += _windows(run.settings["protocol"], shown)
    notes += _bare_process(folders)
    notes += _memory_unknown(folders, shown)
    if (trials["transductive"] == True).any():  # noqa: E712  the column holds missing values
        notes.append(TRANSDUCTIVE)
    notes += fine_tuning_notes(shown)
    notes += filter(None, dict.fromkeys(row.entry.deviation for row in merged_rows(folders)))
    for table in shown:
        notes += table.about.notes
    notes += of_systems(run.settings)
    notes += untuned(folders)
    notes += by_fold(shown, folders)
    told = [note for folder in folders for note in (*folder.run().notes, *_failures(folder))]
    told += [note for f in folders for other in f.run().tests.values() for note in other.notes]
    return (*dict.fromkeys([*notes, *told]), *unit_notes(shown))


def trained_twice(folders: Sequence[RunFolder]) -> list[str]:
    """One note for each network that two of the runs trained with other scores."""
    notes = []
    for row in merged_rows(folders):
        chosen = {_network(trial): trial for trial in row.trials}
        for other in row.again:
            both = [chosen[_network(other)], other]
            dice = [fmean(each.scores(DICE.name).values()) for each in both if each.state() == "ok"]
            if len(dice) == 2 and not isclose(*dice, rel_tol=1e-9):
                first, second = (
                    f"{100 * value:.2f} % in {trial.path.parents[1].name}"
                    for value, trial in zip(dice, both, strict=True)
                )
                notes.append(
                    f"{row.title}, seed {_network(other)[0]}: trained twice with other scores, "
                    f"Dice {first} and {second}; the first counts"
                )
    return notes


def _network(trial: TrialFolder) -> tuple[int, int]:
    """The seed and the fold of a trial, which tell the networks of a row apart."""
    return trial.spec().seed, trial.spec().fold


def untuned(folders: Sequence[RunFolder]) -> list[str]:
    """One note for each system of a plug-in that learns at a rate which was chosen for others."""
    run = folders[0].run()
    rate = run.settings["protocol"]["learning_rate"]
    known = {name for each in folders for plugin in each.run().plugins for name in plugin.systems}
    told = {name for name, own in run.settings["exceptions"].items() if "learning_rate" in own}
    titles = {row.system: row.entry.title for row in merged_rows(folders)}
    return [
        f"{title}: its learning rate, {rate:g}, was chosen for the systems that come with pfbench "
        "and not tuned for it; pfbench run --tune-lr N searches one for every system"
        for name, title in titles.items()
        if name in known - told
    ]


def fine_tuning_notes(shown: Sequence[ResultTable]) -> list[str]:
    """One note for each fine-tuned row: costs of a test case, under tables of inference costs."""
    notes = []
    for table in shown:
        if GFLOPS.name not in table.about.shows or TIME.name not in table.about.shows:
            continue
        for line in table.means.to_dict("records"):
            if line["transductive"] is True and not absent(line["adapt_s"]):
                notes.append(_tuned_in_words(line))
    return notes


def _tuned_in_words(line: Record) -> str:
    """The note: "PFSeg: fine-tuning takes 12.1 s, 3,511.2 GFLOPs and a peak of 5,123 MiB …"."""
    seconds = line["adapt_s"] / line["n_cases"]
    what = f"{line['title']}: fine-tuning takes {seconds:,.1f} s"
    if not absent(line["adapt_gflops"]):
        what += f", {line['adapt_gflops']:,.1f} GFLOPs"
    if not absent(line["adapt_peak_mib"]):
        what += f" and a peak of {line['adapt_peak_mib']:,.0f} MiB"
    what += " for each test case"
    return f"{what}, beside what its inference takes ({line['train_device']})"


def unit_notes(shown: Sequence[ResultTable]) -> list[str]:
    """The notes on the units of the figures, and on the values in brackets if there are any."""
    means = pd.concat([table.means for table in shown])
    several = means[DICE.spread_of_seeds].notna()
    over = OVER_SEEDS if several.all() else OVER_PATIENTS
    if several.any() and not several.all():
        over = f"{OVER_PATIENTS}, in rows with several trainings {OVER_SEEDS}"
    printed = [measure.paper_column for measure in MEASURES if measure.paper]
    units = UNITS.format(over=over)
    return [units, BRACKETS] if means[printed].notna().to_numpy().any() else [units]


def device_notes(shown: Sequence[ResultTable]) -> list[str]:
    """The notes naming "device 1", "device 2" and so on, where a column has several devices."""
    apart = {
        f"{column.heading.rpartition(', ')[2]}: {column.device}": None
        for table in shown
        for column in columns(table)
        if column.device
    }
    return list(apart)


def unsteady_notes(shown: Sequence[ResultTable]) -> list[str]:
    """The note naming the rows whose repeated time measurements lie far apart."""
    apart: Record = {}
    for table in shown:
        if TIME.name in table.about.shows:
            lines = table.frame[(table.frame["row"] != "mean") & table.frame[TIME.column].notna()]
            ratios = lines[TIME_P90.column] / lines[TIME.column]
            apart |= ratios.groupby(lines["title"], sort=False).max().to_dict()
    wide = [f"{title} ({ratio:.1f} times)" for title, ratio in apart.items() if ratio > STEADY]
    what = "times not steady, 90th percentile over median of the repetitions"
    return [f"{what}: {', '.join(wide)}; other work on the machine may be in them"] if wide else []


def over_targets(folders: Sequence[RunFolder]) -> list[str]:
    """The note on what the figures of several targets are means of."""
    names = folders[0].run().targets
    if not names:
        return []
    return [
        f"each score is the mean over the targets {', '.join(names)} of a case, missed and false "
        "alarms are summed over them; pfbench report RUN_DIR --by-target shows each"
    ]


def several_scans(folders: Sequence[RunFolder]) -> list[str]:
    """The note on test cases of the same patient, and on which figures count the patient once."""
    splits = [split for folder in folders for split in folder.splits().values()]
    tested = {case: split.patient_of(case) for split in splits for case in split.test}
    cases, patients = len(tested), len({*tested.values()})
    if cases == patients:
        return []
    return [
        f"{counted(cases, 'test case')} of {counted(patients, 'patient')}: means are over the "
        "cases; medians, ±, intervals, tests and ranks over the patients, the cases of each "
        "averaged first"
    ]


def without_target(folders: Sequence[RunFolder]) -> list[str]:
    """The notes on how many test cases have no target, and how such cases are scored.

    One for the run's own test cases, and one for those of each other origin; of several targets
    for each of them.
    """
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for row in merged_rows(folders):
        where = parted(row.suite)[1]
        for target in folders[0].run().targets or ("",):
            trials = trainings(row.of_target(target).trials)[0]
            found = [trial.result() for trial in trials]
            known = [one for one in found if isinstance(one, Scored)]
            of = sum(one.n_cases for one in known)
            some = sum(one.n_without_target for one in known)
            before = counts.get((where, target), (0, 0))
            counts[where, target] = max(before, (of, some))
    return [
        (f"{where}: " if where else "") + tested_without(some, of, target)
        for (where, target), (of, some) in counts.items()
        if some
    ]


def by_fold(shown: Sequence[ResultTable], folders: Sequence[RunFolder]) -> list[str]:
    """One note for each row of a cross-validation: Dice of each fold, and their deviation."""
    notes = []
    for table in shown:
        for title, (of_folds, apart) in dice_by_fold(table, folders).items():
            each = ", ".join(f"{number(value, DICE)} ({fold})" for fold, value in of_folds.items())
            said = "" if absent(apart) else f"; standard deviation {number(apart, DICE)}"
            notes.append(f"{title}, Dice by fold: {each}{said}")
    return notes


def _scored_on(protocol: JsonObject) -> list[str]:
    """The note on masks that were scored on the voxels of the scan."""
    if protocol.get("scored_on", "grid") == "grid":
        return []
    beside = f"the scores on the grid stand beside, as {BESIDE}… in cases.csv"
    return [f"scored on the voxels of the scan, in mm, where predict puts the masks; {beside}"]


def slices_by_label(data: JsonObject, protocol: JsonObject) -> list[str]:
    """The note on livers that a label has found in their scans, which no network was asked to do.

    `data` is that part of a run's protocol.
    """
    on_grid = protocol.get("scored_on", "grid") == "grid"
    if data["name"] != "liver" or data.get("view", {}).get("grid") or not on_grid:
        return []
    return [
        "volumes are the central 128 of the slices with liver, which the label tells, also in test "
        "cases, as in the paper; --set protocol.scored_on=scan segments and scores every slice"
    ]


def _idle_validation(folder: RunFolder, protocol: JsonObject) -> list[str]:
    """The note on validation cases that neither train nor choose anything."""
    cases = len(folder.split().validation)
    if protocol.get("selection", "last") != "last" or not cases:
        return []
    where = " of the first fold" if folder.run().folds else ""
    what = (
        f"{counted(cases, 'validation case')}{where}: not trained on, and nothing is chosen by them"
    )
    return [f"{what}, as weights are those of the last epoch (protocol.selection)"]


def _windows(protocol: JsonObject, shown: Sequence[ResultTable]) -> list[str]:
    """The note on how much of a training volume the patch-based systems see."""
    untold = [table for table in shown if table.suite != "equal_voxels"]
    kinds = {kind for table in untold for kind in table.frame["kind"]}
    if "patch-based" not in kinds:
        return []
    count = protocol.get("windows_per_volume", 1)
    share = protocol.get("foreground_share", 0.0)
    windows = "one window" if count == 1 else f"{count} windows"
    where = f"{share:.0%} of them around the target" if share else "anywhere"
    what = f"patch-based systems learn from {windows} of each volume in an epoch, {where}"
    if count == 1 and not share:
        part = "of half the side, that is 1/8 of the voxels that patch-free ones see"
        return [f"{what}, as in the paper: {part}; suite equal_voxels tells what that does"]
    return [f"{what}, set by the user; the paper's from one, anywhere"]


def _memory_unknown(folders: Sequence[RunFolder], shown: Sequence[ResultTable]) -> list[str]:
    """The notes on why a column of training memory is empty."""
    if not any("train_mib" in table.about.shows for table in shown):
        return []
    results = [trial.result() for folder in folders for trial in folder.trials()]
    why = dict.fromkeys(each.memory_unknown for each in results if isinstance(each, Scored))
    return [f"memory of training is not known: {each}" for each in why if each]


def _bare_process(folders: Sequence[RunFolder]) -> list[str]:
    """The note on the part of inference memory that Python and its libraries alone take."""
    found = [trial.measurement() for folder in folders for trial in folder.trials()]
    bare = [
        one.bare_process_mib
        for one in found
        if isinstance(one, Measured) and one.bare_process_mib and one.inference_reserved_mib is None
    ]
    if not bare:
        return []
    what = "memory on a CPU is that of the process"
    return [f"{what}; Python and its libraries alone are {min(bare):,.0f} MiB of it"]


def _failures(folder: RunFolder) -> list[str]:
    """One sentence for each trial that failed or could not be measured."""
    notes = []
    names = folder.run().names
    for trial in folder.trials():
        name = names[trial.id]
        result, measurement = trial.result(), trial.measurement()
        if isinstance(result, Failed):
            notes.append(f"{name} failed ({result.reason}): {result.detail}")
        elif result:
            notes += [f"{name}: {what}: {why}" for what, why in result.extra_faults.items()]
            notes += [f"{name}: {remark}" for remark in result.remarks]
        if isinstance(measurement, Failed):
            why = f"({measurement.reason}): {measurement.detail}"
            notes.append(f"{name}: time and memory not measured {why}")
    return notes

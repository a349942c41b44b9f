"""Figs. 5 and 6: the choice of cases and slices to draw, by fixed rules.

    cases.csv, masks ─► choose_cases ─► case ─► largest_slice, stray_components ─► Sheet ─► files

Fig. 5 shows the best, the median and the worst case by mean Dice over the systems, Fig. 6 the one
where the patch-based systems see most components that are nowhere near a target ("stray").
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.data.case import Volume
from harness.data.targets import held, unpacked
from harness.errors import StateError, unknown
from harness.report.case_sheet import Sheet, SystemPanel, draw
from harness.report.style import write_picture
from harness.results.caveats import SYNTHETIC
from harness.results.rows import ResultRow, rows, trainings
from harness.runs.records import Failed
from harness.runs.run_folder import RunFolder
from harness.runs.trial_folder import TrialFolder
from harness.systems.overlap import dice as dice_of

Mask = NDArray[Any]  # (D, H, W), non-zero is foreground, of all targets together
OpenVolume = Callable[[str, str], Volume]
"""A function that opens the volume of a case, of the volumes with a fingerprint."""

REASONS = {
    "only": "the only test case, mean Dice {dice:.3f}",
    "best": "best mean Dice ({dice:.3f})",
    "median": "median of mean Dice ({dice:.3f})",
    "worst": "worst mean Dice ({dice:.3f})",
    "stray": "most stray components of patch-based systems ({stray})",
    "chosen": "asked for",
}
NOTES = (
    "Dice and stray are of the whole volume, mean Dice is over the systems that finished. Stray: "
    "components of the prediction (26 neighbours) that share no voxel with the ground truth. The "
    "slice is the axial one with the largest target area. Anterior is up; R: the patient's right, "
    "according to the file."
)


OF_SEVERAL = (
    " Several targets: Dice is the mean over them, and stray counts all of them together. Filled: "
    "where a system sees a target; line: where it is."
)


def choose_cases(dice: pd.DataFrame, stray: pd.Series) -> dict[str, str]:
    """The chosen case of each rule (rule -> case); of equal cases the first in order of id.

    `dice` holds cases x systems and may have gaps. `stray` is, for each case, the number of
    `stray_components` summed over the patch-based systems; no case is chosen where none has any.
    The median is the lower one of an even number. A single case is none of these, but the only one.
    """
    mean = dice.sort_index().mean(axis=1)
    ranked = mean.sort_values(kind="stable").index
    chosen = {"best": mean.idxmax(), "median": ranked[(len(ranked) - 1) // 2], "worst": ranked[0]}
    if len(mean) == 1:
        chosen = {"only": ranked[0]}
    if stray.any():
        chosen["stray"] = stray.sort_index().idxmax()
    return {rule: str(case) for rule, case in chosen.items()}


def stray_components(mask: Mask, label: Mask) -> int:
    """Number of 26-connected components of `mask` without a voxel of `label`; both (D, H, W)."""
    from scipy.ndimage import label as labelled  # 0.3 s, which a report without pictures needs not

    components, count = labelled(mask, np.ones((3, 3, 3)))
    return count - np.count_nonzero(np.unique(components[np.asarray(label) > 0]))


def largest_slice(label: Mask) -> int:
    """Index of the axial slice with most target; the first of equals, the middle if no target."""
    areas = np.count_nonzero(label, axis=(1, 2))
    return int(areas.argmax()) if areas.any() else len(areas) // 2


def draw_sheets(
    folder: RunFolder,
    volume_of: OpenVolume,
    out: Path,
    *,
    suite: str | None = None,
    cases: Sequence[str] = (),
) -> list[Path]:
    """Write `out`/<rules>-<case>.png and .svg for the cases chosen by rule, or for `cases`.

    Raises like `sheets`, and StorageError when a file cannot be written.
    """
    made = sheets(folder, volume_of, suite=suite, cases=cases)
    return [p for name, sheet in made for p in write_picture(partial(draw, sheet), out / name)]


def sheets(
    folder: RunFolder,
    volume_of: OpenVolume,
    *,
    suite: str | None = None,
    cases: Sequence[str] = (),
) -> Iterator[tuple[str, Sheet]]:
    """The sheets (name, sheet) of the cases chosen by rule, or of `cases`; name is <rules>-<case>.

    Each row of `suite` is shown by its first seed; without a suite, it is Table V if the run has
    it, else the run's first. Raises UsageError for an unknown suite or case, StateError when no
    trial is finished or a mask is not what was scored.
    """
    run = folder.run()
    suite = suite or ("table5" if "table5" in run.suites else next(iter(run.suites)))
    entries = [_Entry.of(row) for row in rows(folder, suite)]
    dice = _dice_table(entries, folder)

    def opened(case: str) -> Volume:
        found = (entry for entry in entries if case in entry.dice)
        return volume_of(case, next(found).trial_of(case).spec().tested)

    reasons = _asked_for(cases, dice) if cases else _by_rule(entries, dice, opened)
    about = f"{run.suite(suite).title}, profile {run.profile}"
    about += f"\n{SYNTHETIC.note}" if run.synthetic else ""
    for case, why in reasons.items():
        yield (
            "-".join([*why, case]),
            _sheet(opened(case), "; ".join(why.values()), about, entries),
        )


@dataclass(frozen=True, eq=False)
class _Entry:
    """One row of the table, represented by the trials of its first seed: one, or one a fold."""

    row: ResultRow
    trials: tuple[TrialFolder, ...]
    missing: str
    """The reason why there are no masks, or ""."""
    dice: pd.Series
    """Dice by case; empty where there are no masks."""

    @classmethod
    def of(cls, row: ResultRow) -> "_Entry":
        trials, nothing = trainings(row.trials)[0], pd.Series(dtype=float)
        for result in (trial.result() for trial in trials):
            if result is None:
                return cls(row, trials, "not finished", nothing)
            if isinstance(result, Failed):
                return cls(row, trials, f"failed: {result.reason}", nothing)
        return cls(row, trials, "", pd.Series(row.by_training("dice", trials)[0]))

    def trial_of(self, case: str) -> TrialFolder:
        """The trial that tested the case."""
        return next(trial for trial in self.trials if case in trial.scores("dice"))

    def panel(self, volume: Volume, index: int) -> SystemPanel:
        """The panel of this row for slice `index`."""
        missing = self.missing or ("" if volume.case in self.dice else "case not tested")
        if missing:
            return SystemPanel(self.row.title, self.row.kind, missing, None)
        trial = self.trial_of(volume.case)
        targets = trial.spec().data.names
        each = {name: trial.of_target(name).scores("dice")[volume.case] for name in targets}
        mask = _scored_mask(trial, volume, list(each.values()))
        caption = f"Dice {self.dice[volume.case]:.2f}\nstray {stray_components(mask, volume.label)}"
        if len(targets) > 1:
            caption += "".join(f"\n{name} {dice:.2f}" for name, dice in each.items())
        plane = _plane(mask[index], len(targets))
        return SystemPanel(self.row.title, self.row.kind, caption, plane)


def _plane(plane: Mask, targets: int) -> NDArray[np.bool_]:
    """A slice (H, W) of a label as the sheet wants it: (K, H, W) of several targets."""
    return np.asarray(plane) > 0 if targets == 1 else unpacked(np.asarray(plane), targets)


def _scored_mask(trial: TrialFolder, volume: Volume, dice: Sequence[float]) -> Mask:
    """The mask (D, H, W); StateError unless each target has the Dice of cases.csv."""
    label = volume.label
    mask, same = trial.mask(volume.case, label.shape), True
    for place, known in enumerate(dice):
        pair = (held(mask, place), held(label, place)) if len(dice) > 1 else (mask, label)
        same &= abs(dice_of(*pair) - known) <= 1e-6
    if not same:
        raise StateError(
            f"the mask of {volume.case} does not have the Dice of cases.csv, "
            f"{', '.join(f'{each:.4f}' for each in dice)}",
            where=str(trial.path),
            remedy="pass the data of this run, or move the folder away and repeat the run",
        )
    return mask


def _dice_table(entries: Iterable[_Entry], folder: RunFolder) -> pd.DataFrame:
    """The Dice of each case in each finished row: cases x rows."""
    table = pd.DataFrame({entry.row.key: entry.dice for entry in entries if not entry.missing})
    if table.empty:
        remedy = "let the run finish: its own command continues it"
        raise StateError("no finished trial to draw", where=str(folder.path), remedy=remedy)
    return table


def _asked_for(cases: Sequence[str], dice: pd.DataFrame) -> dict[str, dict[str, str]]:
    for case in cases:
        if case not in dice.index:
            raise unknown("test case", case, dice.index)
    return {case: {"chosen": REASONS["chosen"]} for case in cases}


def _by_rule(
    entries: Sequence[_Entry], dice: pd.DataFrame, volume_of: Callable[[str], Volume]
) -> dict[str, dict[str, str]]:
    """The reasons for the choice, in words: case -> rule -> reason."""
    stray = _stray(entries, list(dice.index), volume_of)
    mean = dice.mean(axis=1)
    reasons: dict[str, dict[str, str]] = {}
    for rule, case in choose_cases(dice, stray).items():
        words = REASONS[rule].format(dice=mean[case], stray=stray.get(case, 0))
        reasons.setdefault(case, {})[rule] = words
    return reasons


def _stray(
    entries: Sequence[_Entry], cases: Sequence[str], volume_of: Callable[[str], Volume]
) -> pd.Series:
    """The number of stray components of each case, summed over all patch-based rows."""
    patched = [entry for entry in entries if entry.row.kind == "patch-based"]
    counts = {}
    for case in cases if patched else ():
        label = volume_of(case).label
        tested = [entry.trial_of(case) for entry in patched if case in entry.dice]
        counts[case] = sum(
            stray_components(trial.mask(case, label.shape), label) for trial in tested
        )
    return pd.Series(counts, dtype=int)


def _sheet(volume: Volume, why: str, about: str, entries: Sequence[_Entry]) -> Sheet:
    index = largest_slice(volume.label)
    image = np.asarray(volume.image[0])
    slice_mm, *pixel_mm = volume.spacing_mm
    there = [entry for entry in entries if volume.case in entry.dice]
    spec = there[0].trial_of(volume.case).spec()
    fold = f", fold {spec.fold}" if entries[0].row.folds else ""
    where = f"Axial slice {index + 1} of {len(image)}, {index * slice_mm:.0f} mm above the lowest"
    return Sheet(
        title=f"{volume.case}: {why}",
        details=f"{where}; seed {spec.seed}{fold}; {about}",
        modality=spec.data.modalities[0],
        image=image[index],
        window=_window(image, spec.data.modalities[0]),
        target=_plane(volume.label[index], len(spec.data.names)),
        panels=tuple(entry.panel(volume, index) for entry in entries),
        pixel_mm=(pixel_mm[0], pixel_mm[1]),
        notes=NOTES + (OF_SEVERAL if spec.data.targets else ""),
        targets=tuple(filter(None, spec.data.names)),
    )


def _window(image: NDArray[np.float32], modality: str) -> tuple[float, float]:
    """The intensities drawn as black and as white: percentiles 1 and 99 of the body.

    What lies outside is 0 in skull-stripped MR; in CT it is air, darker than Otsu's threshold.
    """
    outside = 0.0
    if modality == "ct":
        from skimage.filters import threshold_otsu  # 0.3 s, which MR needs not

        outside = threshold_otsu(image)
    body = image[image > outside]
    low, high = np.percentile(body, (1, 99)) if body.size else (0.0, 1.0)
    return float(low), float(high)

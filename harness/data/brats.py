"""BraTS: glioma MRI of four modalities, skull-stripped; the meaning of labels by edition.

    2012-2016   1 necrosis, 2 oedema, 3 non-enhancing core, 4 enhancing
    2017-2021   1 necrosis and non-enhancing core, 2 oedema, 4 enhancing
    2023        1 necrosis, 2 oedema, 3 enhancing
    2024, 2025  1 non-enhancing core, 2 oedema, 3 enhancing, 4 resection cavity, which is no tumour
    BraTS-PED   of 2024: 1 enhancing, 2 non-enhancing, 3 cysts, 4 oedema

240 x 240 x 155 voxels of 1 mm, `harness.data.presets.GLIOMA` says how files are called. For
research only, from the organisers.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.data.by_pattern import Files
from harness.data.case import Contents
from harness.errors import DataError, unknown

REGIONS = {
    "wt": (1, 2, 3, 4),  # whole tumour; 3 was part of the core until 2016, and the rim since 2023
    "tc": (1, 4),
    "et": (4,),
}
SINCE_2023 = {"wt": (1, 2, 3), "tc": (1, 3), "et": (3,)}
SYNONYMS = ({"flair", "t2f"}, {"t1", "t1n"}, {"t1ce", "t1c", "t1gd"}, {"t2", "t2w"})


@dataclass(frozen=True)
class Edition:
    """The meaning of the labels in the data of some years."""

    targets: Mapping[str, tuple[int, ...]]
    labels: frozenset[int]
    unsure: bool = False
    """Whether label 3 may be core or rim."""
    cavity: bool = False
    """Whether label 4 beside label 3 may also be a resection cavity."""


EDITIONS = {
    "2016": Edition({"wt": (1, 2, 3, 4), "tc": (1, 3, 4), "et": (4,)}, frozenset(range(5))),
    "2021": Edition({"wt": (1, 2, 4), "tc": (1, 4), "et": (4,)}, frozenset({0, 1, 2, 4})),
    "2023": Edition(SINCE_2023, frozenset(range(4))),
    "2025": Edition({**SINCE_2023, "rc": (4,)}, frozenset(range(5))),
    "ped": Edition({"wt": (1, 2, 3, 4), "tc": (1, 2, 3), "et": (1,)}, frozenset(range(5))),
}
YEARS = {
    **{str(year): "2016" for year in range(2012, 2017)},
    **{str(year): "2021" for year in range(2017, 2022)},
    "2023": "2023",
    "2024": "2025",
    "2025": "2025",
    "2024-ped": "ped",
}
UNTIL_2021 = Edition(REGIONS, frozenset(range(5)), unsure=True)
UNKNOWN = Edition(REGIONS, frozenset(range(5)), unsure=True, cavity=True)

_OLD = re.compile(r"(?i)brats_?(20)?(1[2-9]|2[01]|_|tcia)")
_NEW = re.compile(r"(?i)brats-([a-z]+)-")


def edition(cases: Sequence[str], asked: str) -> Edition:
    """Return the edition of the year `asked`, or the edition that the ids of the cases show.

    Raises UsageError for a year without one, DataError where ids are of several editions.
    """
    if asked:
        if asked not in YEARS:
            raise unknown("edition", asked, YEARS, where="--edition")
        return EDITIONS[YEARS[asked]]
    new = {match[1].upper() for case in cases if (match := _NEW.match(case))}
    old = [case for case in cases if _OLD.match(case)]
    if new and old:
        other = next(case for case in cases if _NEW.match(case))
        what = f"cases of editions with other labels: {old[0]} and {other}"
        remedy = "a folder for each, or --edition YEAR if labels were made alike"
        raise DataError(what, where="--edition", remedy=remedy, code="PFB-D11")
    if "PED" in new:
        what = "BraTS-PED numbers its labels in another way since 2024"
        remedy = "--edition 2023, or --edition 2024-ped"
        raise DataError(what, where="--edition", remedy=remedy, code="PFB-D11")
    if new:
        return EDITIONS["2025"]
    return UNTIL_2021 if old else UNKNOWN


def told_by_names(cases: Sequence[str], asked: str) -> str:
    """Return a sentence on what labels mean where that is told by the ids alone; else ""."""
    if asked or not cases or edition(cases, asked) is not EDITIONS["2025"]:
        return ""
    return (
        "the cases are named as in BraTS since 2023: label 3 is the enhancing rim, 4 a resection "
        "cavity and no tumour; --edition says another year"
    )


def contents(files: Files, asked: str) -> Contents:
    """Return the modalities by the names of the files, and the targets of the edition."""
    available = files.modalities
    spelled = {
        name: found
        for names in SYNONYMS
        for found in sorted(names & set(available))
        for name in names - set(available)
    }
    found = edition(files.cases, asked)
    return Contents(
        (spelled.get("t2", "t2"),),
        found.targets,
        "wt",
        found.labels,
        spelled=spelled,
        available=available,
        unsure=found.unsure,
        cavity=found.cavity,
    )

"""Whose scan a case is, and who trains, validates and tests then."""

import json
import os
from pathlib import Path

import pytest

from harness.data import given_split
from harness.data.divide import Division, Roster, divide
from harness.data.exclude import cases_of
from harness.data.patients import groups, read_table, suspicion
from harness.data.presets import PRESETS
from harness.data.split import Split, split
from harness.errors import DataError, UsageError

FRAMES = tuple(f"patient{n:03d}_frame{f:02d}" for n in range(1, 11) for f in (1, 12))
SEEDED = {"kind": "seeded", "seed": 0, "fold": 0, "group": "", "file": ""}


def divided(cases=FRAMES, patient="", folds=None, left_out=(), **changes) -> Division:
    return divide(Roster(tuple(cases), patient, folds or {}, left_out), **{**SEEDED, **changes})


def of(made: Split, part: str) -> set[str]:
    return {made.patient_of(case) for case in made.parts[part]}


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


# Rules


@pytest.mark.parametrize("kind", ["seeded", "official"])
@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_in_two_parts(kind, seed):
    made = divided(group="{patient}_frame#", kind=kind, seed=seed).split
    assert not of(made, "train") & of(made, "test")
    assert not of(made, "validation") & (of(made, "train") | of(made, "test"))
    assert sorted((*made.train, *made.validation, *made.test)) == sorted(FRAMES)
    assert made.patients["patient001_frame12"] == "patient001"


def test_over_all_folds_every_patient_tests_once():
    tested = [
        patient
        for fold in range(5)
        for patient in of(divided(group="{patient}_frame#", fold=fold).split, "test")
    ]
    assert sorted(tested) == [f"patient{n:03d}" for n in range(1, 11)]


def test_a_patient_with_one_case_each_changes_no_split():
    cases = [f"case_{n:03d}" for n in range(369)]
    alone = {case: case for case in cases}
    for kind in ("seeded", "official"):
        assert split(cases, kind=kind, patients=alone) == split(cases, kind=kind)
    assert divided(cases).split == split(cases)


@pytest.mark.parametrize(
    "preset, case, patient",
    [
        ("acdc", "patient001_frame12", "patient001"),
        ("bids", "sub-01_ses-2", "sub-01"),
        ("bids", "sub-01", "sub-01"),
    ],
)
def test_presets_know_their_patients(preset, case, patient):
    rule = PRESETS[preset].layout.patient
    other = f"{patient}_ses-9" if preset == "bids" else f"{patient}_frame99"
    assert groups("", [case, other], rule).patients[case] == patient


def test_since_2023_the_last_number_of_brats_is_a_time_point():
    from harness.data.presets import GLIOMA

    times = ["BraTS-GLI-00005-100", "BraTS-GLI-00005-101"]
    assert set(groups("", times, GLIOMA.patient).patients.values()) == {"BraTS-GLI-00005"}
    old = ["BraTS20_Training_001", "BraTS20_Training_002"]
    assert groups("", old, GLIOMA.patient).patients == {}


def test_a_persons_rule_has_to_fit_every_case():
    with pytest.raises(UsageError, match="does not fit case scan7") as caught:
        divided([*FRAMES, "scan7"], group="{patient}_frame#")
    assert (caught.value.code, caught.value.where) == ("PFB-C52", "split.group")


def test_too_few_patients_are_counted_as_patients():
    with pytest.raises(DataError, match="2 patients with 4 cases"):
        divided(FRAMES[:4], group="{patient}_frame#")


# A table of patients


def table(tmp_path: Path, lines: str, header: str = "case,patient,site,fold") -> str:
    return written(tmp_path / "patients.csv", f"{header}\n{lines}")


def test_a_table_says_patient_site_and_fold(tmp_path):
    lines = "\n".join(f"{case},{case[:10]},site{n % 2},{n // 4}" for n, case in enumerate(FRAMES))
    division = divided(group=table(tmp_path, lines), fold=1)
    assert division.split.patients["patient001_frame01"] == "patient001"
    assert division.split.sites["patient001_frame12"] == "site1"
    assert set(division.split.test) == set(FRAMES[4:8])
    assert division.folds == 5
    assert division.group.startswith("patients.csv ") and str(tmp_path) not in division.group


@pytest.mark.parametrize("sign", [";", "\t"])
def test_a_spreadsheet_may_part_columns_by_other_signs(tmp_path, sign):
    path = table(tmp_path, f"a{sign}p{sign}s\nb{sign}q{sign}t", f"case{sign}patient{sign}site")
    assert groups(path, ["a", "b"]).sites == {"a": "s", "b": "t"}


@pytest.mark.parametrize(
    "lines, said",
    [
        ("a,p,s\nb,p,t\nc,q,t", "patients.csv: patient p is at sites s (a) and t (b)"),
        ("a,p,s\nb,q,t\nc,r,t", "patients.csv: no case is left for the part 'train' of fold 1,"
                                 " in which t tests"),
        ("a,p,s\nb,q,s", "patients.csv: all cases are of site s"),
    ],
)  # fmt: skip
def test_sites_that_cannot_be_left_out_are_named(tmp_path, lines, said):
    rule = table(tmp_path, lines, "case,patient,site")
    cases = [line[0] for line in lines.splitlines()]
    with pytest.raises(UsageError) as caught:
        [divided(cases, group=rule, kind="site", fold=fold) for fold in (0, 1)]
    assert said in caught.value.what
    assert caught.value.where == "split.kind=site" and caught.value.remedy


@pytest.mark.parametrize(
    "lines, header, place",
    [
        ("a,p,s,0\nb,p", "case,patient,site,fold", "patients.csv:3: 2 values"),
        ("a,p\na,q", "case,patient", "patients.csv:3: case a stands in line 2"),
        ("a,\nb,q", "case,patient", "patients.csv:2: patient is empty"),
        ("a,Müller 1", "case,patient", "patients.csv:2: patient is empty or no plain name"),
        ("a,p,s,x", "case,patient,site,fold", "patients.csv:2: fold 'x' is no number"),
        ("a,p", "id,patient", "patients.csv:1: the header"),
        ("a,p", "case,who", "patients.csv: has no column 'patient'"),
        ("b,p", "case,patient", "patients.csv: has no line for case a"),
        ("", "", "patients.csv:1: the header"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path, lines, header, place):
    with pytest.raises(UsageError) as caught:
        groups(table(tmp_path, lines, header), ["a"])
    assert place in caught.value.what
    assert caught.value.remedy and caught.value.code == "PFB-C52"


@pytest.mark.parametrize(
    ("two", "said"),
    [(("Ann,a", "ann,a"), "patients Ann and ann"), (("p,N", "q,n"), "sites N and n")],
)
def test_names_that_differ_in_capitals_alone_are_refused(tmp_path, two, said):
    lines = "\n".join(
        f"{case},{named}" for case, named in zip("abcd", (*two, "x,b", "y,b"), strict=True)
    )
    with pytest.raises(UsageError, match=said) as caught:
        divided("abcd", group=table(tmp_path, lines, "case,patient,site"))
    assert caught.value.code == "PFB-C52"


def test_a_table_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match=r"gone\.csv: cannot be read"):
        groups("gone.csv", ["a"])


# Without a rule


def test_a_table_with_a_field_beyond_all_measure_is_refused(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("case,patient\na," + "x" * 200_000)
    with pytest.raises(UsageError, match="is no table"):
        read_table(path, "split.group")


@pytest.mark.parametrize("read", [lambda path: read_table(path, "split.group"), given_split.read,
                                  lambda path: cases_of([str(path)])])  # fmt: skip
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "f")
    with pytest.raises(UsageError):
        read(tmp_path / "f")


def test_ids_that_share_all_but_their_last_part_are_warned_of():
    [note] = divided().notes
    assert "patient001_frame01 and patient001_frame12" in note
    assert "split.group='{patient}_*'" in note
    assert divided(group="none").notes == ()


@pytest.mark.parametrize(
    "cases",
    [
        [f"BraTS20_Training_{n:03d}" for n in range(9)],
        [f"hippocampus_{n:03d}" for n in range(9)],
        [f"brats_{kind}_pat{n:04d}" for kind in ("2013", "tcia") for n in range(9)],
        ["Brats18_A_150_1", "Brats18_A_151_1", "Brats18_A_152_1"],
        [str(n) for n in range(9)],
    ],
)
def test_ids_that_only_begin_alike_are_not(cases):
    assert suspicion(cases) == ""


# What is written down


def test_split_json_holds_patients_where_there_are_any():
    made = divided(group="{patient}_frame#").split
    content = json.loads(json.dumps(made.to_json()))
    assert content["patients"]["patient003_frame01"] == "patient003"
    assert Split.from_json(content) == made
    assert set(divided([f"c{n}" for n in range(9)]).split.to_json()) == {
        "train", "validation", "test",
    }  # fmt: skip


def test_a_written_split_with_a_patient_in_two_parts_is_refused():
    content = {"train": ["a1"], "validation": ["b"], "test": ["a2"]}
    with pytest.raises(ValueError, match="patient a"):
        Split.from_json({**content, "patients": {"a1": "a", "a2": "a"}})


def test_a_pattern_that_fits_an_id_in_two_ways_is_refused():
    with pytest.raises(UsageError, match="and"):
        groups("{patient}_*", ["a_b_c"])

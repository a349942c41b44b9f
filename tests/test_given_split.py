"""Splits that a person brings: followed to the letter, or refused with what to do."""

import json
from pathlib import Path

import pytest

from harness.data.divide import Division, Roster, divide
from harness.data.split import split
from harness.errors import UsageError

CASES = tuple(f"c{n}" for n in range(10))
FOLDS = {case: n % 5 for n, case in enumerate(CASES)}
SEEDED = {"kind": "seeded", "seed": 0, "fold": 0, "group": "", "file": ""}


def divided(cases=CASES, folds=None, left_out=(), **changes) -> Division:
    return divide(Roster(tuple(cases), "", folds or {}, left_out), **{**SEEDED, **changes})


def written(tmp_path: Path, content: object, name: str = "splits_final.json") -> str:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def nnunet(cases=CASES) -> list[dict[str, list[str]]]:
    held_out = [[case for case in cases if FOLDS.get(case, 0) == fold] for fold in range(5)]
    return [{"train": [c for c in cases if c not in val], "val": val} for val in held_out]


def test_the_held_out_fold_of_nnunet_tests_and_a_tenth_of_the_rest_validates(tmp_path):
    made = divided(file=written(tmp_path, nnunet()), fold=2).split
    assert made.test == ("c2", "c7")
    assert len(made.validation) == 1
    assert sorted((*made.train, *made.validation, *made.test)) == sorted(CASES)


def test_our_own_split_is_taken_as_it_is(tmp_path):
    before = split(CASES, seed=3)
    after = divided(file=written(tmp_path, before.to_json(), "split.json")).split
    assert after.digest == before.digest


@pytest.mark.parametrize("kind", ["monai", "csv"])
def test_folds_of_a_data_list_and_of_a_table(tmp_path, kind):
    if kind == "csv":
        lines = "\n".join(f"{case},{fold}" for case, fold in FOLDS.items())
        file = written(tmp_path, f"case,fold\n{lines}\n", "folds.csv")
    else:
        entries = [
            {"image": f"i/{c}.nii.gz", "label": f"l/{c}.nii.gz", "fold": f}
            for c, f in FOLDS.items()
        ]
        file = written(tmp_path, {"training": entries}, "list.json")
    division = divided(file=file, fold=4)
    assert division.split.test == ("c4", "c9")
    assert division.folds == 5


def test_folds_that_a_data_set_comes_with_are_taken_and_said():
    division = divided(folds=FOLDS, fold=1)
    assert division.split.test == ("c1", "c6")
    [note] = division.notes
    assert "5 folds as dataset.json gives them" in note
    assert divided(folds=FOLDS, file="none").split == split(CASES)


def test_a_file_is_written_down_by_name_and_content_not_by_place(tmp_path):
    first = divided(file=written(tmp_path, nnunet())).file
    other = divided(file=written(tmp_path, json.dumps(nnunet(), indent=1))).file
    assert first.startswith("splits_final.json ") and str(tmp_path) not in first
    assert first != other


def test_cases_that_are_left_out_may_stand_in_the_split(tmp_path):
    here = [case for case in CASES if case != "c3"]
    file = written(tmp_path, nnunet())
    assert "c3" not in divided(here, left_out=("c3",), file=file).split.train
    with pytest.raises(UsageError, match="case c3 is not in the data"):
        divided(here, file=file)


def test_cases_in_no_part_are_refused_with_the_way_to_leave_them_out(tmp_path):
    with pytest.raises(UsageError, match="case new is in no part") as caught:
        divided([*CASES, "new"], file=written(tmp_path, nnunet()))
    assert (caught.value.code, caught.value.remedy[:13]) == ("PFB-C53", "--exclude new")


def test_a_patient_in_two_parts_of_a_given_split_is_refused(tmp_path):
    cases = [f"p{n // 2}_{n % 2}" for n in range(10)]
    halves = [{"train": cases[1:], "val": cases[:1]}]
    with pytest.raises(UsageError, match=r"patient p0 is in .*p0_1.* and test \(p0_0\)"):
        divided(cases, file=written(tmp_path, halves), group="{patient}_#")
    assert divided(cases, file=written(tmp_path, halves), group="none").split.test == ("p0_0",)


def test_validation_is_cut_by_patient(tmp_path):
    cases = [f"p{n // 2}_{n % 2}" for n in range(20)]
    file = written(tmp_path, [{"train": cases[2:], "val": cases[:2]}])
    made = divided(cases, file=file, group="{patient}_#").split
    assert len(made.validation) == 2


@pytest.mark.parametrize("fold", [5, 99])
def test_a_fold_that_the_file_does_not_have_is_refused(tmp_path, fold):
    with pytest.raises(UsageError, match="folds 0 to 4"):
        divided(file=written(tmp_path, nnunet()), fold=fold)


@pytest.mark.parametrize(
    "content",
    [
        "no json", [], [{"train": ["a"]}], [{"train": ["a"], "val": ["a"]}],
        [{"train": [], "val": ["a"]}], {"train": ["a"]}, {"training": []}, "[[[",
        {"training": [{"image": "a.nii", "label": "b.nii"}]}, "3",
        {"train": ["a"], "validation": ["b"], "test": ["a"]},
    ],
)  # fmt: skip
def test_what_is_no_split_is_refused_by_name(tmp_path, content):
    with pytest.raises(UsageError) as caught:
        divided(file=written(tmp_path, content))
    assert caught.value.code == "PFB-C53"
    assert caught.value.what.startswith("splits_final.json: ") and caught.value.remedy


def test_folds_with_a_gap_are_refused(tmp_path):
    with pytest.raises(UsageError, match="folds are 0, 2"):
        divided(file=written(tmp_path, "case,fold\nc0,0\nc1,2\n", "f.csv"))


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match=r"gone\.json: cannot be read: No such file"):
        divided(file="gone.json")


def test_a_case_that_trains_and_tests_is_named(tmp_path):
    both = [{"train": ["a", "b"], "val": ["b"]}]
    with pytest.raises(UsageError, match="fold 0 has case b in 'train' and in 'val'"):
        divided(file=written(tmp_path, both))

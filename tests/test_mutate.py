"""What tests/mutate.py changes, and that its list fits the code."""

import ast

import mutate
import pytest
import yaml

from harness.runs.spec import RESULT_CODE

LISTS = yaml.safe_load(mutate.LIST.read_text(encoding="utf-8"))
STATISTICS = ("intervals", "rankings", "resampling", "scores", "misses", "standings", "compare")


def test_every_file_that_can_move_a_number_has_tests_to_notice_it():
    numbers = {
        path.relative_to(mutate.ROOT).as_posix()
        for place in RESULT_CODE
        for path in (mutate.ROOT / place).rglob("*.py")
        if mutate.mutants(path.relative_to(mutate.ROOT).as_posix())
    }
    numbers |= {f"harness/results/{name}.py" for name in STATISTICS}
    assert numbers <= set(LISTS["tests"])
    named = {line.split()[0] for lines in LISTS["tests"].values() for line in lines}
    assert all((mutate.ROOT / "tests" / name).is_file() for name in named)


@pytest.mark.parametrize("file", sorted({name.split()[0] for name in LISTS["equal"]}))
def test_what_is_called_equal_is_a_change_of_the_code_as_it_is(file):
    known = {mutant.name for mutant in mutate.mutants(file)}
    named = {name for name in LISTS["equal"] if name.startswith(f"{file} ")}
    assert named <= known and all(LISTS["equal"][name] for name in named)


def test_each_mutant_changes_one_expression_and_is_a_program():
    file = "harness/data/wording.py"
    source = (mutate.ROOT / file).read_bytes()
    found = {mutant.name.partition(": ")[2]: mutant for mutant in mutate.mutants(file)}
    assert "number == 1 -> number != 1" in found and "number > 0 -> number >= 0" in found
    for mutant in found.values():
        assert ast.dump(ast.parse(mutant.applied(source))) != ast.dump(ast.parse(source))


def test_what_is_drawn_depends_on_the_seed_and_on_no_other_mutant():
    files = ["harness/data/wording.py", "harness/data/split.py"]
    both = {"tests": {file: [] for file in files}}
    drawn = mutate.drawn(10, 3, [], both)
    assert drawn == mutate.drawn(10, 3, [], both) != mutate.drawn(10, 4, [], both)
    of_one = {each.name for each in drawn if each.file == files[1]}
    assert of_one <= {each.name for each in mutate.drawn(10, 3, [files[1]], both)}

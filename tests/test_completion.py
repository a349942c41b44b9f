"""What the shell offers after Tab, asked in the words that bash, zsh and fish use."""

import os
import subprocess
import sys

import pytest

ASK = (
    "import sys; sys.argv[0] = 'pfbench'\n"
    "from harness.cli import main\n"
    "try: main()\n"
    "except SystemExit: pass\n"
    "heavy = {'torch', 'ray', 'mlflow', 'pandas', 'scipy', 'matplotlib', 'optuna'}\n"
    "print('HEAVY', sorted(heavy & set(sys.modules)), file=sys.stderr)"
)


def ask(**environment):
    """Standard output of a pfbench that a shell asks for completions; it loads nothing heavy."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    assert done.stderr == "HEAVY []\n"
    return done.stdout


def offered(typed):
    """What bash would offer at the end of the line `typed`."""
    words = typed.split(" ")
    answer = ask(
        _PFBENCH_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(words) - 1)
    )
    return answer.split()


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("pfbench run --suite t", ["table1", "table2", "table3", "table4", "table5"]),
        ("pfbench run --suite table5 --model re", ["resunet3d", "resunet3d_up"]),
        ("pfbench run --dataset p", ["phantom", "prostate", "pancreas"]),
        ("pfbench run --suite table5 --profile ", ["quick", "small", "paper"]),
        ("pfbench tune l", ["loss-weights", "lr"]),
        ("pfbench list mo", ["models"]),
        ("pfbench init ", ["model", "metric", "dataset", "suite"]),
        ("pfbench data check DIR --dataset li", ["liver", "lits"]),
    ],
)
def test_the_shell_offers_the_names_that_fit_what_was_typed(typed, names):
    assert offered(typed) == names


def test_rows_are_those_of_the_suite_on_the_line():
    assert offered("pfbench run --suite table2 --row ") == ["none", "sgm", "sgm+encoder"]


def test_zsh_shows_what_a_name_stands_for():
    answer = ask(_PFBENCH_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="pfbench run --suite tab")
    assert '"table5":"Table V' in answer

"""The catalogue of bad inputs, C1-C18: wrong options and files end as one sentence and exit code 2.

Not here, because there is no such thing to get wrong:

C4   --resume and --fresh: the same command continues, another --out begins anew
C8   --seed: trials are numbered from 0 by --seeds; the seeds of split and phantom are settings
"""

import os
import re
import subprocess
import sys
import time
import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import pytest
from helper_in_process import contents, pfbench
from helper_made_run import MadeRun

from harness.errors import UsageError
from harness.experiments.session import refuse_nested
from harness.runs.run_folder import refuse_among_records
from harness.runs.yaml_file import parse_value

pytestmark = pytest.mark.filterwarnings("ignore")  # those of a trial belong to its log

TOP = Path(__file__).parent.parent
ONE_TRIAL = ["--model", "resunet3d_up", "--set", "phantom.cases=3", "--epochs", 1,
             "--executor", "inline", "--no-mlflow"]  # fmt: skip
RUN = ["run", "--suite", "table2", *ONE_TRIAL]  # a table that shows no times


def refused(out: Path, *arguments: object, code: str = "", says: list[str]) -> str:
    """The command ends with exit code 2 and what it `says`, and leaves nothing behind."""
    done = pfbench(*arguments, "--out", out, expect=2)
    assert not out.exists()
    assert done.out == ""
    assert "Try" in done.said or "Known:" in done.said
    for words in (*says, *([f"error[PFB-{code}]: "] if code else [])):
        assert words in done.said
    return done.said


OPTIONS = [
    ("C1", ["--suite", "tabel5"], ["unknown suite 'tabel5'", "Did you mean 'table5'?", "Known: "]),
    ("C1", ["--model", "unet3"], ["unknown model 'unet3'", "Did you mean 'unet3d'?"]),
    ("C1", ["--dataset", "brast"], ["unknown dataset 'brast'", "Did you mean 'brats'?"]),
    ("C1", ["--target", "core"], ["unknown target 'core'", "Known: et, tc, wt"]),
    ("C1", ["--profile", "papr"], ["unknown profile 'papr'", "Did you mean 'paper'?"]),
    ("C1", ["--executor", "slurm"], ["unknown executor 'slurm'"]),
    ("C2", ["--gpus-per-trial", 3], ["requested 3 GPUs, 0 visible (CUDA_VISIBLE_DEVICES=)"]),
    ("C2", ["--gpus-per-trial", 0.3], ["--gpus-per-trial: requested 0.3 GPUs, 0 visible"]),
    ("C2", ["--device", "cuda"], ["requested cuda, 0 GPUs visible", "Try: --device cpu"]),
    ("C3", ["--gpus-per-trial", -1], ["--gpus-per-trial: -1 is not a positive number"]),
    ("C3", ["--gpus-per-trial", "nan"], ["--gpus-per-trial: nan is not a positive number"]),
    ("C3", ["--gpus-per-trial", "inf"], ["--gpus-per-trial: inf is not a positive number"]),
    ("C3", ["--cpus-per-trial", 0], ["--cpus-per-trial: 0 is not a positive number"]),
    ("C3", ["--cpus-per-trial", "nan"], ["--cpus-per-trial: nan is not a positive number"]),
    ("C3", ["--cpus-per-trial", 1e6], ["requested 1e+06 processors, this machine has"]),
    ("C3", ["--max-concurrent", 0], ["'--max-concurrent'", "greater than or equal to 1"]),
    ("C7", ["--epochs", 0], ["'--epochs'", "greater than or equal to 1"]),
    ("C7", ["--epochs", -1], ["'--epochs'", "greater than or equal to 1"]),
    ("C7", ["--epochs", 10**9], ["'--epochs'", "less than or equal to 100000"]),
    ("C7", ["--epochs", "abc"], ["'--epochs'", "valid integer"]),
    ("C7", ["--set", "protocol.epochs=1e9"], ["--set: protocol.epochs=1000000000.0: "]),
    ("C8", ["--seeds", 0], ["'--seeds'", "greater than or equal to 1"]),
    ("C8", ["--seeds", 2**40], ["'--seeds'", "less than or equal to 1000"]),
    ("C8", ["--set", "split.seed=-1"], ["--set: split.seed=-1: "]),
    ("C8", ["--set", f"phantom.seed={2**40}"], ["--set: phantom.seed=", "less than 4294967296"]),
    ("C9", ["--set", "protocol.lerning_rate=1"], ["Did you mean 'protocol.learning_rate'?"]),
    ("C9", ["--set", "epochs"], ["'epochs' is not of the form key.path=value"]),
    ("C9", ["--set", "protocol.epochs.x=1"], ["--set: protocol.epochs={'x': 1}: "]),
    ("C10", ["--set", "protocol.epochs=[1"], ["--set protocol.epochs: expected ',' or ']'"]),
    ("C10", ["--set", "a=!!python/object/apply:os.getcwd []"], ["--set a: unsafe tag"]),
    ("C12", ["--set", "protocol.epochs=yes"], ["a number is needed, not yes or no"]),
    ("C14", ["--set", "systems.pfseg.weights.srt=-1"], ["the weight of L_srt is -1"]),
    ("C14", ["--set", "systems.pfseg.weights.srt=.nan"], ["the weight of L_srt is nan"]),
    ("C14", ["--set", "systems.pfseg.weights.srt=.inf"], ["the weight of L_srt is inf"]),
    ("C14", ["--set", "systems.pfseg.weights.srt=half"], ["the weight of L_srt is 'half'"]),
    ("C14", ["--set", "systems.pfseg.widths=[100000,100000,8,8,8]"], ["at most 10,000,000,000"]),
    ("C14", ["--set", "systems.pfseg.widths=[1000000000,8,8,8,8]"], ["systems.pfseg: "]),
    ("C14", ["--set", "systems.pfseg.widths=[-8,8,8,8,8]"], ["systems.pfseg: "]),
    ("C14", ["--set", "systems.pfseg.weights.dice=1"], ["there is no weight 'dice'"]),
]  # fmt: skip


@pytest.mark.parametrize(("case", "arguments", "says"), OPTIONS)
def test_a_wrong_option_is_named(tmp_path, monkeypatch, case, arguments, says):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    models = ["--model", "pfseg"] if case == "C14" else []
    refused(tmp_path / "out", *RUN, *models, *arguments, says=says)


@pytest.mark.parametrize(
    "weights", ["{srt: 0, sgl: 0, tel: 0, ssl: 0}", "{srt: 1, sgl: 2}"], ids=["zero", "sum of 3"]
)
def test_c14_weights_need_no_sum_because_the_segmentation_itself_counts_1(tmp_path, weights):
    change = f"systems.pfseg.weights={weights}"
    pfbench(*RUN, "--model", "pfseg", "--set", change, "--dry-run", "--out", tmp_path)


CODES = {"C7": "C09", "C9": "C09", "C12": "C09"}  # what a setting may be is one code
FILES = [
    ("C9", "protocol:\n  epochs: 3\n  lerning_rate: 1", 3,
     ["unknown key 'protocol.lerning_rate'", "Did you mean 'protocol.learning_rate'?"]),
    ("C9", "no: 3", 1, ["unknown key 'no'"]),
    ("C9", "? \n: 3", 1, ["unknown key ''"]),
    ("C9", "epochs: 3", 1, ["unknown key 'epochs'", "Known: data, exceptions, phantom, profile"]),
    ("C9", "\nsystems:\n  unet4d: {}", 3, ["unknown model 'unet4d'", "Did you mean 'unet3d'?"]),
    ("C9", "exceptions:\n  unet3d:\n    lr: 1", 3, ["unknown key 'lr'"]),
    ("C9", "protocol: 3", 1, ["protocol=3: "]),
    ("C7", "protocol:\n  epochs: 0", 2, ["protocol.epochs=0: ", "greater than or equal to 1"]),
    ("C10", "a: 1\nb: !!python/object/apply:os.system ['touch MARKER']", 2,
     ["unsafe tag '!!python/object/apply:os.system'"]),
    ("C10", "a: !!python/name:os.system", 1, ["unsafe tag"]),
    ("C10", "a: [1\nb: 2", 2, ["expected ',' or ']'"]),
    ("C10", "\t- x", 1, ["cannot start any token"]),
    ("C10", "? [1, 2]\n: 3", 1, ["a key that is no word"]),
    ("C10", "a: !!timestamp 2020-99-99", 1, ["month must be in 1..12"]),
    ("C11", "protocol: {epochs: 3}\n\nprotocol: {epochs: 4}", 3,
     ["key 'protocol' stands twice, lines 1 and 3"]),
    ("C11", "protocol:\n  epochs: 3\n  epochs: 4", 3, ["'epochs' stands twice, lines 2 and 3"]),
    ("C12", "protocol:\n  epochs: no", 2, ["protocol.epochs=False: a number is needed"]),
    ("C12", "protocol:\n  learning_rate: fast", 2, ["protocol.learning_rate='fast': "]),
    ("C12", "protocol:\n  learning_rate: .nan", 2, ["protocol.learning_rate=nan: "]),
    ("C13", "a: &a [1]\nb: [*a, *a]", 2, ["aliases (*a) are not accepted"]),
    ("C13", "a: " + "[" * 10_000, 1, ["nested more than 20 deep"]),
]  # fmt: skip


@pytest.mark.parametrize(("case", "text", "line", "says"), FILES)
def test_a_wrong_settings_file_is_named_with_its_line(
    tmp_path, monkeypatch, case, text, line, says
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    refused(tmp_path / "out", *RUN, "--config", path, code=CODES.get(case, case),
            says=[f"{path}:{line}: ", *says])  # fmt: skip
    assert [entry.name for entry in tmp_path.iterdir()] == ["suite.yaml"]  # no MARKER


def test_c9_every_fault_of_a_file_is_told_at_once(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text("protocol:\n  epochs: 0\n  lr: 1\nsplit: {fold: -1}\n")
    done = pfbench(*RUN, "--config", path, "--out", tmp_path / "out", expect=2)
    first, *lines = done.err.splitlines()
    assert "3 faults in the settings" in first
    assert [re.search(r"suite\.yaml:(\d+): ", line)[1] for line in lines] == ["2", "3", "4"]


@pytest.mark.parametrize("text", ["- 1", "", "words", "3"])
def test_c9_a_settings_file_without_settings(tmp_path, text):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    says = [str(path), "does not hold a mapping"]
    refused(tmp_path / "out", *RUN, "--config", path, code="C09", says=says)


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda path: None, "C10", "no such file"),
        (lambda path: path.mkdir(), "C10", "is not a file"),
        (os.mkfifo, "C10", "is not a file"),
        (lambda path: path.write_bytes(b"\xff\xfe\0a"), "C10", "is no text"),
        (lambda path: path.write_bytes(b"a: \0"), "C10", "is no YAML"),
        (lambda path: os.truncate(path.touch() or path, 100 << 20), "C13", "larger than 50 kB"),
    ],
    ids=["missing", "folder", "pipe", "not UTF-8", "NUL", "100 MB"],
)
def test_c10_c13_what_is_no_settings_file(tmp_path, make, code, says):
    path = tmp_path / "suite.yaml"
    make(path)
    refused(tmp_path / "out", *RUN, "--config", path, code=code, says=[str(path), says])


def test_c12_numbers_are_numbers_however_they_are_written(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text("protocol: {learning_rate: 1e-3, epochs: 08, augment: no}\n"
                    "systems: {point_unet: {learning_rate_factor: 5E0}}")  # fmt: skip
    pfbench(*RUN, "--model", "point_unet", "--config", path, "--dry-run", "--out", tmp_path)


def test_c13_a_billion_laughs_cost_nothing(tmp_path):
    path = tmp_path / "suite.yaml"
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path.write_text("\n".join(lines))
    pfbench("list", "suites")  # imports are not the file's
    began = time.perf_counter()
    tracemalloc.start()
    refused(tmp_path / "out", *RUN, "--config", path, code="C13", says=["aliases (*a0)"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.perf_counter() - began < 1
    assert peak < 100e6


SPACES = [
    ("model: unet3d\nspace: {}", "the space is empty"),
    ("model: unet3d", "not model and space"),
    ("model: unet4d\nspace: {lr: {low: 1, high: 2}}", "Did you mean 'unet3d'?"),
    ("model: unet3d\nspace: {lr: {low: 2, high: 1}}", "the low end has to be the smaller"),
    ("model: unet3d\nspace: {lr: {low: 1, high: 1}}", "the low end has to be the smaller"),
    ("model: unet3d\nspace: {lr: {low: 0, high: 1, log: true}}", "starts above 0"),
    ("model: unet3d\nspace: {lr: {low: .nan, high: 1}}", "have to be finite"),
    ("model: unet3d\nspace: {lr: {low: tiny, high: 1}}", "space.lr"),
    ("model: unet3d\nspace: {lr: {low: 1}}", "space.lr"),
    ("model: unet3d\nspace: {lr: 3}", "space.lr"),
    ("model: unet3d\nspace: {protocol.speed: {low: 1, high: 2}}", "no number of this name"),
    ("model: unet3d\nspace: {w_srt: {low: 1, high: 2}}", "no number of this name"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), SPACES)
def test_c15_a_search_space_that_cannot_be_is_refused_before_ray_starts(tmp_path, text, said):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    refused(tmp_path / "out", "tune", "space", "--space", path, says=[said])
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


ENVIRONMENTS = [
    ("C16", "RAY_ADDRESS", "10.0.0.1:6379", "RAY_ADDRESS=10.0.0.1:6379 names a cluster"),
    ("C16", "RAY_ADDRESS", "ray://me:s3cr3t@host", "RAY_ADDRESS=ray://***@host names a cluster"),
    ("C17", "RAY_USAGE_STATS_ENABLED", "true", "RAY_USAGE_STATS_ENABLED=true, but Ray knows 0"),
]


@pytest.mark.parametrize(("case", "variable", "value", "said"), ENVIRONMENTS)
@pytest.mark.parametrize("command", [["run", "--suite", "table5"], ["tune", "lr"]], ids=" ".join)
def test_c16_c17_variables_that_ray_would_follow(
    tmp_path, monkeypatch, command, case, variable, value, said
):
    monkeypatch.setenv(variable, value)
    says = [said, f"Try: unset {variable}"]
    assert "s3cr3t" not in refused(tmp_path / "out", *command, code=case, says=says)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run in a folder whose name is hard to handle."""
    out = tmp_path_factory.mktemp("run") / "räum lich 'quoted'" / ("x" * 255)
    pfbench(*RUN, "--out", out)
    return out


def test_c5_a_folder_of_another_run_stays_as_it_is(finished):
    before = contents(finished)
    done = pfbench(*RUN, "--epochs", 2, "--out", finished, expect=2)
    assert "error[PFB-C05]: " in done.said and str(finished) in done.err
    assert "protocol.epochs: 1 → 2" in done.said and "Try: another --out" in done.said
    log = {"run.log", "driver.lock"}
    assert {k: v for k, v in contents(finished).items() if k not in log} == {
        k: v for k, v in before.items() if k not in log
    }


def test_c18_blanks_quotes_accents_and_names_of_255_bytes_work(finished):
    assert "resunet3d_up" in pfbench("report", finished, "--json").out


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("FILE", "is a file, not a folder"),
        ("FILE/below", "cannot be created: not a directory"),
        ("/sys/pfbench/out", "cannot be created"),
        ("x" * 256, "cannot be created: file name too long"),
    ],
)
def test_c6_an_output_folder_that_cannot_be(tmp_path, place, says):
    (tmp_path / "FILE").write_text("precious")
    done = pfbench(*RUN, "--out", tmp_path / place, expect=7)
    assert "error[PFB-S02]: " in done.err and says in done.err and "Try: pass --out" in done.err
    assert str(tmp_path / place) in done.err
    assert contents(tmp_path).keys() == {"FILE"}
    assert (tmp_path / "FILE").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_c6_an_output_folder_that_is_not_ours(tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    done = pfbench(*RUN, "--out", tmp_path / "out", expect=7)
    assert "is not writable" in done.err


def test_c18_a_name_that_is_no_utf_8(tmp_path):
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    done = pfbench(*RUN, "--out", place, expect=2)
    assert "error[PFB-C18]: " in done.err and "caf\\udce9" in done.err
    assert list(tmp_path.iterdir()) == []


def test_c18_any_locale_will_do():
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", "list", "models"],
        env={**os.environ, **plain, "PYTHONPATH": str(TOP)},
        capture_output=True,
        check=True,
    )
    assert b"ResUNet3D\\u2191" in done.stdout


def codes(text: str) -> set[str]:
    """Every code of the form "PFB-C05" or "C05" in quotes."""
    return {f"PFB-{code}" for code in re.findall(r"""["`](?:PFB-)?([CDVKSRMX]\d\d)["`]""", text)}


def test_every_code_is_explained_and_every_explanation_has_a_code():
    sources = [*TOP.glob("harness/**/*.py"), *TOP.glob("tuning/*.py")]
    given = set.union(*(codes(path.read_text()) for path in sources))
    assert codes((TOP / "docs" / "errors.md").read_text()) == given


@pytest.mark.parametrize(
    ("out", "cache", "root"),
    [("X", "Y", "X"), ("X", "Y", "X/scans"), ("Y", "X", "X"), ("RUN/trials/mine", "Y", None)],
)
def test_folders_within_each_other_are_refused(tmp_path, out, cache, root):
    (tmp_path / "X" / "scans").mkdir(parents=True)
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "run.json").write_text("{}")
    with pytest.raises(UsageError) as refused:
        refuse_nested(tmp_path / out, tmp_path / cache, root and tmp_path / root)
    assert refused.value.code == "PFB-C46"


@pytest.mark.parametrize(
    ("place", "refused"),
    [("run.json", True), ("mlflow.db", True), ("trials/a/result.json", True), ("trials/new", True),
     ("cache/x.html", True), ("report.html", False), ("mine.tex", False), ("masks", False),
     ("../run.json", False)],
)  # fmt: skip
def test_what_is_written_replaces_no_record_of_a_run_and_lies_among_none(tmp_path, place, refused):
    run = tmp_path / "run"
    (run / "trials" / "a").mkdir(parents=True)
    for name in ("run.json", "mlflow.db", "trials/a/result.json", "report.html"):
        (run / name).write_text("{}")
    with pytest.raises(UsageError) if refused else nullcontext():
        refuse_among_records(run / place, "--out")


def test_a_report_does_not_replace_the_record_that_it_is_made_from(tmp_path):
    run = MadeRun(tmp_path / "run", cases=4, rows=["unet3d"])
    before = (run.path / "run.json").read_bytes()
    done = pfbench("report", run.path, "--out", run.path / "run.json", expect=2)
    assert "PFB-C46" in done.said
    assert (run.path / "run.json").read_bytes() == before


def test_a_cache_in_the_output_folder_and_a_comparison_in_a_study_are_not_refused(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "run.json").write_text("{}")
    refuse_nested(tmp_path / "study" / "comparison", tmp_path / "study" / "cache", tmp_path / "X")


@pytest.mark.parametrize("value", ["010", "1:30", "1_000", "0b1", "-007"])
def test_numbers_that_versions_of_yaml_read_differently_are_refused(value):
    with pytest.raises(UsageError, match="read differently by different versions of YAML"):
        parse_value(value, "--set")


@pytest.mark.parametrize(
    ("value", "number"), [("0", 0), ("-3", -3), ("1e-3", 0.001), (".5", 0.5), ("0x1f", 31)]
)
def test_numbers_are_those_of_yaml_1_2(value, number):
    assert parse_value(value, "--set") == number

"""The commands in the documents: the command line itself reads each, and `-m long` runs it."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import nibabel
import numpy as np
import pytest
import torch
import yaml
from helper_documents import PAGES, TOP, in_blocks, in_sentences, leaf, options
from helper_ports import free_port

from harness.data import phantom
from harness.runs.settings import PROFILES, resolve

LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


@pytest.mark.parametrize("shown", in_blocks(), ids=str)
def test_a_command_in_a_block_is_understood_with_every_name_in_it(shown):
    command, rest = leaf(shown.words)
    if "--install-completion" in rest:  # to read it would be to do it
        assert "--install-completion" in options(command)
        return
    context = command.make_context("pfbench", rest)
    foreign = bool(context.params.get("plugins"))
    for param in command.params:
        value = context.params[param.name]
        values = value if isinstance(value, list | tuple) else [value]
        if param._custom_shell_complete and not (foreign and param.name in ("model", "models")):
            if param.name == "target":
                values = str(values[0]).split(",")
            known = {item.value for item in param.shell_complete(context, "")}
            assert known.issuperset(filter(None, values)), f"{param.name}: {known}"
    if not foreign:
        profile, changes = map(context.params.get, ("profile", "changes"))
        resolve(profile or "quick", None, changes or [], None)


REFUSED = {"repair"}  # docs/errors.md says why there is none


@pytest.mark.parametrize(
    "shown", [one for one in in_sentences() if one.words[0] not in REFUSED], ids=str
)
def test_a_command_in_a_sentence_exists_with_its_options(shown):
    command, rest = leaf(shown.words)
    assert options(command).issuperset(word for word in rest if word.startswith("-"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_links_between_documents_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        made = "docs/api/" in target or target.startswith("api/")  # when the site is built
        assert made or "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize(
    "study", sorted((TOP / "docs" / "reference").glob("*.md")), ids=lambda p: p.stem
)
def test_a_reference_study_shows_the_tables_of_its_records(study):
    page, records = study.read_text(), study.with_suffix("")
    shown = [line for line in (records / "table.md").read_text().splitlines() if line[:1] == "|"]
    assert len(shown) > 4 and [line for line in shown if line not in page] == []


def test_every_setting_that_the_protocol_page_names_has_the_value_it_says():
    paper, quick = (PROFILES[name].protocol for name in ("paper", "quick"))
    page = (TOP / "docs" / "protocol.md").read_text()
    assert f"| {paper.learning_rate:.0e}".replace("-0", "-") in page
    assert f"(profile `quick`: {quick.learning_rate:.0e})".replace("-0", "-") in page
    assert f"at most {paper.epochs} (`quick`: {quick.epochs})" in page
    assert f"after {paper.plateau_epochs} epochs" in page
    assert f"ends at {paper.learning_rate_floor:.0e}".replace("-0", "-") in page


def test_the_switches_of_the_framework_are_those_on_the_page():
    from harness.systems.catalogue import SYSTEMS

    page = (TOP / "docs" / "systems.md").read_text()
    for switch, value in SYSTEMS["pfseg"].options.items():
        [line] = re.findall(rf"^\| `{switch}` \| (.*?) \|", page, re.MULTILINE)
        if not isinstance(value, dict):
            assert line.split("`")[1] == str(value).lower(), f"the default of {switch}"


def test_what_the_image_copies_is_there_and_its_base_runs_the_package():
    lines = (TOP / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    sources = [source for words in copied for source in words if not source.startswith("--")]
    assert sources
    for source in sources:
        assert (TOP / source).exists(), source
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    included = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in included} <= set(sources)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users and users[-1] not in ("root", "0")
    [base] = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert ":" in base and not base.endswith(":latest")


def test_the_citation_has_what_the_format_requires():
    cited = yaml.safe_load((TOP / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "license"} <= set(cited)
    [paper] = cited["references"]
    assert {"type", "title", "authors"} <= set(paper)
    assert paper["identifiers"][0]["value"] == "arXiv:2210.14645"


def test_a_commit_is_checked_with_the_tools_of_ci_and_no_others():
    [repository] = yaml.safe_load((TOP / ".pre-commit-config.yaml").read_text())["repos"]
    ci = (TOP / ".ci" / "run").read_text().splitlines()
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert any(line.startswith(hook["entry"]) for line in ci), hook["entry"]


# What a command in the documents is run with: small enough for minutes, and nothing else changed.
SMALL_RUN = ["--epochs", "1", "--executor", "inline", "--measure-repeats", "1", "--no-mlflow"]
SMALL_STUDY = ["--epochs", "1", "--trials", "2", "--no-compare", "--no-mlflow"]
SMALL_PLAN = ["--profile", "quick", "--limit", "0.1", "--executor", "inline",
              "--set", "phantom.cases=5"]  # fmt: skip
ONE_ROW = {
    "table1": ["--row", "central"],
    "table3": ["--row", "res/srt"],
    "table5": ["--model", "resunet3d_up"],
}
ELSEWHERE = {"--address": "a cluster, as test_three_machines.py has"}  # word -> what it needs
if not torch.cuda.is_available():
    ELSEWHERE["--gpus-per-trial"] = "a GPU"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """What the words in capitals stand for."""
    top = tmp_path_factory.mktemp("docs")
    made = {name: str(top / name) for name in ("DIR", "RUN_DIR", "OTHER_RUN_DIR", "STUDY_DIR")}
    run = ["run", "--suite", "table5", *SMALL_RUN, "--set", "phantom.cases=5"]
    for model in ("pfseg", "resunet3d"):
        run += ["--model", model]
    study = ["tune", "loss-weights", *SMALL_STUDY, "--set", "phantom.cases=5"]
    call(top, "data", "make-phantom", made["DIR"], "--cases", "5", "--size", "48x80x80")
    call(top, *run, "--out", made["RUN_DIR"])
    call(top, *run, "--cache", str(top / "RUN_DIR" / "cache"), "--out", made["OTHER_RUN_DIR"])
    call(top, *study, "--out", made["STUDY_DIR"])
    livers(Path(made["DIR"]), top / "LIVERS")
    tested = json.loads((top / "RUN_DIR" / "split.json").read_text())["test"]
    for name in ("REFERENCES", "PREDICTED", "OTHER_PREDICTED"):
        references(tested, top / name)
        made[name] = str(top / name)
    return made | {
        "LIVERS": str(top / "LIVERS"),
        "SCANS": made["DIR"],
        "/data": made["DIR"],
        "phantom_003": tested[0],
        "pfbench-runs/tune-loss-weights-phantom-quick/best.yaml": f"{made['STUDY_DIR']}/best.yaml",
        "pfbench-runs/table5-phantom-quick": made["RUN_DIR"],
    }


@pytest.mark.long
@pytest.mark.parametrize("shown", in_blocks(), ids=str)
def test_a_command_in_a_block_runs(shown, places, tmp_path):
    needs = [what for word, what in ELSEWHERE.items() if word in shown.words]
    if needs:
        pytest.skip(f"needs {needs[0]}")
    shutil.copytree(TOP / "docs", tmp_path / "docs")
    (tmp_path / "space.yaml").write_text(block("tuning.md", "space.yaml"))
    (tmp_path / "mine.py").write_text(block("plugins.md", "mine.py"))
    (tmp_path / "nnunet.yaml").write_text(block("other_tools.md", "nnunet.yaml"))
    typed = ["LIVERS" if word == "DIR" and {"liver", "folder"} & set(shown.words) else word
             for word in shown.words]  # fmt: skip
    words = [places.get(word, word) for word in typed]
    if words[0] == "init":
        (tmp_path / "mine.py").unlink()
    if words[0] == "ui":
        serve(tmp_path, *words)
        return
    if words[0] == "--install-completion":
        complete(tmp_path, *words)
        return
    call(tmp_path, *words, *small(words))


def livers(patients: Path, out: Path) -> None:
    """The lesions of `patients` as one organ, in two folders of equal names."""
    for folder in ("images", "labels"):
        (out / folder).mkdir(parents=True)
    for patient in sorted(path for path in patients.iterdir() if path.is_dir()):
        name = f"{patient.name}.nii.gz"
        shutil.copy(patient / f"{patient.name}_t2.nii.gz", out / "images" / name)
        mask = nibabel.load(patient / f"{patient.name}_seg.nii.gz")
        whole = (np.asarray(mask.dataobj) > 0).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(whole, mask.affine), out / "labels" / name)


def references(cases: list[str], out: Path) -> None:
    """The label maps of phantoms in the quick profile, on the voxels of their scans."""
    out.mkdir()
    for case in cases:
        number = int(case.rpartition("_")[2]) - 1
        made = phantom.scan(0, number, (32, 64, 64), ("flair",), (4 * 155 / 128, 3.0, 3.0))
        image = nibabel.Nifti1Image(made.label.transpose(2, 1, 0), made.affine)
        nibabel.save(image, out / f"{case}.nii.gz")


def small(words: list[str]) -> list[str]:
    """What makes a long command short."""
    if "--dry-run" in words or words[0] not in ("run", "plan", "tune"):
        return []
    if words[0] == "plan":
        return ["--out", "out", *SMALL_PLAN, *ONE_ROW["table5"]]
    made = SMALL_RUN if words[0] == "run" else SMALL_STUDY
    made = [*made, "--out", "out"]
    if "--dataset" in words:
        made += ["--profile", "quick"]
    elif not any(word.startswith("phantom.cases=") for word in words):
        made += ["--set", "phantom.cases=5"]
    if words[0] == "run" and not {"--model", "--row", "--tuned"} & set(words):
        made += ONE_ROW[words[words.index("--suite") + 1]]
    return made


def block(page: str, title: str) -> str:
    """The file that a page shows under its name."""
    [text] = re.findall(
        rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', (TOP / "docs" / page).read_text(),
        re.MULTILINE | re.DOTALL,
    )  # fmt: skip
    return text


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from harness.cli import main; main()", *words]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TOP), "HOME": str(home)}


def call(cwd: Path, *words: str) -> None:
    done = subprocess.run(command(*words), cwd=cwd, env=environment(cwd), capture_output=True,
                          text=True, check=False, stdin=subprocess.DEVNULL)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def serve(cwd: Path, *words: str) -> None:
    """Start it, wait until it answers, press Ctrl-C."""
    port = free_port()
    server = subprocess.Popen(
        command(*words, "--port", str(port)), cwd=cwd, env=environment(cwd), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not answers(port):
            assert server.poll() is None and time.monotonic() < deadline, "it never answered"
            time.sleep(0.5)
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(60)


def complete(home: Path, *words: str) -> None:
    """Type it in a bash of its own; the next one completes."""
    program = home / "pfbench"
    program.write_text(f"#!{sys.executable}\nfrom harness.cli import main\nmain()\n")
    program.chmod(0o700)
    typed = f"./pfbench {shlex.join(words)} && source ~/.bashrc && complete -p pfbench"
    done = subprocess.run(["bash", "--norc", "-c", typed], cwd=home, env=environment(home),
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=10):
            return True
    except HTTPError as error:
        return error.code == 401  # it wants the key
    except OSError:
        return False

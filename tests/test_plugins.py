"""Models, metrics, suites and folders that pfbench does not bring: as their users bring them."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from helper_in_process import pfbench

from harness.checks import contract
from harness.runs.plugin_file import restored
from harness.runs.run_folder import RunFolder
from harness.runs.spec import Data, TrialSpec, digest
from harness.runs.suites import OURS, SUITES
from harness.systems import plugin_metrics
from harness.systems.protocol import Protocol

TOP = Path(__file__).parent.parent
TINY = ["--epochs", 1, "--set", "phantom.cases=3", "--executor", "inline",
        "--measure-repeats", 1, "--no-mlflow"]  # fmt: skip
METRIC = """
from harness.plugin import Metric

def voxels_too_many(pred, target, spacing_mm):
    return float(pred.sum()) - float(target.sum())

METRICS = {"surplus": Metric("Surplus (voxels)", voxels_too_many, better="min")}
"""
SUITE = """title: Two widths
shows: [dice, parameters]
rows:
  - {key: narrow, title: "UNet3D, {widths}", system: unet3d, options: {widths: [4, 4, 8, 8, 8]}}
"""


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    for name in set(SUITES) - set(OURS):
        del SUITES[name]


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A network as `init` writes it, in a finished Table V beside one of ours."""
    home = tmp_path_factory.mktemp("plugin")
    pfbench("init", "model", "mine", "--in", home)
    out = home / "out"
    command = ["run", "--suite", "table5", "--plugin", home / "mine.py", "--model", "mine",
               "--model", "resunet3d_up", "--out", out, *TINY]  # fmt: skip
    pfbench(*command)
    return home, out, command


def test_what_init_writes_keeps_the_contract(mine):
    home, _, _ = mine
    assert "fail" not in pfbench("check-plugin", home / "mine.py").out
    assert {path.name for path in home.glob("*.py")} == {"mine.py", "test_mine.py"}


def test_it_is_a_row_of_the_table_under_the_same_protocol(mine):
    _, out, _ = mine
    table = pd.read_csv(out / "table.csv")
    rows = table[table["row"] == "mean"].set_index("model")
    assert list(rows["status"]) == ["ok", "ok"]
    assert rows.loc["mine", "n_cases"] == rows.loc["resunet3d_up", "n_cases"]
    assert json.loads((out / "run.json").read_text())["settings"]["exceptions"] == {}


def test_the_run_keeps_the_source_under_its_hash_for_its_owner_only(mine):
    home, out, _ = mine
    [copy] = (out / "plugins").iterdir()
    assert copy.read_bytes() == (home / "mine.py").read_bytes()
    assert copy.name.startswith("mine-") and stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_with_a_plug_in_every_trial_has_a_process_of_its_own(mine):
    _, out, _ = mine
    unknown = [trial.result().memory_unknown for trial in RunFolder(out).trials()]
    assert unknown == ["", ""]


MISCHIEF = """
import os, subprocess, sys, threading, time
import torch
from torch import nn
from harness.plugin import LowResolution, System

threading.Thread(target=time.sleep, args=(10**6,)).start()
os.environ["OMP_NUM_THREADS"] = "1000"
os.chdir("/")
os.write(1, b"NOISE\\n")
print("NOISE")
whole = nn.Conv3d.forward
nn.Conv3d.forward = lambda self, x: whole(self, x) / 2

class Network(nn.Module):
    def __init__(self, modalities, does="nothing"):
        super().__init__()
        self.last, self.does = nn.Conv3d(modalities, 1, 1, dtype=torch.float32), does

    def forward(self, volume):
        if volume.device.type == "meta" or self.training:
            return self.last(volume)
        if self.does == "nan":
            torch.set_default_dtype(torch.float64)
        if self.does == "quit":
            os._exit(0)
        subprocess.run(["echo", "hello"])
        return self.last(volume) * (float("nan") if self.does == "nan" else 1)

def system(does):
    return System(does, network=Network, sees=LowResolution, reference="none",
                  options={"does": does})

SYSTEMS = {"noisy": system("say"), "quits": system("quit"), "blank": system("nan")}
"""


@pytest.mark.long
def test_what_a_plug_in_does_concerns_its_own_trial_alone(mine, tmp_path):
    """Patches, global settings, threads, prints, processes, os._exit and NaN, in one run."""
    (tmp_path / "mischief.py").write_text(MISCHIEF)
    models = [word for name in ("noisy", "quits", "blank", "resunet3d_up")
              for word in ("--model", name)]  # fmt: skip
    command = ["run", "--suite", "table5", "--plugin", tmp_path / "mischief.py", *models,
               "--out", tmp_path / "out", *TINY, "--json"]  # fmt: skip
    code = "import sys; from harness.cli import entry; entry()"
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], cwd=TOP, check=False,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 4, done.stderr
    rows = json.loads(done.stdout)["rows"]  # nothing else was printed there
    reasons = {row["model"]: row["reason"] for row in rows if row["row"] == "trial"}
    assert reasons == {"noisy": "", "quits": "crash", "blank": "nan_prediction",
                       "resunet3d_up": ""}  # fmt: skip
    cases = [
        (trial.path / "cases.csv").read_bytes()
        for folder in (mine[1], tmp_path / "out")
        for trial in RunFolder(folder).trials()
        if trial.spec().system == "resunet3d_up"
    ]
    assert cases[0] == cases[1]


def test_a_plug_in_that_ends_the_process_is_told(tmp_path):
    (tmp_path / "quits.py").write_text("import os\nos._exit(0)\n")
    done = pfbench("check-plugin", tmp_path / "quits.py", expect=2)
    assert "quits.py:2: EndsProcess: it ends the process (os._exit(0))" in done.said


def test_what_a_plug_in_asks_to_be_done_at_the_end_does_not_keep_the_command(tmp_path):
    path = tmp_path / "waits.py"
    path.write_text(
        "import atexit, time\natexit.register(lambda: time.sleep(10**6))\nSYSTEMS = {}\n"
    )
    code = "import sys; from harness import cli; cli.LAST_S = 1; cli.entry()"
    command = [sys.executable, "-c", code, "check-plugin", str(path)]
    done = subprocess.run(command, cwd=TOP, check=False, capture_output=True, timeout=100)
    assert done.returncode == 2


def test_a_plug_in_that_never_ends_is_told(tmp_path):
    path = tmp_path / "loops.py"
    path.write_text("while True:\n    pass\n")
    done = pfbench("check-plugin", path, "--limit", 1, expect=2)
    assert re.search(r"loops\.py:[12]: OutOfTime: is not done after 1 s", done.said)
    path.write_text("""if True:
        from torch import nn
        from harness.plugin import Patches, System

        def network(modalities):
            while True:
                pass

        SYSTEMS = {"mine": System("Mine", network, Patches)}
        """)
    said = pfbench("check-plugin", path, "--limit", 2, expect=2).said
    assert re.search(r"build: is not done after 2 s\. Try: look at line [67] of the plug-in", said)


def test_a_plug_in_that_catches_everything_for_ever_ends_the_command(tmp_path):
    path = tmp_path / "loops.py"
    path.write_text("""if True:
        def again():
            try:
                while True:
                    pass
            finally:
                again()

        again()
        """)
    command = [sys.executable, "-m", "harness.cli", "check-plugin", str(path), "--limit", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=TOP, check=False)
    assert done.returncode == 2 and "catches what would end it" in done.stderr


@pytest.mark.parametrize(
    "line", ["os.fork()", "multiprocessing.get_context('fork').Process(target=len).start()"]
)
def test_a_process_that_a_plug_in_forks_does_not_do_the_work_a_second_time(tmp_path, line):
    (tmp_path / "forks.py").write_text(f"import multiprocessing, os\n{line}\nSYSTEMS = {{}}\n")
    code = ("import sys; from pathlib import Path; from harness.errors import UsageError\n"
            "from harness.runs.plugin_file import contained, load\n"
            "with contained():\n"
            "    try: load(Path(sys.argv[1]))\n"
            "    except UsageError as error: print('once', error.code, flush=True)\n"
            "print('after', flush=True)\n")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "forks.py")], cwd=TOP,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split() == ["after"]
    assert done.stderr.count("once PFB-C42") == 1


def test_what_a_plug_in_changes_around_it_is_put_back(tmp_path, capfd):
    (tmp_path / "moves.py").write_text(
        "import os, sys\nos.environ['NEW'] = 'x'\nos.chdir('/')\nsys.path.insert(0, '/new')\n"
        "os.write(1, b'NOISE')\nprint('NOISE')\n"
        "import torch\ntorch.set_default_dtype(torch.float64)\n" + METRIC
    )
    before = os.getcwd(), dict(os.environ), [*sys.path]
    assert torch.get_default_dtype() == torch.float32
    done = pfbench("list", "metrics", "--plugin", tmp_path / "moves.py")
    assert (os.getcwd(), dict(os.environ), [*sys.path]) == before
    assert torch.get_default_dtype() == torch.float32
    assert "NOISE" not in done.out + capfd.readouterr().out


def test_files_keep_their_rights_and_numpy_its_ways_when_a_plug_in_changes_them():
    division, usual = np.geterr(), os.umask(0o077)
    try:
        with restored():
            os.umask(0)
            np.seterr(all="raise")
        assert np.geterr() == division
        assert os.umask(usual) == 0o077
    finally:
        os.umask(usual)


def test_the_same_command_trains_nothing_and_a_changed_source_is_another_trial(mine, tmp_path):
    home, _, command = mine
    assert "of these already done: 2" in pfbench(*command).out
    changed = tmp_path / "mine.py"
    changed.write_text((home / "mine.py").read_text() + "\n# another width some day\n")
    words = [changed if word == home / "mine.py" else word for word in command]
    states = {
        t["model"]: t["state"] for t in json.loads(pfbench(*words, "--dry-run", "--json").out)
    }
    assert states == {"mine": "new", "resunet3d_up": "ok"}


def test_tables_need_no_plug_in_and_predicting_runs_its_code_only_when_named(mine, tmp_path):
    _, out, _ = mine
    assert "mine" in pfbench("report", out).out
    scan = tmp_path / "scan.nii.gz"
    image = np.random.default_rng(0).random((24, 24, 16), dtype=np.float32)
    nib.save(nib.Nifti1Image(image, np.eye(4)), scan)
    predict = ["predict", out, scan, "--model", "mine", "--out", tmp_path / "masks"]
    refused = pfbench(*predict, expect=2).said
    assert "PFB-C44" in refused and "--plugin" in refused
    [copy] = (out / "plugins").iterdir()
    pfbench(*predict, "--plugin", copy)
    assert nib.load(next((tmp_path / "masks").iterdir())).shape == image.shape


def test_trials_without_plug_ins_keep_their_ids():
    data = Data(name="d", modalities=("a",), target="wt", grid=(32, 64, 64), fingerprint="f",
                synthetic=True)  # fmt: skip
    spec = TrialSpec(system="unet3d", options={}, protocol=Protocol(), data=data, split="s",
                     device="cpu", code="c")  # fmt: skip
    came_later = {
        "plugins": True,
        "test": True,
        "protocol": {"windows_per_volume", "foreground_share", "scored_on"},
        "data": {"view", "targets"},
    }
    before_there_were_any = spec.model_dump(mode="json", exclude=came_later)
    assert spec.id == digest(before_there_were_any)
    assert spec.model_copy(update={"plugins": ("mine-0123456789abcdef",)}).id != spec.id


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("SYSTEMS = {", "line 1"),
        ("x = 1\nimport no_such_module\n", "broken.py:2"),
        ("x = 1\n", "neither SYSTEMS, METRICS nor DATASETS"),
        (
            "from harness.plugin import Dataset\n"
            "DATASETS = {'d': Dataset('D', ('mr',), {'/../x': (1,)}, survey=print)}\n",
            "'/../x'",
        ),
    ],
    ids=["no Python", "fails", "holds nothing", "a target is a path"],
)
def test_a_plug_in_that_cannot_be_used_is_named_with_its_line(tmp_path, source, said):
    path = tmp_path / "broken.py"
    path.write_text(source)
    done = pfbench(
        "run", "--suite", "table5", "--plugin", path, "--out", tmp_path / "out", expect=2
    )
    assert "broken.py" in done.said and said in done.said
    assert not (tmp_path / "out").exists()


def test_a_metric_is_one_more_column_and_changes_no_other(mine, tmp_path):
    _, out, _ = mine
    path = tmp_path / "surplus.py"
    path.write_text(METRIC)
    with_metric = tmp_path / "out"
    pfbench("run", "--suite", "table5", "--plugin", path, "--model", "resunet3d_up",
            "--out", with_metric, *TINY)  # fmt: skip
    ours, theirs = (pd.read_csv(place / "table.csv") for place in (out, with_metric))
    [before], [after] = (
        t[(t["model"] == "resunet3d_up") & (t["row"] == "mean")].to_dict("records")
        for t in (ours, theirs)
    )
    assert after["dice_mean"] == before["dice_mean"] and after["hd95_mean"] == before["hd95_mean"]
    assert np.isfinite(after["surplus_mean"])
    assert "Surplus (voxels)" in (with_metric / "table.md").read_text()
    without = pfbench("verify", with_metric, "--deep", expect=4).out
    assert "metrics of a plug-in" in without and "network" not in without
    scan = tmp_path / "scan.nii.gz"
    image = np.random.default_rng(0).random((24, 24, 16), dtype=np.float32)
    nib.save(nib.Nifti1Image(image, np.eye(4)), scan)
    pfbench("predict", with_metric, scan, "--model", "resunet3d_up", "--out", tmp_path / "masks")


def test_a_network_of_an_installed_package_is_used_by_its_name(tmp_path, monkeypatch):
    site, out = tmp_path / "site", tmp_path / "out"
    pfbench("init", "model", "brought", "--in", site)
    about = site / "brought-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pfbench.models]\nbrought = brought\n")
    assert "brought" not in pfbench("list", "models").out
    monkeypatch.syspath_prepend(site)
    listed = json.loads(pfbench("list", "models", "--json").out)
    assert "brought" in {entry["name"] for entry in listed}
    pfbench("run", "--suite", "table5", "--model", "brought", "--out", out, *TINY)
    table = pd.read_csv(out / "table.csv")
    assert set(table["model"]) == {"brought"} and set(table["status"]) == {"ok"}
    [copy] = (out / "plugins").iterdir()
    assert copy.read_bytes() == (site / "brought.py").read_bytes()


def test_a_suite_of_ones_own_is_a_file(tmp_path):
    path = tmp_path / "widths.yaml"
    path.write_text(SUITE)
    done = pfbench("run", "--suite", path, "--out", tmp_path / "out", *TINY)
    assert "Two widths" in done.out
    assert "UNet3D, 4×4×8×8×8" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("system: unet3d", "system: unet4d"), "Did you mean 'unet3d'"),
        (("shows: [dice", "shows: [dise"), "Did you mean 'dice'"),
        (("key: narrow", "kay: narrow"), "widths.yaml:4"),
    ],
)
def test_a_wrong_suite_is_named_with_file_and_line(tmp_path, change, said):
    path = tmp_path / "widths.yaml"
    path.write_text(SUITE.replace(*change))
    assert said in pfbench("run", "--suite", path, "--dry-run", expect=2).said


def volumes(folder, channels):
    """One patient: an image for each channel, and a ball as label 1 with a core of label 2."""
    z, y, x = np.indices((20, 24, 24)) - np.array([10, 12, 12])[:, None, None, None]
    radius = np.sqrt(z**2 + y**2 + x**2)
    label = np.uint8(radius < 7) + np.uint8(radius < 3)
    rng = np.random.default_rng(channels)
    return [np.float32(label + rng.random(label.shape)) for _ in range(channels)], label


def nnunet_raw(root, cases=3):
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    for number in range(cases):
        images, label = volumes(root, 2)
        for channel, image in enumerate(images):
            name = f"case_{number:03d}_{channel:04d}.nii.gz"
            nib.save(nib.Nifti1Image(image + number, np.eye(4)), root / "imagesTr" / name)
        nib.save(nib.Nifti1Image(label, np.eye(4)), root / "labelsTr" / f"case_{number:03d}.nii.gz")
    told = {"channel_names": {"0": "T1", "1": "T2"}, "file_ending": ".nii.gz",
            "labels": {"background": 0, "tumour": 1, "core": 2}, "numTraining": cases}  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(told))


def decathlon(root, cases=3):
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    pairs = []
    for number in range(cases):
        images, label = volumes(root, 2)
        paths = {"image": f"imagesTr/c_{number}.nii.gz", "label": f"labelsTr/c_{number}.nii.gz"}
        nib.save(nib.Nifti1Image(np.stack(images, -1) + number, np.eye(4)), root / paths["image"])
        nib.save(nib.Nifti1Image(label, np.eye(4)), root / paths["label"])
        pairs.append({kind: f"./{path}" for kind, path in paths.items()})
    told = {"modality": {"0": "T1", "1": "T2"}, "numTraining": cases, "training": pairs,
            "labels": {"0": "background", "1": "tumour", "2": "core"}}  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(told))


@pytest.mark.parametrize("layout", [nnunet_raw, decathlon])
def test_a_folder_of_nnunet_or_decathlon_runs_as_it_is(tmp_path, layout):
    layout(tmp_path / "data")
    pfbench("run", "--suite", "table5", "--model", "resunet3d_up", "--dataset", "folder",
            "--data-root", tmp_path / "data", "--modalities", "T2", "--target", "tumour",
            "--profile", "quick", "--out", tmp_path / "out", *TINY)  # fmt: skip
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    assert set(table["status"]) == {"ok"}


def test_a_target_or_channel_that_the_folder_does_not_have_is_refused(tmp_path):
    nnunet_raw(tmp_path / "data")
    run = ["run", "--suite", "table5", "--dataset", "folder", "--data-root", tmp_path / "data",
           "--profile", "quick", "--dry-run", "--out", tmp_path / "out"]  # fmt: skip
    assert "tumour" in pfbench(*run, "--target", "tumor", expect=2).said
    assert "T2" in pfbench(*run, "--target", "tumour", "--modalities", "T3", expect=3).said


@pytest.mark.long
@pytest.mark.parametrize(
    "networks, needed",
    [("monai_networks", "monai"), ("nnunet_networks", "dynamic_network_architectures")],
)
def test_networks_of_the_examples_keep_the_contract(networks, needed):
    pytest.importorskip(needed)
    found = list(contract.check(TOP / "examples" / f"{networks}.py"))
    assert [finding for finding in found if finding.state == "fail"] == []


def test_a_metric_that_writes_to_masks_changes_none_that_is_kept():
    def bad(pred, target, spacing_mm):
        for mask in (pred, target):
            mask.flags.writeable = True
            mask[...] = True
        return 1.0

    masks = [np.zeros((1, 4, 4), bool), np.eye(4, dtype=bool)[None]]
    before = [mask.copy() for mask in masks]
    values, _ = plugin_metrics.scores({"bad": plugin_metrics.Metric("Bad", bad)}, *masks, (1, 1, 1))
    assert values == {"bad": 1.0}
    assert all(map(np.array_equal, masks, before))


BRINGS_DATA = """
from pathlib import Path
import numpy as np
from harness.data.case import Case
from harness.plugin import Dataset, Survey

def survey(root, modalities):
    files = {{name: root / "image.nii.gz" for name in modalities}}, root / "mask.nii.gz"
    {body}

def prepare(scan, labels, reduce, case):
    raise ZeroDivisionError("no slice")

TARGETS = {{"tumour": (1,)}}
DATASETS = {{"theirs": Dataset("Theirs", ("mr",), TARGETS, survey=survey, prepare=prepare)}}
"""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return None", "`survey` of its plug-in returns a NoneType, no Survey"),
        ("return []", "returns a list, no Survey"),
        ("return Survey((Case(3, *files),))", "has a case with the id 3, which is no text"),
        ("return Survey((Case('a', {'mr': 'image.nii.gz'}, files[1]),))", "has to be a Path"),
        ("raise RuntimeError('no server')", "ends with RuntimeError: no server"),
        ("raise SystemExit(0)", "ends with SystemExit"),
        ("return Survey(tuple(Case(name, *files) for name in 'abc'))",
         "`prepare` of its plug-in ends with ZeroDivisionError: no slice"),
    ],
)  # fmt: skip
def test_a_data_set_of_a_plug_in_that_fails_is_told_as_its_fault(tmp_path, body, says):
    root = tmp_path / "scans"
    root.mkdir()
    image = np.random.default_rng(0).random((24, 24, 16), dtype=np.float32)
    nib.save(nib.Nifti1Image(image, np.eye(4)), root / "image.nii.gz")
    voxels = np.zeros_like(image)
    voxels[8:16, 8:16, 4:12] = 1
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), root / "mask.nii.gz")
    plugin = tmp_path / "theirs.py"
    plugin.write_text(BRINGS_DATA.format(body=body))
    done = pfbench("run", "--suite", "table5", "--model", "resunet3d_up", "--plugin", plugin,
                   "--dataset", "theirs", "--data-root", root, "--profile", "quick",
                   "--out", tmp_path / "out", "--no-mlflow", expect=2)  # fmt: skip
    assert "PFB-C43" in done.said and says in done.said

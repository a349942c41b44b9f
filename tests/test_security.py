"""The security checklist X1-X20, most of it on one real run with everything switched on.

That run is a process of its own with a clean environment and no network, reads volumes whose
headers and folder name a patient, finds pickles that would run code, and logs to MLflow.

In other files:

X5   links and names that lead out of the data folder: test_catalogue_data.py
X8   listeners on loopback only, a token, X10 usage statistics: test_launch.py
X11  MLflow's telemetry before its first use: test_tracking.py
X13  predictions with a header of their own: test_predict.py
X19  hostile volumes within 1 GB: test_catalogue_data.py; hostile YAML: test_catalogue_config.py
"""

import ast
import gzip
import json
import os
import pickle
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pytest
from helper_in_process import contents, pfbench
from helper_ports import free_port
from test_catalogue_state import Evil

from harness.data import cache
from harness.data.case import Volume
from harness.errors import DataError, StateError, StorageError
from harness.runs.redact import redact, storable
from harness.runs.run_folder import RunFolder
from harness.runs.trial_folder import TrialFolder
from harness.tracking.desired import parent_of

pytestmark = pytest.mark.filterwarnings("ignore")  # those of a trial belong to its log

TOP = Path(__file__).parent.parent
PATIENT = "DOE_JOHN"
SECRET = "s3cr3t"
TINY = ["--suite", "table2", "--model", "resunet3d_up", "--epochs", "1"]


def name_the_patient(path: Path) -> None:
    """Write the name into every field of a NIfTI header that holds text, and around it."""
    image = nibabel.Nifti1Image.load(path)
    for field in ("data_type", "db_name", "aux_file", "descrip", "intent_name"):
        image.header[field] = PATIENT
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", PATIENT.encode()))
    raw = image.to_bytes()
    with open(path, "wb") as file, gzip.GzipFile(f"{PATIENT}.nii", "wb", fileobj=file) as packed:
        packed.write(raw)


def leave_pickles(folder: Path, marker: Path) -> None:
    """The files that Ray Tune's restore would unpickle; one of them is called .json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tuner.pkl", "trainable.pkl", "experiment_state-1.json", "search_gen_state-1.pkl",
                 "basic-variant-state-1.json", "searcher-state-1.pkl"):  # fmt: skip
        (folder / name).write_bytes(pickle.dumps(Evil(marker)))


DECOYS = (
    *("numpy", "torch", "pandas", "ray", "mlflow", "scipy", "psutil", "pydantic", "yaml"),
    *("random", "socket", "json", "tempfile", "uvicorn", "sitecustomize", "usercustomize"),
    *("harness", "tuning", "models", "baselines", "sqlalchemy", "matplotlib", "flask", "fastapi"),
)


def leave_decoys(folder: Path, marker: Path) -> None:
    """Modules as somebody else may have left them, called like those that are imported."""
    folder.mkdir()
    for name in DECOYS:
        text = f"open({str(marker)!r}, 'a').write('{name} ')\nraise ImportError('decoy')\n"
        (folder / f"{name}.py").write_text(text)


# Notes every name that is looked up and every address but the machine's own, in all processes.
WATCH = """
import os, sys

def note(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        target = args[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        target = args[0]
    else:
        return
    name = target.decode() if isinstance(target, bytes) else target
    if name not in (None, "", "localhost", "::1") and not str(name).startswith("127."):
        with open(os.environ["PFBENCH_CALLS"], "a") as file:
            file.write(f"{event} {name}\\n")

sys.addaudithook(note)
"""
LOOPBACK_UP = """if True:
    import fcntl, socket, struct
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41))  # SIOCSIFFLAGS: up
    from harness.cli import main
    main()"""
MAIN = "from harness.cli import main; main()"
PFBENCH = [sys.executable, "-P", "-c"]  # -P, because the command itself is no module either
NO_NETWORK = (
    shutil.which("unshare") is not None
    and not subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode
)


class Ran(NamedTuple):
    out: Path
    said: str
    calls: str
    """What was called over the network."""
    marker: Path
    """What the pickles would have made, or the decoys in the current folder."""
    home: Path
    here: Path
    """The current folder."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    base = tmp_path_factory.mktemp("security")
    root, out, home, watch = (
        base / PATIENT / "scans", base / "out", base / "home", base / "watch",
    )  # fmt: skip
    pfbench("data", "make-phantom", root, "--cases", 4, "--size", "32x64x64")
    for path in root.rglob("*_flair.nii.gz"):
        name_the_patient(path)
    for folder in (out, home, home / "ray_results"):
        leave_pickles(folder, base / "marker")
    leave_decoys(base / "here", base / "marker")
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)
    (base / "calls").touch()
    alone = ["unshare", "-rn"] if NO_NETWORK else []
    done = subprocess.run(
        [*alone, *PFBENCH, LOOPBACK_UP if NO_NETWORK else MAIN, "run", *TINY,
         "--dataset", "brats", "--data-root", root, "--modalities", "flair", "--profile", "quick",
         "--out", out],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": f"{watch}:{TOP}",
             "PFBENCH_CALLS": str(base / "calls")},
        cwd=base / "here",
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    calls = (base / "calls").read_text()
    return Ran(out, done.stdout + done.stderr, calls, base / "marker", home, base / "here")


def unpacked(path: Path) -> bytes:
    """The content of a file, also of an archive of arrays."""
    raw = path.read_bytes()
    if path.suffix != ".npz":
        return raw
    with np.load(path, allow_pickle=False) as arrays:
        return raw + b"".join(name.encode() + arrays[name].tobytes() for name in arrays)


@pytest.mark.parametrize("kind", ["headers", "folder"])
def test_x13_x14_nothing_that_names_the_patient_is_kept_or_said(ran, kind):
    assert PATIENT not in ran.said
    files = [path for path in ran.out.rglob("*") if path.is_file()]
    assert {"mlflow.db", "run.log", "run.json"} <= {path.name for path in files}
    assert [path for path in files if PATIENT.encode() in unpacked(path)] == []
    command = json.loads((ran.out / "run.json").read_text())["command"]
    assert "--data-root DATA_ROOT" in command and "--modalities flair" in command


def test_x13_what_is_wrong_with_a_file_does_not_name_the_patient(tmp_path):
    root = tmp_path / PATIENT / "scans"
    pfbench("data", "make-phantom", root, "--cases", 3, "--size", "16x16x16")
    for number, path in enumerate(sorted(root.rglob("*.nii.gz"))):
        name_the_patient(path)
        raw = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into("<h", raw, 70, 9999 + number)
        path.write_bytes(gzip.compress(raw))
    done = pfbench("data", "check", root, expect=3)
    assert done.out.count("PFB-V13") == 15
    assert PATIENT not in done.said


@pytest.mark.long
@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "RUN"),
        ("mlflow", "sync", "RUN"),
        ("predict", "RUN", "SCANS", "--out", "MASKS"),
        ("tune", "lr", "--model", "resunet3d_up", "--trials", "1", "--set", "phantom.cases=3",
         "--epochs", "1", "--no-compare", "--out", "STUDY"),
        ("ui", "RUN", "--port", "PORT"),
    ],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_x2_no_command_runs_modules_of_the_current_folder(ran, tmp_path, arguments):
    port = free_port()
    places = {"RUN": ran.out, "SCANS": ran.home.parent / PATIENT / "scans", "PORT": port,
              "MASKS": tmp_path / "masks", "STUDY": tmp_path / "study"}  # fmt: skip
    words = [str(places.get(word, word)) for word in arguments]
    command, environment = [*PFBENCH, MAIN, *words], {**os.environ, "PYTHONPATH": str(TOP)}
    with subprocess.Popen(command, cwd=ran.here, env=environment) as process:
        if words[0] == "ui":
            answers(port)
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert not ran.marker.exists()


def answers(port: int) -> None:
    """Wait until the pages are served."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/").close()
        except urllib.error.HTTPError:  # it wants the key
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("no page")


@pytest.mark.skipif(not NO_NETWORK, reason="cannot take the network away here")
def test_x18_everything_works_without_a_network(ran):
    assert (ran.out / "table.md").exists() and (ran.out / "mlflow.db").exists()


def test_x10_x11_nobody_is_called(ran):
    assert ran.calls == ""


def test_x2_pickles_in_the_way_and_modules_in_the_current_folder_are_not_run(ran):
    assert not ran.marker.exists()


def test_x15_only_tables_and_report_go_to_mlflow(ran):
    uploaded = sorted(path.name for path in (ran.out / "mlartifacts").rglob("*.*"))
    assert uploaded == ["cases.csv", "history.csv", "report.html", "table.csv", "table.md"]


def test_x17_what_a_run_leaves_is_for_its_owner_only(ran):
    made = [path for path in ran.out.rglob("*") if not path.match("*-1.*")]
    planted = ("tuner.pkl", "trainable.pkl")
    wide = [path for path in made if path.stat().st_mode & 0o077 and path.name not in planted]
    assert wide == []


def test_x9_the_token_of_ray_is_for_its_owner_only(ran):
    tokens = [path for path in (ran.home / ".ray").rglob("*") if path.is_file()]
    assert "auth_token" in [path.name for path in tokens]
    assert [path.name for path in tokens if path.stat().st_mode & 0o077] == []


def test_x6_a_link_among_the_results_is_not_uploaded(ran, tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    copied = Path(shutil.copytree(ran.out, tmp_path / "out"))
    (copied / "figures").mkdir()
    (copied / "figures" / "sheet.png").symlink_to(tmp_path / "secret")
    with pytest.raises(StateError, match=r"sheet\.png: is a link that leads out"):
        parent_of(RunFolder(copied))


@pytest.mark.parametrize("name", ["run.log", "driver.lock"])
def test_x6_links_in_the_output_folder_are_not_written_through(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(victim)
    done = pfbench("run", *TINY, "--set", "phantom.cases=3", "--no-mlflow", "--executor", "inline",
                   "--out", tmp_path / "out", expect=5)  # fmt: skip
    assert f"error[PFB-K12]: {tmp_path / 'out' / name}: is a link that leads out" in done.err
    assert victim.read_text() == "precious"


def test_x6_a_file_that_is_replaced_is_not_written_through_its_link(tmp_path):
    from harness.runs.files import write_bytes

    (tmp_path / "victim").write_text("precious")
    (tmp_path / "table.csv").symlink_to(tmp_path / "victim")
    write_bytes(tmp_path / "table.csv", b"ours")
    assert (tmp_path / "victim").read_text() == "precious"
    (tmp_path / f".table.csv.{os.getpid()}.tmp").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError, match="is a link"):
        write_bytes(tmp_path / "table.csv", b"ours")
    assert (tmp_path / "victim").read_text() == "precious"


def names(count: int) -> Iterator[str]:
    """Names as an attacker or an accident makes them, and good ones."""
    rng = random.Random(0)
    parts = [
        *(
            "..",
            ".",
            "/",
            "//",
            "\\",
            "%2e",
            "%2f",
            "\0",
            "\n",
            "\x1b",
            "\u202e",
            "~",
            "-",
            " ",
            "C:",
        ),
        *("$HOME", "/etc/passwd", "'", '"', "*", "é", "．", "_", "a", "B7", "case", "0"),
    ]
    for _ in range(count):
        yield "".join(rng.choices(parts, k=rng.randint(0, 8)))


def test_x5_no_case_id_leads_out_of_the_run_folder(tmp_path):
    trial = TrialFolder(tmp_path / "run" / "trials" / "t")
    home = (trial.path / "masks").resolve()
    accepted = 0
    for name in names(10_000):
        try:
            path = trial.mask_path(name)
        except DataError as error:
            assert error.code == "PFB-D04" and str(error).isascii() and str(error).isprintable()
            continue
        accepted += 1
        assert path.resolve().parent == home and path.name == f"{name}.npz"
    assert 100 < accepted < 5000


def test_x5_ids_in_a_list_of_files_write_nothing_outside(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    listed = [{"image": f"{name}.nii.gz", "label": f"{name}_seg.nii.gz"} for name in names(300)]
    (root / "dataset.json").write_text(json.dumps({"training": listed}))
    before = contents(tmp_path)
    done = pfbench("run", *TINY, "--dataset", "liver", "--data-root", root, "--out",
                   tmp_path / "out", "--executor", "inline", "--no-mlflow", expect=3)  # fmt: skip
    assert "lies outside the data root" in done.err
    made = {name for name in contents(tmp_path) if name not in before}
    assert all(name.startswith("out/") for name in made)


def test_x5_a_shared_cache_cannot_name_the_files_of_a_run(tmp_path):
    arrays = np.zeros((1, 2, 2, 2), np.float32), np.zeros((2, 2, 2), np.uint8)
    cache.write(tmp_path, "key", Volume("../../evil", *arrays, (1, 1, 1)))
    with pytest.raises(DataError, match="no usable case id"):
        cache.open_volume(tmp_path, "key")


@pytest.mark.parametrize(
    "text",
    [
        f"http://me:{SECRET}@host/path",
        f"http://{SECRET}@host",
        f"postgresql://me:{SECRET}@{SECRET}@host:5432/mlflow",
        f"pfbench run --tracking-uri https://me:{SECRET}@host/ --out x",
        f"mysql://host/db?user=me&password={SECRET}&ssl=1",
        f"https://host/?access_token={SECRET}",
    ],
)
def test_x16_passwords_in_uris_are_starred(text):
    assert SECRET not in redact(text) and "host" in redact(text)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (f"--data-root /scans/{PATIENT} --out x", "--data-root DATA_ROOT --out x"),
        (f"--data-root={PATIENT}", "--data-root=DATA_ROOT"),
        (f"--data-root '/my scans/{PATIENT}'", "--data-root DATA_ROOT"),
        (f"--test b=/scans/{PATIENT} --out x", "--test b=TEST_ROOT --out x"),
        (f"--test=b={PATIENT}", "--test=b=TEST_ROOT"),
        ("--out 'a b'", "--out 'a b'"),
        ("--out /home/roe/runs/a --cache=~/c/", "--out a --cache=c"),
        ("--predictions nnunet=/home/roe/masks", "--predictions nnunet=masks"),
        ("--out runs/a --tracking-uri http://host/x", "--out runs/a --tracking-uri http://host/x"),
        ("--label '{case}/seg' --set a=1/2", "--label '{case}/seg' --set a=1/2"),
    ],
)
def test_x14_the_command_is_kept_without_the_folder_of_the_volumes(written, kept):
    assert storable(f"pfbench run {written}") == f"pfbench run {kept}"


def test_x16_the_password_of_a_server_is_nowhere(tmp_path):
    out = tmp_path / "out"
    done = pfbench("run", *TINY, "--set", "phantom.cases=3", "--executor", "inline", "--out", out,
                   "--tracking-uri", f"http://me:{SECRET}@127.0.0.1:9/")  # fmt: skip
    assert "MLflow      http://***@127.0.0.1:9/" in done.out
    assert "MLflow could not be brought up to date" in done.out
    assert SECRET not in done.said
    assert [
        path for path in out.rglob("*") if path.is_file() and SECRET in str(unpacked(path))
    ] == []


# The code itself

SOURCES = [path for part in ("harness", "models", "baselines", "tuning", "benchmarks")
           for path in sorted((TOP / part).rglob("*.py"))]  # fmt: skip
NEVER = {
    "eval", "exec", "compile", "os.system", "os.popen", "marshal.loads", "shelve.open",
    "yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.safe_load",
    "torch.jit.load", "torch.export.load", "torch.package", "shutil.unpack_archive",
    "tarfile.open", "zipfile.ZipFile", "tune.Tuner.restore", "Tuner.restore",
}  # fmt: skip


def offences(source: str) -> list[str]:
    """Calls that could run what is only meant to be read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        dangerous = name in NEVER or name.endswith((".load_model", ".extractall"))
        dangerous |= name.lower().endswith("tuner.restore")
        dangerous |= name == "torch.load" and given.get("weights_only") is not True
        dangerous |= given.get("allow_pickle", False) is not False
        if dangerous or given.get("shell") or given.get("trust_remote_code"):
            found.append(f"line {node.lineno}: {name}")
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(TOP)))
def test_x1_x3_x4_x7_x20_nothing_that_is_read_can_run(source):
    found = offences(source.read_text())
    if source.name == "mask_file.py":  # reads arrays into bounded memory, extracts no file
        found = [each for each in found if not each.endswith("zipfile.ZipFile")]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file, allow_pickle=True)",
        "yaml.load(text, Loader)",
        "subprocess.run('ls', shell=True)",
        "eval(text)",
        "mlflow.pyfunc.load_model(uri)",
        "tune.Tuner.restore(path)",
        "archive.extractall()",
    ],
)
def test_the_rules_above_notice(line):
    assert len(offences(line)) == 1


@pytest.mark.parametrize("line", ["np.load(file)", "network.eval()", "re.compile('a')"])
def test_the_rules_above_let_pass(line):
    assert offences(line) == []

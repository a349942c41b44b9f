"""The catalogue of bad inputs, D1-D13 and V1-V34, as a person meets them: `pfbench data check`.

Every volume of the catalogue, and every valid oddity, is a case of one folder that is checked once.
How each is read voxel by voxel, the 200 flipped bits among it, is in test_nifti.py.
"""

import gzip
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest
from helper_in_process import contents, pfbench
from test_nifti import INF, NAN, content

from harness.data.wording import counted
from harness.runs.run_folder import RunFolder
from harness.trials.task import Task
from harness.trials.trial import perform

pytestmark = pytest.mark.filterwarnings("ignore")  # those of a trial belong to its log

TOP = Path(__file__).parent.parent
SIDES = (9, 8, 7)  # x, y, z
MOVED = np.array([[1.0, 0, 0, 5], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
OBLIQUE = np.array([[0.6, -0.8, 0, 5], [0.8, 0.6, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
CEILING = "ceiling of the grid"
LINE = re.compile(
    r"error\[PFB-(?P<code>\w+)\]: (?P<where>[^:]+): (?P<what>.+)\. Try: (?P<remedy>.+)"
)


def image(seed: int = 0) -> np.ndarray:
    """(x, y, z) int16, smooth, another one for each seed."""
    x, y, z = np.indices(SIDES)
    return (100 + 3 * x + 20 * y + 7 * z + seed).astype(np.int16)


def label(dtype: Any = np.uint8) -> np.ndarray:
    """(x, y, z): 0, 1, 2 and 4, as in BraTS."""
    made = np.zeros(SIDES, dtype)
    made[2:7, 2:6, 2:5] = 2
    made[3:6, 3:5, 3] = 1
    made[3, 3, 4] = 4
    return made


def packed(raw: bytes | bytearray) -> bytes:
    return gzip.compress(bytes(raw), 1, mtime=0)


def with_size(raw: bytearray, size: int) -> bytearray:
    struct.pack_into("<i", raw, 0, size)
    return raw


def with_extension(raw: bytearray, claimed: int, real: int = 32) -> bytearray:
    """One header extension of `real` bytes that claims to have others."""
    extension = struct.pack("<4b2i", 1, 0, 0, 0, claimed, 6) + bytes(real - 8)
    struct.pack_into("<f", raw, 108, 348 + len(extension))
    return raw[:348] + extension + raw[352:]


def flipped(raw: bytes, at: int) -> bytes:
    """One bit of the byte `at` (from the end when negative) is the other one."""
    damaged = bytearray(raw)
    damaged[at] ^= 4
    return bytes(damaged)


def swapped() -> bytearray:
    """Little-endian voxels under a big-endian header."""
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    raw = nibabel.Nifti1Image(image(), np.eye(4), header).to_bytes()
    return bytearray(raw[:352] + (image() * 5).astype("<i2").tobytes(order="F"))


def bomb(level: int) -> bytes:
    """2 GB of zeros in 2 or 9 MB, and a header that says so; nibabel compresses by level 1."""
    start = content(image(), dim=("4h", 3, 1024, 1024, 1000))[:352]
    return packed(start) + gzip.compress(bytes(8 << 20), level) * 250


def brats(folder: Path, flair: bytes, seg: bytes, *, ending: str = ".nii.gz") -> None:
    """One patient of one modality."""
    folder.mkdir(parents=True)
    (folder / f"{folder.name}_flair{ending}").write_bytes(flair)
    (folder / f"{folder.name}_seg.nii.gz").write_bytes(seg)


class Bad(NamedTuple):
    """A damaged volume, and what has to be said of it."""

    says: str
    flair: bytes | bytearray | None = None
    seg: bytes | bytearray | None = None
    ending: str = ".nii.gz"
    code: str = ""
    """Where it is not that of the case."""


def header(**patches: tuple) -> bytes:
    """A good image but for fields of its header, see `content`."""
    return packed(content(image(), **patches))


def marked(value: int, dtype: Any = np.int16) -> bytes:
    """A good label but for one voxel."""
    return packed(content(np.where(label() == 4, value, label(np.int16)).astype(dtype)))


def holed(first: int | slice) -> bytes:
    """An image with NaN in some of its voxels."""
    made = image().astype(np.float32)
    made[0, 0, first] = NAN
    return packed(content(made))


GOOD, PLAIN = header(), bytes(content(image()))
EMPTY_OF_NUMBERS = packed(content(np.full(SIDES, NAN, np.float32)))
BAD = {  # case of the catalogue -> what is said, and the damaged volume
    "V01 zero bytes": Bad("an empty file", b""),
    "V02 gzip cut short": Bad("compressed data end too early", GOOD[:-60]),
    "V03 plain cut short": Bad("10 bytes are missing at its end", PLAIN[:-10], ending=".nii"),
    "V04 header cut short": Bad("ends after 100 bytes", PLAIN[:100], ending=".nii"),
    "V05 wrong sum": Bad("compressed data are damaged", flipped(GOOD, -6)),
    "V05 one bit flipped": Bad("compressed data are damaged", flipped(GOOD, len(GOOD) // 2)),
    "V06 PNG": Bad("is a PNG image", b"\x89PNG\r\n\x1a\n" + bytes(400)),
    "V06 text": Bad("is no gzip, against its name", b"a note " * 100),
    "V06 text in gzip": Bad("not a NIfTI file", packed(b"a note " * 100)),
    "V06 plain called gz": Bad("rename it to .nii", PLAIN),
    "V06 gzip called nii": Bad("rename it to .nii.gz", GOOD, ending=".nii"),
    "V06 LFS pointer": Bad("git lfs pull", b"version https://git-lfs.github.com/spec/v1\n"),
    "V07 10000 cubed": Bad("header claims 2.0 TB; limit 4.29 GB",
                           header(dim=("4h", 3, 10_000, 10_000, 10_000))),
    "V08 bomb of 2 GB": Bad("no image is so empty", bomb(9)),
    "V08 bomb by nibabel": Bad("no image is so empty", bomb(1)),
    "V08 bomb for a label": Bad("no image is so empty", seg=bomb(1)),
    "V09 500 MB behind it": Bad("bytes after the volume", GOOD + packed(bytes(8 << 20)) * 62),
    "V10 seven huge axes": Bad("not a 3-D volume", header(dim=("8h", 7, *[32767] * 7)), code="V26"),
    "V10 negative axis": Bad("of negative length: 9x-8x7", header(dim=("4h", 3, 9, -8, 7))),
    "V11 axis of 0": Bad("axis without voxels: 0x8x7", header(dim=("4h", 3, 0, 8, 7))),
    "V11 no axes": Bad("header claims 0 axes", header(dim=("h", 0))),
    "V12 more than it says": Bad("144 bytes after", header(dim=("4h", 3, 9, 8, 6)), code="V09"),
    "V12 more than it says, plain": Bad("144 bytes after the volume", ending=".nii",
                                        flair=content(image(), dim=("4h", 3, 9, 8, 6))),
    "V13 type 9999": Bad("datatype 9999", header(datatype=("2h", 9999, 16))),
    "V14 float over int16": Bad("bytes are missing", header(datatype=("2h", 16, 32)), code="V02"),
    "V14 type and bits": Bad("has 32 bits, bitpix says 16", header(datatype=("2h", 16, 16))),
    "V14 complex": Bad("datatype 32 is not a plain number", header(datatype=("2h", 32, 64))),
    "V14 colour": Bad("datatype 128 is not a plain number", header(datatype=("2h", 128, 24))),
    "V15 wrong byte order": Bad("bytes are in the wrong order", packed(swapped())),
    "V17 offset 0": Bad("vox_offset is 0", header(offset=("f", 0))),
    "V18 offset -1": Bad("vox_offset is -1", header(offset=("f", -1))),
    "V18 offset NaN": Bad("vox_offset is nan", header(offset=("f", NAN))),
    "V18 offset 1e9": Bad("vox_offset is 1e+09", header(offset=("f", 1e9))),
    "V19 slope infinite": Bad("scl_slope inf", header(slope=("2f", INF, 0))),
    "V19 slope NaN, intercept": Bad("scl_slope nan, scl_inter 5", header(slope=("2f", NAN, 5))),
    "V20 slope 1e30": Bad("limit 1e+06", header(slope=("2f", 1e30, 0))),
    "V21 label scaled": Bad("labels are scaled by 0.5",
                            seg=packed(content(label(), slope=("2f", 0.5, 0)))),
    "V21 label scaled by a hair": Bad("labels are scaled by 1",
                                      seg=packed(content(label(), slope=("2f", 1.000001, 0)))),
    "V22 NaN": Bad("3 of 504 voxels are NaN", holed(slice(3))),
    "V22 all NaN": Bad("504 of 504 voxels are NaN", EMPTY_OF_NUMBERS),
    "V22 infinite": Bad("1 of 504 voxels", packed(content(np.where(image() == 100, INF, 1.0)))),
    "V22 constant": Bad("constant: every voxel is 0", packed(content(image() * 0))),
    "V22 label NaN": Bad("504 of 504 labels are NaN", seg=EMPTY_OF_NUMBERS),
    "V23 label in fractions": Bad("labels are not whole numbers, such as 0.5",
                                  seg=packed(content(label(np.float32) / 4))),
    "V24 label 9": Bad("(label: voxels) 9: 1", seg=marked(9)),
    "V24 label 255": Bad("(label: voxels) 255: 1", seg=marked(255)),
    "V24 label 300": Bad("labels outside 0 to 255 (label: voxels) 300: 1", seg=marked(300)),
    "V24 label negative": Bad("(label: voxels) -4: 1", seg=marked(-4)),
    "V26 two axes": Bad("not a 3-D volume: 72x7", header(dim=("4h", 2, 72, 7, 1))),
    "V26 four axes": Bad("split it into volumes", header(dim=("5h", 4, 9, 4, 7, 2))),
    "V27 label of another shape": Bad("shape (7, 8, 8)", seg=packed(content(label()[1:]))),
    "V28 label elsewhere": Bad("a corner is 5 mm away", seg=packed(content(label(), MOVED))),
    "V29 forms 50 mm apart": Bad("sform and qform are 50 mm apart",
                                 header(qform=("2h", 1, 1), quatern_b=("6f", 0, 0, 0, 50, 0, 0))),
    "V30 no form": Bad("sform and qform codes are 0", header(qform=("2h", 0, 0))),
    "V30 affine NaN": Bad("affine is not finite", header(srow_x=("4f", NAN, 0, 0, 0))),
    "V30 affine singular": Bad("affine is singular", header(srow_x=("8f", *[1, 1, 0, 0] * 2))),
    "V31 quaternion": Bad("its qform is no rotation",
                          header(qform=("2h", 1, 0), quatern_b=("3f", 1, 1, 1))),
    "V32 voxel size 0": Bad("(voxel size) is 1x0x1", header(pixdim=("4f", 1, 1, 0, 1))),
    "V32 voxel size negative": Bad("is 1x-1x1", header(pixdim=("4f", 1, 1, -1, 1))),
    "V32 voxel size NaN": Bad("is 1xnanx1", header(pixdim=("4f", 1, 1, NAN, 1))),
    "V33 extension of 2 GB": Bad("extension of 2,000,000,000 bytes does not fit",
                                 packed(with_extension(content(image()), 2_000_000_000))),
    "V33 extension of 24 bytes in 8": Bad("extension of 24 bytes does not fit",
                                          packed(with_extension(content(image()), 24, real=8))),
    "V33 extension of 0": Bad("extension of 0 bytes does not fit",
                              packed(with_extension(content(image()), 0))),
    "D05 loop": Bad("symlink loop"),
    "D06 dangling": Bad("dangling link to gone.nii.gz"),
    "D07 pipe": Bad("not a regular file"),
    "D07 folder": Bad("not a regular file"),
    "both": Bad("an empty file", b"", packed(content(label())[:100]), code="V01"),
}  # fmt: skip


def in_place_of(flair: Path, case: str) -> None:
    """What is no file at all."""
    make: dict[str, Callable[[], object]] = {
        "D05 loop": lambda: flair.symlink_to(flair.name),
        "D06 dangling": lambda: flair.symlink_to("gone.nii.gz"),
        "D07 pipe": lambda: os.mkfifo(flair),
        "D07 folder": flair.mkdir,
    }
    if case in make:
        flair.unlink()
        make[case]()


def big_endian(array: np.ndarray) -> bytes:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.dtype(array.dtype).newbyteorder(">"))
    return nibabel.Nifti1Image(array, np.eye(4), header).to_bytes()


def oddities() -> dict[str, tuple[bytes, bytes]]:
    """Unusual and right: flair and seg of each."""
    odd: dict[str, Callable[[np.ndarray], bytes | bytearray]] = {
        "V16 big-endian": big_endian,
        "V19 slope 0": lambda array: content(array, slope=("2f", 0, 0)),
        "V19 slope NaN": lambda array: content(array, slope=("2f", NAN, NAN)),
        "V26 trailing axis of 1": lambda array: content(array[..., None]),
        "V33 extension that fits": lambda array: with_extension(content(array), 32),
        "V34 header size 999": lambda array: with_size(content(array), 999),
        "sform only": lambda array: content(array, qform=("2h", 0, 1)),
        "qform only": lambda array: content(array, qform=("2h", 1, 0)),
        "oblique": lambda array: content(array, OBLIQUE, qform=("2h", 0, 1)),
        "anisotropic": lambda array: content(array, np.diag([0.5, 0.5, 6.0, 1.0])),
        "left-handed": lambda array: content(array, np.diag([-1.0, 1.0, 1.0, 1.0])),
        "NIfTI-2": lambda array: nibabel.Nifti2Image(array, np.eye(4)).to_bytes(),
        "float64": lambda array: content(array.astype(np.float64)),
    }
    made = {
        case: (packed(write(image(seed))), packed(write(label())))
        for seed, (case, write) in enumerate(odd.items(), 1)
    }
    flair = [packed(content(image(seed))) for seed in range(50, 54)]
    return {
        **made,
        "V23 labels as float32": (flair[0], packed(content(label(np.float32)))),
        "V25 label empty": (flair[1], packed(content(label() * 0))),
        "scaled image": (packed(content(image(54), slope=("2f", 0.5, -10))),
                         packed(content(label()))),
        "plain": (bytes(content(image(55))), packed(content(label()))),
    }  # fmt: skip


ODD = oddities()


def id_of(case: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", case).strip("-")


class Checked(NamedTuple):
    lines: list[str]
    err: str
    code: int
    cpu_s: float
    peak_mib: float
    unchanged: bool


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """All of them in one folder, looked at once by a process of its own."""
    root = tmp_path_factory.mktemp("catalogue") / "data"
    mask = packed(content(label()))
    for seed, (case, bad) in enumerate(BAD.items(), 100):
        flair = packed(content(image(seed))) if bad.flair is None else bytes(bad.flair)
        folder = root / id_of(case)
        brats(folder, flair, mask if bad.seg is None else bytes(bad.seg), ending=bad.ending)
        in_place_of(folder / f"{folder.name}_flair{bad.ending}", case)
    for case, (flair, seg) in ODD.items():
        brats(root / id_of(case), flair, seg, ending=".nii" if case == "plain" else ".nii.gz")
    before = contents(root)
    code = (
        "import sys, time; from harness.cli import main\n"
        "try: main()\n"
        "finally:\n"
        "    [peak] = [line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line]\n"
        "    print(time.process_time(), peak, sep='\\n', file=sys.stderr)"
    )  # not getrusage: its peak begins at that of the process which starts this one
    done = subprocess.run(
        [sys.executable, "-c", code, "data", "check", root, "--modalities", "flair"],
        env={**os.environ, "PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
    )
    *err, cpu_s, peak_kib = done.stderr.splitlines()
    return Checked(done.stdout.splitlines(), "\n".join(err), done.returncode, float(cpu_s),
                   int(peak_kib) / 1024, contents(root) == before)  # fmt: skip


def told_of(checked: Checked, case: str) -> list[re.Match[str]]:
    """The faults of the files of one case."""
    matches = [LINE.fullmatch(line) for line in checked.lines]
    return [match for match in matches if match and match["where"].startswith(f"{id_of(case)}/")]


@pytest.mark.parametrize("case", [case for case in BAD if case != "both"])
def test_a_volume_that_cannot_be_trusted_is_named_with_fault_and_remedy(checked, case):
    bad = BAD[case]
    [fault] = told_of(checked, case)
    assert fault["code"] == (bad.code or case.split()[0])
    assert bad.says in fault[0]
    kind, ending = ("flair", bad.ending) if bad.seg is None else ("seg", ".nii.gz")
    assert fault["where"] == f"{id_of(case)}/{id_of(case)}_{kind}{ending}"


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_and_right_is_no_fault(checked, case):
    assert told_of(checked, case) == []


def test_what_is_odd_is_noted(checked):
    notes = [line for line in checked.lines if line.startswith("note: ") and CEILING not in line]
    assert [note.split(": ")[2] for note in notes] == [
        "the label is empty", *["sizeof_hdr is 999, not 348; read as NIfTI-1"] * 2,
    ]  # fmt: skip


def test_all_faults_of_all_cases_are_told_in_one_pass(checked):
    assert checked.code == 3
    assert [fault["code"] for fault in told_of(checked, "both")] == ["V01", "V04"]
    faults = [line for line in checked.lines if LINE.fullmatch(line)]
    assert len(faults) == len(BAD) + 1
    assert checked.lines[-1] == counted(len(faults), "fault")
    assert len(checked.lines) == 1 + len(faults) + 4 + 2  # data set, notes, targets, and the sum


def test_hostile_files_cost_neither_time_nor_memory_nor_a_traceback(checked):
    print(f"\n{len(BAD)} hostile files: {checked.peak_mib:.0f} MiB, {checked.cpu_s:.1f} s of CPU")
    assert checked.err == ""
    assert checked.peak_mib < 1000
    assert checked.cpu_s < 30
    assert checked.unchanged


# Folders


@pytest.fixture
def root(tmp_path):
    """Three good patients with two modalities, to be damaged."""
    for number in (1, 2, 3):
        folder = tmp_path / "data" / f"P{number}"
        brats(folder, packed(content(image(number))), packed(content(label())))
        (folder / f"P{number}_t2.nii.gz").write_bytes(packed(content(image(number + 50))))
    return tmp_path / "data"


def rename(root: Path, name: str) -> None:
    """Call the first patient otherwise."""
    folder = (root / "P1").rename(root / name)
    for path in folder.iterdir():
        path.rename(folder / path.name.replace("P1", name))


def copy_voxels(root: Path) -> None:
    for kind in ("flair", "t2", "seg"):
        shutil.copy(root / "P1" / f"P1_{kind}.nii.gz", root / "P2" / f"P2_{kind}.nii.gz")


def link_out(root: Path) -> None:
    path = root / "P1" / "P1_t2.nii.gz"
    path.rename(root.parent / "elsewhere.nii.gz")
    path.symlink_to(root.parent / "elsewhere.nii.gz")


def other_edition(root: Path) -> None:
    mask = label()
    mask[mask == 4] = 3
    (root / "P1" / "P1_seg.nii.gz").write_bytes(packed(content(mask)))


FOLDERS = {
    "D01": (lambda root: (root / "P1" / "P1_t2.nii.gz").unlink(),
            ["P1: missing t2; found flair", "Try: --modalities flair"]),
    "D02": (lambda root: (root / "P1" / "P1_seg.nii.gz").unlink(),
            ["P1: no label: P1/P1_seg.nii.gz is missing"]),
    "D03 packed and unpacked": (
        lambda root: (root / "P1" / "P1_t2.nii").write_bytes(content(image())),
        ["P1: is there twice: P1/P1_t2.nii and P1/P1_t2.nii.gz"]),
    "D03 but for case": (lambda root: rename(root, "p2"), ["is there twice: ", "/P2", "/p2"]),
    "D04 dash": (lambda root: rename(root, "-rf"), ["'-rf': cannot be a case id", "rename it"]),
    "D04 control": (lambda root: rename(root, "P\x1b[2J"), ["'P?[2J': cannot be a case id"]),
    "D04 lookalike": (lambda root: rename(root, "Р1"), ["'?1': cannot be a case id"]),
    "D04 not UTF-8": (lambda root: rename(root, os.fsdecode(b"\xe9")), ["'?': cannot be a case"]),
    "D04 percent": (lambda root: rename(root, "%2e%2e"), ["'%2e%2e': cannot be a case id"]),
    "D04 long": (lambda root: rename(root, "P" * 65), ["cannot be a case id", "at most 64"]),
    "D06": (link_out, ["P1/P1_t2.nii.gz: a link to ", "outside the data root", "copy the file"]),
    "D08": (copy_voxels, ["P1: the same image in P1 and P2: it could train and test"]),
    "D09 empty": (lambda root: [shutil.rmtree(path) for path in root.iterdir()],
                  ["0 cases found; expected"]),
    "D09 none": (shutil.rmtree, ["no such folder", "check the path"]),
    "D11": (other_edition, ["have label 4 and no 3", "bring all to 0, 1, 2, 4"]),
    "D13 shape": (lambda root: (root / "P1" / "P1_t2.nii.gz").write_bytes(
        packed(content(image()[1:]))), ["P1/P1_t2.nii.gz: shape (7, 8, 8)", "P1/P1_flair.nii.gz"]),
    "D13 place": (lambda root: (root / "P1" / "P1_t2.nii.gz").write_bytes(
        packed(content(image(), np.diag([1.0, 1, 1, 1])))), ["lies elsewhere than P1/P1_flair"]),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_cannot_be_used_is_told_as_one_fault(root, case):
    damage, says = FOLDERS[case]
    damage(root)
    before = contents(root)
    done = pfbench("data", "check", root, expect=3)
    lines = [line for line in done.out.splitlines()
             if not line.startswith("target: ") and CEILING not in line]  # fmt: skip
    *data_set, fault, total = lines
    assert LINE.fullmatch(fault) and total == "1 fault"
    assert all(line.startswith("brats ") for line in data_set)
    for words in (f"error[PFB-{case[:3]}]", *says):
        assert words in fault
    assert fault.isascii() and fault.isprintable()
    assert contents(root) == before


def test_what_is_missing_does_not_hide_what_is_damaged(root):
    (root / "P1" / "P1_t2.nii.gz").unlink()
    (root / "P1" / "P1_flair.nii.gz").write_bytes(GOOD[:-60])
    (root / "P1" / "P1_seg.nii.gz").write_bytes(marked(9))
    done = pfbench("data", "check", root, expect=3)
    faults = [line for line in done.out.splitlines() if line.startswith("error")]
    assert [LINE.fullmatch(fault)["code"] for fault in faults] == ["D01", "V02", "V24"]


def test_a_good_folder_has_no_fault(root):
    said, ceiling, target, verdict = pfbench("data", "check", root).out.splitlines()
    assert said.startswith("brats (BraTS 2012-2025") and verdict == "no fault found"
    assert target.startswith("target: 1.08 ml in 3 parts, on the grid")
    assert ceiling.startswith(f"note: {CEILING}")


RUN = ["run", "--suite", "table2", "--model", "resunet3d_up", "--dataset", "brats",
       "--modalities", "flair", "--profile", "quick", "--epochs", 1, "--executor", "inline",
       "--no-mlflow"]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "said"),
    [("tc", "labels {0, 1, 2, 3} vs declared {0, 1, 2, 4}"), ("core", "unknown target 'core'")],
)
def test_d11_parts_of_the_tumour_need_labels_that_mean_one_thing(root, target, said, tmp_path):
    mask = label()
    mask[mask == 4] = 3
    for number in (1, 2, 3):
        (root / f"P{number}" / f"P{number}_seg.nii.gz").write_bytes(packed(content(mask)))
    done = pfbench(*RUN, "--data-root", root, "--target", target, "--out", tmp_path / "out",
                   expect=3 if target == "tc" else 2)  # fmt: skip
    assert said in done.err


@pytest.mark.parametrize(
    ("fold", "gone", "said"),
    [(0, ["P1"], "2 cases, but this split needs at least 3"),
     (1, [], "3 cases, but this split needs at least 5")],
)  # fmt: skip
def test_d9_fewer_cases_than_the_split_needs(root, tmp_path, fold, gone, said):
    for case in gone:
        shutil.rmtree(root / case)
    done = pfbench(*RUN, "--data-root", root, "--set", f"split.fold={fold}",
                   "--out", tmp_path / "out", expect=3)  # fmt: skip
    assert said in done.err and "PFB-D09" in done.err and "Try: add cases" in done.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on four small patients: its data and its folder."""
    base = tmp_path_factory.mktemp("trained")
    pfbench("data", "make-phantom", base / "data", "--cases", 4, "--size", "32x64x64")
    pfbench(*RUN, "--data-root", base / "data", "--out", base / "out")
    return base


@pytest.fixture
def again(trained, tmp_path):
    """A copy of both, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "again"))


CASES = [f"BraTS20_Training_{number:03}" for number in range(1, 5)]


def change(root: Path) -> None:
    flair, t2 = (root / CASES[1] / f"{CASES[1]}_{kind}.nii.gz" for kind in ("flair", "t2"))
    shutil.copy(t2, flair)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change, f"{CASES[1]} changed"),
        (lambda root: shutil.rmtree(root / CASES[3]), f"{CASES[3]} removed"),
    ],
    ids=["changed", "removed"],
)
def test_d10_data_that_changed_since_the_run_began_are_named_and_rows_kept(again, damage, said):
    before = contents(again / "out")
    damage(again / "data")
    done = pfbench(*RUN, "--data-root", again / "data", "--out", again / "out", expect=5)
    assert f"error[PFB-D10]: {again / 'out'}: the data are not those it began with" in done.err
    assert said in done.err and "Try: another --out" in done.err
    kept = contents(again / "out")
    assert all(kept[name] == before[name] for name in before if name != "driver.lock")


def test_d12_a_volume_that_vanished_is_a_row_with_a_reason(again):
    folder = RunFolder(again / "out")
    [trial] = folder.trials()
    (trial.path / "result.json").unlink()
    lost, cache = folder.volume_keys().key(CASES[0]), folder.path / "cache"
    shutil.rmtree(cache / lost)
    assert perform(Task("train", folder.path, trial.id, cache), print) == "bad_data"
    result = trial.result()
    assert (result.status, result.reason) == ("failed", "bad_data")
    assert "PFB-D12" in result.detail and lost in result.detail
    assert "bad_data" in pfbench("report", folder.path).out

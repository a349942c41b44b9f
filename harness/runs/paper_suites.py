"""The rows of the paper's tables and figures, and of our own suite beside them.

Rows of different suites that come to the same specification are one trial: Table I's "selective",
Table II's "without MSRes" and Table III's "Res, without TPF" are one network, trained once.
"""

from collections.abc import Mapping
from typing import Any

from harness.runs.suite import FIGURES, Row, Suite
from harness.systems.catalogue import SYSTEMS

# The framework of the first journal version's experiments: residual blocks, no fine-tuning.
PLAIN = {"msres": "none", "tpf": "none"}
STRATEGIES = {
    "none": "w/o TPF",
    "srt": "TPF w/ SRT",
    "srt+ust": "TPF w/ SRT+UST",
    "srt+ust+tfm": "TPF w/ SRT+UST+TFM",
    "tfm": "TPF w/ TFM only",
}

TABLE1 = Suite(
    "Table I: where to crop the guidance patch",
    tuple(
        Row(crop, title, "pfseg", {**PLAIN, "crop": crop})
        for crop, title in {
            "random": "random cropping",
            "central": "central cropping",
            "selective": "selective cropping",
            "selective_official": "selective, authors' code",
            "selective_lattice": "selective, 8-voxel lattice (ours)",
        }.items()
    ),
    ("Cropping",),
    (*FIGURES, "crop_s", "crop_variance"),
    (
        "Richness: variance of the patch over the largest that any patch of its volume has, "
        "mean over the test cases",
    ),
)

TABLE2 = Suite(
    "Table II: where to use MSRes blocks",
    tuple(
        Row(msres, title, "pfseg", {**PLAIN, "msres": msres})
        for msres, title in {
            "none": "w/o MSRes",
            "sgm": "SGM w/ MSRes",
            "sgm+encoder": "SGM + encoder w/ MSRes",
        }.items()
    ),
    ("MSRes",),
    (*FIGURES, "train_mib", "parameters", "gflops"),
    ("Training memory: peak MiB, of the process on a CPU, of the allocator on a GPU",),
)

TABLE3 = Suite(
    "Table III: how to fine-tune on the test volumes",
    tuple(
        Row(
            f"{block.lower()}/{tpf}",
            f"{block}, {title}",
            "pfseg",
            {"msres": msres, "tpf": tpf},
            cells=(block, title),
        )
        for block, msres in {"Res": "none", "MSRes": "sgm+encoder"}.items()
        for tpf, title in STRATEGIES.items()
    ),
    ("Block", "Fine-tuning"),
    FIGURES,
    ("The five rows of a block type start from one trained network",),
)

# Table IV adds one part after the other to the segmentation branch alone.
BARE = {"srt": False, "tel": False, "ssl": "none", "sgm": False, "msres": "none", "tpf": "none"}
PARTS: dict[str, Mapping[str, Any]] = {
    "UST": {},
    "SRT": {"srt": True},
    "TEL": {"tel": True},
    "SSL": {"ssl": "exact"},
    "SGM": {"sgm": True},
    "MSRes": {"msres": "sgm+encoder"},
    "TPF": {"tpf": "tfm"},
}


# The plain U-Net needs more channels than the quick profile has: of the four in its last stage all
# may be off in the target, where the answer is then the bias, which takes tens of epochs to climb.
QUICK_WIDTHS = {"unet": {"widths": [16, 16, 16, 32, 64]}, "resunet": {}}


def _ablation(backbone: str, title: str) -> tuple[Row, ...]:
    rows, options = [], {**BARE, "backbone": backbone}
    for number, (part, change) in enumerate(PARTS.items()):
        options = {**options, **change}
        marks = tuple("✓" if i <= number else "" for i in range(len(PARTS)))
        name = f"{title} {'+ ' if number else ''}{part}"
        rows.append(
            Row(
                f"{backbone}/{part.lower()}",
                name,
                "pfseg",
                options,
                QUICK_WIDTHS[backbone],
                (title, *marks),
            )
        )
    return tuple(rows)


TABLE4 = Suite(
    "Table IV: what each part adds",
    _ablation("unet", "UNet3D") + _ablation("resunet", "ResUNet3D"),
    ("Backbone", *PARTS),
    FIGURES,
    (
        "Rows are cumulative; the row with TPF fine-tunes the network of the row above it",
        "In the quick profile the two finest levels have 16 channels in the rows of UNet3D, 8 in "
        "those of ResUNet3D: with 8 a plain U-Net often answers 'nothing' after a few epochs",
    ),
)

# PFSeg stands twice: fine-tuned on the test volumes, as in the paper, and beside its rivals, which
# are not. The second is trained in any case, as the network that the first starts from.
TABLE5 = Suite(
    "Table V: all systems under one protocol",
    tuple(
        row
        for name, entry in SYSTEMS.items()
        for row in (
            *[Row("pfseg/none", f"{entry.title} w/o TPF", name, {"tpf": "none"})]
            * (name == "pfseg"),
            Row(name, entry.title, name),
        )
    ),
)

# (D, H, W) of a window, and in the quick profile. The smallest leaves the fifth level of a U-Net
# too few voxels to normalise there, so the quick networks of this figure have four levels.
WINDOWS = (
    ((32, 48, 48), (8, 16, 16)),
    ((48, 64, 64), (16, 24, 24)),
    ((64, 96, 96), (16, 32, 32)),
    ((96, 128, 128), (24, 48, 48)),
    ((128, 192, 192), (32, 64, 64)),
)


FIG1 = Suite(
    "Fig. 1: ResUNet3D by size of its patches",
    tuple(
        Row(
            f"window{number}",
            "ResUNet3D, patches of {window}",
            "resunet3d",
            {"window": list(full)},
            {"window": list(quick), "widths": [8, 16, 32, 64]},
            ("{window}",),
        )
        for number, (full, quick) in enumerate(WINDOWS, 1)
    ),
    ("Patch",),
    (*FIGURES, "time", "memory", "gflops"),
    (
        "One random patch of each volume in an epoch, whatever its size; "
        "the last is the whole volume",
        "The paper prints Fig. 1 without its values",
    ),
)

# A window of half the side has an eighth of the voxels. A third around the target is nnU-Net's
# share (arXiv:1809.10486).
DRAWN: dict[str, tuple[Mapping[str, Any], tuple[str, str]]] = {
    "1": ({"windows_per_volume": 1, "foreground_share": 0.0}, ("1", "anywhere")),
    "8": ({"windows_per_volume": 8, "foreground_share": 0.0}, ("8", "anywhere")),
    "8-target": (
        {"windows_per_volume": 8, "foreground_share": 1 / 3},
        ("8", "a third around the target"),
    ),
}

EQUAL_VOXELS = Suite(
    "Equal voxels: patch-based systems that see as much of each volume as patch-free ones",
    (
        *(
            Row(
                f"{name}/{drawn}",
                f"{SYSTEMS[name].title}, windows: {' '.join(words)}",
                name,
                cells=(SYSTEMS[name].title, *words),
                protocol=protocol,
            )
            for name in ("vnet", "unet3d", "resunet3d")
            for drawn, (protocol, words) in DRAWN.items()
        ),
        Row(
            "pfseg",
            "PFSeg, not fine-tuned",
            "pfseg",
            {"tpf": "none"},
            cells=("PFSeg, not fine-tuned", "the volume", ""),
        ),
    ),
    ("Model", "Windows an epoch", "Where"),
    (*FIGURES, "gflops"),
    (
        "8 windows have as many voxels as the volume, and the network 8 times as many steps; "
        "one, anywhere, is the paper's setting and that of Table V",
    ),
)

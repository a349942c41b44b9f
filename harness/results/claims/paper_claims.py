"""The claims of the paper (arXiv:2210.14645 v1), each with the table that tests it.

Only sentences stand here; every figure is read from the paper's tables. Thresholds that the text
gives without figures ("four times", "5 %") come with the reason for how they are read.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from harness.results.claims.about_costs import Faster, MemoryAtMost, ShareIs
from harness.results.claims.about_scores import Best, Better
from harness.results.paper import printed_figures
from harness.runs.measures import DICE, HD95, Measure
from harness.runs.paper_suites import PARTS
from harness.systems.catalogue import system

Kind = Better | Best | Faster | MemoryAtMost | ShareIs


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper that can be true or not."""

    text: str
    source: str
    """The place where the paper states or prints the claim."""
    suite: str
    """The suite whose rows test the claim."""
    kind: Kind

    @property
    def needs_trials(self) -> bool:
        return not isinstance(self.kind, ShareIs)


def _others(suite: str, key: str, prefix: str = "") -> tuple[str, ...]:
    """The keys of the rows that the paper compares `key` with; rows that we added are left out."""
    return tuple(k for k in printed_figures()[suite] if k != key and k.startswith(prefix))


def _of_kind(kind: str) -> tuple[str, ...]:
    return tuple(key for key in printed_figures()["table5"] if system(key).kind == kind)


def _times(slow: str) -> float:
    seconds = {key: figures["time_s"] for key, figures in printed_figures()["table5"].items()}
    return seconds[slow] / seconds["pfseg"]


def _extra_percent(first: str, second: str) -> int:
    mib = {key: figures["train_mib"] for key, figures in printed_figures()["table2"].items()}
    return math.ceil(100 * (mib[first] / mib[second] - 1))


# "A four times higher inference speed" (abstract) stands for three factors of Table V; the least of
# them has to be reached.
ABOUT_FOUR = min(_times(key) for key in _of_kind("patch-based"))


def _cropping() -> list[Claim]:
    def claim(first: str, second: str, metric: Measure, name: str) -> Claim:
        text = f"{first.capitalize()} cropping is at least as good as {second} in {name}"
        return Claim(text, "Table I", "table1", Better((first,), (second,), metric, or_equal=True))

    return [
        claim(first, second, metric, name)
        for metric, name in ((DICE, "Dice"), (HD95, "HD95"))
        for first, second in (("selective", "central"), ("central", "random"))
    ]


def _msres() -> list[Claim]:
    places = {"sgm": "in the SGM", "sgm+encoder": "in SGM and encoder"}
    memory = []
    for key, place in places.items():
        percent = _extra_percent(key, "none")
        text = f"MSRes {place} takes at most {percent} % more memory to train"
        memory.append(Claim(text, "Table II", "table2", MemoryAtMost(key, "none", percent)))
    gain = Better(("sgm+encoder",), ("none",), DICE)
    return [Claim("MSRes in SGM and encoder adds Dice", "Table II", "table2", gain), *memory]


def _fine_tuning() -> list[Claim]:
    claims = []
    for block, title in {"res": "Res", "msres": "MSRes"}.items():
        tfm = f"{block}/tfm"
        best = Best(tfm, _others("table3", tfm, f"{block}/"), DICE)
        gain = Better((tfm,), (f"{block}/none",), DICE)
        claims += [
            Claim(
                f"{title}: TFM only is the best of the five in Dice", "Table III", "table3", best
            ),
            Claim(f"{title}: TPF with TFM only adds Dice", "Table III", "table3", gain),
        ]
    return claims


def _ablation() -> list[Claim]:
    return [
        Claim(
            f"{title}: {part} adds Dice",
            "Table IV",
            "table4",
            Better((f"{backbone}/{part.lower()}",), (f"{backbone}/{before.lower()}",), DICE),
        )
        for backbone, title in {"unet": "UNet3D", "resunet": "ResUNet3D"}.items()
        for before, part in pairwise(PARTS)
    ]


def _systems() -> list[Claim]:
    others = _others("table5", "pfseg")
    groups = Better(_of_kind("patch-free"), _of_kind("patch-based"), HD95)
    kinds: dict[str, Kind] = {
        "PFSeg has the best Dice of all systems": Best("pfseg", others, DICE),
        "PFSeg has the best HD95 of all systems": Best("pfseg", others, HD95),
        "PFSeg without fine-tuning has the best Dice of all": Best("pfseg/none", others, DICE),
        "PFSeg without fine-tuning has the best HD95 of all": Best("pfseg/none", others, HD95),
        "PFSeg is better than ResUNet3D in Dice": Better(("pfseg",), ("resunet3d",), DICE),
        "Patch-free systems are better than patch-based ones in HD95": groups,
    }
    for slow in _of_kind("patch-based"):
        text = f"PFSeg is about 4 times as fast as {system(slow).title}"
        kinds[text] = Faster("pfseg", slow, ABOUT_FOUR)
    kinds["HDResUNet is faster than PFSeg"] = Faster("hdresunet", "pfseg", 1)
    return [Claim(text, "Table V", "table5", kind) for text, kind in kinds.items()]


def _windows() -> list[Claim]:
    text = "ResUNet3D on the whole volume is better than on the smallest patches in"
    return [
        Claim(f"{text} {name}", "Fig. 1", "fig1", Better(("window5",), ("window1",), metric))
        for metric, name in ((DICE, "Dice"), (HD95, "HD95"))
    ]


def _parameters() -> list[Claim]:
    return [
        Claim(f"The SGM has 5 % of the parameters at inference, {which}", "text", "table4", kind)
        for which, kind in {
            "Res blocks": ShareIs("resunet/sgm", 5, 442_912, 9_355_249),
            "final model": ShareIs("resunet/tpf", 5, 2_260_080, 23_861_633),
        }.items()
    ]


CLAIMS: tuple[Claim, ...] = (
    *_cropping(),
    *_msres(),
    *_fine_tuning(),
    *_ablation(),
    *_systems(),
    *_windows(),
    *_parameters(),
)

"""The systems that are compared: name, network, method and options of each.

To add one here: write its file, add one line to `SYSTEMS`. Import paths stand as text so that
listing the systems loads no torch. Those of plug-ins join the list when a command names their
file, see `harness.runs.plugins`.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

from harness.data.case import PAPER_GRID
from harness.errors import unknown
from harness.systems.protocol import Options

if TYPE_CHECKING:
    from harness.systems.methods import Method

Kind = Literal["patch-based", "patch-free", "given masks"]
"""How a system sees a volume; of masks that another tool made, nothing is known."""
Grid = tuple[int, int, int]


@dataclass(frozen=True)
class SystemEntry:
    """One system that can be compared: a row of Table V.

    `network` and `method` are "module:name", or the thing itself in a plug-in; the network is
    called with `modalities` and its options, the method with the network, the grid and its own
    options. `options` hold the full-size values, `quick` what the quick profile replaces, `of_data`
    what data sets do, by their name; those named in `method_options` go to the method, the rest to
    the network. `deviation` is what differs from the common protocol, printed under every table.
    """

    title: str
    kind: Kind
    network: str | Callable[..., Any]
    method: str | Callable[..., Any]
    reference: str
    end_to_end: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    method_options: tuple[str, ...] = ()
    deviation: str = ""
    of_data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    first_stage: tuple[str, Mapping[str, str]] | None = None
    """The system that the first network is, and which option of that is which option here; None
    where training has one stage, or its first network is no system of the list."""

    @property
    def view(self) -> str:
        """The class name of the system's method: "Patches", "PatchFree"."""
        method = self.method
        return method.partition(":")[2] if isinstance(method, str) else method.__name__


QUICK_UNET = {"widths": (8, 8, 16, 32, 64)}
# Of the paper's 128 x 192 x 192 voxels: 17 % for the liver, 7.7 % for a glioma. Organs that the
# paper does not have may be as large as a liver.
POINTS = 800_000 / math.prod(PAPER_GRID)
POINTS_OF_GLIOMA = 365_000 / math.prod(PAPER_GRID)

# fmt: off
SYSTEMS: dict[str, SystemEntry] = {
    "vnet": SystemEntry(
        "V-Net", "patch-based", "baselines.vnet:VNet", "harness.systems.methods:Patches",
        "Milletari et al., arXiv:1606.04797", quick={"widths": (4, 8, 16, 32, 64)},
        method_options=("window",),
    ),
    "unet3d": SystemEntry(
        "UNet3D", "patch-based", "baselines.unet3d:UNet3D", "harness.systems.methods:Patches",
        "Çiçek et al., arXiv:1606.06650", quick=QUICK_UNET, method_options=("window",),
    ),
    "resunet3d": SystemEntry(
        "ResUNet3D", "patch-based", "baselines.resunet3d:ResUNet3D",
        "harness.systems.methods:Patches", "Yu et al., AAAI 2017",
        quick=QUICK_UNET, method_options=("window",),
    ),
    "resunet3d_up": SystemEntry(
        "ResUNet3D↑", "patch-free", "baselines.resunet3d:ResUNet3D",
        "harness.systems.methods:LowResolution", "Wang et al., arXiv:2210.14645, Sec. IV-C",
        quick=QUICK_UNET,
    ),
    "hdresunet": SystemEntry(
        "HDResUNet", "patch-free", "baselines.hdresunet:HDResUNet",
        "harness.systems.methods:WholeVolume", 
        "holistic decomposition (HDC) and dense upsampling (DUC) on ResUNet3D", quick=QUICK_UNET,
    ),
    "san": SystemEntry(
        "SAN", "patch-free", "baselines.san:SAN", "harness.systems.methods:WholeVolume",
        "Ho et al., Point-Unet, arXiv:2203.08964 (saliency network)", quick={"width": 8},
    ),
    "point_unet": SystemEntry(
        "Point-Unet", "patch-free", "baselines.point_unet:PointUNet",
        "harness.systems.points:Points", "Ho et al., arXiv:2203.08964", end_to_end=False,
        options={"points": POINTS, "post": "open", "learning_rate_factor": 10.0},
        quick={
            "post": "outside", "san_width": 8, "dims": (8, 16, 32, 64, 128), "momentum": 0.1,
            "learning_rate_factor": 2.0,
        },
        method_options=("points", "post", "learning_rate_factor"),
        first_stage=("san", {"width": "san_width"}),
        deviation="Point-Unet: its first network is SAN, trained once for both rows where their "
        "settings agree, and part of its time and memory of training; its point network learns "
        "faster, 10x in profile paper, 2x in quick; "
        "its masks are opened in paper, as its authors do, and in quick, where 3 voxels are 18 mm, "
        "outside of SAN's region alone",
        of_data={name: {"points": POINTS_OF_GLIOMA} for name in ("brats", "phantom")},
    ),
    "pfseg": SystemEntry(
        "PFSeg", "patch-free", "models.pfseg:build", "harness.systems.patch_free:PatchFree",
        "Wang et al., arXiv:2210.14645",
        options={
            "backbone": "resunet", "srt": True, "sgm": True, "msres": "sgm+encoder",
            "crop": "selective", "tel": True, "ssl": "exact", "binarize": "soft", "weights": {},
            "tpf": "tfm",
        },
        quick={"widths": (8, 8, 16, 32, 64), "guidance_widths": (4, 8, 16, 16)},
        method_options=("crop", "tel", "ssl", "binarize", "weights", "tpf"),
    ),
}
# fmt: on


def system(name: str) -> SystemEntry:
    """Return the entry called `name`; UsageError with the nearest name when there is none."""
    if name not in SYSTEMS:
        raise unknown("model", name, SYSTEMS)
    return SYSTEMS[name]


def load(path: str | Callable[..., Any]) -> Any:
    """Import and return the object that "module:name" names; return any other object unchanged."""
    return resolve_name(path) if isinstance(path, str) else path


SIZES = ("quick", "paper")
"""The sizes of networks, called after the profile that has each of them first."""


def size_of(profile: str) -> str:
    """Return the size of the networks in a profile: "quick" has a quarter of the channels."""
    return "paper" if profile == "paper" else "quick"


def options(name: str, profile: str, dataset: str = "") -> Options:
    """Return all options of a system in a profile; without `dataset`, those that hold for any."""
    entry = system(name)
    quick = entry.quick if size_of(profile) == "quick" else {}
    return {**entry.options, **quick, **entry.of_data.get(dataset, {})}


def build(
    name: str,
    options: Mapping[str, Any],
    modalities: int,
    grid: Grid,
    targets: int = 1,
    exclusive: bool = False,
) -> "Method":
    """Build the system's network and method, ready to be trained and applied on `grid`.

    A network is told of `targets` only where there are several, of which at most one is in a voxel
    if they are `exclusive`. ValueError for a system of a plug-in that does not take several.
    """
    entry = system(name)
    of_method = {key: options[key] for key in entry.method_options if key in options}
    of_network = {key: value for key, value in options.items() if key not in of_method}
    make, method = load(entry.network), load(entry.method)
    if targets > 1:
        _refuse_one_target(name, make, method)
        of_network["targets"] = targets
    built: Method = method(make(modalities=modalities, **of_network), grid, **of_method)
    built.targets, built.exclusive = targets, exclusive
    return built


def _refuse_one_target(name: str, network: Callable[..., Any], method: type["Method"]) -> None:
    """Raise ValueError for a system that cannot be relied on to learn several targets."""
    parameters = inspect.signature(network).parameters.values()
    if not any(each.name == "targets" or each.kind is each.VAR_KEYWORD for each in parameters):
        raise ValueError(
            f"{name} has one target: its network takes no `targets`, the number of channels that "
            "it is to answer with"
        )
    if not method.several or (_own(method) and "several" not in vars(method)):
        raise ValueError(
            f"{name} has one target: {method.__name__} makes samples or masks in its own way and "
            "does not say `several = True`, that a label may hold several targets"
        )


def _own(method: type["Method"]) -> bool:
    """Return whether a plug-in's class replaces what labels or probabilities pass through."""
    from harness.systems.methods import Method

    through = ("stages", "sample", "losses", "forward", "probability", "segment", "mask")
    makers = (each for each in method.__mro__ if issubclass(each, Method))
    for each in makers:
        if each.__module__.startswith("harness.systems."):
            return False
        if any(part in vars(each) for part in through):
            return True
    return False

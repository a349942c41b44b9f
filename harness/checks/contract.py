"""`pfbench check-plugin`: the contract that every system, metric and data set has to keep.

build    in both profiles without memory, for one and for two modalities
apply    without memory: an answer on the whole grid; parameters and GFLOPs are counted
learn    in the quick profile: a finite loss, a gradient for every parameter
repeat   one seed gives the same weights, losses and masks; the volume stays as it was
keep     saved and loaded weights predict the same
targets  two of them: a channel of each, a finite loss, a mask of both; or one alone, and says so
"""

import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from harness.checks.finding import Diagnosis
from harness.data.request import reduced_grid
from harness.data.targets import packed
from harness.data.wording import listed
from harness.errors import UsageError
from harness.runs import plugins as registry
from harness.runs.plugin_file import Plugin, contained
from harness.runs.settings import PROFILES
from harness.systems import catalogue as systems
from harness.systems import plugin_metrics as extra_metrics
from harness.systems.cost import cost
from harness.systems.methods import Grid, Image, LowResolution, Mask, Method, Patches, WholeVolume
from harness.systems.plugin_metrics import Metric

SEED = 0
LIMIT_S = 600.0
"""Seconds of one step, of which most take less than ten."""
AGAIN_S = 1.0
RINGS = 5
END = os._exit  # as it is outside of `contained`
Step = Callable[[], str]


class Broken(Exception):
    """Raised when a part of the contract is not kept; `remedy` is the next step."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


class OutOfTime(BaseException):
    """The error for a plug-in's code that does not come to its end; none that it catches itself."""


@contextmanager
def within(limit_s: float) -> Iterator[None]:
    """Raise OutOfTime in the block once it has taken longer.

    Again, each second, where the block catches it; one that goes on all the same ends the process.
    """
    rings = count()

    def ring(number: int, frame: FrameType | None) -> None:
        what = f"is not done after {limit_s:g} s"
        if next(rings) == RINGS:
            os.write(2, f"the plug-in {what}, and catches what would end it\n".encode())
            END(UsageError.exit_code)
        raise OutOfTime(what)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check(
    path: Path, data_root: Path | None = None, limit_s: float = LIMIT_S
) -> Iterator[Diagnosis]:
    """The findings on a plug-in file, one by one; a step that takes longer than `limit_s` fails.

    Raises UsageError when the file cannot be loaded.
    """
    with within(limit_s), contained():
        [plugin] = registry.add([path])
    brings = {"systems": plugin.systems, "metrics": plugin.metrics, "data sets": plugin.datasets}
    listed = "; ".join(f"{kind} {', '.join(names)}" for kind, names in brings.items() if names)
    yield Diagnosis(plugin.name, "ok", f"loads as {plugin.id}: {listed}")
    for name in plugin.systems:
        yield from check_system(name, str(path), limit_s)
    for name, metric in plugin.metrics.items():
        steps: dict[str, Step] = {"scores": lambda m=metric: _scores(m)}  # type: ignore[misc]
        yield from _guarded(name, str(path), steps, limit_s)
    yield from _datasets(plugin, path, data_root, limit_s)


def check_system(name: str, source: str = "", limit_s: float = LIMIT_S) -> Iterator[Diagnosis]:
    """The findings on one system; the first failing step of a profile is the profile's last.

    `source` is the file whose lines errors are told by.
    """
    for profile in systems.SIZES:
        steps: dict[str, Step] = {
            f"{profile}: build": lambda p=profile: _builds(name, p),  # type: ignore[misc]
            f"{profile}: apply": lambda p=profile: _applies(name, p),  # type: ignore[misc]
        }
        if profile == "quick":
            steps |= {
                "quick: learn": lambda: _learns(name),
                "quick: predict": lambda: _predicts(name),
                "quick: repeat": lambda: _repeats(name),
                "quick: keep": lambda: _keeps(name),
                "quick: targets": lambda: _takes_several(name),
            }
        yield from _guarded(name, source, steps, limit_s)


def _guarded(name: str, source: str, steps: dict[str, Step], limit_s: float) -> Iterator[Diagnosis]:
    for title, step in steps.items():
        where = f"{name} {title}"
        try:
            with within(limit_s), contained():
                said = step()
            yield Diagnosis(where, "ok", said)
        except Broken as error:
            yield Diagnosis(where, "fail", str(error), error.remedy)
            return
        except OutOfTime as error:
            remedy = f"{_advice(error, source)}; --limit with more seconds where it needs them"
            yield Diagnosis(where, "fail", str(error), remedy)
            return
        except Exception as error:  # somebody else's code: whatever it raises is a finding
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            yield Diagnosis(where, "fail", what, _advice(error, source))
            return


def _advice(error: BaseException, source: str) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == source]
    place = f"line {lines[-1]} of the plug-in" if lines else "the shapes it is called with"
    if "meta" in str(error).lower() or isinstance(error, NotImplementedError):
        return f"{place}: build and apply it without values of tensors (device 'meta'): no .item()"
    return f"look at {place}"


def _grid(profile: str) -> Grid:
    return reduced_grid(PROFILES[profile].reduce)


def _built(name: str, modalities: int = 1) -> Method:
    torch.manual_seed(SEED)
    return systems.build(name, systems.options(name, "quick"), modalities, _grid("quick"))


def volume(grid: Grid, modalities: int = 1) -> tuple[Image, Mask]:
    """A test image, noise with a brighter block, and the block as its mask; both are read-only."""
    rng = np.random.default_rng(SEED)
    label = np.zeros(grid, bool)
    label[tuple(slice(side // 4, side // 2) for side in grid)] = True
    image = 0.5 * rng.random((modalities, *grid), dtype=np.float32) + 0.5 * label.astype(np.float32)
    image.flags.writeable = label.flags.writeable = False
    return image, label


def _builds(name: str, profile: str) -> str:
    options = systems.options(name, profile)
    with torch.device("meta"):
        methods = [
            systems.build(name, options, modalities, _grid(profile)) for modalities in (1, 2)
        ]
    first, second = (sum(p.numel() for p in method.network.parameters()) for method in methods)
    if not first:
        raise Broken("has no parameters", "return an nn.Module whose layers are its attributes")
    if first == second:
        raise Broken(
            "has the same size for one modality and for two",
            "use `modalities` as the number of input channels",
        )
    return f"{first:,} parameters"


def _applies(name: str, profile: str) -> str:
    options, grid = systems.options(name, profile), _grid(profile)
    with torch.device("meta"), torch.inference_mode():
        method = systems.build(name, options, 1, grid)
        method.network.eval()
        answer = method.for_inference().forward(torch.empty(1, *grid))
    if tuple(answer.shape) != grid:
        raise Broken(
            f"its answer has shape {tuple(answer.shape)}, the volume {grid}",
            "logits of one channel on the grid of the input",
        )
    counted = cost(name, options, 1, grid)
    sides = "×".join(map(str, grid))
    return f"answers on {sides}; {counted['gflops_per_volume']:,.1f} GFLOPs for a volume"


def _learns(name: str) -> str:
    method = _built(name)
    losses = _step(method)
    idle = [
        key for key, p in method.network.named_parameters() if p.requires_grad and p.grad is None
    ]
    if idle:
        what = f"no gradient reaches {listed(idle, 3)}"
        raise Broken(what, "use these layers in forward, or leave them out")
    return f"loss {', '.join(f'{loss:.4f}' for loss in losses)}; every parameter has a gradient"


def _step(method: Method) -> list[float]:
    """The losses of one sample of each stage, after a backward pass."""
    image, label = volume(method.grid)
    losses = []
    for stage in method.stages:
        stage.network.train()
        sample = stage.sample(image, label, np.random.default_rng(SEED))
        with _looked_at(method, stage.network, sample):
            terms = stage.losses(*sample)
        if "total" not in terms:
            raise Broken(
                f"losses are called {', '.join(terms)}", 'call the one to minimise "total"'
            )
        if not torch.isfinite(terms["total"]):
            raise Broken(
                f"the loss is {terms['total'].item()}", "return logits, before any sigmoid"
            )
        terms["total"].backward()
        losses.append(float(terms["total"].detach()))
    return losses


def _looked_at(method: Method, network: nn.Module, sample: Sequence[Any]) -> Any:
    """A hook that checks output shapes in our methods, whose losses would broadcast wrong ones."""

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        expected = (1, 1, *inputs[0].shape[2:])
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if given != expected:
            what = f"returns {given} for {tuple(inputs[0].shape)}, not {expected}"
            raise Broken(what, "logits (B, 1, D, H, W) on the grid of the input")

    ours = isinstance(method, Patches | WholeVolume | LowResolution)
    return network.register_forward_hook(look if ours else lambda *_: None)


def _predicts(name: str) -> str:
    method = _built(name)
    image, _ = volume(method.grid)
    mask, probability = method.segment(image), method.probability(image)
    if mask.shape != method.grid or mask.dtype != bool:
        raise Broken(
            f"the mask is {mask.dtype} {mask.shape}, not bool {method.grid}",
            "return (D, H, W) from forward",
        )
    if not np.isfinite(probability).all() or probability.min() < -0.5 or probability.max() > 1.5:
        low, high = probability.min(), probability.max()
        raise Broken(f"probabilities from {low:g} to {high:g}", "sigmoid in forward of the method")
    slim = method.for_inference().probability(image)
    if not np.array_equal(slim, probability):
        raise Broken(
            "for_inference() predicts something else", "leave out only what training needs"
        )
    return f"a mask of all {mask.size:,} voxels"


def _repeats(name: str) -> str:
    first, second = _built(name), _built(name)
    for key, part in first.network.state_dict().items():
        if not torch.equal(part, second.network.state_dict()[key]):
            raise Broken(
                f"{key} differs under one seed", "draw weights with torch's generator only"
            )
    losses = []
    for method in (first, second):
        torch.manual_seed(SEED)
        losses.append(_step(method))
    if losses[0] != losses[1]:
        raise Broken(
            f"one seed gives the losses {losses[0]} and {losses[1]}",
            "no randomness but torch's generator and that of `sample`",
        )
    image, _ = volume(first.grid)
    if not np.array_equal(first.segment(image), first.segment(image)):
        raise Broken("predicts another mask the second time", "no randomness in eval mode")
    return "weights, losses and masks come out the same; the volume stays as it was"


def _keeps(name: str) -> str:
    method, other = _built(name), _built(name)
    _step(method)
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.add_(0.01)
    state = {key: part.contiguous() for key, part in method.network.state_dict().items()}
    try:
        content = save(state)
    except (RuntimeError, ValueError) as error:
        remedy = "register tensors once: two names for one tensor cannot be stored"
        raise Broken(" ".join(str(error).split())[:200], remedy) from error
    other.network.load_state_dict(load(content))
    image, _ = volume(method.grid)
    if not np.array_equal(method.probability(image), other.probability(image)):
        raise Broken(
            "predicts something else once its weights are loaded",
            "keep all state in parameters and buffers",
        )
    return f"{len(content) / 2**20:.1f} MiB of weights, loaded they predict the same"


def _takes_several(name: str) -> str:
    """The finding on two targets; a system of one target is no fault, a wrong answer is."""
    torch.manual_seed(SEED)
    options, grid = systems.options(name, "quick"), _grid("quick")
    try:
        method = systems.build(name, options, 1, grid, targets=2)
    except ValueError as error:
        return f"{error}; --target with several is refused"
    try:
        method.look(1)
    except ValueError as error:
        raise Broken(str(error), "as many channels of logits as `targets` says") from error
    image, block = volume(grid)
    label = packed([block, block & (np.arange(grid[2]) % 2 == 0)])
    for stage in method.stages:
        terms = stage.losses(*stage.sample(image, label, np.random.default_rng(SEED)))
        if not torch.isfinite(terms["total"]):
            what = f"the loss of two targets is {terms['total'].item()}"
            raise Broken(what, "return logits, before any sigmoid")
    mask = method.segment(image)
    if mask.shape != grid or mask.dtype.kind != "u":
        what = f"the mask of two targets is {mask.dtype} {mask.shape}, not uint8 {grid}"
        raise Broken(what, "`return self.mask(probability)`, with bit k where target k is")
    return "takes several targets: a channel, a loss and a mask of each"


def _scores(metric: Metric) -> str:
    block, empty = np.zeros((16, 16, 16), bool), np.zeros((16, 16, 16), bool)
    block[4:8, 4:8, 4:8] = True
    cases = {
        "a perfect mask": (block, block),
        "a mask beside it": (np.roll(block, 6, 0), block),
        "an empty mask": (empty, block),
        "a mask of nothing that is there": (block, empty),
        "two empty masks": (empty, empty),
    }
    values = []
    for what, (pred, target) in cases.items():
        given, faults = extra_metrics.scores({"it": metric}, pred, target, (2.0, 1.0, 1.0))
        if faults:
            raise Broken(f"of {what}: {faults['it']}", "a finite number for every pair of masks")
        values.append(f"{given['it']:g}")
    return f"{metric.title}: {', '.join(values)} for {', '.join(cases)}"


def _datasets(plugin: Plugin, path: Path, root: Path | None, limit_s: float) -> Iterator[Diagnosis]:
    for name in plugin.datasets:
        if root is None:
            what = "its cases were not looked at"
            remedy = f"pfbench check-plugin {path} --data-root DIR"
            yield Diagnosis(f"{name} cases", "warn", what, remedy)
        else:
            steps: dict[str, Step] = {"cases": lambda n=name: _cases(n, root)}  # type: ignore[misc]
            yield from _guarded(name, str(path), steps, limit_s)


def _cases(name: str, root: Path) -> str:
    """The finding on a data set's cases: all are listed, the first is prepared and checked."""
    from tempfile import TemporaryDirectory

    from harness.data import volumes
    from harness.data.cache import open_volume
    from harness.data.jobs import case_ids
    from harness.data.request import DataRequest

    request = DataRequest(name, root)
    ids = case_ids(request)
    if not ids:
        raise Broken("no case", "Surveyor.add for each case of the folder")
    with TemporaryDirectory(prefix="pfbench-check-") as cache:
        prepared = volumes.prepare(request, Path(cache), only=ids[:1])
        [key] = prepared.keys.values()
        seen = open_volume(Path(cache), key)
        image, label = seen.image, seen.label
        if image.shape[1:] != prepared.grid or label.shape != prepared.grid:
            what = f"{ids[0]} comes out as {image.shape} with a label {label.shape}"
            raise Broken(what, f"prepare to {prepared.grid}: `return finish(…)`")
        if image.min() < 0 or image.max() > 1 or label.max() > 1:
            raise Broken(f"{ids[0]} leaves the range 0 to 1", "`return finish(…)` brings it there")
        target = int(label.sum())
    return f"{len(ids)} cases; {ids[0]} has {target:,} voxels of target"

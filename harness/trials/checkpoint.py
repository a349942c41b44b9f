"""Checkpoints and weights: files that are whole or absent, and are read without running code.

    checkpoints/epoch-000007.pt  epoch-000007.sha256    two generations, each with its sum
    weights.safetensors                                 its sum is in result.json

Whatever else turns up in their place is a StateError that says which file to remove.
"""

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_weights
from torch import Tensor, nn

from harness.data.wording import listed
from harness.errors import StateError
from harness.runs.crash_points import crash_point
from harness.runs.files import write_bytes
from harness.runs.records import Scored
from harness.runs.trial_folder import TrialFolder
from harness.systems.train import Snapshot

GENERATIONS = 2
HEADER = 100_000_000  # bytes of names and shapes in a file of weights, at most
SHOWN = 3  # keys of a network that a message names
AGAIN = "remove this folder, then the same command with --retry-failed"


def save(folder: Path, epoch: int, state: Snapshot) -> None:
    """Write the state after `epoch` and drop all but the last two.

    `state` holds tensors, numbers, text, lists and dicts only, so that it can be read without
    running code. The sum is written last: a checkpoint without it does not count.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = folder / f"epoch-{epoch:06d}.pt"
    write_bytes(path, content)
    write_bytes(path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode())
    for old in sorted(folder.glob("epoch-*.pt"))[:-GENERATIONS]:
        old.with_suffix(".sha256").unlink(missing_ok=True)
        crash_point("old-sum-removed")
        old.unlink()


def load(folder: Path, warn: Callable[[str], None] = lambda message: None) -> Snapshot | None:
    """Load the newest whole checkpoint, or None without one; `warn` is called for damaged ones.

    Raises StateError when there are two and both are damaged, and for one that is whole but
    holds more than numbers and text: we did not write it.
    """
    damaged: list[Path] = []
    for path in sorted(folder.glob("epoch-*.pt"), reverse=True):
        content = path.read_bytes()
        if _sealed(path, content):
            for other in damaged:
                warn(f"{other.name} is damaged or incomplete: going on from {path.name}")
            return _opened(path, content)
        damaged.append(path)
    if len(damaged) >= GENERATIONS:
        what = "every checkpoint is damaged"
        raise StateError(what, where=str(folder), remedy=AGAIN, code="PFB-K01")
    for other in damaged:
        warn(f"{other.name} is damaged or incomplete, and the only one: starting again")
    return None


def _sealed(path: Path, content: bytes) -> bool:
    """Whether the content of a checkpoint has the SHA-256 that its sum file holds."""
    seal = path.with_suffix(".sha256")
    return seal.exists() and seal.read_bytes() == hashlib.sha256(content).hexdigest().encode()


def _opened(path: Path, content: bytes) -> Snapshot:
    try:
        return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # torch has many, for what is no checkpoint as for what is unsafe
        what = "unsafe content: its sum is right, but it is no checkpoint of pfbench"
        raise StateError(what, where=str(path), remedy=AGAIN, code="PFB-K04") from error


def load_weights(network: nn.Module, folder: TrialFolder) -> None:
    """Load the weights of a finished trial into `network`. Raises StateError as `read_weights`."""
    network.load_state_dict(read_weights(network, folder))


def read_weights(network: nn.Module, folder: TrialFolder) -> Mapping[str, Tensor]:
    """The weights of a finished trial, which fit `network`; on device "meta" that takes no memory.

    Raises StateError when they are missing, not what the trial wrote, or of another network.
    """
    path = folder.weights_file
    most = sum(tensor.nbytes for tensor in network.state_dict().values()) + HEADER
    try:
        if path.stat().st_size > most:
            raise _unusable(path, "is larger than the weights of this network", "PFB-K06")
        content = path.read_bytes()
    except OSError as error:
        raise _unusable(path, "has no weights that can be read", "PFB-K03") from error
    result = folder.result()
    written = result.sha256.get(path.name) if isinstance(result, Scored) else None
    if written != hashlib.sha256(content).hexdigest():
        raise _unusable(path, "damaged: its SHA-256 is not that in result.json", "PFB-K03")
    try:
        weights = parse_weights(content)
    except SafetensorError as error:
        raise _unusable(path, "is no weights file", "PFB-K03") from error
    refuse_misfit(network, weights, path)
    return weights


def put_in(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put `weights`, read from `path`, into `network`. StateError unless they fit exactly."""
    refuse_misfit(network, weights, path)
    network.load_state_dict(weights)


def refuse_misfit(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise StateError unless `weights`, read from `path`, have the shapes of `network`."""
    own = network.state_dict()
    wrong = [key for key in (*own, *weights) if key not in own or key not in weights]
    wrong += [key for key in own if key in weights and _kind(own[key]) != _kind(weights[key])]
    if wrong:
        keys = listed(wrong, SHOWN)
        what = f"holds another network: {len(wrong)} of its keys do not fit ({keys})"
        raise _unusable(path, what, "PFB-K06")


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype


def _unusable(path: Path, what: str, code: str) -> StateError:
    remedy = "move the folder of this trial away and repeat its `pfbench run`, which trains it anew"
    return StateError(what, where=str(path), remedy=remedy, code=code)


class CheckpointStore:
    """A trial's checkpoints and history on disk; history.csv is a copy from the checkpoint.

    `warn` is given one line for each checkpoint that is damaged.
    """

    def __init__(self, folder: TrialFolder, warn: Callable[[str], None]) -> None:
        self.folder = folder
        self.warn = warn

    def save(self, epoch: int, state: Snapshot) -> None:
        save(self.folder.checkpoints, epoch, {"trial": self.folder.id, **state})
        self._write_history(state)

    def load(self) -> Snapshot | None:
        state = load(self.folder.checkpoints, self.warn)
        if state is None:
            return None
        if state.get("trial") != self.folder.id:
            where, remedy = str(self.folder.checkpoints), AGAIN
            what = f"holds the checkpoints of another trial ({state.get('trial')})"
            raise StateError(what, where=where, remedy=remedy, code="PFB-K06")
        self._write_history(state)
        return state

    def _write_history(self, state: Snapshot) -> None:
        self.folder.write_history(state["progress"]["history"])

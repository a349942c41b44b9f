"""Checkpoints that are whole or absent: two generations, each with its SHA-256 beside it."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from harness.errors import StateError
from harness.ledger import write_bytes

GENERATIONS = 2


def save(folder: Path, epoch: int, state: dict[str, Any]) -> None:
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
        old.unlink()


def load(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, None when there is none at all.

    Raises StateError when there are checkpoints and every one is damaged.
    """
    damaged = []
    for path in sorted(folder.glob("epoch-*.pt"), reverse=True):
        content = path.read_bytes()
        seal = path.with_suffix(".sha256")
        if seal.exists() and seal.read_text() == hashlib.sha256(content).hexdigest():
            return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        damaged.append(path)
    if len(damaged) >= GENERATIONS:
        raise StateError(
            "every checkpoint is damaged",
            where=str(folder),
            remedy="remove this folder; the trial then starts again",
            code="PFB-K01",
        )
    return None

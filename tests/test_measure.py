"""Peak memory is of the program that asks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.systems.memory import MIB, peak_memory_mib

ASK = (
    "import torch; from harness.trials.measure import peak_memory_mib as peak; "
    "print(*peak({}).values())"
)
CPU = torch.device("cpu")


def test_what_was_held_once_stays_the_peak():
    held = np.ones(300 * MIB, np.uint8)
    reached = peak_memory_mib(CPU)["peak_mib"]
    assert reached > held.size / MIB
    del held
    assert peak_memory_mib(CPU)["peak_mib"] > 0.99 * reached  # the kernel counts in batches


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel does not say")
def test_the_size_of_who_started_a_program_is_not_its_peak():
    held = np.ones(800 * MIB, np.uint8)
    asked = [sys.executable, "-c", ASK.format("torch.device('cpu')")]
    top = Path(__file__).parent.parent
    done = subprocess.run(asked, cwd=top, capture_output=True, text=True, check=True)
    assert 50 < float(done.stdout) < held.size / MIB

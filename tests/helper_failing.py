"""`pfbench run` in which trials fail, each system in its own way; the others are as they are."""

import os
import resource
import signal
import time
from pathlib import Path

import torch
from helper_warm_pfbench import main as pfbench_main

import harness.trials.supervise
import harness.trials.trial
from harness.runs.run_folder import RunFolder
from harness.systems.train import train
from harness.trials.preload import main as trial_main

MIB = 2**20


def run_out_of_gpu_memory(method, lesson):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def run_out_of_memory(method, lesson):
    """Under a limit that leaves 256 MiB, ask for more."""
    used = (
        int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
        * resource.getpagesize()
    )
    resource.setrlimit(resource.RLIMIT_AS, (used + 256 * MIB, resource.RLIM_INFINITY))
    torch.zeros(512 * MIB, dtype=torch.uint8)


def diverge(method, lesson):
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.fill_(torch.nan)
    return train(method, lesson)


class Unpicklable(ValueError):
    def __reduce__(self):
        raise TypeError("cannot be pickled")


def raise_an_exception(method, lesson):
    raise Unpicklable("no such thing")


def leave(method, lesson):
    os._exit(3)


def break_down(method, lesson):
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(method, lesson):
    time.sleep(3600)


def take_all_memory(method, lesson):
    """Up to 6 GB of it, in steps, and keep it."""
    taken = []
    for _ in range(60):
        taken.append(torch.ones(100 * MIB, dtype=torch.uint8))
        time.sleep(0.05)
    time.sleep(60)


DEEDS = {
    "unet3d": run_out_of_gpu_memory,
    "vnet": run_out_of_memory,
    "san": diverge,
    "resunet3d": raise_an_exception,
    "pfseg": leave,
    "hdresunet": break_down,
    "point_unet": hang,
}
GREEDY = {"vnet": take_all_memory}


def trial(arguments):
    """`python -m harness.trials` of a trial that may fail in training."""
    action, run, name, *_ = arguments
    deeds = GREEDY if "GREEDY" in os.environ else DEEDS
    system = RunFolder(Path(run)).trial(name).spec().system
    if action == "train" and system in deeds:
        harness.trials.trial.train = deeds[system]
    return trial_main(arguments)


REAL = harness.trials.supervise.supervise


def supervise(task, report, node=""):
    """As `harness.trials.supervise`, with a process whose trials may fail."""
    return REAL(task, report, node, "helper_failing:trial")


def pfbench(arguments):
    """The command; its trials are those that fail, wherever they run."""
    perform = harness.trials.trial.perform

    def failing(task, emit):
        system = RunFolder(task.run).trial(task.trial).spec().system
        harness.trials.trial.train = DEEDS.get(system, train)
        return perform(task, emit)

    harness.trials.trial.perform = failing
    harness.trials.supervise.supervise = supervise
    return pfbench_main(arguments)

"""Train one point of a study from rung to rung; runs where Ray put it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.runs.run_folder import RunFolder
from harness.runs.study_folder import scores
from harness.trials.supervise import TRIAL, supervise

Report = Callable[[dict[str, Any]], None]


def rehearse(payload: dict[str, Any], report: Report, function: str = TRIAL) -> dict[str, Any]:
    """Train every seed of the point to each of `stops` in turn; {"reason": "ok" | why not}.

    `payload`: run, cache, plugins, threads, silence_s, node, trials (one for each seed), stops
    (epochs). Reports epoch and score. No process is left running while a stop is reported, so
    that the study may end the point there; at the next rung training goes on from the checkpoint.
    `function` is what the processes call, as for `supervise`.
    """
    last = payload["trials"][-1]
    trials = [RunFolder(Path(payload["run"])).trial(trial) for trial in payload["trials"]]
    handed_on = ("run", "cache", "plugins", "threads", "silence_s", "node")
    task = {key: payload[key] for key in handed_on}
    for until in payload["stops"]:

        def tell(event: dict[str, Any], until: int = until) -> None:
            """The last seed's epochs complete those of the others."""
            if event["event"] == "epoch" and event["epoch"] < until:
                known = scores(trials)
                if event["epoch"] in known:
                    report({"epoch": event["epoch"], "value": known[event["epoch"]]})

        for trial in payload["trials"]:
            step = {**task, "action": "rehearse", "trial": trial, "until": until}
            outcome = supervise(step, tell if trial == last else _hear_nothing, function)
            if outcome["reason"] != "ok":
                return outcome
        known = scores(trials)
        # Training may have ended before, and a continued point may have been trained further.
        report({"epoch": until, "value": known.get(until, known[max(known)])})
    return {"reason": "ok"}


def _hear_nothing(event: dict[str, Any]) -> None:
    """Epochs of all seeds but the last complete no score."""

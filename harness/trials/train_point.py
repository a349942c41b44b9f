"""Train one point of a study from rung to rung, in the process where Ray placed it."""

from collections.abc import Callable
from dataclasses import replace

from harness.runs.events import Event
from harness.runs.study_folder import scores
from harness.trials.supervise import TRIAL, supervise
from harness.trials.task import PointTask

Report = Callable[[Event], None]


def train_point(point: PointTask, report: Report, node: str = "", function: str = TRIAL) -> Event:
    """Train every seed of the point to each of its stops; returns {"reason": "ok" | why not}.

    Reports epoch and score. No process is left running while a stop is reported, so that the
    study may end the point there; at the next rung training goes on from the checkpoint.
    `node` and `function` are those of `supervise`.
    """
    trials = [task.folder for task in point.tasks]
    last = point.tasks[-1]
    for until in point.stops:

        def on_epoch(event: Event, until: int = until) -> None:
            """Report the score of an epoch when the last seed, so every seed, has ended it."""
            if event["event"] == "epoch" and event["epoch"] < until:
                known = scores(trials)
                if event["epoch"] in known:
                    report({"epoch": event["epoch"], "value": known[event["epoch"]]})

        for task in point.tasks:
            to_rung = replace(task, until=until)
            hear = on_epoch if task is last else lambda event: None
            outcome = supervise(to_rung, hear, node, function)
            if outcome["reason"] != "ok":
                return outcome
        known = scores(trials)
        # Training may have ended before, and a continued point may have been trained further.
        report({"epoch": until, "value": known.get(until, known[max(known)])})
    return {"reason": "ok"}

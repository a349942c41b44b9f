"""Why the numbers of a run say nothing about the paper: synthetic data, smaller networks."""

from typing import NamedTuple


class Caveat(NamedTuple):
    """One reason, in the words of each place that has to give it."""

    note: str
    """Under a table or in a picture."""
    warning: str
    """A sentence above a report."""
    reason: str
    """Beside the verdict on a claim."""


SYNTHETIC = Caveat(
    "synthetic data: not comparable with the paper",
    "Synthetic data: these numbers say nothing about patients, or the paper.",
    "synthetic data",
)


def caveats(synthetic: bool, profile: str) -> list[Caveat]:
    """The reasons that hold for a run on such data in such a profile."""
    found = [SYNTHETIC] if synthetic else []
    if profile != "paper":
        small = "smaller volumes and networks than the paper's; for trying out, not for conclusions"
        found.append(
            Caveat(
                f"profile {profile}: {small}",
                f"Profile {profile}: {small}.",
                f"profile {profile} instead of the paper's networks and volumes",
            )
        )
    return found

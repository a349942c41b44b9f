"""Why the numbers of a run say nothing about the paper: synthetic data, smaller networks."""

from typing import NamedTuple

from harness.runs.records import GIVEN_ALONE


class Caveat(NamedTuple):
    """One reason why the numbers say nothing about the paper, worded for each place of use."""

    note: str
    """The wording under a table or in a picture."""
    warning: str
    """The sentence above a report."""
    reason: str
    """The wording beside the verdict on a claim."""


SYNTHETIC = Caveat(
    "synthetic data: not comparable with the paper",
    "Synthetic data: these numbers say nothing about patients, or the paper.",
    "synthetic data",
)


SMALLER = {
    "quick": "smaller volumes and networks than the paper's; for trying out, not for conclusions",
    "small": "smaller volumes and networks than the paper's, trained until the learning rate's "
    "floor; for conclusions about networks of this size only",
}
"""How the networks of a profile differ from the paper's."""


def caveats(synthetic: bool, profile: str) -> list[Caveat]:
    """The caveats of a run: one for synthetic data, one for a profile other than `paper`."""
    found = [SYNTHETIC] if synthetic else []
    if profile not in ("paper", GIVEN_ALONE):
        small = SMALLER[profile] if profile in SMALLER else SMALLER["quick"]
        found.append(
            Caveat(
                f"profile {profile}: {small}",
                f"Profile {profile}: {small}.",
                f"profile {profile} instead of the paper's networks and volumes",
            )
        )
    return found

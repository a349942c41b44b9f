"""`pfbench claims`: each claim of the paper, its printed figures, our figures, and a verdict.

    run folders ─► gather ─► Evidence ─┐
                              CLAIMS ──┴─► judge ─► Verdict ─► show, records

Every verdict of a run that departs from the paper carries a mark, so that none is quoted without.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple, get_args

from rich.table import Table

from harness.results.claims.evidence import MARGINS, Evidence, Margins, NoEvidence, Word, gather
from harness.results.claims.paper_claims import ABOUT_FOUR, CLAIMS, Claim
from harness.results.intervals import Interval
from harness.results.scores import MIN_PATIENTS
from harness.runs.files import JsonObject
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen

MARK = "*"
RULES = (
    "Supported: the whole interval lies on the claimed side of zero; not supported: on the other "
    "side; undecided: in between. 'At least as good': the same of minus the margin "
    "(--margin-points, --margin-mm). Best: so against each of the others; shown is the hardest "
    "to beat.",
    f"About 4 times: the whole interval is at {ABOUT_FOUR:.2f} or above, the least of the paper's "
    "own factors. Memory: no two trainings differ by more than the paper's percent, rounded up. "
    "Parameters: counted on the full-size network; the share rounds to the paper's.",
    f"Intervals: 95 %. Dice: Student's t on the mean difference over the patients, at least "
    f"{MIN_PATIENTS}, and the trainings; HD95: order statistics of the median difference, as "
    "single missed targets rule its mean. From one training nothing is concluded about a method. "
    "Times: over processes. Each is for its own claim: of 40 claims without any effect, one would "
    "be supported by chance.",
    "Dice in percent. HD95: ours in mm, the paper's in voxels. Rows with TPF have seen the test "
    "volumes, without their labels.",
)


class Verdict(NamedTuple):
    """The verdict on one claim, with the figures it rests on."""

    claim: Claim
    paper: str
    ours: str
    interval: Interval | None
    word: Word
    why: str
    caveat: str
    """The reason why the verdict says nothing about the paper, or ""."""

    @property
    def marked(self) -> str:
        """The verdict's word, with a mark when there is a caveat."""
        return self.word + (MARK if self.caveat else "")


def judge(folders: Sequence[RunFolder], margins: Margins = MARGINS) -> list[Verdict]:
    """The verdicts on every claim, from all runs together; no file is written.

    `margins` are what "at least as good" leaves room for.

    Raises UsageError for runs of different protocols, StateError for a folder that is no run.
    """
    evidence = gather(folders, margins)
    return [_verdict(claim, evidence) for claim in CLAIMS]


def _verdict(claim: Claim, evidence: Evidence) -> Verdict:
    table = evidence.table(claim.suite)
    caveat = evidence.caveat if claim.needs_trials else ""
    paper = claim.kind.paper(table)
    if claim.needs_trials and not table.rows:
        why = f"pfbench run --suite {claim.suite}"
        return Verdict(claim, paper, "", None, "not run", why, "")
    try:
        finding = claim.kind.judge(table)
    except NoEvidence as gap:
        return Verdict(claim, paper, "", None, "undecided", str(gap), caveat)
    return Verdict(claim, paper, *finding, caveat)


def records(verdicts: Sequence[Verdict]) -> list[JsonObject]:
    """The verdicts for `--json`; estimate, low and high are in `unit`."""
    return [
        {
            "claim": verdict.claim.text,
            "source": verdict.claim.source,
            "suite": verdict.claim.suite,
            "paper": verdict.paper,
            "ours": verdict.ours,
            "unit": verdict.claim.kind.unit,
            **_numbers(verdict.interval),
            "verdict": verdict.marked,
            "why": verdict.why,
            "caveat": verdict.caveat,
        }
        for verdict in verdicts
    ]


def _numbers(interval: Interval | None) -> JsonObject:
    names = Interval._fields[:-1]
    return dict(zip(names, interval[:-1] if interval else [None] * len(names), strict=True))


def show(verdicts: Sequence[Verdict], screen: Screen) -> None:
    """Print the verdicts on the claims that were run, under a warning when there is a caveat."""
    if caveat := next((verdict.caveat for verdict in verdicts if verdict.caveat), ""):
        screen.say(f"{MARK} {caveat}: these verdicts say nothing about the paper")
    judged = [verdict for verdict in verdicts if verdict.word != "not run"]
    screen.show(_table(judged))
    by_word = sorted(judged, key=lambda verdict: get_args(Word).index(verdict.word))
    counts = Counter(verdict.marked for verdict in by_word)
    screen.say(", ".join(f"{number} {word}" for word, number in counts.items()))
    if absent := Counter(v.claim.suite for v in verdicts if v.word == "not run"):
        names = ", ".join(f"{name} ({number} claims)" for name, number in absent.items())
        screen.say(f"not run: {names}; to test them: pfbench run --suite NAME")
    for rule in RULES:
        screen.say(f"- {rule}")


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table(title="Claims of arXiv:2210.14645 v1", title_justify="left", header_style="bold")
    for heading in ("Claim", "Where", "Paper", "Ours [95 %]", "Verdict"):
        table.add_column(heading)
    for _, section in groupby(verdicts, key=lambda verdict: verdict.claim.source):
        table.add_section()
        for verdict in section:
            table.add_row(*_cells(verdict))
    return table


def _cells(verdict: Verdict) -> tuple[str, ...]:
    claim = verdict.claim
    word = f"{verdict.marked}: {verdict.why}" if verdict.why else verdict.marked
    return claim.text, claim.source, verdict.paper, verdict.ours, word

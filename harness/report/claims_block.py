"""The section with the paper's claims and their verdicts."""

from collections import Counter
from collections.abc import Sequence

from harness.report.document import Cell, Section, Table, Tone
from harness.results.claims import verdicts as claims
from harness.runs.run_folder import RunFolder

TONES: dict[str, Tone] = {"supported": "better", "not supported": "worse"}


def claims_section(folders: Sequence[RunFolder]) -> Section:
    """The claims that were tested, under a warning where the run says nothing about the paper."""
    verdicts = claims.judge(folders)
    judged = [verdict for verdict in verdicts if verdict.word != "not run"]
    counts = Counter(verdict.marked for verdict in judged)
    lead = [", ".join(f"{number} {word}" for word, number in counts.items()) + "."]
    if caveat := next((verdict.caveat for verdict in judged if verdict.caveat), ""):
        lead.append(f"{claims.MARK} {caveat}: these verdicts say nothing about the paper.")
    if absent := sorted({v.claim.suite for v in verdicts if v.word == "not run"}):
        lead.append(f"Claims about {', '.join(absent)} were not tested: not run.")
    rows = tuple(
        (
            Cell(verdict.claim.text),
            Cell(verdict.claim.source),
            Cell(verdict.paper),
            Cell(verdict.ours),
            Cell(
                f"{verdict.marked}: {verdict.why}" if verdict.why else verdict.marked,
                tone=TONES.get(verdict.word, "open"),
            ),
        )
        for verdict in judged
    )
    headings = ("Claim", "Where", "Paper", "Ours [95 %]", "Verdict")
    table = Table("Claims of arXiv:2210.14645 v1", headings, rows, 5, claims.RULES)
    return Section("claims", "The paper's claims", tuple(lead), (table,))

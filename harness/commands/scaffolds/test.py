"""NAME keeps what pfbench asks of every plug-in: pytest test_NAME.py."""

from pathlib import Path

from harness.checks import contract
from harness.runs import plugins as registry


def test_NAME_keeps_the_contract():
    try:
        found = list(contract.check(Path(__file__).with_name("NAME.py")))
    finally:
        registry.clear()
    assert [finding for finding in found if finding.state == "fail"] == []

"""What a person may write into options and files, and what they are told when it is wrong."""

import pytest

from harness.errors import UsageError
from harness.results.caveats import caveats
from harness.runs.settings import PROFILES, resolve
from harness.systems.catalogue import SYSTEMS, options


def write(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_options_win_over_the_file_and_the_file_over_the_profile(tmp_path):
    path = write(tmp_path, "protocol: {epochs: 7, learning_rate: 1.0e-3}")
    settings = resolve("quick", path, ["protocol.learning_rate=1e-4"], None)
    assert (settings.protocol.epochs, settings.protocol.learning_rate) == (7, 1e-4)


def test_a_protocol_does_not_change_while_it_is_followed():
    protocol = resolve("paper", None, [], None).protocol
    with pytest.raises(ValueError, match="frozen"):
        protocol.epochs = 1


def test_the_paper_profile_is_the_papers_protocol():
    protocol = resolve("paper", None, [], None).protocol
    assert (protocol.learning_rate, protocol.plateau_epochs, protocol.plateau_divisor) == (
        1e-4,
        10,
        10,
    )
    assert protocol.learning_rate_floor == 1e-7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("protocol: {lerning_rate: 1}", "protocol.lerning_rate"),
        ("exceptions: {vnet: {lerning_rate: 1}}", "config.yaml:1: unknown key 'lerning_rate'"),
        ("protocol: {epochs: 0}", "protocol.epochs=0"),
        ("protocol: {epochs: 3}\nprotocol: {epochs: 4}", "stands twice, lines 1 and 2"),
        ("a: &a [1]\nb: *a", r"config.yaml:2: aliases \(\*a\) are not accepted"),
        ("!!python/object/apply:os.system ['true']", "os.system"),
        ("- 1", "mapping"),
        ("systems: {unet4d: {}}", "unknown model 'unet4d'"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key_or_line(tmp_path, text, said):
    with pytest.raises(UsageError, match=said):
        resolve("quick", write(tmp_path, text), [], None)


def test_a_number_in_yaml_1_1_notation_is_a_number(tmp_path):
    path = write(tmp_path, "protocol: {learning_rate: 1e-3}")
    assert resolve("quick", path, [], None).protocol.learning_rate == 1e-3


def test_a_change_without_equals_sign_is_explained():
    with pytest.raises(UsageError, match=r"key\.path=value"):
        resolve("quick", None, ["epochs"], None)


@pytest.mark.parametrize("rule", ["{patient}_frame#", "{patient}", "patients.csv", "none", "12"])
def test_a_text_is_taken_as_it_was_typed(rule):
    assert resolve("quick", None, [f"split.group={rule}"], None).split.group == rule


# ── the profile small ───────────────────────────────────────────────────────────────────────────


def test_small_has_the_networks_and_volumes_of_quick():
    quick, small = PROFILES["quick"], PROFILES["small"]
    assert small.reduce == quick.reduce
    for name in SYSTEMS:
        assert options(name, "small") == options(name, "quick")


def test_small_lets_the_learning_rate_fall_as_far_as_the_paper_does_and_ends_by_that_alone():
    small, paper = PROFILES["small"].protocol, PROFILES["paper"].protocol
    falls = [each.learning_rate / each.learning_rate_floor for each in (small, paper)]
    assert falls[0] == pytest.approx(falls[1])
    assert small.epochs > 10 * paper.epochs


def test_small_has_a_caveat_of_its_own():
    [caveat] = caveats(synthetic=False, profile="small")
    assert "until the learning rate's floor" in caveat.note
    assert "trying out" not in caveat.note

"""Commands whose options are a dataclass: what Typer sees of them, and what the command gets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from helper_in_process import pfbench
from typer.testing import CliRunner

from harness.commands.signature import with_options
from harness.runs.spec import code_version


def number_or_all(text: str) -> int | Literal["all"]:
    return "all" if text == "all" else int(text)


@dataclass(frozen=True, kw_only=True)
class Volumes:
    root: Annotated[Path | None, typer.Option(help="Where they lie.")] = None
    most: Annotated[int | Literal["all"], typer.Option(parser=number_or_all)] = "all"


@dataclass(frozen=True, kw_only=True)
class Suite:
    name: Annotated[str, typer.Argument()]
    volumes: Volumes = Volumes()
    seeds: Annotated[int, typer.Option(min=1)] = 1


@dataclass(frozen=True, kw_only=True)
class Everything(Suite):
    again: Annotated[bool, typer.Option("--again")] = False


@pytest.fixture
def command():
    """An application of one command that keeps the options it was called with."""
    app = typer.Typer()
    app.got = []

    @app.command()
    @with_options
    def run(options: Everything) -> None:
        """Run them all."""
        app.got.append(options)

    return app


def call(app, *arguments):
    return CliRunner().invoke(app, list(arguments))


def test_the_fields_of_a_group_stand_in_its_place_under_the_text_of_the_command(command):
    told = call(command, "--help").stdout
    assert "Run them all." in told and "Where they lie." in told
    places = [told.index(option) for option in ("--root", "--most", "--seeds", "--again")]
    assert places == sorted(places)


def test_the_command_gets_what_was_typed_and_the_defaults_of_the_rest(command):
    assert call(command, "table", "--most", "3", "--again").exit_code == 0
    assert command.got == [Everything(name="table", volumes=Volumes(most=3), again=True)]


def test_a_field_without_a_default_is_required(command):
    done = call(command)
    assert done.exit_code == 2 and "Missing argument" in done.output


def test_what_typer_refuses_never_reaches_the_command(command):
    assert call(command, "table", "--seeds", "0").exit_code == 2
    assert command.got == []


def test_two_fields_of_one_name_are_refused_when_the_command_is_made():
    @dataclass(frozen=True, kw_only=True)
    class Twice:
        volumes: Volumes = Volumes()
        root: Annotated[str, typer.Option()] = ""

    def run(options: Twice) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'root'"):
        with_options(run)


def test_the_version_is_the_one_that_runs_record():
    assert pfbench("--version").out.strip() == code_version()

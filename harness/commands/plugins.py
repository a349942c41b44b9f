"""`--plugin`, `pfbench check-plugin` and `pfbench init`: models, metrics and data of your own."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from harness.commands import completion
from harness.commands.options import Json


def check_plugin(
    file: Annotated[Path, typer.Argument(help="The Python file; it is executed.")],
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of volumes, for data sets that it brings.")
    ] = None,
    limit: Annotated[
        float, typer.Option(min=1, help="Seconds that loading it, and each step, may take.")
    ] = 600,
    as_json: Json = False,
) -> None:
    """Hold a plug-in to what every system keeps; exit code 2 when something is not kept.

    Builds each network in both profiles, trains a step, predicts a volume, saves and loads. What
    takes longer than --limit is not kept.

    Example:

        pfbench check-plugin my_model.py
    """
    from harness.checks import contract
    from harness.checks.doctor import examine as doctor
    from harness.runs.screen import Screen

    screen = Screen(quiet=as_json)
    found = []
    for finding in contract.check(file, data_root, limit):
        found.append(finding)
        remedy = f". Try: {finding.remedy}" if finding.remedy else ""
        screen.say(f"{finding.state:<4}  {finding.name}: {finding.what}{remedy}")
    if as_json:
        print(json.dumps(doctor.records(found), indent=2))
    elif doctor.exit_code(found) == 0:
        screen.say(f"use it: pfbench run --suite table5 --plugin {file} --model NAME")
    raise typer.Exit(doctor.exit_code(found))


def init(
    what: Annotated[
        str,
        typer.Argument(
            help="model, metric, dataset or suite.", autocompletion=completion.scaffolds
        ),
    ],
    name: Annotated[str, typer.Argument(help="What to call it: letters, digits and _.")],
    folder: Annotated[Path, typer.Option("--in", help="Where to write the files.")] = Path(),
) -> None:
    """Write a working example to begin with: NAME.py and its test, or NAME.yaml of a suite.

    Examples:

        pfbench init model my_model

        pfbench init suite my_suite
    """
    from harness.commands import scaffold

    for path in scaffold.write(what, name, folder):
        print(path)
    print(scaffold.next_step(what, name, folder))


def use_plugins(files: Iterable[Path] | None, models: Iterable[str] = ()) -> None:
    """Execute the plug-ins `files`, and the installed plug-ins that bring one of `models`."""
    from harness.runs import plugins as registry
    from harness.runs.plugin_file import contained, restored
    from harness.systems.catalogue import SYSTEMS

    with contained(), restored():
        registry.add(files or ())
        registry.add_installed({name for name in models if name not in SYSTEMS})

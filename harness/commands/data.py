"""`pfbench list` and `pfbench data`: what there is, and the volumes."""

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.commands import completion
from harness.commands.options import Changes, Json, Modalities, Plugins, Profile, Target, words
from harness.commands.plugins import use_plugins
from harness.errors import unknown

data_app = typer.Typer(no_args_is_help=True, help="Make and check data sets.")


def list_(
    what: Annotated[
        str,
        typer.Argument(
            help="suites, rows, models, metrics or datasets.", autocompletion=completion.lists
        ),
    ],
    profile: Annotated[
        str,
        typer.Option(help="Profile for sizes: quick or paper.", autocompletion=completion.profiles),
    ] = "paper",
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Show the suites, their rows, the models, the metrics or the data sets there are."""
    from harness.commands import listing
    from harness.runs import plugins as registry

    if what not in listing.LISTS:
        raise unknown("list", what, listing.LISTS)
    use_plugins(plugin, registry.installed() if what in ("models", "metrics") else ())
    rows = listing.LISTS[what](profile)
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        print(listing.as_text(rows))


@data_app.command("make-phantom")
def make_phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    cases: Annotated[int, typer.Option(min=1, max=10_000)] = 12,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    size: Annotated[
        str, typer.Option(help="Voxels as DxHxW; BraTS volumes are 155x240x240.")
    ] = "155x240x240",
) -> None:
    """Write synthetic volumes as NIfTI files in the layout of BraTS2020."""
    from harness.commands.placement import parse_size
    from harness.data import phantom

    phantom.write(out, cases=cases, shape=parse_size(size), seed=seed)
    print(f"{cases} synthetic cases in {out}")
    print(f"use them: pfbench run --suite table5 --dataset brats --data-root {out} --profile quick")


@data_app.command("check")
def check_data(
    root: Annotated[Path, typer.Argument(help="Folder that holds the volumes.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="brats, liver or folder; default: look.", autocompletion=completion.folders
        ),
    ] = None,
    modalities: Modalities = "",
    target: Target = "",
    profile: Profile = "paper",
    plugin: Plugins = None,
    change: Changes = None,
    as_json: Json = False,
) -> None:
    """Report every fault of every case in one pass; exit code 3 when there is one.

    Says also what the grid of the profile leaves of each target: a lesion that is smaller than a
    voxel of the grid cannot be found by any system.
    """
    from harness.data.check import check
    from harness.data.target import shown
    from harness.data.wording import counted
    from harness.runs.settings import resolve

    use_plugins(plugin)
    settings = resolve(profile, None, change or [], None)
    how = target, settings.data, settings.reduce
    faults, notes, targets = check(root, dataset, words(modalities), *how)
    if as_json:
        keys = ("code", "where", "what", "remedy")
        told = [{key: getattr(fault, key) for key in keys} for fault in faults]
        sizes = {case: {**one.as_json(), "lost": one.lost} for case, one in targets.items()}
        print(json.dumps({"faults": told, "notes": notes, "targets": sizes}, indent=2))
    else:
        for line in (*faults, *(f"note: {note}" for note in notes)):
            print(line)
        for line in shown(targets):
            print(line)
        print(counted(len(faults), "fault") if faults else "no fault found")
    raise typer.Exit(3 if faults else 0)

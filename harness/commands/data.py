"""`pfbench list` and `pfbench data`: what there is, and the volumes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands import completion
from harness.commands.options import CheckOptions, DescribeOptions, Json, Plugins, words
from harness.commands.plugins import use_plugins
from harness.commands.signature import with_options
from harness.errors import unknown

if TYPE_CHECKING:
    from harness.data.target import Target

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
    from harness.runs.run_folder import refuse_among_records

    refuse_among_records(out, "OUT")
    phantom.write(out, cases=cases, shape=parse_size(size), seed=seed)
    print(f"{cases} synthetic cases in {out}")
    print(f"use them: pfbench run --suite table5 --dataset brats --data-root {out} --profile quick")


@data_app.command("check")
@with_options
def check_data(options: CheckOptions) -> None:
    """Say which data set it is, and every fault of every case; exit code 3 when there is one.

    Says also what the grid of the profile leaves of each target: a lesion that is smaller than a
    voxel of the grid cannot be found by any system.

    Examples:

        pfbench data check DIR

        pfbench data check DIR --image 't2={case}/t2.nii.gz' --label '{case}/mask.nii.gz'
    """
    from harness.data.check import check
    from harness.data.target import shown
    from harness.data.wording import counted
    from harness.runs.settings import resolve
    from harness.systems.metrics import score

    use_plugins(options.plugins)
    changes = [*(options.changes or ()), *options.sight.changes]
    settings = resolve(options.profile, None, changes, None)
    faults, notes, targets, found = check(
        options.root,
        options.dataset,
        words(options.modalities),
        score,
        target=options.target,
        reading=settings.data,
        reduce=settings.reduce,
        **options.files.fields,
    )
    if options.as_json:
        keys = ("code", "where", "what", "remedy")
        told = [{key: getattr(fault, key) for key in keys} for fault in faults]
        every = {name: _sizes(cases) for name, cases in targets.items()}
        sizes = every if len(every) > 1 else next(iter(every.values()), {})
        content = {"layout": found, "faults": told, "notes": notes, "targets": sizes}
        print(json.dumps(content, indent=2))
    else:
        if found:
            print(found)
        for line in (*faults, *(f"note: {note}" for note in notes)):
            print(line)
        for line in shown(targets):
            print(line)
        print(counted(len(faults), "fault") if faults else "no fault found")
    raise typer.Exit(3 if faults else 0)


def _sizes(targets: "Mapping[str, Target]") -> dict[str, dict[str, Any]]:
    """The sizes of a target for `--json`, by case."""
    return {case: {**one.as_json(), "lost": one.lost} for case, one in targets.items()}


@data_app.command("describe")
@with_options
def describe_data(options: DescribeOptions) -> None:
    """Tell what a data set holds, and what the grid does to it; exit code 3 when there are faults.

    Cases, patients and sites, shapes, spacings, intensities, volumes and pieces of each label, and
    what is left of the target on the grid. Writes nothing but the page that is asked for.

    Examples:

        pfbench data describe DIR --html data.html

        pfbench data describe DIR --dataset brats --target tc --json
    """
    from harness.data.describe import describe
    from harness.data.layout import no_folder
    from harness.data.recognise import request_of_all
    from harness.report import of_data
    from harness.runs.files import write_bytes
    from harness.runs.run_folder import refuse_among_records
    from harness.runs.screen import Screen
    from harness.runs.settings import resolve
    from harness.systems.metrics import score

    use_plugins(options.plugins)
    if not options.root.is_dir():
        raise no_folder(options.root)
    if options.html:
        refuse_among_records(options.html, "--html")
    settings = resolve(options.profile, None, options.sight.changes, None)
    asked = request_of_all(
        options.root,
        options.dataset,
        words(options.modalities),
        target=options.target,
        reading=settings.data,
        reduce=settings.reduce,
        **options.files.fields,
    )
    with Screen(quiet=options.as_json).bar("reading volumes") as advance:
        found = describe(asked, options.group, advance, score)
    if options.html:
        write_bytes(options.html, of_data.page(found).encode())
    print(json.dumps(found.as_json(), indent=2) if options.as_json else of_data.as_text(found))
    raise typer.Exit(3 if found.faults else 0)

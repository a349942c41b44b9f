"""Pages of the site that nobody writes by hand: the command line and the docstrings.

`{{ command line }}` in a page becomes every command with its arguments and options, as the
installed `pfbench` describes itself, and `{{ list models }}` what `pfbench list models` shows.
`api/PACKAGE.md` is made for every package, with a section for each module below it; mkdocstrings
reads their docstrings without importing them.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from typer.core import TyperArgument, TyperGroup
from typer.main import get_command

from harness.cli import app
from harness.commands.listing import LISTS, cell
from harness.results.markdown import markdown_table

TOP = Path(__file__).parent.parent.parent
ROOMS = ("data", "systems", "runs", "trials", "results", "results/claims", "report", "tracking",
         "experiments", "checks", "checks/verify", "checks/doctor", "commands")  # fmt: skip
PACKAGES = ("harness", *(f"harness/{room}" for room in ROOMS), "models", "baselines", "tuning")
MARK = re.compile(r"\{\{ (command line|list (\w+)) \}\}")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the API reference."""
    for package in PACKAGES:
        name = package.replace("/", ".")
        files.append(File.generated(config, f"api/{name}.md", content=_api(package)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return MARK.sub(
        lambda mark: "\n".join(listed(mark[2]) if mark[2] else command_line()), markdown
    )


def listed(name: str) -> Iterator[str]:
    """A Markdown table of what `pfbench list NAME` shows."""
    rows = LISTS[name]("paper")
    headings = [heading.replace("_", " ") for heading in rows[0]]
    cells = ([cell(value) for value in row.values()] for row in rows)
    yield from markdown_table(headings, ([f"`{first}`", *others] for first, *others in cells))


def command_line() -> Iterator[str]:
    """Markdown of the whole command line, a section for each command."""
    yield from _command(get_command(app), "pfbench", 2)


def _command(command: Any, name: str, level: int) -> Iterator[str]:
    group = isinstance(command, TyperGroup)
    yield f"{'#' * level} {name}\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    arguments = [param for param in command.params if isinstance(param, TyperArgument)]
    options = [param for param in command.params if param not in arguments]
    if group:
        for child in sorted(command.commands):
            yield from _command(command.commands[child], f"{name} {child}", 3)
        return
    usage = " ".join([name, *map(_placeholder, arguments), *(["[OPTIONS]"] if options else [])])
    yield f"```text\n{usage}\n```\n"
    if arguments:
        yield from _table("Argument", arguments)
    if options:
        yield from _table("Option", options)


def _placeholder(argument: Any) -> str:
    if argument.metavar:
        return str(argument.metavar)
    name = argument.name.upper() + ("..." if _many(argument) else "")
    return name if argument.required else f"[{name}]"


def _many(parameter: Any) -> bool:
    return getattr(parameter, "multiple", False) or parameter.nargs == -1


def _table(heading: str, parameters: list[Any]) -> Iterator[str]:
    rows = ([_names(each), (each.help or "") + _range(each), _default(each)] for each in parameters)
    yield from markdown_table([heading, "Meaning", "Default"], rows)
    yield ""


def _names(parameter: Any) -> str:
    if isinstance(parameter, TyperArgument):
        return f"`{_placeholder(parameter)}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _range(parameter: Any) -> str:
    low, high = parameter.min, parameter.max
    if low is None and high is None:
        return ""
    return f" From {low:,} to {high:,}." if high is not None else f" At least {low:,}."


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default in (None, "", False) or callable(parameter.default):
        return ""
    if getattr(parameter, "is_flag", False):
        return f"`{parameter.opts[0]}`"
    return f"`{parameter.default}`"


def _api(package: str) -> str:
    """One page: the package, then each of its modules and the packages below with no own page."""
    name = package.replace("/", ".")
    modules = [".".join(path.parts) for path in sorted(_modules(package))]
    heads = [module.replace("__", r"\_\_") for module in modules]  # not in bold
    sections = [
        f"## {head} {{ #{head} }}\n\n::: {module}\n"
        for head, module in zip(heads, modules, strict=True)
    ]
    return "\n".join([f"# {name}\n", f"::: {name}\n", *sections])


def _modules(package: str) -> Iterator[Path]:
    """Modules of a package and of those below it that have no page; templates are none."""
    for source in (TOP / package).rglob("*.py"):
        module = source.relative_to(TOP).with_suffix("")
        homes = {parent.as_posix() for parent in module.parents} & {*PACKAGES}
        if max(homes, key=len) != package or not (source.parent / "__init__.py").exists():
            continue
        if module.name != "__init__":
            yield module
        elif module.parent.as_posix() != package:
            yield module.parent

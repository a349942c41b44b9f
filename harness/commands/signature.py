"""A command whose parameters are the fields of a dataclass.

    @with_options                             Typer sees   run(*, suite, dataset, …, as_json)
    def run(options: RunOptions) -> None:     run gets     options.suite, options.data.dataset, …

A field that is a dataclass itself is a group of options: its fields stand in its place.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

Options = TypeVar("Options")


def with_options(command: Callable[[Options], None]) -> Callable[..., None]:
    """The command with a signature for Typer: one parameter for each option of its dataclass."""
    [kind] = [hint for name, hint in get_type_hints(command).items() if name != "return"]

    @wraps(command)
    def flat(**given: Any) -> None:
        command(_filled(kind, given))

    flat.__signature__ = inspect.Signature(list(_parameters(kind)))  # type: ignore[attr-defined]
    return flat


def _parameters(kind: type) -> Iterator[inspect.Parameter]:
    for field, hint in _fields(kind):
        if _is_group(hint):
            yield from _parameters(hint)
        else:
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            yield inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_typer(hint)
            )


def _filled(kind: type[Options], given: dict[str, Any]) -> Options:
    """The dataclass, its groups included, filled with the values that Typer parsed."""
    values = {
        field.name: _filled(hint, given) if _is_group(hint) else given[field.name]
        for field, hint in _fields(kind)
    }
    return kind(**values)


def _is_group(hint: Any) -> bool:
    return is_dataclass(hint)


def _fields(kind: Any) -> list[tuple[Field[Any], Any]]:
    hints = get_type_hints(kind, include_extras=True)
    return [(field, hints[field.name]) for field in fields(kind)]


def _typer(hint: Any) -> Any:
    """The annotation for Typer, which takes a union only as Any beside a parser."""
    _, *options = get_args(hint)
    return Annotated[Any, *options] if any(option.parser for option in options) else hint

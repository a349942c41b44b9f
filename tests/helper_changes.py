"""Changes of single values of records, and what verify says of them."""

from harness.checks.verify.folder import verify
from harness.errors import PfbenchError


def leaves(content, way=()):
    """The way to every value that holds no others."""
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*way, key))
        else:
            yield (*way, key)


def another(value):
    """Another value of the same kind."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value[:-1]}{int(value[-1:] != '1')}"
    return {"x": 1} if isinstance(value, dict) else ["x"]


def faults(path):
    """What verify finds; one that it refuses to look at is another."""
    try:
        return set(verify(path).faults)
    except PfbenchError as error:
        return {str(error)}

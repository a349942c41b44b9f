"""The events that a trial reports while it works, and the type of functions that receive them."""

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
"""One event: "event" names its kind (start, epoch, case, note, measured, end), other keys hold the
details."""
OnEvent = Callable[[str, Event], None]
"""A function that receives the events of a trial, called with the id of the trial and one event."""

"""What a trial reports while it works: events, and who hears them."""

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
"""One report: "event" names its kind (start, epoch, case, note, measured, end), other keys tell."""
OnEvent = Callable[[str, Event], None]
"""Hears the events of a trial, given its id."""

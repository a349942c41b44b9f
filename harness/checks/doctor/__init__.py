"""Checks of the machine before a run is started on it."""

"""What a machine lacks before a run is started on it."""

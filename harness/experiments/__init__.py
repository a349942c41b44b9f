"""The experiments that commands start: run, tune, estimate, predict."""

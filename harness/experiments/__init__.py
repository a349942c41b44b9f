"""What a command sets going: run, tune, estimate, predict."""

"""What a run is: on paper (settings, suites, plan) and on disk (its folder)."""

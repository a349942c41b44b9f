"""What the folders of runs say, as numbers and verdicts."""

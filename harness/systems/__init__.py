"""The code that, with data, models and baselines, can change a number in a table."""

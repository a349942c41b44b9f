"""Everything that can move a number of a table, together with data, models and baselines."""

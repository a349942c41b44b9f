"""From NIfTI files to arrays on the grid of the benchmark."""

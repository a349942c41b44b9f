"""The steps from image files to arrays on the grid of the benchmark."""

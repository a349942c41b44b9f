"""The benchmark: suites, data, training, measurement, results and the command line."""

__version__ = "0.1.0"

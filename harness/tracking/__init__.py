"""MLflow as a mirror of the results; no other room knows it."""

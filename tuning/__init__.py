"""Ray and Optuna: which point comes next, and where it is tried on the machines of a cluster."""

"""Ray and Optuna: the choice of the next point, and its trials on the machines of a cluster."""

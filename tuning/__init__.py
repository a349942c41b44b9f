"""Ray: where jobs are placed on the machines of a cluster."""

"""Our parts against their peers on this machine: equal results first, then the time of both."""

"""The command line: each command parses, calls and prints; heavy imports are inside functions."""

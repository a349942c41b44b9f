"""The command line: each command parses, calls and prints; heavy imports sit inside it."""

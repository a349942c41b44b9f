"""Ports for servers that tests start: not those that the system gives to whoever asks for any.

A port that was merely found free may be given to another process before the server has it.
"""

import random
import socket
from contextlib import suppress

OURS = range(20_000, 30_000)  # below those of Linux (32768) and of macOS (49152)


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    for port in random.SystemRandom().sample(OURS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")

"""Keep passwords out of what is printed and stored."""

import re


def redact(text: str) -> str:
    """`text` without the user and password of any URI in it."""
    return re.sub(r"(\w+://)[^/\s@]*@", r"\1***@", text)

"""Remove passwords and patients' names from text that is printed or stored."""

import re
import shlex

_HOST = re.compile(r"(\w+://)[^/\s]*@")  # up to the last @: a password may hold one
_QUERY = re.compile(r"([?&](?:password|passwd|pwd|token|access_token|secret)=)[^&\s]*", re.I)
_SPLIT = re.compile(r"(split\.(?:file|group)=).*/")  # where a split's files lie
_PLACE = re.compile(r"(^|=)[~/][^=]*/([^/=]+)/?$")  # a file or folder from the root on
_TEST = re.compile(r"([^=]+=).*")  # the folder of a data set of another origin
DATA_ROOT = "--data-root"
TEST = "--test"


def redact(text: str) -> str:
    """The text without the user and password of any URI in it."""
    return _QUERY.sub(r"\1***", _HOST.sub(r"\1***@", text))


def storable(command: str) -> str:
    """The command without the folder of the volumes, whose name may be that of a patient.

    Of other paths from the root on, which tell who works on which machine, the last name stays:
    "pfbench run --data-root /scans/DOE_JOHN --out /home/roe/a" becomes
    "pfbench run --data-root DATA_ROOT --out a".
    """
    words = shlex.split(redact(command))
    for at, word in enumerate(words):
        if word.startswith(f"{DATA_ROOT}="):
            words[at] = f"{DATA_ROOT}=DATA_ROOT"
        elif at and words[at - 1] == DATA_ROOT:
            words[at] = "DATA_ROOT"
        elif word.startswith(f"{TEST}="):
            words[at] = f"{TEST}=" + _TEST.sub(r"\1TEST_ROOT", word.removeprefix(f"{TEST}="))
        elif at and words[at - 1] == TEST:
            words[at] = _TEST.sub(r"\1TEST_ROOT", word)
        else:
            words[at] = _PLACE.sub(r"\1\2", _SPLIT.sub(r"\1", word))
    return shlex.join(words)

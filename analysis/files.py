"""Files of a folder that somebody brings: regular ones, no larger than they may be, and never through a link."""

import errno
import os
import stat
from pathlib import Path

from analysis.errors import UntrustedWeights


def read_regular(path: Path, *, most_bytes: int) -> bytes:
    """The content of a regular file; a link, a FIFO or a device is not followed, nor waited for.

    Raises:
        UntrustedWeights: it is missing, no regular file, or larger than that.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        why = "a link is not followed" if error.errno == errno.ELOOP else error.strerror
        raise UntrustedWeights(f"{path.name}: {why}.") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UntrustedWeights(f"{path.name} is not a regular file.")
        if status.st_size > most_bytes:
            raise UntrustedWeights(f"{path.name} has {status.st_size} bytes, and may have {most_bytes}.")
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise UntrustedWeights(f"{path.name} grew beyond {most_bytes} bytes while it was read.")
    return content

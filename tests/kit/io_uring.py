"""The kernel's switch for FUSE over io_uring, which only root can turn.

    with io_uring.offered():
        ...  # what is mounted here is offered it
"""

import contextlib
import os

SWITCH = "/sys/module/fuse/parameters/enable_uring"

# What each mount is to be told besides its own options; see junit.main().
mount_options = ""


def is_there():
    """Whether the switch is there, and this process may turn it."""
    return os.access(SWITCH, os.W_OK)


def _read():
    with open(SWITCH, encoding="ascii") as file:
        return file.read().strip()


def _write(value):
    with open(SWITCH, "w", encoding="ascii") as file:
        file.write(value)


@contextlib.contextmanager
def offered(value=True):
    """Has the kernel offer it, or not, to what is mounted meanwhile."""
    before = _read()
    _write("Y" if value else "N")
    try:
        yield
    finally:
        _write(before)

"""Running programs so that none is left behind, and looking at mounts."""

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import time

IO_URING = "/sys/module/fuse/parameters/enable_uring"  # the kernel's switch for FUSE over it
LONGEST_SECONDS = 3600  # that any one program may take
MEMORY = "/dev/shm"  # where output disturbs no disk, if there is such a place


class BenchError(Exception):
    """Something failed; the text is for people."""


def scratch_directory():
    return MEMORY if os.access(MEMORY, os.W_OK) else None


def is_io_uring_offered():
    try:
        with open(IO_URING, encoding="ascii") as switch:
            return switch.read().strip() == "Y"
    except OSError:
        return False


@contextlib.contextmanager
def io_uring_offered():
    """While it is active, the kernel offers FUSE over io_uring."""
    before = is_io_uring_offered()
    try:
        _offer_io_uring(True)
    except OSError as error:
        raise BenchError("io_uring cannot be offered to mounts: %s" % error) from error
    try:
        yield
    finally:
        _offer_io_uring(before)


def _offer_io_uring(value):
    with open(IO_URING, "w", encoding="ascii") as switch:
        switch.write("Y" if value else "N")


def _environment(extra):
    environment = dict(os.environ, LC_ALL="C", **extra)
    # Nobody's own settings change what git does here.
    environment.update(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null")
    return environment


def end_group(process):
    """Kills a process that leads its session, and everything that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(process):
    """Waits as select does: Popen.wait() with a timeout looks, and sleeps, and looks."""
    descriptor = os.pidfd_open(process.pid)
    try:
        if not select.select([descriptor], [], [], LONGEST_SECONDS)[0]:
            raise BenchError("still running after %d seconds" % LONGEST_SECONDS)
    finally:
        os.close(descriptor)
    return process.wait()


def run(*command, cwd=None, accepted=(0,), **extra_environment):
    """Runs a program to its end; returns its output and what it complained of.

    Raises BenchError with the latter if its exit status is none of `accepted`.
    """
    command = [str(part) for part in command]
    folder = scratch_directory()
    with tempfile.TemporaryFile(dir=folder) as output, \
            tempfile.TemporaryFile(dir=folder) as complaints:
        process = subprocess.Popen(
            command, cwd=cwd, env=_environment(extra_environment), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=complaints,
        )
        try:
            status = _wait(process)
        except BaseException:
            end_group(process)
            raise
        texts = []
        for file in (output, complaints):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if status not in accepted:
        raise BenchError("%s: exit status %d: %s" % (
            " ".join(command), status, (texts[1] or texts[0]).strip()[-2000:]))
    return tuple(texts)


def run_pipeline(script, *arguments, **options):
    """Runs a line of bash, which fails if any of its programs does."""
    return run("bash", "-c", "set -euo pipefail; " + script, "bash", *arguments, **options)


def wait_until(condition, what, seconds=60):
    """Waits for something that another process does and does not report."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError("waited in vain: " + what)
        time.sleep(0.002)


def _decode(path):
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), path)


def mount_type(path):
    """The type of the file system that is mounted at a path, or None."""
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            fields, _, source = line.partition(" - ")
            if _decode(fields.split()[4]) == os.path.realpath(path):
                found = source.split()[0]
    return found


def file_system_of(path):
    """The type of the file system that contains a path."""
    path = os.path.realpath(path)
    while mount_type(path) is None and path != "/":
        path = os.path.dirname(path)
    return mount_type(path) or "unknown"

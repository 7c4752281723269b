"""A store mounted in a temporary directory, for tests.

    with MountedStore() as store:
        (store / "file").write_text("text")
        store.remount()

Whatever happens, the mount, its daemon and the directory are gone at the end.
"""

import errno
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile
import time

from tests.kit import io_uring

DEADLINE_SECONDS = 120

# What `varve check` ends with where a store may not be whole.
INCOMPLETE = 16

# What callers are told once the daemon was killed; the other two are for those
# whose request was under way.
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.ECANCELED)


def varve_binary():
    """The varve command among the test's runfiles."""
    for name in ("tools/varve/varve", "tools/varve"):
        path = pathlib.Path(os.getcwd()) / name
        if path.is_file():
            return str(path)
    raise FileNotFoundError("the varve command is not among the runfiles")


def run(*command, check=True, **options):
    """Runs a command and returns what it did; its output is kept as text."""
    options.setdefault("stdin", subprocess.DEVNULL)
    result = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=600,
        **options,
    )
    if check and result.returncode != 0:
        raise AssertionError(
            "%s: exit status %d\n%s%s"
            % (
                " ".join(str(part) for part in command),
                result.returncode,
                result.stdout.decode(errors="replace"),
                result.stderr.decode(errors="replace"),
            )
        )
    return result


def varve(*arguments, **options):
    return run(varve_binary(), *arguments, **options)


def check_unclosed(path):
    """Nothing is damaged in a store whose last use ended without closing it.

    That is all that `varve check` may say of it: to tell it from a copy that is
    not whole is not for the command.
    """
    result = varve("check", path, check=False)
    said = result.stdout + result.stderr
    if result.returncode and (result.returncode != INCOMPLETE or b"not closed" not in said):
        raise AssertionError("check: exit status %d\n%s" % (
            result.returncode, said.decode(errors="replace")))


def wait_until(condition, what):
    """Waits for something that another process does and nobody reports."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain: " + what)
        time.sleep(0.005)


def mounts():
    """Directory, type, source and options of each mount."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split()
            dash = fields.index("-")
            yield fields[4], fields[dash + 1], fields[dash + 2], fields[5].split(",")


class MountedStore:
    def __init__(self, options="", directory=None):
        base = directory or os.environ.get("TEST_TMPDIR")
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="varve-", dir=base))
        self.path = self.base / "store.varve"
        self.root = self.base / "mnt"
        self.options = ",".join(filter(None, [io_uring.mount_options, options]))
        self.pid = None

    def __truediv__(self, name):
        return self.root / name

    def __enter__(self):
        self.root.mkdir()
        try:
            self.mount()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, *_):
        self._clean_up()

    def mount(self):
        arguments = ["mount"] + (["-o", self.options] if self.options else [])
        varve(*arguments, self.path, self.root)
        status = json.loads((self.root / ".varve/status.json").read_text())
        self.pid = status["pid"]
        return status

    def umount(self):
        varve("umount", self.root)
        self.pid = None

    def remount(self):
        self.umount()
        return self.mount()

    def kill(self):
        """Kills the daemon as a crash would, and waits until it is gone."""
        descriptor = os.pidfd_open(self.pid)
        os.kill(self.pid, signal.SIGKILL)
        select.select([descriptor], [], [])
        os.close(descriptor)
        self.pid = None

    def size(self):
        return self.path.stat().st_size

    def check(self):
        varve("check", self.path)

    def check_unclosed(self):
        check_unclosed(self.path)

    def _is_mounted(self):
        return any(directory == str(self.root) for directory, *_ in mounts())

    def _clean_up(self):
        if self._is_mounted():
            subprocess.run(["umount", "-l", str(self.root)], check=False)
        if self.pid is not None:
            try:
                self.kill()
            except ProcessLookupError:
                pass  # it ended by itself
        shutil.rmtree(self.base, ignore_errors=True)


def listing(root):
    """Path, type, mode, owner, size, mtime in ns and link target of a tree.

    Sizes of directories are left out: each file system has its own.
    """
    lines = {}
    root = str(root)
    for folder, folders, files in os.walk(root):
        for name in folders + files + [""]:
            path = os.path.join(folder, name) if name else folder
            status = os.lstat(path)
            is_folder = os.path.isdir(path) and not os.path.islink(path)
            lines[os.path.relpath(path, root)] = (
                oct(status.st_mode),
                status.st_uid,
                status.st_gid,
                None if is_folder else status.st_size,
                status.st_mtime_ns,
                os.readlink(path) if os.path.islink(path) else None,
            )
    return lines

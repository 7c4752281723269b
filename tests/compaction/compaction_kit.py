"""What the tests of compaction share: compactions, contents, listings, small disks."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import random
import shutil
import subprocess

from tests.kit.mounted import run, varve_binary
from tests.kit.tree_churn import full_listing

KIB = 1 << 10
MIB = 1 << 20
OK, NO_SPACE = 0, 12
IN_USE = 10
ROOT = os.geteuid() == 0

_STATX_BTIME = 0x800
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


def content_of(seed, size):
    """Bytes that follow from the seed alone; no two seeds have a page in common."""
    return random.Random(seed).randbytes(size)


def compact(name, *arguments):
    """Runs `varve compact --json`; returns exit status, report and complaints."""
    result = run(varve_binary(), "compact", "--forget", "--json", *arguments, name, check=False)
    complaints = result.stderr.decode(errors="replace")
    try:
        report = json.loads(result.stdout) if result.stdout else {}
    except ValueError as error:
        raise AssertionError("no JSON: %r" % result.stdout) from error
    return result.returncode, report, complaints


def compact_done(name, *arguments):
    """The report of a compaction that has to succeed."""
    status, report, complaints = compact(name, *arguments)
    if status != OK or report["result"] != "done":
        raise AssertionError("exit status %d: %s %s" % (status, report, complaints))
    return report


def leftover(store):
    return store.path.with_name(store.path.name + ".compact")


def allocated(path):
    """Bytes that a file takes on the disk."""
    return os.stat(path).st_blocks * 512


def status_of(store):
    return json.loads((store / ".varve/status.json").read_text())


def birth_time(path):
    """statx(2)'s stx_btime, as (seconds, nanoseconds)."""
    buffer = ctypes.create_string_buffer(256)
    failed = _libc.statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, buffer)
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    at = 0x50
    return (int.from_bytes(buffer[at:at + 8], "little"),
            int.from_bytes(buffer[at + 8:at + 12], "little"))


def whole_listing(root):
    """All that a backup could look at: tree_churn's, device numbers, blocks, birth."""
    lines = full_listing(root)
    for name, line in lines.items():
        path = os.path.join(str(root), name)
        status = os.lstat(path)
        line += [status.st_rdev, status.st_blocks, birth_time(path)]
        if not os.path.islink(path):  # the kernel keeps the time of readlink(2) to itself
            line.append(status.st_atime_ns)
    return lines


def differences(before, after):
    """Lines that say how two listings differ; none if they do not."""
    return ["%s: %s, then %s" % (path, before.get(path), after.get(path))
            for path in sorted(before.keys() | after.keys())
            if before.get(path) != after.get(path)]


def digest(data):
    return hashlib.sha256(data).hexdigest()


def make_tree(root, seed, count, largest, smallest=0):
    """Files of random sizes, spread over directories; {name: (seed, size)}."""
    rng = random.Random(seed)
    made = {}
    for number in range(count):
        name = "d%d/f%d" % (rng.randrange(5), number)
        size = rng.randint(smallest, largest)
        os.makedirs(os.path.join(root, os.path.dirname(name)), exist_ok=True)
        with open(os.path.join(root, name), "wb") as file:
            file.write(content_of(seed + number, size))
        made[name] = (seed + number, size)
    return made


def verify_tree(root, made):
    """The names of the files that are not as make_tree() has made them."""
    wrong = []
    for name, (seed, size) in made.items():
        with open(os.path.join(root, name), "rb") as file:
            if file.read() != content_of(seed, size):
                wrong.append(name)
    return wrong


def fill_disk(path, leave=0):
    """Makes a file that takes all that is free on the disk, or all but `leave`."""
    with open(path, "wb", buffering=0) as file:
        disk = os.statvfs(path)
        os.posix_fallocate(file.fileno(), 0, max(1, disk.f_bavail * disk.f_frsize - leave - MIB))
        if leave > 0:
            return
        file.seek(0, os.SEEK_END)
        for size in (MIB, 4 * KIB, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
        with contextlib.suppress(OSError):
            os.fsync(file.fileno())


def writes_fail(path):
    """Whether writing 64 KiB fails for want of space, and with nothing else."""
    try:
        with open(path, "wb") as file:
            file.write(b"x" * (64 * KIB))  # zeros would take no room
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return True
    return False


@contextlib.contextmanager
def mounted_at(directory, *arguments):
    """Mounts something at a directory for a while, by mount(8)."""
    run("mount", *arguments, directory)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=False)


@contextlib.contextmanager
def small_disk(base, size):
    """An ext4 of so many bytes, mounted below `base`."""
    image, directory = base / "disk.image", base / "disk"
    with open(image, "wb") as file:
        file.truncate(size)
    # Not everybody's path leads there.
    mkfs = shutil.which("mkfs.ext4", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    run(mkfs, "-q", "-F", "-m", "0", "-O", "^has_journal", image)
    directory.mkdir()
    with mounted_at(directory, "-o", "loop", image):
        yield directory

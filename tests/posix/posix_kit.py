"""What the cases of posix_test.py are made of.

A case is a function with the decorator `case`. It starts in an empty directory
of its own, which is the current one, and is given a Log. It makes system calls
and logs what they did; what it logs must be the same on every file system, so
it never logs times, inode numbers or descriptors themselves.

Paths in cases are relative: an ordinary user may not be able to walk down to
the mount from the root.
"""

import ctypes
import dataclasses
import errno
import fcntl
import hashlib
import itertools
import os
import re
import signal
import stat
import struct
import time
import traceback

# For the cases, too.
from tests.kit.linux_calls import PAGE, fallocate, renameat2  # pylint: disable=unused-import

# Who runs a case, if root does not; and somebody else.
USER = 2000
USER_GROUPS = (2001, 2002)
OTHER = 3000

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4
KEEP_SIZE = 1
PUNCH_HOLE = 2
COLLAPSE_RANGE = 8
ZERO_RANGE = 16
INSERT_RANGE = 32
CLOCK_REALTIME_COARSE = 5
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2


@dataclasses.dataclass(frozen=True)
class Case:
    """A case, and whether it makes sense for root only."""

    name: str
    function: object
    root: bool


CASES = []


def case(function=None, *, root=False):
    """Enters a function into CASES; `root` leaves it out of the user's run."""
    if function is None:
        return lambda function: case(function, root=root)
    assert all(known.name != function.__name__ for known in CASES), function.__name__
    CASES.append(Case(function.__name__, function, root))
    return function


def errno_name(number):
    """EPERM for 1, and so on."""
    return errno.errorcode.get(number, str(number))


class Log:
    """The transcript of a case: lines of a label and what was seen.

    Each line is one write to a pipe, so that children may log, too.
    """

    def __init__(self, descriptor):
        self._descriptor = descriptor

    def __call__(self, label, value="done"):
        line = "%s: %s\n" % (label, value if isinstance(value, str) else repr(value))
        os.write(self._descriptor, line.encode("utf-8", "backslashreplace"))

    def do(self, label, function, *arguments, **options):
        """Calls, logs "ok" or the error's name, and returns the result or None."""
        try:
            result = function(*arguments, **options)
        except OSError as error:
            self(label, errno_name(error.errno))
            return None
        self(label, "ok")
        return result

    def value(self, label, function, *arguments, **options):
        """Calls, logs the result or the error's name, and returns the result."""
        try:
            result = function(*arguments, **options)
        except OSError as error:
            self(label, errno_name(error.errno))
            return None
        self(label, repr(result))
        return result

    def open(self, label, path, flags, mode=0o666, **options):
        """Opens and closes, and logs whether that worked."""
        try:
            os.close(os.open(path, flags, mode, **options))
        except OSError as error:
            self(label, errno_name(error.errno))
        else:
            self(label, "ok")

    def stat(self, label, path):
        """Logs what must agree of a path's or descriptor's attributes."""
        try:
            status = os.fstat(path) if isinstance(path, int) else os.lstat(path)
        except OSError as error:
            self(label, errno_name(error.errno))
            return
        self(label, describe(status))

    def times(self, label, paths, function, *arguments, **options):
        """Logs which times of `paths` a call changes, and how it ended.

        A path that the call renames is a pair of the name before and after.
        """
        pairs = [(path, path) if not isinstance(path, tuple) else path for path in paths]
        before = [_status(old) for old, _ in pairs]
        settle()
        result = self.do(label, function, *arguments, **options)
        for (_, new), old_status in zip(pairs, before):
            self("%s, times of %s" % (label, _name(new)), relation(old_status, _status(new)))
        return result


def _name(path):
    return "the descriptor" if isinstance(path, int) else path


def _status(path):
    try:
        return os.fstat(path) if isinstance(path, int) else os.lstat(path)
    except FileNotFoundError:
        return None


def relation(before, after):
    """How each of the times has changed: "a= m+ c+"."""
    if before is None or after is None:
        return "gone" if after is None else "new"
    words = []
    for field in ("st_atime_ns", "st_mtime_ns", "st_ctime_ns"):
        old, new = getattr(before, field), getattr(after, field)
        words.append(field[3] + ("=" if old == new else "+" if new > old else "-"))
    return " ".join(words)


def describe(status):
    """Type, mode, links, owner and, where it means something, size or device."""
    words = [
        stat.filemode(status.st_mode),
        "links %d" % status.st_nlink,
        "owner %d:%d" % (status.st_uid, status.st_gid),
    ]
    if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
        words.append("size %d" % status.st_size)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        words.append("device %d:%d" % (os.major(status.st_rdev), os.minor(status.st_rdev)))
    return ", ".join(words)


def settle():
    """Waits until whatever happens next gets a later time, however coarse."""
    now = time.clock_gettime_ns(time.CLOCK_REALTIME)
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) <= now:
        time.sleep(0.001)


# --- Files ------------------------------------------------------------------


def write(path, content=b"", mode=0o666):
    """Makes a file, or overwrites it."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    try:
        assert os.write(descriptor, content) == len(content)
    finally:
        os.close(descriptor)


def read(path):
    """The whole of a file."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


def contents(path):
    """Like read, in few characters, if it is large."""
    return summary(read(path))


def summary(data):
    """Bytes for a transcript: runs of a byte are counted, and many runs hashed."""
    runs = list(itertools.islice(re.finditer(rb"(.)\1*", data, re.DOTALL), 41))
    if len(runs) > 40:
        return "%d bytes, %s" % (len(data), hashlib.sha256(data).hexdigest()[:16])
    words = []
    for run in runs:
        count = run.end() - run.start()
        words.append(repr(run.group(1))[1:] + ("*%d" % count if count > 1 else ""))
    return " ".join(words) or "empty"


class opened:
    """A descriptor that is closed at the end of the `with`."""

    def __init__(self, path, flags=os.O_RDWR, mode=0o666, **options):
        self.descriptor = os.open(path, flags, mode, **options)

    def __enter__(self):
        return self.descriptor

    def __exit__(self, *_):
        try:
            os.close(self.descriptor)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise


# --- Processes --------------------------------------------------------------


def fork(function, *arguments):
    """Runs a function in a child; returns its pid."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            function(*arguments)
            status = 0
        except BaseException:  # pylint: disable=broad-except
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def ended(pid):
    """How a child ended: its exit status, or the negative signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(function, *arguments):
    """Runs a function in a child and waits; it must not fail."""
    status = ended(fork(function, *arguments))
    assert status == 0, "a child ended with %d" % status


def become(uid, gid=None, groups=()):
    """Gives up being root for good."""
    os.setgroups(groups)
    gid = uid if gid is None else gid
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def as_user(function, *arguments, uid=USER, gid=None, groups=None):
    """Runs a function in a child that is somebody else, and waits."""
    if groups is None:
        groups = USER_GROUPS if uid == USER else ()

    def run():
        become(uid, gid, groups)
        function(*arguments)

    in_child(run)


class Step:
    """Lets one process wait for another: `reach` in one, `wait` in the other."""

    def __init__(self):
        self._read, self._write = os.pipe()

    def reach(self):
        os.write(self._write, b".")

    def wait(self):
        os.read(self._read, 1)


class Alarm:
    """A signal after some seconds, which interrupts what is being waited for."""

    class Interrupted(Exception):
        """Raised in the process that waits."""

    def __init__(self, seconds):
        self._seconds = seconds

    def __enter__(self):
        def interrupt(*_):
            raise Alarm.Interrupted

        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)


# --- System calls that Python does not have ---------------------------------


def _checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def linkat(old, new, flags=0, old_dir=AT_FDCWD, new_dir=AT_FDCWD):
    return _checked(LIBC.linkat(old_dir, os.fsencode(old), new_dir, os.fsencode(new), flags))


def private_mount(source, target):
    """Shows `source` at `target`, to this process and its children only."""
    _checked(LIBC.unshare(0x20000))  # CLONE_NEWNS
    recursive, bind, private = 0x4000, 0x1000, 1 << 18
    _checked(LIBC.mount(None, b"/", None, ctypes.c_ulong(recursive | private), None))
    source, target = os.fsencode(source), os.fsencode(target)
    _checked(LIBC.mount(source, target, None, ctypes.c_ulong(bind), None))


def utimensat(path, atime, mtime, flags=0):
    """Times are (seconds, nanoseconds); the latter may be UTIME_NOW or UTIME_OMIT."""
    times = struct.pack("qqqq", *atime, *mtime)
    return _checked(LIBC.utimensat(AT_FDCWD, os.fsencode(path), times, flags))


def birth_time(path):
    """The birth time as of statx, in ns, or None if there is none."""
    buffer = ctypes.create_string_buffer(256)
    _checked(LIBC.statx(AT_FDCWD, os.fsencode(path), AT_SYMLINK_NOFOLLOW, 0xFFF, buffer))
    seconds, nanoseconds = struct.unpack_from("qI", buffer, 80)
    known = struct.unpack_from("I", buffer, 0)[0]
    return seconds * 10**9 + nanoseconds if known & 0x800 else None


def lock(descriptor, command, kind, start=0, size=0):
    """fcntl with a struct flock; returns its type, start, length and pid."""
    request = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, size, 0)
    answer = fcntl.fcntl(descriptor, command, request)
    kind, _, start, size, pid = struct.unpack("hhqqi4x", answer)
    return kind, start, size, pid


class Entry(ctypes.Structure):
    """struct dirent of a 64-bit system."""

    _fields_ = [
        ("inode", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("size", ctypes.c_ushort),
        ("type", ctypes.c_ubyte),
        ("name", ctypes.c_char * 256),
    ]


class Folder:
    """An open directory stream, as of opendir."""

    def __init__(self, path):
        LIBC.opendir.restype = ctypes.c_void_p
        LIBC.readdir.restype = ctypes.POINTER(Entry)
        LIBC.telldir.restype = ctypes.c_long
        self._stream = ctypes.c_void_p(LIBC.opendir(os.fsencode(path)))
        if not self._stream.value:
            _checked(-1)

    def read(self):
        """The next (name, type), or None at the end."""
        ctypes.set_errno(0)
        entry = LIBC.readdir(self._stream)
        if not entry:
            if ctypes.get_errno():
                _checked(-1)
            return None
        return os.fsdecode(entry.contents.name), entry.contents.type

    def __iter__(self):
        return iter(self.read, None)

    def tell(self):
        return LIBC.telldir(self._stream)

    def seek(self, position):
        LIBC.seekdir(self._stream, ctypes.c_long(position))

    def rewind(self):
        LIBC.rewinddir(self._stream)

    def close(self):
        LIBC.closedir(self._stream)

"""System calls that Python's standard library lacks, or does more than asked in.

(Python's mmap keeps a duplicate of the descriptor. Closing that would be one
more close of the file, and closing is what these tests are about.)
"""

import ctypes
import errno
import mmap
import os

FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2
FALLOC_FL_COLLAPSE_RANGE = 8
FALLOC_FL_ZERO_RANGE = 16
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
PAGE = mmap.PAGESIZE

_AT_FDCWD = -100
_MS_SYNC = 4
_MAP_FAILED = ctypes.c_void_p(-1).value
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_int64]
_libc.mmap.restype = ctypes.c_void_p
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.renameat2.argtypes = [
    ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint
]


def _checked(failed):
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def fallocate(fd, mode, offset, length):
    """fallocate(2) itself; posix_fallocate would imitate what is missing."""
    _checked(_libc.fallocate(fd, mode, offset, length) != 0)


def renameat2(source, target, flags):
    source, target = os.fsencode(source), os.fsencode(target)
    _checked(_libc.renameat2(_AT_FDCWD, source, _AT_FDCWD, target, flags) != 0)


class Mapping:
    """A shared mapping of `length` bytes of a file from a page boundary on."""

    def __init__(self, fd, length, offset=0, writable=True):
        prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._address = _libc.mmap(None, length, prot, mmap.MAP_SHARED, fd, offset)
        _checked(self._address == _MAP_FAILED)
        self.length = length

    def read(self, at, size):
        assert at + size <= self.length
        return ctypes.string_at(self._address + at, size)

    def write(self, at, data):
        assert at + len(data) <= self.length
        ctypes.memmove(self._address + at, bytes(data), len(data))

    def sync(self):
        _checked(_libc.msync(self._address, self.length, _MS_SYNC) != 0)

    def close(self):
        if self._address is not None:
            _checked(_libc.munmap(self._address, self.length) != 0)
            self._address = None


def aligned(data):
    """A buffer that begins at a page boundary, as O_DIRECT wants it."""
    buffer = mmap.mmap(-1, max(len(data), 1))
    buffer[: len(data)] = bytes(data)
    return memoryview(buffer)[: len(data)]


def read_direct(fd, size, offset):
    """Reads into a buffer that begins at a page boundary."""
    buffer = mmap.mmap(-1, max(size, 1))
    return bytes(buffer[: os.preadv(fd, [memoryview(buffer)[:size]], offset)])


def data_ranges(fd, size):
    """What SEEK_DATA and SEEK_HOLE say: the ranges that hold data."""
    ranges = []
    at = 0
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        if not at <= begin < end <= size:
            raise AssertionError("data at %d..%d, looked for from %d" % (begin, end, at))
        ranges.append((begin, end))
        at = end
    return ranges


def holes_lie_about(content, ranges):
    """The first offset of a byte that is not zero and said to be in a hole."""
    at = 0
    for begin, end in ranges + [(len(content), len(content))]:
        hole = content[at:begin]
        if hole.count(0) != len(hole):
            return at + next(i for i, byte in enumerate(hole) if byte)
        at = end
    return None


def drop_caches():
    """Lets the kernel forget what it can; does nothing where that is denied."""
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("3")
    except OSError:
        pass

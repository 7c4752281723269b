"""Random operations on one file, each checked against a bytearray.

After fsx, "file system exerciser", by Avadis Tevanian of Apple.
"""

import collections
import os
import random

from tests.kit import linux_calls
from tests.kit.linux_calls import (
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
    PAGE,
    Mapping,
)
from tests.posix.model_run import ModelRun
from tests.kit.mounted import GONE, varve


class Fsx:
    """One file through three descriptors: usual, O_DIRECT and O_APPEND."""

    WEIGHTS = {
        "read": 10, "write": 10, "map_read": 10, "map_write": 10, "truncate": 6, "allocate": 3,
        "keep_size": 1, "punch": 6, "zero": 5, "copy_within": 4, "copy_out": 2, "copy_in": 2,
        "fsync": 2, "reopen": 2, "forget": 2, "direct_read": 5, "direct_write": 5, "append": 3,
        "seek": 2, "drop_caches": 0.02, "remount": 0.05, "kill": 0.05,
    }

    def __init__(self, store, seed, max_size, max_length):
        self.store = store
        self.rng = random.Random(seed)
        self.max_size = max_size
        self.max_length = max_length
        self.data = bytearray()
        self.other_data = bytearray()
        self.log = collections.deque(maxlen=60)
        self.count = 0
        self.fds = []
        self.open()

    def open(self):
        flags = os.O_RDWR | os.O_CREAT
        names = (("file", 0), ("file", os.O_DIRECT), ("file", os.O_APPEND), ("other", 0))
        for name, more in names:
            self.fds.append(os.open(self.store / name, flags | more, 0o644))
        self.fd, self.direct, self.appending, self.other = self.fds

    def close(self):
        while self.fds:
            try:
                os.close(self.fds.pop())
            except OSError as error:
                if error.errno not in GONE:  # after a crash; it is closed all the same
                    raise

    def note(self, text, *arguments):
        self.log.append("%d: %s" % (self.count, text % arguments))

    same = staticmethod(ModelRun.same)

    # Choosing

    def old_range(self):
        """A range within the file; empty if the file is."""
        offset = self.rng.randrange(len(self.data) + 1)
        size = self.rng.randrange(self.max_length + 1)
        return offset, min(size, len(self.data) - offset)

    def new_range(self, align=1):
        """A range that may reach beyond the file's end, or begin there."""
        limit = min(self.max_size, len(self.data) + self.max_length)
        offset = self.rng.randrange(limit) // align * align
        size = max(self.rng.randrange(self.max_length) // align * align, align)
        if self.rng.random() < 0.2:
            offset = offset // PAGE * PAGE
        return offset, min(size, self.max_size - offset)

    def content(self, size):
        block = self.rng.randbytes(min(size, 65521))
        return (block * (size // len(block) + 1))[:size] if block else b""

    def put(self, offset, data):
        if offset > len(self.data):
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data

    # Operations

    def op_read(self):
        offset, size = self.old_range()
        self.note("read %d %d", offset, size)
        found = os.pread(self.fd, size, offset)
        self.same(self.data[offset : offset + size], found, "read from %d" % offset)

    def op_direct_read(self):
        offset, size = self.new_range(align=PAGE)
        self.note("read direct %d %d", offset, size)
        found = linux_calls.read_direct(self.direct, size, offset)
        self.same(self.data[offset : offset + size], found, "direct read from %d" % offset)

    def op_write(self):
        offset, size = self.new_range()
        self.note("write %d %d", offset, size)
        data = self.content(size)
        self.put(offset, data)
        self.same(size, os.pwrite(self.fd, data, offset), "written")

    def op_direct_write(self):
        offset, size = self.new_range(align=PAGE)
        self.note("write direct %d %d", offset, size)
        data = self.content(size)
        self.put(offset, data)
        written = os.pwritev(self.direct, [linux_calls.aligned(data)], offset)
        self.same(size, written, "written")

    def op_append(self):
        size = min(self.rng.randrange(self.max_length), self.max_size - len(self.data))
        self.note("append %d at %d", size, len(self.data))
        data = self.content(size)
        self.data += data
        self.same(size, os.write(self.appending, data), "written")

    def mapping(self, offset, size):
        """Maps the pages around a range; returns also where the range begins."""
        begin = offset // PAGE * PAGE
        end = (offset + size + PAGE - 1) // PAGE * PAGE
        return Mapping(self.fd, end - begin, begin), offset - begin

    def check_tail(self, mapping, begin):
        """Mapped bytes behind the end of the file are zero."""
        at = len(self.data) - begin
        rest = mapping.length - at
        if 0 < rest < PAGE:
            self.same(bytes(rest), mapping.read(at, rest), "behind the end, mapped")

    def op_map_read(self):
        offset, size = self.old_range()
        if not size:
            return
        self.note("map and read %d %d", offset, size)
        mapping, at = self.mapping(offset, size)
        try:
            found = mapping.read(at, size)
            self.same(self.data[offset : offset + size], found, "mapped from %d" % offset)
            self.check_tail(mapping, offset - at)
        finally:
            mapping.close()

    def op_map_write(self):
        offset, size = self.new_range()
        sync = self.rng.random() < 0.5
        self.note("map and write %d %d, msync %s", offset, size, sync)
        if offset + size > len(self.data):
            os.ftruncate(self.fd, offset + size)
        data = self.content(size)
        self.put(offset, data)
        mapping, at = self.mapping(offset, size)
        try:
            mapping.write(at, data)
            if sync:
                mapping.sync()
            self.check_tail(mapping, offset - at)
        finally:
            mapping.close()

    def op_truncate(self):
        size = self.rng.randrange(self.max_size + 1)
        if self.rng.random() < 0.5:
            size = min(size, len(self.data))
        self.note("truncate from %d to %d", len(self.data), size)
        if self.rng.random() < 0.5:
            os.ftruncate(self.fd, size)
        else:
            os.truncate(self.store / "file", size)
        if size > len(self.data):
            self.data.extend(bytes(size - len(self.data)))
        del self.data[size:]

    def allocate(self, mode, zeros):
        offset, size = self.new_range()
        self.note("fallocate mode %d %d %d", mode, offset, size)
        linux_calls.fallocate(self.fd, mode, offset, size)
        end = offset + size
        if not mode & FALLOC_FL_KEEP_SIZE and end > len(self.data):
            self.data.extend(bytes(end - len(self.data)))
        end = min(end, len(self.data))
        if zeros and end > offset:
            self.data[offset:end] = bytes(end - offset)

    def op_allocate(self):
        self.allocate(0, False)

    def op_keep_size(self):
        self.allocate(FALLOC_FL_KEEP_SIZE, False)

    def op_punch(self):
        self.allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, True)

    def op_zero(self):
        self.allocate(FALLOC_FL_ZERO_RANGE | self.rng.choice((0, FALLOC_FL_KEEP_SIZE)), True)

    def copy(self, source, source_fd, begin, target_fd, to, size):
        self.note("copy fd %d %d to fd %d %d, %d", source_fd, begin, target_fd, to, size)
        data = bytes(source[begin : begin + size])
        done = 0
        while done < size:
            count = os.copy_file_range(source_fd, target_fd, size - done, begin + done, to + done)
            if not count:
                raise AssertionError("copied %d of %d bytes" % (done, size))
            done += count
        return data

    def op_copy_within(self):
        begin, size = self.old_range()
        to = self.new_range()[0]
        size = min(size, self.max_size - to, abs(begin - to))
        if size:
            self.put(to, self.copy(self.data, self.fd, begin, self.fd, to, size))

    def op_copy_out(self):
        begin, size = self.old_range()
        if size:
            os.ftruncate(self.other, 0)
            self.other_data = bytearray(
                self.copy(self.data, self.fd, begin, self.other, 0, size))

    def op_copy_in(self):
        to = self.new_range()[0]
        size = min(len(self.other_data), self.max_size - to)
        if size:
            self.put(to, self.copy(self.other_data, self.other, 0, self.fd, to, size))

    def op_fsync(self):
        self.note("fsync")
        os.fsync(self.rng.choice(self.fds))

    def op_reopen(self):
        self.note("reopen")
        self.close()
        self.open()

    def op_forget(self):
        offset, size = self.old_range()
        self.note("fadvise DONTNEED %d %d", offset, size)
        os.posix_fadvise(self.fd, offset, size, os.POSIX_FADV_DONTNEED)

    def op_drop_caches(self):
        self.note("drop caches")
        linux_calls.drop_caches()

    def op_seek(self):
        self.note("seek data")
        ranges = linux_calls.data_ranges(self.fd, len(self.data))
        lie = linux_calls.holes_lie_about(bytes(self.data), ranges)
        self.same(None, lie, "byte said to be in a hole")

    def op_remount(self):
        self.note("remount")
        self.close()
        self.store.remount()
        self.open()
        self.compare()

    def op_kill(self):
        """A crash after a sync, which has brought everything to the disk."""
        self.note("fsync and kill")
        os.fsync(self.fd)
        os.fsync(self.other)
        self.store.kill()
        self.close()
        self.store.mount()
        self.open()
        self.compare()

    # Running

    def compare(self):
        for name, data in (("file", self.data), ("other", self.other_data)):
            self.same(data, (self.store / name).read_bytes(), name)

    def step(self):
        self.count += 1
        name = self.rng.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))[0]
        getattr(self, "op_" + name)()
        self.same(len(self.data), os.fstat(self.fd).st_size, "size")
        if self.count % 200 == 0:
            self.compare()

    def finish(self):
        self.compare()
        self.op_remount()
        self.close()
        self.store.umount()
        varve("check", self.store.path)

    def release(self):
        """Lets go of the mount, however the run has ended."""
        self.close()

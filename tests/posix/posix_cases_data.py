"""Cases about reading and writing: positions, sizes, limits, random changes."""

import os
import random
import resource
import signal

from tests.posix.posix_kit import (
    KEEP_SIZE,
    PAGE,
    PUNCH_HOLE,
    ZERO_RANGE,
    case,
    contents,
    fallocate,
    in_child,
    opened,
    read,
    summary,
    write,
)

LARGEST = (1 << 63) - 1


@case
def positions(log):
    write("f", b"0123456789")
    with opened("f") as file:
        for offset, whence in (
            (3, 0), (2, 1), (-1, 1), (-2, 2), (5, 2), (-1, 0), (-100, 1), (-100, 2), (0, 1),
            (1 << 40, 0), (0, 9), (0, 2), (1, 7),
        ):
            log.value("lseek %d, %d" % (offset, whence), os.lseek, file, offset, whence)
        log("read at the end", os.read(file, 10))
        os.lseek(file, 100, 0)
        log("read past the end", os.read(file, 10))
        for offset in (-1, -(1 << 62), 0, 9, 10, 1 << 40, LARGEST):
            log.value("pread at %d" % offset, os.pread, file, 5, offset)
        log.value("pwrite at -1", os.pwrite, file, b"x", -1)
        log.value("pwrite at the largest", os.pwrite, file, b"x", LARGEST)
        log.value("pwrite of nothing at 100", os.pwrite, file, b"", 100)
        log.stat("size", file)
        log.value("preadv", os.preadv, file, [bytearray(3), bytearray(100)], 2)
        log.value("pwritev", os.pwritev, file, [b"ab", b"", b"cde"], 8)
        log.value("writev", os.writev, file, [b"x", b"y"])
        log.value("readv", os.readv, file, [bytearray(3)])
    log("content", contents("f"))


@case
def writing_past_the_end(log):
    for gap in (1, 511, PAGE - 1, PAGE, PAGE + 1, 100000, 1 << 20):
        name = "f%d" % gap
        write(name, b"start")
        with opened(name) as file:
            os.pwrite(file, b"end", 5 + gap)
            log("seen %d" % gap, summary(os.pread(file, gap + 100, 0)))
        log("kept %d" % gap, contents(name))


@case
def truncation(log):
    for size in (1, 100, PAGE, PAGE + 1, 3 * PAGE - 1, 70000):
        for new in (0, 1, 50, PAGE - 1, PAGE, 2 * PAGE, 100000):
            write("f", b"x" * size)
            os.truncate("f", new)
            log("%d to %d" % (size, new), contents("f"))
            os.truncate("f", size + 10)
            log("%d to %d and back" % (size, new), contents("f"))
            with opened("f") as file:
                os.ftruncate(file, new)
                os.pwrite(file, b"y", new + 5)
                log("%d to %d, then a write" % (size, new), summary(os.pread(file, 1 << 18, 0)))
                os.ftruncate(file, 3)
                os.ftruncate(file, PAGE)
                log("%d to %d, then zeros" % (size, new), summary(os.pread(file, 1 << 18, 0)))


@case
def truncation_errors_and_times(log):
    write("f", b"0123456789")
    os.mkfifo("p")
    log.do("negative", os.truncate, "f", -1)
    log.do("directory", os.truncate, ".", 0)
    log.do("nothing", os.truncate, "none", 0)
    log.do("below a file", os.truncate, "f/x", 0)
    log.do("fifo", os.truncate, "p", 0)
    log.stat("unchanged", "f")
    log.times("shorter", ["f", "."], os.truncate, "f", 5)
    log.times("longer", ["f"], os.truncate, "f", 50)
    log.times("the same", ["f"], os.truncate, "f", 50)
    with opened("f") as file:
        log.times("ftruncate, shorter", ["f"], os.ftruncate, file, 7)
        log.times("ftruncate, the same", ["f"], os.ftruncate, file, 7)
        log.do("ftruncate, negative", os.ftruncate, file, -1)
    log("content", contents("f"))


@case
def large_offsets(log):
    with opened("f", os.O_CREAT | os.O_RDWR) as file:
        for power in (31, 32, 40, 43):
            offset = (1 << power) - 3
            log.do("write at 2^%d" % power, os.pwrite, file, b"across", offset)
            log("read at 2^%d" % power, os.pread(file, 12, offset - 3))
        log.stat("size", file)
        log("a hole", summary(os.pread(file, 100, 1 << 35)))
        os.ftruncate(file, (1 << 32) + 2)
        log("cut", os.pread(file, 100, (1 << 32) - 5))
        os.ftruncate(file, (1 << 42))
        log("zeros again", summary(os.pread(file, 20, (1 << 40) - 10)))
    os.unlink("f")


@case
def file_size_limit(log):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
        with opened("f", os.O_CREAT | os.O_RDWR) as file:
            log.value("below", os.write, file, b"x" * 9000)
            log.value("across", os.write, file, b"x" * 9000)
            log.value("beyond", os.write, file, b"x")
            log.value("pwrite beyond", os.pwrite, file, b"x", 20000)
            log.do("ftruncate beyond", os.ftruncate, file, 10001)
            log.do("ftruncate to it", os.ftruncate, file, 10000)
            log.do("truncate beyond", os.truncate, "f", 20000)
            log.do("fallocate beyond", fallocate, file, 0, 0, 20000)
            log.do("keep size beyond", fallocate, file, KEEP_SIZE, 0, 20000)
            log.do("zero beyond", fallocate, file, ZERO_RANGE, 9000, 20000)
            log.stat("size", file)
        with opened("f", os.O_WRONLY | os.O_APPEND) as file:
            log.value("append", os.write, file, b"x")

    in_child(limited)

    def signalled():
        hits = []
        signal.signal(signal.SIGXFSZ, lambda *_: hits.append(1))
        limited()
        log("signals", len(hits))

    os.unlink("f")
    in_child(signalled)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        os.truncate("f", 1000)
        os._exit(0)
    log("killed", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


class Model:
    """Changes a file and a byte array in the same random ways, and compares."""

    def __init__(self, log, seed, size):
        self._log = log
        self._random = random.Random(seed)
        self._size = size
        self._bytes = bytearray()
        self._file = os.open("f%d" % seed, os.O_CREAT | os.O_RDWR)
        self._name = "f%d" % seed

    def _range(self):
        start = self._random.randrange(self._size)
        return start, self._random.randrange(1, min(self._size - start, 40000) + 1)

    def _grow(self, end):
        if end > len(self._bytes):
            self._bytes.extend(bytes(end - len(self._bytes)))

    def write(self):
        start, count = self._range()
        data = bytes([self._random.randrange(1, 256)]) * count
        os.pwrite(self._file, data, start)
        self._grow(start + count)
        self._bytes[start : start + count] = data

    def truncate(self):
        size = self._random.randrange(self._size)
        if self._random.random() < 0.5:
            os.ftruncate(self._file, size)
        else:
            os.truncate(self._name, size)
        self._grow(size)
        del self._bytes[size:]

    def punch(self):
        start, count = self._range()
        fallocate(self._file, PUNCH_HOLE | KEEP_SIZE, start, count)
        end = min(start + count, len(self._bytes))
        if end > start:
            self._bytes[start:end] = bytes(end - start)

    def zero(self):
        start, count = self._range()
        fallocate(self._file, ZERO_RANGE, start, count)
        self._grow(start + count)
        self._bytes[start : start + count] = bytes(count)

    def allocate(self):
        start, count = self._range()
        fallocate(self._file, 0, start, count)
        self._grow(start + count)

    def copy(self):
        start, count = self._range()
        target = self._random.randrange(self._size)
        count = min(count, abs(start - target))
        if count and start < len(self._bytes):
            done = os.copy_file_range(self._file, self._file, count, start, target)
            data = self._bytes[start : start + count]
            assert done == len(data), (done, len(data))
            self._grow(target + done)
            self._bytes[target : target + done] = data

    def reopen(self):
        os.close(self._file)
        self._file = os.open(self._name, os.O_RDWR)

    def sync(self):
        os.fsync(self._file)

    def rename(self):
        os.rename(self._name, self._name + "x")
        self._name += "x"
        if len(self._name) > 100:
            os.rename(self._name, "f")
            self._name = "f"

    def compare(self, step):
        start, count = self._range()
        got = os.pread(self._file, count, start)
        if got != self._bytes[start : start + count]:
            self._log("step %d" % step, "other bytes at %d+%d" % (start, count))
        if os.fstat(self._file).st_size != len(self._bytes):
            self._log("step %d" % step, "another size")

    def run(self, steps):
        changes = (
            [self.write] * 6 + [self.truncate, self.punch, self.zero, self.allocate]
            + [self.copy] * 2 + [self.reopen, self.reopen, self.sync, self.rename]
        )
        for step in range(steps):
            self._random.choice(changes)()
            self.compare(step)
        self._log("same at the end", read(self._name) == self._bytes)
        os.close(self._file)
        self._log("same after close", read(self._name) == self._bytes)


@case
def random_changes(log):
    for seed, size in ((1, 10000), (2, 200000), (3, 3000000)):
        Model(log, seed, size).run(150)


@case
def small_and_large_writes(log):
    with opened("small", os.O_CREAT | os.O_RDWR) as file:
        for i in range(3000):
            os.write(file, b"%d\n" % i)
    log("small", contents("small"))
    block = bytes(range(256)) * 4096
    with opened("large", os.O_CREAT | os.O_RDWR) as file:
        log("large", os.write(file, block * 4))
        log("back", os.pread(file, 1 << 23, 0) == block * 4)
        log("in the middle", os.pwrite(file, b"-" * 300000, 1000001))
    log("content", contents("large"))
    with opened("backwards", os.O_CREAT | os.O_RDWR) as file:
        for i in range(200, -1, -1):
            os.pwrite(file, b"%c" % (i % 251) * 1000, i * 1000)
    log("backwards", contents("backwards"))


@case
def writes_change_times(log):
    write("f", b"content")
    with opened("f") as file:
        log.times("write", ["f", "."], os.write, file, b"C")
        log.times("write of nothing", ["f"], os.write, file, b"")
        log.times("pwritev", ["f"], os.pwritev, file, [b"C"], 3)
        log.times("close", ["f"], os.close, os.dup(file))
        log.times("fsync", ["f"], os.fsync, file)
        log.times("fallocate", ["f"], fallocate, file, 0, 0, 100)
        log.times("fallocate of less", ["f"], fallocate, file, 0, 0, 10)
        os.write(file, b"pending")
        os.utime(file, ns=(5, 6))
        log("set after writing", os.stat("f").st_mtime_ns)
        log.times("close of another", ["f"], os.close, os.open("f", os.O_RDWR))
        log.times("punch", ["f"], fallocate, file, PUNCH_HOLE | KEEP_SIZE, 0, 10)
        log.times("zero", ["f"], fallocate, file, ZERO_RANGE, 0, 10)
        with opened("g", os.O_CREAT | os.O_RDWR) as target:
            log.times("copy", ["f", "g"], os.copy_file_range, file, target, 10, 0, 0)
            log.times("failed write", ["f"], os.pwrite, file, b"x", -1)
            os.write(target, b"before the close")
            before = os.stat("g").st_mtime_ns
        log("close leaves mtime", os.stat("g").st_mtime_ns == before)
    log("and reading too", os.stat("f").st_mtime_ns == os.stat("f").st_mtime_ns)

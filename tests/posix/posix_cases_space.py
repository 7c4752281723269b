"""Cases about sparse files: fallocate, seeking data and holes, blocks, copying."""

import errno
import os

from tests.posix.posix_kit import (
    COLLAPSE_RANGE,
    INSERT_RANGE,
    KEEP_SIZE,
    PAGE,
    PUNCH_HOLE,
    ZERO_RANGE,
    case,
    contents,
    fallocate,
    opened,
    read,
    summary,
    write,
)

BLOCK = 16 * PAGE


@case
def fallocate_modes(log):
    for mode in (0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE):
        for offset, size in (
            (0, 10), (0, 4 * PAGE), (PAGE, PAGE), (100, 200), (PAGE - 1, 2), (2 * PAGE, 4 * PAGE),
            (10 * PAGE, PAGE), (4 * PAGE - 5, 10), (4 * PAGE, 1), (0, 1 << 20),
        ):
            write("f", b"x" * (4 * PAGE))
            label = "mode %d at %d+%d" % (mode, offset, size)
            with opened("f") as file:
                log.do(label, fallocate, file, mode, offset, size)
                log.stat(label + ", size", file)
                log(label + ", content", summary(os.pread(file, 1 << 21, 0)))
                log(label + ", position", os.lseek(file, 0, 1))
            os.truncate("f", 20 * PAGE)
            log(label + ", longer", contents("f"))


@case
def fallocate_errors(log):
    write("f", b"x" * 10)
    os.mkfifo("p")
    with opened("f") as file, opened("f", os.O_RDONLY) as reader, opened("p", os.O_RDWR) as fifo:
        with opened(".", os.O_RDONLY) as folder:
            for label, arguments in (
                ("negative offset", (file, 0, -1, 10)), ("no length", (file, 0, 0, 0)),
                ("negative length", (file, 0, 0, -1)), ("overflow", (file, 0, (1 << 63) - 1, 1)),
                ("punch without KEEP_SIZE", (file, PUNCH_HOLE, 0, 5)),
                ("punch and zero", (file, PUNCH_HOLE | ZERO_RANGE | KEEP_SIZE, 0, 5)),
                ("unknown mode", (file, 0x200, 0, 5)), ("read-only", (reader, 0, 0, 5)),
                ("fifo", (fifo, 0, 0, 5)), ("directory", (folder, 0, 0, 5)),
                ("closed", (999, 0, 0, 5)), ("punch nothing", (file, 3, 0, 0)),
            ):
                log.do(label, fallocate, *arguments)
    with opened("f", os.O_RDWR | os.O_APPEND) as file:
        log.do("append", fallocate, file, 0, 0, 50)
        log.do("append, punch", fallocate, file, PUNCH_HOLE | KEEP_SIZE, 0, 5)
    log("content", contents("f"))


@case
def collapse_and_insert(log):
    write("f", b"a" * PAGE + b"b" * PAGE + b"c" * PAGE)
    with opened("f") as file:
        log.do("collapse", fallocate, file, COLLAPSE_RANGE, PAGE, PAGE)
        log.do("insert", fallocate, file, INSERT_RANGE, PAGE, PAGE)
    log("content", contents("f"))


def layout(file):
    """Where data and holes begin, as [(start of data, start of hole)...]."""
    pieces = []
    position = 0
    while True:
        try:
            data = os.lseek(file, position, os.SEEK_DATA)
        except OSError as error:
            assert error.errno == errno.ENXIO
            return pieces
        position = os.lseek(file, data, os.SEEK_HOLE)
        pieces.append((data, position))


@case
def data_and_holes(log):
    with opened("f", os.O_CREAT | os.O_RDWR) as file:
        log.value("data of nothing", os.lseek, file, 0, os.SEEK_DATA)
        log.value("hole of nothing", os.lseek, file, 0, os.SEEK_HOLE)
        os.ftruncate(file, 10 * BLOCK)
        os.fsync(file)
        log("hole only", layout(file))
        for i in (1, 4, 5, 8):
            os.pwrite(file, b"d" * BLOCK, i * BLOCK)
        log("before fsync", layout(file))
        os.fsync(file)
        log("data", layout(file))
        for offset in (0, BLOCK, BLOCK + 5, 2 * BLOCK, 6 * BLOCK - 1, 9 * BLOCK, 10 * BLOCK - 1):
            log.value("data from %d" % offset, os.lseek, file, offset, os.SEEK_DATA)
            log.value("hole from %d" % offset, os.lseek, file, offset, os.SEEK_HOLE)
        for offset in (10 * BLOCK, 11 * BLOCK, -1):
            log.value("data from %d" % offset, os.lseek, file, offset, os.SEEK_DATA)
            log.value("hole from %d" % offset, os.lseek, file, offset, os.SEEK_HOLE)
        fallocate(file, PUNCH_HOLE | KEEP_SIZE, 4 * BLOCK, BLOCK)
        os.fsync(file)
        log("punched", layout(file))
        os.pwrite(file, b"end", 10 * BLOCK)
        os.fsync(file)
        log("a last piece", layout(file))
        os.ftruncate(file, 5 * BLOCK)
        os.fsync(file)
        log("cut", layout(file))
    with opened("f") as file:
        log("after opening again", layout(file))


@case
def blocks(log):
    size = 4 << 20
    with opened("sparse", os.O_CREAT | os.O_RDWR) as file:
        os.ftruncate(file, size)
        os.fsync(file)
        log("nothing but a hole", os.fstat(file).st_blocks)
        os.pwrite(file, b"x" * BLOCK, size // 2)
        os.fsync(file)
        few = os.fstat(file).st_blocks
        log("a little", BLOCK // 512 <= few < 3 * BLOCK // 512)
    write("dense", b"x" * size)
    with opened("dense") as file:
        os.fsync(file)
        many = os.fstat(file).st_blocks
        log("sparse below dense", few < many)
        log("dense", many * 512 >= size)
        fallocate(file, PUNCH_HOLE | KEEP_SIZE, 0, size // 2)
        os.fsync(file)
        fewer = os.fstat(file).st_blocks
        log("punched", 0 < fewer <= many // 2 + 16)
        os.ftruncate(file, size // 4)
        os.fsync(file)
        log("cut to the hole", os.fstat(file).st_blocks)
    write("empty")
    log("empty", os.stat("empty").st_blocks)
    log("block size", os.stat("dense").st_blksize)


@case
def copy_file_range(log):
    data = bytes(range(256)) * 100
    write("a", data)
    for count, source, target in (
        (10, 0, 0), (25600, 0, 0), (100000, 0, 0), (100, 25590, 5), (100, 25600, 0),
        (1, 1 << 40, 0), (0, 0, 0), (5000, 100, 70000), (PAGE, PAGE, PAGE), (25600, 0, 25600),
        (3, 25597, 1),
    ):
        write("b", b"-" * 1000)
        with opened("a") as a, opened("b") as b:
            label = "%d from %d to %d" % (count, source, target)
            log.value(label, os.copy_file_range, a, b, count, source, target)
            log(label + ", content", summary(os.pread(b, 1 << 20, 0)))
        log(label + ", kept", contents("b"))
    with opened("a") as a, opened("b") as b:
        os.lseek(a, 100, 0)
        log("with positions", os.copy_file_range(a, b, 50))
        log("moved", (os.lseek(a, 0, 1), os.lseek(b, 0, 1)))
        log.value("source position only", os.copy_file_range, a, b, 50, None, 7)
        log("moved then", (os.lseek(a, 0, 1), os.lseek(b, 0, 1)))
        log.value("negative", os.copy_file_range, a, b, 5, -1, 0)
    write("c", b"0123456789")
    with opened("c") as c, opened("c") as again:
        for source, target in ((0, 5), (5, 0), (3, 3), (0, 4)):
            label = "same file, 5 from %d to %d" % (source, target)
            log.value(label, os.copy_file_range, c, again, 5, source, target)
            log(label + ", content", os.pread(c, 100, 0))
        log.value("appending itself", os.copy_file_range, c, c, 10, 0, 10)
        log("content then", os.pread(c, 100, 0))


@case
def copy_file_range_errors(log):
    write("a", b"source")
    write("b", b"target")
    os.mkfifo("p")
    with opened("a", os.O_RDONLY) as reader, opened("b", os.O_WRONLY) as writer:
        with opened(".", os.O_RDONLY) as folder, opened("p", os.O_RDWR) as fifo:
            with opened("b", os.O_WRONLY | os.O_APPEND) as append, opened("a", os.O_PATH) as path:
                for label, source, target in (
                    ("into a read-only one", reader, reader), ("from a writer", writer, writer),
                    ("into append", reader, append), ("into a directory", reader, folder),
                    ("from a directory", folder, writer), ("into a fifo", reader, fifo),
                    ("from a fifo", fifo, writer), ("closed", 999, writer),
                    ("into closed", reader, 999), ("from O_PATH", path, writer),
                ):
                    log.value(label, os.copy_file_range, source, target, 5)
        log.value("good", os.copy_file_range, reader, writer, 5)
    log("content", read("b"))


@case
def copies_do_not_share_changes(log):
    write("a", b"a" * 100000)
    os.truncate("a", 300000)
    with opened("a") as a, opened("b", os.O_CREAT | os.O_RDWR) as b:
        position = 0
        while position < 300000:
            position += os.copy_file_range(a, b, 300000 - position, position, position)
        os.pwrite(a, b"changed", 50000)
        log("b", summary(os.pread(b, 400000, 0)))
        os.pwrite(b, b"BBB", 10)
        os.ftruncate(a, 20)
        log("a", summary(os.pread(a, 400000, 0)))
    log("a at the end", contents("a"))
    log("b at the end", contents("b"))
    os.unlink("a")
    log("b alone", contents("b"))


@case
def sendfile_and_splice(log):
    data = bytes(range(256)) * 300
    write("a", data)
    with opened("a") as a, opened("b", os.O_CREAT | os.O_RDWR) as b:
        log("sendfile", os.sendfile(b, a, 0, 50000))
        log("more", os.sendfile(b, a, 70000, 50000))
        log("past the end", os.sendfile(b, a, 1 << 30, 10))
        log("content", summary(os.pread(b, 1 << 20, 0)))
        source, sink = os.pipe()
        log("into a pipe", os.splice(a, sink, 10000, offset_src=100))
        log("out of it", os.splice(source, b, 10000, offset_dst=5))
        log("content then", summary(os.pread(b, 1 << 20, 0)))
        os.lseek(a, 10, 0)
        log("with a position", os.splice(a, sink, 100))
        log("moved", os.lseek(a, 0, 1))
        log("read", os.read(source, 1000) == data[10:110])
        log("at the end", os.splice(a, sink, 100, offset_src=len(data)))
    log("kept", contents("b"))

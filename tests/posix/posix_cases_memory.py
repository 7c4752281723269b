"""Cases about mapped files and programs."""

import mmap
import os
import resource
import signal
import subprocess

from tests.kit.linux_calls import Mapping
from tests.posix.posix_kit import (
    KEEP_SIZE,
    PAGE,
    PUNCH_HOLE,
    ZERO_RANGE,
    case,
    contents,
    ended,
    fallocate,
    fork,
    in_child,
    opened,
    read,
    summary,
    write,
)


@case
def shared_mapping(log):
    write("f", b"0" * (3 * PAGE))
    with opened("f") as file:
        area = mmap.mmap(file, 3 * PAGE)
        area[10:15] = b"HELLO"
        log("read sees it", os.pread(file, 5, 10))
        os.pwrite(file, b"world", PAGE + 1)
        log("the mapping sees it", area[PAGE + 1 : PAGE + 6])
        area.flush()
        log("after msync", contents("f"))
        area[2 * PAGE] = 0x41
        area.close()
        log("after munmap", summary(os.pread(file, 4 * PAGE, 0)))
    log("after close", contents("f"))


@case
def mapping_outlives_the_descriptor(log):
    write("f", b"0" * PAGE)
    with opened("f") as file:
        area = Mapping(file, PAGE)  # Unlike Python's, it keeps no descriptor.
    area.write(0, b"one")
    log("before msync", contents("f"))
    area.sync()
    log("after msync", contents("f"))
    area.write(0, b"two")
    area.close()
    log("after munmap", contents("f"))
    with opened("f") as file:
        area = Mapping(file, PAGE)
    os.unlink("f")
    area.write(0, b"three")
    log("without a name", area.read(0, 6))
    area.close()

    def child():
        write("g", b"0" * PAGE)
        with opened("g") as descriptor:
            mapped = Mapping(descriptor, PAGE)
        mapped.write(5, b"exit")
        os._exit(0)  # It neither syncs nor unmaps.

    log("ended", ended(fork(child)))
    log("by a process that ended", contents("g"))


@case
def writing_from_a_mapping_of_the_file(log):
    write("f", bytes(range(256)) * 64)
    with opened("f") as file:
        area = mmap.mmap(file, 4 * PAGE)
        view = memoryview(area)
        log("write", os.pwrite(file, view[:PAGE], 2 * PAGE))
        log("onto itself", os.pwrite(file, view[:PAGE], 0))
        log("overlapping", os.pwrite(file, view[100 : PAGE + 100], 50))
        log("behind", os.pwrite(file, view, 4 * PAGE))
        log("read into it", os.preadv(file, [view[PAGE : 2 * PAGE]], 5 * PAGE))
        view.release()
        area.close()
    log("content", contents("f"))
    write("g", bytes(range(256)) * 64)
    with opened("g", os.O_RDWR | os.O_DIRECT) as file:
        area = mmap.mmap(file, 4 * PAGE)
        view = memoryview(area)
        log("direct read into it", os.preadv(file, [view[:PAGE]], 2 * PAGE))
        log("direct write from it", os.pwrite(file, view[:PAGE], 3 * PAGE))
        view.release()
        area.close()
    log("content then", contents("g"))


@case
def mapping_and_holes(log):
    write("f", b"x" * (4 * PAGE))
    with opened("f") as file:
        area = mmap.mmap(file, 4 * PAGE)
        area[PAGE + 1] = 0x41
        fallocate(file, PUNCH_HOLE | KEEP_SIZE, PAGE, PAGE)
        log("punched", summary(area[:]))
        area[PAGE + 5] = 0x42
        area[3 * PAGE] = 0x43
        fallocate(file, ZERO_RANGE, 2 * PAGE, 100)
        log("zeroed", summary(area[:]))
        with opened("g", os.O_CREAT | os.O_RDWR) as other:
            log("copied", os.copy_file_range(file, other, 4 * PAGE, 0, 0))
        log("the copy", contents("g"))
        log("copied into it", os.copy_file_range(file, file, 10, 3 * PAGE, 0))
        log("seen", summary(area[:20]))
        area[0] = 0x44
        os.truncate("f", 50)
        os.truncate("f", 4 * PAGE)
        log("cut and longer", summary(area[:]))
        area.close()
    log("content", contents("f"))


@case
def private_mapping(log):
    write("f", b"0" * PAGE)
    with opened("f", os.O_RDONLY) as file:
        area = mmap.mmap(file, PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        area[0:4] = b"mine"
        log("seen by me", area[0:6])
        log("not in the file", os.pread(file, 6, 0))
        try:
            mmap.mmap(file, PAGE)
            log("shared and writable, of a reader", "ok")
        except OSError as error:
            log("shared and writable, of a reader", os.strerror(error.errno))
        area.close()
    log("at the end", contents("f"))


@case
def two_processes_share_a_mapping(log):
    write("f", b"0" * PAGE)
    source, sink = os.pipe()
    with opened("f") as file:
        area = mmap.mmap(file, PAGE)

        def child():
            with opened("f") as mine:
                other = mmap.mmap(mine, PAGE)
                other[0:5] = b"child"
                os.write(sink, b".")
                os.read(back, 1)
                log("the child sees", other[10:16])

        back, answer = os.pipe()
        pid = fork(child)
        os.read(source, 1)
        log("the parent sees", area[0:5])
        area[10:16] = b"parent"
        os.write(answer, b".")
        log("ended", ended(pid))
        area.close()
    log("content", contents("f"))


@case
def mapping_and_size(log):
    write("f", b"x" * 100)
    with opened("f") as file:
        area = mmap.mmap(file, 100)
        log("to the end", area[90:100])
        os.ftruncate(file, 2 * PAGE)
        area.resize(2 * PAGE)
        log("zeros after it", area[100:PAGE] == bytes(PAGE - 100))
        area[PAGE + 5] = 0x42
        area.flush()
        os.ftruncate(file, PAGE)
        os.ftruncate(file, 2 * PAGE)
        log("cut and longer", area[PAGE + 5])
        area.close()
    log("content", contents("f"))
    # What is written beyond the end, in the last page, never gets into the file.
    write("g", b"y" * 10)
    with opened("g") as file:
        area = mmap.mmap(file, 10)
        log.stat("size", file)
        area[9] = 0x5A
        area.close()
        os.ftruncate(file, 30)
        log("longer", summary(os.pread(file, 100, 0)))


@case
def beyond_the_end_is_sigbus(log):
    write("f", b"x" * (2 * PAGE))

    def child(position):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        with opened("f") as file:
            area = mmap.mmap(file, 2 * PAGE)
            os.ftruncate(file, 100)
            log("read at %d" % position, area[position])

    log("within the page", ended(fork(child, 200)))
    os.truncate("f", 2 * PAGE)
    log("beyond", ended(fork(child, PAGE)))


@case
def mapping_of_nothing(log):
    write("f")
    with opened("f") as file:
        try:
            mmap.mmap(file, 0)
            log("empty file", "ok")
        except (OSError, ValueError) as error:
            log("empty file", type(error).__name__)
    with opened(".", os.O_RDONLY) as folder:
        try:
            mmap.mmap(folder, PAGE, prot=mmap.PROT_READ)
            log("directory", "ok")
        except OSError as error:
            log("directory", os.strerror(error.errno))


@case
def mapping_changes_times(log):
    write("f", b"0" * PAGE)
    with opened("f") as file:
        area = mmap.mmap(file, PAGE)

        def change():
            area[0] = 0x31
            area.flush()

        log.times("store and msync", ["f"], change)
        area.close()


@case
def large_mapping(log):
    size = 8 << 20
    with opened("f", os.O_CREAT | os.O_RDWR) as file:
        os.ftruncate(file, size)
        area = mmap.mmap(file, size)
        for position in range(0, size, 12345):
            area[position] = position % 251
        area.flush()
        area.close()
        log("content", summary(os.pread(file, size, 0)))
    log("after close", contents("f"))


@case
def programs(log):
    with open("/bin/true", "rb") as source:
        write("true", source.read())
    log.do("without x", subprocess.call, ["./true"])
    os.chmod("true", 0o755)
    log("binary", subprocess.call(["./true"]))
    write("script", b"#!/bin/sh\necho from a script $1\nexit 3\n")
    os.chmod("script", 0o755)
    done = subprocess.run(["./script", "x"], capture_output=True, check=False)
    log("script", (done.returncode, done.stdout))
    os.rename("true", "moved")
    log("renamed", subprocess.call(["./moved"]))
    write("garbage", b"\x7fELF nothing")
    os.chmod("garbage", 0o755)
    log.do("garbage", subprocess.call, ["./garbage"])
    os.mkdir("d")
    log.do("directory", subprocess.call, ["./d"])


@case
def busy_programs(log):
    with open("/bin/sleep", "rb") as source:
        write("sleep", source.read(), 0o755)
    before = os.stat("sleep").st_size
    running = subprocess.Popen(["./sleep", "100"])
    log.open("write", "sleep", os.O_WRONLY)
    log.open("O_TRUNC", "sleep", os.O_WRONLY | os.O_TRUNC)
    log.open("read", "sleep", os.O_RDONLY)
    log.do("truncate", os.truncate, "sleep", 0)
    log.do("chmod", os.chmod, "sleep", 0o700)
    log("size kept", os.stat("sleep").st_size == before)
    write("new", b"another")
    log.do("rename over it", os.rename, "new", "sleep")
    log("still running", running.poll())
    running.kill()
    log("killed", running.wait())
    with open("/bin/true", "rb") as source:
        write("held", source.read(), 0o755)
    with opened("held", os.O_WRONLY):
        log.do("run while open for writing", subprocess.call, ["./held"])
    log("run then", subprocess.call(["./held"]))


@case
def mapping_of_a_removed_file(log):
    write("f", b"0" * (2 * PAGE))
    with opened("f") as file:
        area = mmap.mmap(file, 2 * PAGE)
    write("other", b"other")
    os.rename("other", "f")
    area[PAGE : PAGE + 3] = b"old"
    area.flush()
    log("the mapping", area[PAGE : PAGE + 4])
    log("the new file", read("f"))

    def child():
        area[0] = 0x33

    in_child(child)
    log("by a child", area[0])
    area.close()

"""Cases about what Linux has beyond POSIX: file handles, inotify, advice."""

import ctypes
import os
import select
import struct
import time

from tests.posix.posix_kit import (
    AT_FDCWD,
    LIBC,
    RENAME_EXCHANGE,
    USER,
    as_user,
    case,
    errno_name,
    opened,
    read,
    renameat2,
    write,
)

EVENTS = {
    0x1: "access", 0x2: "modify", 0x4: "attrib", 0x8: "close written", 0x10: "close",
    0x20: "open", 0x40: "moved from", 0x80: "moved to", 0x100: "create", 0x200: "delete",
    0x400: "deleted itself", 0x800: "moved itself", 0x8000: "ignored",
}
IS_DIRECTORY = 0x40000000


class Handle:
    """A file handle, as of name_to_handle_at."""

    def __init__(self, path, flags=0):
        buffer = ctypes.create_string_buffer(8 + 128)
        struct.pack_into("Ii", buffer, 0, 128, 0)
        mount = ctypes.c_int()
        if LIBC.name_to_handle_at(AT_FDCWD, os.fsencode(path), buffer, ctypes.byref(mount), flags):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self.value = buffer

    def open(self, flags=os.O_RDONLY):
        with opened(".", os.O_RDONLY) as mount:
            result = LIBC.open_by_handle_at(mount, self.value, flags)
            if result < 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            return result

    def read(self):
        file = self.open()
        try:
            return os.read(file, 100)
        finally:
            os.close(file)


@case(root=True)
def file_handles(log):
    write("f", b"by handle")
    os.mkdir("d")
    handle = log.do("of a file", Handle, "f")
    folder = log.do("of a directory", Handle, "d")
    if handle is None or folder is None:
        return
    log("read", handle.read())
    os.rename("f", "d/g")
    log.value("renamed", handle.read)
    os.rename("d", "e")
    log.value("below a renamed directory", handle.read)
    opened_folder = folder.open(os.O_RDONLY | os.O_DIRECTORY)
    log("listed", os.listdir(opened_folder))
    log.do("its parent", os.stat, "..", dir_fd=opened_folder)
    write("by_handle", b"x")
    os.close(opened_folder)
    written = handle.open(os.O_RDWR)
    os.pwrite(written, b"BY", 0)
    os.close(written)
    log("written", read("e/g"))
    os.link("e/g", "second")
    os.unlink("e/g")
    log.value("one name left", handle.read)
    with opened("second") as held:
        os.unlink("second")
        log.value("open without a name", handle.read)
        log("held", os.pread(held, 100, 0))
    for _ in range(1000):  # FUSE tells a daemon of the last close a bit later.
        try:
            handle.read()
        except OSError:
            break
        time.sleep(0.005)
    log.value("gone", handle.read)
    os.rmdir("e")
    log.do("directory gone", folder.open)
    for i in range(20):
        write("new%d" % i)
    log.value("its number is not used again", handle.read)
    as_user(lambda: log.do("as a user", folder.open))
    os.symlink("x", "s")
    log.do("of a symlink", Handle, "s")
    log.do("of nothing", Handle, "none")


class Watch:
    """Events of inotify on some paths, in words."""

    def __init__(self, *paths):
        self._descriptor = LIBC.inotify_init1(os.O_NONBLOCK)
        self._names = {}
        for path in paths:
            number = LIBC.inotify_add_watch(self._descriptor, os.fsencode(path), 0xFFF)
            self._names[number] = path

    def events(self):
        words = []
        while select.select([self._descriptor], [], [], 0)[0]:
            data = os.read(self._descriptor, 1 << 16)
            offset = 0
            while offset < len(data):
                number, mask, _, size = struct.unpack_from("iIII", data, offset)
                name = data[offset + 16 : offset + 16 + size].rstrip(b"\0").decode()
                kinds = [word for bit, word in EVENTS.items() if mask & bit]
                if mask & IS_DIRECTORY:
                    kinds.append("directory")
                words.append("%s/%s %s" % (self._names[number], name, ",".join(kinds)))
                offset += 16 + size
        return words


@case
def inotify(log):
    os.mkdir("d")
    os.mkdir("e")
    write("d/f", b"old")
    os.mkdir("d/sub")
    watch = Watch("d", "e", "d/f", "d/sub")
    for label, change in (
        ("read", lambda: read("d/f")), ("write", lambda: write("d/f", b"new")),
        ("create", lambda: write("d/new", b"x")), ("mkdir", lambda: os.mkdir("d/made")),
        ("chmod", lambda: os.chmod("d/f", 0o600)), ("utime", lambda: os.utime("d/f", (1, 1))),
        ("setxattr", lambda: os.setxattr("d/f", "user.a", b"1")),
        ("link", lambda: os.link("d/f", "e/l")), ("symlink", lambda: os.symlink("x", "d/s")),
        ("truncate", lambda: os.truncate("d/f", 1)), ("stat", lambda: os.stat("d/f")),
        ("rename within", lambda: os.rename("d/new", "d/new2")),
        ("rename across", lambda: os.rename("d/new2", "e/new")),
        ("rename over", lambda: os.rename("e/new", "e/l")),
        ("rename directory", lambda: os.rename("d/sub", "e/sub")),
        ("exchange", lambda: renameat2("d/s", "e/l", RENAME_EXCHANGE)),
        ("list", lambda: os.listdir("d")), ("unlink", lambda: os.unlink("d/f")),
        ("rmdir", lambda: os.rmdir("e/sub")), ("failed", lambda: os.path.exists("d/none")),
    ):
        change()
        log(label, watch.events())


@case
def advice(log):
    write("f", b"content" * 1000)
    with opened("f") as file:
        for name in ("NORMAL", "RANDOM", "SEQUENTIAL", "WILLNEED", "NOREUSE", "DONTNEED"):
            log.do(name, os.posix_fadvise, file, 0, 0, getattr(os, "POSIX_FADV_" + name))
        log("readahead", LIBC.readahead(file, ctypes.c_int64(0), ctypes.c_size_t(4096)))
        for flags in (1, 2, 4, 7):
            result = LIBC.sync_file_range(file, ctypes.c_int64(0), ctypes.c_int64(4096), flags)
            log("sync_file_range %d" % flags, result)
        log.do("posix_fallocate", os.posix_fallocate, file, 0, 10000)
        log("RWF_APPEND", os.pwritev(file, [b"end"], 0, os.RWF_APPEND))
        log("content", os.pread(file, 20, 10000 - 5))
        log("terminal", os.isatty(file))
        log("syncfs", LIBC.syncfs(file))


@case
def tty_and_unknown_requests(log):
    write("f")
    with opened("f") as file, opened(".", os.O_RDONLY) as folder:
        for label, descriptor in (("file", file), ("directory", folder)):
            for request in (0x5401, 0x12345678):  # TCGETS, and none at all.
                result = LIBC.ioctl(descriptor, ctypes.c_ulong(request), ctypes.byref(
                    ctypes.create_string_buffer(256)
                ))
                name = errno_name(ctypes.get_errno()) if result < 0 else result
                log("%x of a %s" % (request, label), name)


@case(root=True)
def access_by_real_and_effective_user(log):
    write("f")
    os.chmod("f", 0o600)
    log("root", [os.access("f", mode) for mode in (os.R_OK, os.W_OK, os.X_OK, os.F_OK)])

    def work():
        log("user", [os.access("f", mode) for mode in (os.R_OK, os.W_OK, os.X_OK, os.F_OK)])
        log("in the directory", os.access(".", os.W_OK))

    as_user(work)

    def mixed():
        os.setresuid(USER, 0, 0)
        log("real", os.access("f", os.R_OK))
        log("effective", os.access("f", os.R_OK, effective_ids=True))
        os.setresuid(0, USER, 0)
        log("real root", os.access("f", os.R_OK))
        log("effective user", os.access("f", os.R_OK, effective_ids=True))
        log.open("open as the effective user", "f", os.O_RDONLY)

    pid = os.fork()
    if pid == 0:
        mixed()
        os._exit(0)
    os.waitpid(pid, 0)


@case(root=True)
def single_capabilities(log):
    # Somebody who may do one of the things that root may.
    write("f")
    os.chown("f", 5000, 5000)
    os.chmod("f", 0o640)
    os.mkdir("d")
    os.chmod("d", 0o700)
    os.mkdir("open")
    os.chmod("open", 0o777)
    numbers = {
        "chown": 0, "dac_override": 1, "dac_read_search": 2, "fowner": 3, "fsetid": 4,
        "mknod": 27, "sys_admin": 21,
    }

    def work(label):
        log.open(label + ", read", "f", os.O_RDONLY)
        log.open(label + ", write", "f", os.O_WRONLY)
        log.do(label + ", list", os.listdir, "d")
        log.do(label + ", create", write, "d/new")
        log.do(label + ", chmod", os.chmod, "f", 0o640)
        log.do(label + ", setgid", os.chmod, "f", 0o2640)
        log.stat(label + ", mode", "f")
        log.do(label + ", chown", os.chown, "f", 5001, -1)
        log.do(label + ", utime", os.utime, "f", (1, 1))
        log.do(label + ", trusted", os.setxattr, "f", "trusted.a", b"1")
        log.value(label + ", listed", os.listxattr, "f")
        log.do(label + ", mknod", os.mknod, "open/c", 0o20600, os.makedev(1, 3))

    for name, number in numbers.items():
        pid = os.fork()
        if pid == 0:
            LIBC.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            header = struct.pack("Ii", 0x20080522, 0)
            bits = 1 << number
            low, high = bits & 0xFFFFFFFF, bits >> 32
            LIBC.capset(header, struct.pack("IIIIII", low, low, 0, high, high, 0))
            work(name)
            os._exit(0)
        log(name, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        for path in ("d/new", "open/c"):
            if os.path.exists(path):
                os.unlink(path)
        os.chown("f", 5000, 5000)
        os.chmod("f", 0o640)
        if "trusted.a" in os.listxattr("f"):
            os.removexattr("f", "trusted.a")

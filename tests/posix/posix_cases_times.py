"""Cases about times: access times, setting them, their range, birth times."""

import os
import time

from tests.posix.posix_kit import (
    AT_SYMLINK_NOFOLLOW,
    OTHER,
    USER,
    UTIME_NOW,
    UTIME_OMIT,
    as_user,
    birth_time,
    case,
    opened,
    read,
    renameat2,
    settle,
    utimensat,
    write,
)

DAY_NS = 86400 * 10**9


def times_of(path):
    status = os.lstat(path)
    return status.st_atime_ns, status.st_mtime_ns


def shift_atime(path, nanoseconds):
    """Moves an access time, relative to now; the other times stay near it."""
    now = time.time_ns()
    os.utime(path, ns=(now + nanoseconds, now + min(nanoseconds, 0)), follow_symlinks=False)


@case
def relatime_of_files(log):
    write("f", b"content")
    log.times("first read", ["f"], read, "f")
    log.times("second read", ["f"], read, "f")
    write("f", b"changed")
    log.times("after a write", ["f"], read, "f")
    log.times("once more", ["f"], read, "f")
    os.chmod("f", 0o600)
    log.times("after a chmod", ["f"], read, "f")
    log.times("once more after chmod", ["f"], read, "f")
    now = time.time_ns()
    os.utime("f", ns=(now - 2 * DAY_NS, now - 3 * DAY_NS))
    log.times("two days old", ["f"], read, "f")
    log.times("fresh", ["f"], read, "f")
    os.utime("f", ns=(now + DAY_NS, now))
    log.times("in the future", ["f"], read, "f")
    os.utime("f", ns=(now - DAY_NS, now - 2 * DAY_NS))
    settle()
    with opened("f", os.O_RDONLY) as file:
        log.times("open alone", ["f"], os.fstat, file)
        log.times("read of nothing", ["f"], os.read, file, 0)
        log.times("pread", ["f"], os.pread, file, 5, 0)
        os.utime("f", ns=(now - 2 * DAY_NS, now - 3 * DAY_NS))
        log.times("at the end of the file", ["f"], os.pread, file, 5, 1000)
    os.utime("f", ns=(now - 2 * DAY_NS, now - 3 * DAY_NS))
    with opened("f", os.O_RDONLY | os.O_NOATIME) as file:
        log.times("O_NOATIME", ["f"], os.pread, file, 5, 0)
    with opened("f", os.O_RDONLY) as file:
        log.times("preadv", ["f"], os.preadv, file, [bytearray(3)], 0)


@case
def atime_by_other_ways(log):
    write("f", b"content" * 1000)
    now = time.time_ns()

    def old():
        os.utime("f", ns=(now - 2 * DAY_NS, now - 3 * DAY_NS))

    with opened("f", os.O_RDONLY) as file, opened("g", os.O_CREAT | os.O_RDWR) as other:
        old()
        log.times("sendfile", ["f"], os.sendfile, other, file, 0, 100)
        old()
        log.times("copy_file_range", ["f"], os.copy_file_range, file, other, 100, 0, 0)
        source, sink = os.pipe()
        old()
        log.times("splice", ["f"], os.splice, file, sink, 100, offset_src=0)
        log("spliced", len(os.read(source, 100)))
        old()
        log.times("stat", ["f"], os.stat, "f")
        log.times("lseek", ["f"], os.lseek, file, 0, os.SEEK_DATA)
        log.times("getxattr", ["f"], os.listxattr, "f")
        log.times("fsync", ["f"], os.fsync, file)
    os.chmod("f", 0o755)
    old()
    log.times("access", ["f"], os.access, "f", os.X_OK)


@case
def relatime_of_directories(log):
    os.mkdir("d")
    write("d/f")
    log.times("list", ["d"], os.listdir, "d")
    log.times("again", ["d"], os.listdir, "d")
    write("d/g")
    log.times("after a change", ["d"], os.listdir, "d")
    log.times("once more", ["d"], os.listdir, "d")
    now = time.time_ns()
    os.utime("d", ns=(now - 2 * DAY_NS, now - 3 * DAY_NS))
    log.times("old, looked up in", ["d"], os.stat, "d/f")
    log.times("old, opened", ["d"], lambda: os.close(os.open("d", os.O_RDONLY)))
    log.times("old, listed", ["d"], os.listdir, "d")
    os.mkdir("empty")
    log.times("empty", ["empty"], os.listdir, "empty")


@case
def relatime_of_symlinks(log):
    os.symlink("f", "s")
    write("f")
    log.times("readlink", ["s"], os.readlink, "s")
    log.times("again", ["s"], os.readlink, "s")
    shift_atime("s", -2 * DAY_NS)
    log.times("old, lstat", ["s"], os.lstat, "s")
    log.times("old, followed", ["s"], os.stat, "s")
    shift_atime("s", -2 * DAY_NS)
    log.times("old, readlink", ["s"], os.readlink, "s")


@case
def access_times_are_kept(log):
    write("f", b"content")
    os.utime("f", ns=(1000000007, 2000000009))
    os.rename("f", "g")
    log("renamed", times_of("g"))
    os.link("g", "h")
    log("linked", times_of("h"))
    os.chmod("g", 0o600)
    log("chmod", times_of("g"))
    with opened("g", os.O_WRONLY) as file:
        os.write(file, b"x")
    log("atime after a write", times_of("g")[0])
    os.utime("g", ns=(5, 6))
    with opened("g", os.O_WRONLY) as file:
        os.write(file, b"x")
        os.utime("g", ns=(7, 8))
        log("set while open", times_of("g"))
    log("kept by close", times_of("g"))
    with opened("g", os.O_WRONLY) as file:
        os.write(file, b"x")
        os.utime(file, ns=(9, 10))
        os.fsync(file)
        log("kept by fsync", times_of("g"))
        os.unlink("h")
    log("kept by close again", times_of("g"))


@case
def utimensat_special_values(log):
    write("f")
    os.mkdir("d")
    os.symlink("f", "s")
    for path, flags in (("f", 0), ("d", 0), ("s", AT_SYMLINK_NOFOLLOW)):
        for label, atime, mtime in (
            ("both", (100, 5), (200, 6)), ("omit atime", (0, UTIME_OMIT), (300, 7)),
            ("omit mtime", (400, 8), (0, UTIME_OMIT)),
            ("omit both", (0, UTIME_OMIT), (0, UTIME_OMIT)),
            ("nanoseconds too large", (1, 10**9), (1, 0)), ("negative ones", (1, 0), (1, -1)),
            ("largest", (500, 10**9 - 1), (600, 10**9 - 1)), ("zero", (0, 0), (0, 0)),
        ):
            log.times("%s of %s" % (label, path), [path], utimensat, path, atime, mtime, flags)
            log("%s of %s, then" % (label, path), times_of(path))
        for label, atime, mtime in (
            ("atime now", (0, UTIME_NOW), (700, 0)), ("mtime now", (800, 0), (0, UTIME_NOW)),
            ("both now", (0, UTIME_NOW), (0, UTIME_NOW)),
            ("atime now only", (0, UTIME_NOW), (0, UTIME_OMIT)),
            ("mtime now only", (0, UTIME_OMIT), (0, UTIME_NOW)),
        ):
            utimensat(path, (1, 0), (1, 0), flags)
            log.times("%s of %s" % (label, path), [path], utimensat, path, atime, mtime, flags)
            near = [abs(value - time.time_ns()) < 60 * 10**9 for value in times_of(path)]
            log("%s of %s, near now" % (label, path), near)
    log.do("nothing there", utimensat, "none", (1, 0), (1, 0))
    log.do("odd flags", utimensat, "f", (1, 0), (1, 0), 1)
    log.times("the target", ["f", "s"], os.utime, "s", (11, 12))


@case
def range_of_times(log):
    write("f")
    os.mkdir("d")
    for seconds in (
        0, 1, -1, -5, 1 << 31, (1 << 31) - 1, -(1 << 31), -(1 << 31) + 1, (1 << 32) - 1, 1 << 32,
        (1 << 32) + 5, 1 << 33, 15032385535, 15032385536, -(1 << 31) - 1, 1 << 35, 1 << 40,
        -(1 << 40),
    ):
        for path in ("f", "d"):
            for nanoseconds in (0, 999999999):
                if nanoseconds and seconds in (-(1 << 31), 15032385535):
                    continue  # ext4 has no fractions in its first and last second.
                label = "%s, %d.%09d" % (path, seconds, nanoseconds)
                log.do(label, utimensat, path, (seconds, nanoseconds), (seconds, nanoseconds))
                log(label + ", then", times_of(path))
    os.utime("f", ns=(-1, -(10**9) - 1))
    log("just before 1970", times_of("f"))


@case(root=True)
def who_may_set_times(log):
    write("owned")
    os.chown("owned", USER, USER)
    write("writable")
    os.chmod("writable", 0o666)
    write("readable")
    os.mkdir("d")
    os.chmod("d", 0o777)

    def work(who):
        for path in ("owned", "writable", "readable", "d"):
            for label, atime, mtime in (
                ("values", (1, 0), (2, 0)), ("now", (0, UTIME_NOW), (0, UTIME_NOW)),
                ("atime now only", (0, UTIME_NOW), (0, UTIME_OMIT)),
                ("mtime now only", (0, UTIME_OMIT), (0, UTIME_NOW)),
                ("nothing", (0, UTIME_OMIT), (0, UTIME_OMIT)),
                ("one value", (1, 0), (0, UTIME_OMIT)), ("mixed", (1, 0), (0, UTIME_NOW)),
            ):
                log.do("%s by %s, %s" % (path, who, label), utimensat, path, atime, mtime)
        for path in ("owned", "writable"):
            if os.access(path, os.W_OK):
                with opened(path, os.O_WRONLY) as file:
                    log.do("%s by %s, futimens" % (path, who), os.utime, file, (1, 1))

    as_user(work, "owner")
    as_user(work, "other", uid=OTHER)
    work("root")
    os.chmod("owned", 0)
    as_user(work, "owner without rights")


@case
def birth_times(log):
    start = time.time_ns()
    settle()
    write("f", b"content")
    os.mkdir("d")
    os.symlink("f", "s")
    os.mkfifo("p")
    names = ["f", "d", "s", "p"]
    born = {name: birth_time(name) for name in names}
    log("known", [born[name] is not None for name in names])
    log("recent", [(born[name] or 0) >= start for name in names])
    settle()
    os.chmod("f", 0o600)
    write("f", b"overwritten")
    os.truncate("f", 2)
    os.utime("f", (1, 1))
    os.setxattr("f", "user.a", b"1")
    os.link("f", "l")
    log("file", birth_time("f") == born["f"])
    log("other name", birth_time("l") == born["f"])
    os.rename("f", "d/g")
    log("renamed", birth_time("d/g") == born["f"])
    write("x")
    renameat2("x", "d/g", 2)
    log("exchanged", birth_time("x") == born["f"])
    os.utime("d", (1, 1))
    log("directory", birth_time("d") == born["d"])
    os.rename("s", "t")
    log("symlink", birth_time("t") == born["s"])
    write("f")
    log("made anew", (birth_time("f") or 0) > (born["f"] or 0))
    with opened("f") as file:
        os.write(file, b"open")
        log("while open", birth_time("f") == birth_time("/proc/self/fd/%d" % file) or "another")


@case
def new_files_have_one_time(log):
    settle()
    write("f")
    os.mkdir("d")
    os.symlink("x", "s")
    os.mkfifo("p")
    for name in ("d", "s", "p", "f"):
        status = os.lstat(name)
        log(name, status.st_atime_ns == status.st_mtime_ns == status.st_ctime_ns)
        log(name + ", near now", abs(status.st_ctime_ns - time.time_ns()) < 60 * 10**9)


@case
def nanoseconds_are_kept(log):
    write("f")
    for value in (1, 999, 123456789, 999999999, 1000000001):
        os.utime("f", ns=(value, value + 10**18))
        log("ns %d" % value, times_of("f"))
    stamps = set()
    for i in range(20):
        settle()
        write("f", b"%d" % i)
        stamps.add(os.stat("f").st_mtime_ns)
    log("each write has its own", len(stamps))
    log("finer than milliseconds", any(stamp % 10**6 for stamp in stamps))

"""Cases about opening: flags, files without a name, many descriptors."""

import errno
import fcntl
import mmap
import os
import signal

from tests.posix.posix_kit import (
    AT_EMPTY_PATH,
    AT_SYMLINK_FOLLOW,
    OTHER,
    PAGE,
    USER,
    as_user,
    case,
    contents,
    ended,
    fork,
    in_child,
    linkat,
    opened,
    read,
    summary,
    write,
)


@case
def open_flags(log):
    write("f", b"content")
    os.mkdir("d")
    os.symlink("f", "s")
    os.mkfifo("p")
    create, write_only = os.O_CREAT, os.O_WRONLY
    for name, path, flags in (
        ("none", "none", os.O_RDONLY), ("O_CREAT", "new", create | write_only),
        ("O_CREAT again", "new", create | write_only),
        ("O_EXCL", "f", create | os.O_EXCL), ("O_EXCL on a directory", "d", create | os.O_EXCL),
        ("O_EXCL on a symlink", "s", create | os.O_EXCL), ("O_EXCL alone", "f", os.O_EXCL),
        ("O_CREAT on a directory", "d", create), ("directory for writing", "d", write_only),
        ("directory, read and write", "d", os.O_RDWR), ("O_TRUNC of a directory", "d", os.O_TRUNC),
        ("O_DIRECTORY", "d", os.O_DIRECTORY), ("O_DIRECTORY on a file", "f", os.O_DIRECTORY),
        ("O_DIRECTORY|O_CREAT", "e", os.O_DIRECTORY | create),
        ("O_NOFOLLOW", "s", os.O_NOFOLLOW), ("O_NOFOLLOW on a file", "f", os.O_NOFOLLOW),
        ("O_NOFOLLOW|O_CREAT", "s", os.O_NOFOLLOW | create), ("O_PATH", "f", os.O_PATH),
        ("O_PATH|O_NOFOLLOW", "s", os.O_PATH | os.O_NOFOLLOW), ("O_NOATIME", "f", os.O_NOATIME),
        ("below a file", "f/x", create | write_only), ("O_SYNC", "f", write_only | os.O_SYNC),
        ("O_DSYNC", "f", write_only | os.O_DSYNC), ("O_DIRECT", "f", os.O_DIRECT),
        ("O_ASYNC", "f", os.O_ASYNC), ("access mode 3", "f", 3),
        ("O_RDONLY|O_TRUNC", "f", os.O_TRUNC),
    ):
        log.open(name, path, flags)
    log.stat("truncated", "f")
    log.stat("new", "new")
    os.umask(0)
    with opened("mode", create | os.O_RDWR, 0o000) as file:
        log("writing to mode 0", os.write(file, b"x"))
        log("flags", fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE)


@case
def wrong_direction(log):
    write("f", b"content")
    os.mkdir("d")
    with opened("f", os.O_RDONLY) as file:
        log.do("write", os.write, file, b"x")
        log.do("ftruncate", os.ftruncate, file, 0)
        log.do("pwritev", os.pwritev, file, [b"x"], 0)
    with opened("f", os.O_WRONLY) as file:
        log.do("read", os.read, file, 1)
        log.do("pread", os.pread, file, 1, 0)
    with opened("f", os.O_PATH) as file:
        for name, call in (
            ("read", lambda: os.read(file, 1)), ("write", lambda: os.write(file, b"x")),
            ("fchmod", lambda: os.fchmod(file, 0o600)), ("fchown", lambda: os.fchown(file, -1, -1)),
            ("ftruncate", lambda: os.ftruncate(file, 0)), ("fsync", lambda: os.fsync(file)),
            ("fstat", lambda: os.fstat(file)), ("dup", lambda: os.close(os.dup(file))),
            ("reopen", lambda: os.close(os.open("/proc/self/fd/%d" % file, os.O_RDWR))),
            ("fstatvfs", lambda: os.fstatvfs(file)), ("lseek", lambda: os.lseek(file, 0, 0)),
            ("link", lambda: linkat("", "l", AT_EMPTY_PATH, file) if os.geteuid() == 0 else 0),
            ("utime", lambda: os.utime(file, (1, 1))), ("flock", lambda: fcntl.flock(file, 1)),
        ):
            log.do("O_PATH " + name, call)
    with opened("d", os.O_RDONLY) as folder:
        log.do("read a directory", os.read, folder, 10)
        log.do("write a directory", os.write, folder, b"x")
        log.do("truncate it", os.ftruncate, folder, 0)
        log.do("fsync it", os.fsync, folder)
        log.do("fdatasync it", os.fdatasync, folder)
    log.do("truncate a directory", os.truncate, "d", 0)
    log.do("chdir to a file", os.chdir, "f")
    log.do("list a file", os.listdir, "f")


@case
def unlinked_file(log):
    write("f", b"content")
    os.setxattr("f", "user.a", b"1")
    with opened("f") as file, opened("f", os.O_RDONLY) as second:
        log.times("unlink", [file, "."], os.unlink, "f")
        log.stat("fstat", file)
        log("read", os.pread(file, 100, 0))
        log("write", os.pwrite(file, b"C" * 10000, 5))
        log("read by another", summary(os.pread(second, 20000, 0)))
        log.do("ftruncate", os.ftruncate, file, 7)
        log.do("fchmod", os.fchmod, file, 0o4751)
        log.do("fchown", os.fchown, file, -1, 2001)
        log.do("utime", os.utime, file, ns=(5, 6))
        log("times", (os.fstat(second).st_atime_ns, os.fstat(second).st_mtime_ns))
        log.do("fsync", os.fsync, file)
        log.stat("then", second)
        log.open("through /proc", "/proc/self/fd/%d" % file, os.O_RDWR)
        log.do("truncate through /proc", os.truncate, "/proc/self/fd/%d" % file, 3)
        log.value("attribute", os.getxattr, file, "user.a")
        log("path", os.readlink("/proc/self/fd/%d" % file).endswith("f (deleted)"))
        write("f", b"a new one")
        log("the new one", read("f"))
        log("the old one", os.pread(file, 100, 0))
        log("different", os.fstat(file).st_ino != os.stat("f").st_ino)

        def child():
            log("in a child", os.pread(file, 100, 0))
            os.pwrite(file, b"by a child", 0)

        in_child(child)
        os.close(file)
        log("by the second", os.pread(second, 100, 0))


@case
def unlinked_file_and_other_names(log):
    write("f", b"content")
    os.link("f", "g")
    with opened("f") as file:
        os.unlink("f")
        os.pwrite(file, b"CHANGED", 0)
        log.stat("one name left", file)
        os.rename("g", "h")
        os.unlink("h")
        log.stat("none left", file)
        log("content", os.pread(file, 100, 0))
    log("listed", os.listdir("."))


@case
def removed_directory(log):
    os.mkdir("d")
    with opened("d", os.O_RDONLY) as folder:
        log.times("rmdir", [folder, "."], os.rmdir, "d")
        log.stat("fstat", folder)
        log.value("listdir", os.listdir, folder)
        log.open("create", "x", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
        log.do("mkdir", os.mkdir, "x", dir_fd=folder)
        log.do("symlink", os.symlink, "x", "y", dir_fd=folder)
        log.do("mkfifo", os.mkfifo, "x", dir_fd=folder)
        write("f")
        log.do("link", os.link, "f", "x", dst_dir_fd=folder)
        log.do("rename into", os.rename, "f", "x", dst_dir_fd=folder)
        log.do("stat of a name", os.stat, "x", dir_fd=folder)
        log.do("stat of .", os.stat, ".", dir_fd=folder)
        log.do("stat of ..", os.stat, "..", dir_fd=folder)
        log.do("fchmod", os.fchmod, folder, 0o700)
        log.do("utime", os.utime, folder, (1, 1))
        log.do("fsync", os.fsync, folder)
        os.mkdir("d")
        log("a new one", os.stat("d").st_ino != os.fstat(folder).st_ino)
    os.mkdir("cwd")
    os.chdir("cwd")
    os.rmdir("../cwd")
    log.do("getcwd", os.getcwd)
    log.do("stat of cwd", os.stat, ".")
    log.value("list of cwd", os.listdir, ".")
    log.do("create in cwd", write, "x")
    log.do("mkdir in cwd", os.mkdir, "x")
    log.do("up", os.stat, "..")


@case
def many_descriptors_of_one_file(log):
    write("f", b"0" * 100)
    files = [os.open("f", os.O_RDWR) for _ in range(50)]
    for i, file in enumerate(files):
        os.pwrite(file, b"%c" % (65 + i % 26), i)
    log("seen by each", {os.pread(file, 100, 0) for file in files} == {read("f")})
    log("content", summary(os.pread(files[0], 100, 0)))
    os.ftruncate(files[3], 10)
    log("shorter for all", {os.fstat(file).st_size for file in files})
    os.lseek(files[0], 5, 0)
    copy = os.dup(files[0])
    log("shared position", os.lseek(copy, 0, 1))
    os.read(copy, 2)
    log("moved", os.lseek(files[0], 0, 1))
    log("others have their own", os.lseek(files[1], 0, 1))
    for file in files:
        os.close(file)
    os.write(copy, b"late")
    log("late", read("f"))
    os.close(copy)
    log("at the end", read("f"))


@case
def append_from_two_processes(log):
    def work(letter):
        with opened("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            for i in range(300):
                os.write(file, b"%s %03d %s\n" % (letter, i, letter * (i % 50)))

    pids = [fork(work, letter) for letter in (b"a", b"b")]
    log("ended", [ended(pid) for pid in pids])
    lines = read("log").splitlines()
    log("lines", len(lines))
    for letter in (b"a", b"b"):
        mine = [line for line in lines if line.startswith(letter)]
        expected = [b"%s %03d %s" % (letter, i, letter * (i % 50)) for i in range(300)]
        log("in order, %s" % letter, mine == expected)
    os.unlink("log")


@case
def append(log):
    write("f", b"start")
    with opened("f", os.O_RDWR | os.O_APPEND) as file:
        log("position", os.lseek(file, 0, 1))
        os.write(file, b"-one")
        log("after a write", os.lseek(file, 0, 1))
        os.lseek(file, 0, 0)
        os.write(file, b"-two")
        os.pwrite(file, b"-pwrite", 0)  # Linux appends, whatever the offset says.
        log("content", os.pread(file, 100, 0))
        with opened("f") as other:
            os.ftruncate(other, 3)
        os.write(file, b"-three")
        log("after truncating", os.pread(file, 100, 0))
        fcntl.fcntl(file, fcntl.F_SETFL, 0)
        os.pwrite(file, b"S", 0)
        log("without the flag", os.pread(file, 100, 0))
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)
        os.write(file, b"-four")
        log("with it again", os.pread(file, 100, 0))
        os.pwritev(file, [b"-v1", b"-v2"], 0)
        log("pwritev", os.pread(file, 100, 0))


@case
def truncating_at_open(log):
    write("f", b"long content")
    with opened("f") as reader:
        log.times("O_TRUNC", ["f"], lambda: os.close(os.open("f", os.O_WRONLY | os.O_TRUNC)))
        log("seen", os.pread(reader, 100, 0))
        log.times("O_TRUNC, empty", ["f"], lambda: os.close(os.open("f", os.O_RDWR | os.O_TRUNC)))
        write("f", b"new")
        log("new content", os.pread(reader, 100, 0))
        with opened("f", os.O_RDWR | os.O_TRUNC) as file:
            log.stat("while open", reader)
            os.write(file, b"written")
            log("before close", os.pread(reader, 100, 0))
    log("at the end", read("f"))


@case
def direct_io(log):
    block = bytes(range(256)) * 16
    write("f", block * 3)
    buffer = mmap.mmap(-1, 2 * PAGE)  # Memory that is aligned.
    with opened("f", os.O_RDWR | os.O_DIRECT) as file:
        log("read", os.preadv(file, [buffer], 0))
        log("content", buffer[:] == block * 2)
        buffer[:PAGE] = b"d" * PAGE
        log("write", os.pwritev(file, [memoryview(buffer)[:PAGE]], PAGE))
        log("at the end", os.preadv(file, [buffer], 2 * PAGE))
        log("past the end", os.preadv(file, [buffer], 8 * PAGE))
        buffer[:] = block * 2  # A short read may change the rest, too.
        log("extending", os.pwritev(file, [buffer], 3 * PAGE))
    log("content then", contents("f"))
    log.stat("size", "f")


@case
def synchronous_writes(log):
    for name, flags in (("sync", os.O_SYNC), ("dsync", os.O_DSYNC)):
        with opened(name, os.O_CREAT | os.O_RDWR | flags) as file:
            log(name, os.write(file, b"a" * 5000))
            log(name + " again", os.pwrite(file, b"b", 6000))
            log(name + " seen", contents(name))
    with opened("sync") as file:
        log.do("RWF_DSYNC", os.pwritev, file, [b"c"], 0, os.RWF_DSYNC)
        log.do("RWF_SYNC", os.pwritev, file, [b"d"], 1, os.RWF_SYNC)
        log.do("fsync", os.fsync, file)
        log.do("fdatasync", os.fdatasync, file)
    os.sync()
    log("content", contents("sync"))


@case
def temporary_files(log):
    file = log.do("O_TMPFILE", os.open, ".", os.O_TMPFILE | os.O_RDWR, 0o640)
    if file is not None:
        log.stat("fstat", file)
        os.write(file, b"temporary")
        log("content", os.pread(file, 100, 0))
        log("listed", os.listdir("."))
        path = "/proc/self/fd/%d" % file
        os.setxattr(path, "user.a", b"1")
        log.times("naming it", [file, "."], linkat, path, "named", AT_SYMLINK_FOLLOW)
        log.stat("named", "named")
        os.write(file, b" no more")
        os.close(file)
        log("content of the name", read("named"))
        log("attribute", os.listxattr("named"))
    file = log.do("O_EXCL", os.open, ".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    if file is not None:
        path = "/proc/self/fd/%d" % file
        log.do("naming it is forbidden", linkat, path, "x", AT_SYMLINK_FOLLOW)
        os.close(file)
    log.open("read only", ".", os.O_TMPFILE | os.O_RDONLY)
    log.open("write only", ".", os.O_TMPFILE | os.O_WRONLY)
    write("f")
    log.open("in a file", "f", os.O_TMPFILE | os.O_RDWR)
    log.open("in nothing", "none", os.O_TMPFILE | os.O_RDWR)
    os.umask(0o077)
    with opened("." if file is not None else "f", os.O_TMPFILE | os.O_RDWR if file else 0) as file:
        log.stat("umask", file)
    os.mkdir("closed", 0o500)
    log.open("no right", "closed", os.O_TMPFILE | os.O_RDWR)
    log("listed at the end", sorted(os.listdir(".")))


@case(root=True)
def no_atime_needs_the_owner(log):
    write("f", b"x")
    os.chmod("f", 0o666)
    os.chown("f", USER, USER)
    as_user(log.open, "owner", "f", os.O_RDONLY | os.O_NOATIME)
    as_user(log.open, "other", "f", os.O_RDONLY | os.O_NOATIME, uid=OTHER)
    log.open("root", "f", os.O_RDONLY | os.O_NOATIME)

    def set_later():
        with opened("f", os.O_RDONLY) as file:
            log.do("F_SETFL", fcntl.fcntl, file, fcntl.F_SETFL, os.O_NOATIME)

    as_user(set_later, uid=OTHER)


@case
def complete_after_close(log):
    # What one process has written and closed, the next sees, whole.
    for i in range(25):
        size = i * 1997

        def child():
            with opened("f", os.O_CREAT | os.O_WRONLY | os.O_TRUNC) as file:
                while size > os.lseek(file, 0, 1):
                    os.write(file, b"%c" % (65 + i % 26) * min(1000, size - os.lseek(file, 0, 1)))

        in_child(child)
        content = read("f")
        if content != b"%c" % (65 + i % 26) * size:
            log("round %d" % i, summary(content))
    log("all rounds")


@case
def descriptors_of_the_dead(log):
    # A process is killed with a file open that it has written.
    source, sink = os.pipe()

    def child():
        with opened("f", os.O_CREAT | os.O_WRONLY) as file:
            os.write(file, b"before the end")
            os.write(sink, b".")
            signal.pause()

    pid = fork(child)
    os.read(source, 1)
    os.kill(pid, 9)
    log("killed", ended(pid))
    log("content", read("f"))
    try:
        os.close(999)
    except OSError as error:
        log("no such descriptor", errno.errorcode[error.errno])

"""Cases about who may do what."""

import os
import stat

from tests.posix.posix_kit import (
    OTHER,
    USER,
    as_user,
    case,
    errno_name,
    opened,
    renameat2,
    write,
    RENAME_EXCHANGE,
)


def attempt(function, *arguments, **options):
    """The name of the error, or "ok"."""
    try:
        function(*arguments, **options)
    except OSError as error:
        return errno_name(error.errno)
    return "ok"


def touch_open(path, flags):
    os.close(os.open(path, flags, 0o600))


# What one may try with f in d; it undoes what it did, where that worked.
ACTIONS = {
    "read": lambda: touch_open("d/f", os.O_RDONLY),
    "write": lambda: touch_open("d/f", os.O_WRONLY),
    "read and write": lambda: touch_open("d/f", os.O_RDWR),
    "append": lambda: touch_open("d/f", os.O_WRONLY | os.O_APPEND),
    "O_TRUNC": lambda: touch_open("d/f", os.O_RDONLY | os.O_TRUNC),
    "O_CREAT of what exists": lambda: touch_open("d/f", os.O_RDONLY | os.O_CREAT),
    "O_CREAT|O_EXCL of what exists": lambda: touch_open("d/f", os.O_CREAT | os.O_EXCL),
    "stat": lambda: os.stat("d/f"),
    "access": lambda: os.access("d/f", os.R_OK) or os.stat("d/none"),
    "execute": lambda: os.execv("d/f", ["f"]) if not os.access("d/f", os.X_OK) else None,
    "truncate": lambda: os.truncate("d/f", 0),
    "chmod": lambda: os.chmod("d/f", stat.S_IMODE(os.stat("d/f").st_mode)),
    "chown to oneself": lambda: os.chown("d/f", os.getuid(), -1),
    "chown to another": lambda: os.chown("d/f", 12345, -1),
    "chgrp": lambda: os.chown("d/f", -1, os.getgid()),
    "chown of nothing": lambda: os.chown("d/f", -1, -1),
    "utimes now": lambda: os.utime("d/f"),
    "utimes": lambda: os.utime("d/f", (1, 1)),
    "setxattr": lambda: os.setxattr("d/f", "user.a", b"1"),
    "getxattr": lambda: os.getxattr("d/f", "user.kept"),
    "listxattr": lambda: os.listxattr("d/f"),
    "removexattr": lambda: os.removexattr("d/f", "user.none"),
    "list": lambda: os.listdir("d"),
    "chdir": lambda: os.open("d", os.O_PATH) and os.stat("d/."),
    "create": lambda: (touch_open("d/new", os.O_CREAT | os.O_RDWR), os.unlink("d/new")),
    "mkdir": lambda: (os.mkdir("d/sub"), os.rmdir("d/sub")),
    "mkdir of what exists": lambda: os.mkdir("d/f"),
    "symlink": lambda: (os.symlink("x", "d/s"), os.unlink("d/s")),
    "mkfifo": lambda: (os.mkfifo("d/p"), os.unlink("d/p")),
    "link": lambda: (os.link("d/f", "d/l"), os.unlink("d/l")),
    "link out": lambda: (os.link("d/f", "open/l"), os.unlink("open/l")),
    "rename within": lambda: (os.rename("d/f", "d/r"), os.rename("d/r", "d/f")),
    "rename out": lambda: (os.rename("d/f", "open/r"), os.rename("open/r", "d/f")),
    "rename in": lambda: (os.rename("open/mine", "d/m"), os.rename("d/m", "open/mine")),
    "rename directory": lambda: (os.rename("d/dir", "d/dir2"), os.rename("d/dir2", "d/dir")),
    "rename directory out": lambda: (
        os.rename("d/dir", "open/dir"),
        os.rename("open/dir", "d/dir"),
    ),
    "exchange": lambda: (
        renameat2("d/f", "open/mine", RENAME_EXCHANGE),
        renameat2("d/f", "open/mine", RENAME_EXCHANGE),
    ),
    "unlink": lambda: os.unlink("d/f"),
    "rmdir": lambda: os.rmdir("d/dir"),
    "unlink of none": lambda: os.unlink("d/none"),
    "rmdir of none": lambda: os.rmdir("d/none"),
}


def try_all(log, label):
    for name, action in ACTIONS.items():
        log("%s, %s" % (label, name), attempt(action))


def make_scene(directory_mode, file_mode, owner, group):
    """d with f and dir in it, all of an owner; and `open`, where all may do all."""
    os.umask(0)
    os.mkdir("d")
    write("d/f", b"#!/bin/true\n")
    os.setxattr("d/f", "user.kept", b"kept")
    os.mkdir("d/dir")
    os.mkdir("open", 0o777)
    write("open/mine", b"", 0o666)
    os.chmod("open", 0o777)
    for path in ("d", "d/dir", "d/f", "open/mine"):
        os.chown(path, owner, group)
    os.chmod("d/f", file_mode)
    os.chmod("d/dir", file_mode)
    os.chmod("d", directory_mode)


@case(root=True)
def matrix_of_modes_and_identities(log):
    home = os.getcwd()
    modes = (
        (0o777, 0o666), (0o755, 0o644), (0o700, 0o600), (0o000, 0o000), (0o111, 0o111),
        (0o444, 0o444), (0o333, 0o222), (0o070, 0o070), (0o007, 0o007), (0o1777, 0o644),
        (0o1770, 0o660), (0o500, 0o400),
    )
    for directory_mode, file_mode in modes:
        for uid in (0, USER, OTHER):
            name = "%o_%o_%d" % (directory_mode, file_mode, uid)
            os.mkdir(name)
            os.chdir(name)
            make_scene(directory_mode, file_mode, USER, 2001)
            if uid:
                as_user(try_all, log, name, uid=uid)
                # Somebody who is in the group and not the owner.
                if uid == OTHER:
                    make = "group_" + name
                    os.chdir("..")
                    os.mkdir(make)
                    os.chdir(make)
                    make_scene(directory_mode, file_mode, USER, 2001)
                    as_user(try_all, log, make, uid=OTHER, groups=(2001,))
            else:
                try_all(log, name)
            os.chdir(home)


@case
def own_modes_bind_the_owner(log):
    home = os.open(".", os.O_RDONLY)
    for mode in (0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o600, 0o700, 0o077):
        name = "%o" % mode
        os.mkdir(name)
        os.chdir(name)
        make_scene(mode, mode, -1, -1)
        try_all(log, name)
        if os.path.exists("d"):
            os.chmod("d", 0o700)
        os.fchdir(home)


@case(root=True)
def sticky_directories(log):
    def scene(owner):
        os.mkdir("tmp")
        os.chown("tmp", owner, owner)
        os.chmod("tmp", 0o1777)
        for uid in (0, USER, OTHER):
            write("tmp/f%d" % uid, b"")
            os.mkdir("tmp/d%d" % uid)
            for path in ("tmp/f%d" % uid, "tmp/d%d" % uid):
                os.chown(path, uid, uid)
        os.mkdir("tmp/shared")
        os.chmod("tmp/shared", 0o777)

    def work(label):
        for uid in (0, USER, OTHER):
            where = "%s, of %d" % (label, uid)
            file, folder = "tmp/f%d" % uid, "tmp/d%d" % uid
            log("%s, rename" % where, attempt(os.rename, file, "tmp/r"))
            if os.path.exists("tmp/r"):
                os.rename("tmp/r", file)
            log("%s, out" % where, attempt(os.rename, file, "tmp/shared/r"))
            if os.path.exists("tmp/shared/r"):
                os.rename("tmp/shared/r", file)
            write("tmp/shared/mine")
            log("%s, over" % where, attempt(os.rename, "tmp/shared/mine", file))
            log("%s, link" % where, attempt(os.link, file, "tmp/shared/l%s" % uid))
            write("tmp/shared/mine2")
            exchange = attempt(renameat2, "tmp/shared/mine2", file, RENAME_EXCHANGE)
            log("%s, exchange" % where, exchange)
            log("%s, unlink" % where, attempt(os.unlink, file))
            log("%s, rmdir" % where, attempt(os.rmdir, folder))
            log("%s, create" % where, attempt(write, "tmp/new%d" % uid))

    home = os.getcwd()
    for owner in (0, USER, OTHER):
        for uid in (0, USER, OTHER):
            os.mkdir("%d_%d" % (owner, uid))
            os.chdir("%d_%d" % (owner, uid))
            scene(owner)
            label = "directory of %d, by %d" % (owner, uid)
            if uid:
                as_user(work, label, uid=uid)
            else:
                work(label)
            log(label, sorted(os.listdir("tmp")))
            os.chdir(home)


@case(root=True)
def walking_needs_search(log):
    os.makedirs("a/b/c")
    write("a/b/c/f", b"x")
    os.chmod("a/b", 0o700)
    os.chmod("a/b/c", 0o777)

    def work():
        log.do("stat below", os.stat, "a/b/c/f")
        log.open("open below", "a/b/c/f", os.O_RDONLY)
        log.do("stat of it", os.stat, "a/b")
        log.do("list", os.listdir, "a/b")
        log.do("chdir", os.chdir, "a/b")
        log.do("mkdir below", os.mkdir, "a/b/c/d")
        log.do("rename below", os.rename, "a/b/c/f", "a/b/c/g")

    as_user(work)
    with opened("a/b/c", os.O_RDONLY) as c:

        def inside():
            os.fchdir(c)
            log.do("from inside", os.stat, "f")
            log.do("up", os.stat, "..")
            log.do("further up", os.stat, "../..")
            log.do("create", write, "new")

        as_user(inside)


@case(root=True)
def rights_are_checked_at_open(log):
    write("f", b"content")
    os.chmod("f", 0o600)
    os.chown("f", USER, USER)

    def work():
        with opened("f") as file:
            os.chmod("f", 0)
            log.value("read", os.pread, file, 10, 0)
            log.value("write", os.pwrite, file, b"C", 0)
            log.do("truncate", os.ftruncate, file, 3)
            log.do("truncate by path", os.truncate, "f", 3)
            log.open("open again", "f", os.O_RDONLY)
            log.open("through /proc", "/proc/self/fd/%d" % file, os.O_RDONLY)

    os.chown(".", USER, USER)
    as_user(work)


@case(root=True)
def moving_a_directory_needs_to_write_it(log):
    # Its ".." changes, so that its own mode counts, too.
    os.mkdir("a")
    os.mkdir("b")
    for path in ("a", "b"):
        os.chmod(path, 0o777)
    for name, owner, mode in (("mine", USER, 0o555), ("theirs", OTHER, 0o777), ("x", 0, 0o755)):
        os.mkdir("a/" + name)
        os.chown("a/" + name, owner, owner)
        os.chmod("a/" + name, mode)

    def work():
        for name in ("mine", "theirs", "x"):
            log.do("rename within, " + name, os.rename, "a/" + name, "a/y")
            log.do("rename across, " + name, os.rename, "a/y", "b/" + name)

    as_user(work)


@case(root=True)
def protected_by_nothing_but_modes(log):
    # link: the kernel's protected_hardlinks may ask for more; it does for both.
    write("root-file", b"secret", 0o600)
    os.mkdir("d")
    os.chmod("d", 0o777)

    def work():
        log.do("link to what one may not read", os.link, "root-file", "d/l")
        log.do("rename", os.rename, "root-file", "d/l")
        log.do("chmod", os.chmod, "root-file", 0o777)
        log.do("chown", os.chown, "root-file", USER, USER)
        log.do("chown of nothing", os.chown, "root-file", -1, -1)
        log.do("utime", os.utime, "root-file")

    as_user(work)


@case(root=True)
def changing_owners(log):
    write("f")
    os.chown("f", USER, USER)

    def work():
        log.do("to a group of mine", os.chown, "f", -1, 2001)
        log.stat("then", "f")
        log.do("to a foreign group", os.chown, "f", -1, 2003)
        log.do("to the same user", os.chown, "f", USER, -1)
        log.do("to the same user and group", os.chown, "f", USER, 2002)
        log.do("to another user", os.chown, "f", OTHER, -1)
        log.do("to root", os.chown, "f", 0, 0)
        log.do("of nothing", os.chown, "f", -1, -1)
        log.stat("at the end", "f")

    as_user(work)
    as_user(lambda: log.do("by another, nothing", os.chown, "f", -1, -1), uid=OTHER)
    as_user(lambda: log.do("by another", os.chown, "f", OTHER, OTHER), uid=OTHER)
    for uid, gid in ((0, 0), (65534, 65534), (1 << 31, 1 << 31), ((1 << 32) - 2, 7), (-1, 8)):
        log.do("%d:%d" % (uid, gid), os.chown, "f", uid, gid)
        log.stat("after %d:%d" % (uid, gid), "f")
    os.symlink("f", "s")
    log.do("lchown", os.lchown, "s", USER, 2001)
    log.stat("symlink", "s")
    log.stat("its target", "f")
    log.do("through it", os.chown, "s", 1, 2)
    log.stat("target then", "f")
    log.times("chown", ["f"], os.chown, "f", 3, 3)
    log.times("chown to the same", ["f"], os.chown, "f", 3, 3)
    log.times("chown of nothing", ["f"], os.chown, "f", -1, -1)

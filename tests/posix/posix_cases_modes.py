"""Cases about modes: umask, set-user-id, set-group-id, inheritance, clearing."""

import mmap
import os
import stat

from tests.posix.posix_kit import (
    KEEP_SIZE,
    OTHER,
    PAGE,
    PUNCH_HOLE,
    USER,
    ZERO_RANGE,
    as_user,
    case,
    fallocate,
    opened,
    write,
)

# VFS_CAP_REVISION_2 with cap_net_raw permitted and effective.
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


@case
def umask_and_modes(log):
    for mask in (0, 0o022, 0o027, 0o077, 0o777):
        os.umask(mask)
        write("f%o" % mask, b"", 0o7777)
        os.mkdir("d%o" % mask, 0o7777)
        os.mkfifo("p%o" % mask, 0o7777)
        os.symlink("x", "s%o" % mask)
        os.mknod("n%o" % mask, stat.S_IFREG | 0o6755)
        for kind in "fdpsn":
            log.stat("umask %o, %s" % (mask, kind), "%s%o" % (kind, mask))


@case
def all_modes(log):
    write("f")
    os.mkdir("d")
    for mode in list(range(0, 0o10000, 0o111)) + [0o7777, 0o4755, 0o2755, 0o1777, 0o100644]:
        log.do("chmod f %o" % mode, os.chmod, "f", mode)
        log.stat("f %o" % mode, "f")
        log.do("chmod d %o" % mode, os.chmod, "d", mode)
        log.stat("d %o" % mode, "d")
    os.chmod("f", 0o600)
    with opened("f") as file:
        log.do("fchmod", os.fchmod, file, 0o4711)
        log.stat("fchmod", file)
    log.times("chmod", ["f"], os.chmod, "f", 0o644)
    log.times("chmod to the same", ["f"], os.chmod, "f", 0o644)
    os.chmod("d", 0o755)


@case
def chmod_of_other_things(log):
    os.mkfifo("p")
    os.symlink("p", "s")
    os.chmod("s", 0o604)
    log.stat("through a symlink", "p")
    log.stat("symlink", "s")
    log.do("nothing", os.chmod, "none", 0o600)
    log.do("below a file", os.chmod, "p/x", 0o600)


@case(root=True)
def setgid_directories(log):
    os.mkdir("d")
    os.chown("d", USER, 2005)
    os.chmod("d", 0o2777)

    def work(who):
        os.umask(0)
        write("d/f" + who, b"", 0o2770)
        write("d/plain" + who, b"", 0o660)
        write("d/no_x" + who, b"", 0o2660)
        os.mkdir("d/d" + who, 0o770)
        os.mkdir("d/d%s/dd" % who)
        os.mkfifo("d/p" + who)
        os.symlink("x", "d/s" + who)
        os.mknod("d/n" + who, stat.S_IFREG | 0o2777)
        for kind in ("f", "plain", "no_x", "d", "p", "s", "n"):
            log.stat("%s by %s" % (kind, who), "d/" + kind + who)
        log.stat("dd by " + who, "d/d%s/dd" % who)

    work("root")
    as_user(work, "user")
    as_user(work, "member", groups=(2005,))
    write("moved")
    os.rename("moved", "d/moved")
    log.stat("moved in", "d/moved")
    os.link("d/moved", "linked")
    log.stat("linked out", "linked")
    os.chmod("d", 0o777)
    write("d/later")
    log.stat("without the bit", "d/later")


@case(root=True)
def setgid_needs_the_group(log):
    write("f")
    os.mkdir("d")
    for path in ("f", "d"):
        os.chown(path, USER, 2005)

    def work(label):
        for path in ("f", "d"):
            for mode in (0o2755, 0o2644, 0o6755, 0o4755):
                log.do("%s, %s %o" % (label, path, mode), os.chmod, path, mode)
                log.stat("%s, then %s %o" % (label, path, mode), path)

    as_user(work, "not in the group")
    as_user(work, "in the group", groups=(2005,))
    as_user(work, "its first group", gid=2005, groups=())
    work("root")


def _changes(path):
    """Each way to change a file, as (name, function of nothing)."""

    def with_file(action):
        def call():
            with opened(path) as file:
                action(file)

        return call

    def copy_range(file):
        with opened("source", os.O_RDONLY) as source:
            os.copy_file_range(source, file, 3, 0, 0)

    def direct():
        buffer = mmap.mmap(-1, PAGE)
        with opened(path, os.O_RDWR | os.O_DIRECT) as file:
            os.pwritev(file, [buffer], 0)

    def store():
        with opened(path) as file:
            area = mmap.mmap(file, 1)
            area[0] = 0x31
            area.flush()
            area.close()

    return (
        ("write", with_file(lambda file: os.write(file, b"x"))),
        ("write of nothing", with_file(lambda file: os.write(file, b""))),
        ("pwrite at the end", with_file(lambda file: os.pwrite(file, b"x", 20))),
        ("pwritev", with_file(lambda file: os.pwritev(file, [b"x", b"y"], 0))),
        ("direct write", direct),
        ("store in a mapping", store),
        ("truncate", lambda: os.truncate(path, 3)),
        ("truncate to the same", lambda: os.truncate(path, os.stat(path).st_size)),
        ("ftruncate", with_file(lambda file: os.ftruncate(file, 2))),
        ("O_TRUNC", lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))),
        ("fallocate", with_file(lambda file: fallocate(file, 0, 0, 50))),
        ("punch", with_file(lambda file: fallocate(file, PUNCH_HOLE | KEEP_SIZE, 0, 5))),
        ("zero", with_file(lambda file: fallocate(file, ZERO_RANGE, 0, 5))),
        ("keep size", with_file(lambda file: fallocate(file, KEEP_SIZE, 0, 500))),
        ("copy_file_range", with_file(copy_range)),
        ("chown of nothing", lambda: os.chown(path, -1, -1)),
        ("chown to the same", lambda: os.chown(path, os.stat(path).st_uid, -1)),
        ("chgrp to the same", lambda: os.chown(path, -1, os.stat(path).st_gid)),
        ("utime", lambda: os.utime(path)),
        ("chmod", lambda: os.chmod(path, stat.S_IMODE(os.stat(path).st_mode))),
        ("read", with_file(lambda file: os.read(file, 1))),
        ("rename", lambda: (os.rename(path, "other"), os.rename("other", path))),
        ("link", lambda: (os.link(path, "other"), os.unlink("other"))),
    )


@case
def what_clears_setid_bits(log):
    write("source", b"source")
    for mode in (0o6777, 0o4755, 0o2755, 0o2745, 0o6644, 0o1777):
        write("f", b"0123456789")
        for name, change in _changes("f"):
            os.chmod("f", mode)
            log.do("%s of %o" % (name, mode), change)
            log.stat("%s of %o, mode" % (name, mode), "f")


@case(root=True)
def what_others_clear(log):
    write("source", b"source")
    os.chmod(".", 0o777)
    for mode in (0o6777, 0o4777, 0o2767):
        for uid in (USER, OTHER):
            write("f", b"0123456789")
            os.chown("f", USER, 2001)
            for name, change in _changes("f"):
                os.chmod("f", mode)
                label = "%s of %o by %d" % (name, mode, uid)

                def work():
                    log.do(label, change)

                as_user(work, uid=uid)
                log.stat(label + ", mode", "f")


@case(root=True)
def what_clears_capabilities(log):
    write("source", b"source")
    write("f", b"0123456789")
    os.chmod("f", 0o777)
    os.chmod(".", 0o777)
    for name, change in _changes("f"):
        for uid in (0, USER):
            os.setxattr("f", "security.capability", CAPABILITY)
            label = "%s by %d" % (name, uid)

            def work():
                log.do(label, change)

            if uid:
                as_user(work, uid=uid)
            else:
                work()
            log(label + ", capability", "security.capability" in os.listxattr("f"))


@case(root=True)
def chown_clears_setid_bits(log):
    for kind in ("file", "directory"):
        for mode in (0o6777, 0o6755, 0o6644, 0o2745, 0o4711, 0o1755):
            for uid, gid in ((-1, -1), (USER, -1), (-1, 2001), (USER, 2001), (0, 0)):
                name = "%s_%o_%d_%d" % (kind, mode, uid, gid)
                if kind == "file":
                    write(name)
                else:
                    os.mkdir(name)
                os.chmod(name, mode)
                log.do("chown " + name, os.chown, name, uid, gid)
                log.stat(name, name)
    write("own")
    os.chown("own", USER, 2001)

    def work():
        for uid, gid in ((-1, -1), (USER, -1), (-1, 2002), (-1, 2002), (USER, 2001)):
            os.chmod("own", 0o6755)
            log.do("by the owner, %d:%d" % (uid, gid), os.chown, "own", uid, gid)
            log.stat("by the owner, %d:%d, mode" % (uid, gid), "own")

    as_user(work)
    os.chmod("own", 0o6755)
    as_user(lambda: log.do("by another", os.chown, "own", -1, -1), uid=OTHER)
    log.stat("by another, mode", "own")


@case(root=True)
def setuid_programs_run_as_their_owner(log):
    with open("/usr/bin/id", "rb") as source:
        write("id", source.read())
    os.chown("id", USER, 2001)
    for mode in (0o755, 0o4755, 0o2755, 0o6755):
        os.chmod("id", mode)
        source, sink = os.pipe()

        def work():
            os.dup2(sink, 1)
            pid = os.fork()
            if pid == 0:
                os.execv("./id", ["id", "-u"])
            os.waitpid(pid, 0)
            pid = os.fork()
            if pid == 0:
                os.execv("./id", ["id", "-g"])
            os.waitpid(pid, 0)

        as_user(work, uid=OTHER)
        os.close(sink)
        with open(source, "rb") as output:
            log("%o" % mode, output.read())

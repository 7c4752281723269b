"""Cases about extended attributes."""

import ctypes
import os
import subprocess

from tests.posix.posix_kit import LIBC, OTHER, USER, as_user, case, errno_name, opened, write


def raw(function, *arguments):
    """Calls a C function that returns a size; gives that or the error's name."""
    result = getattr(LIBC, function)(*arguments)
    return result if result >= 0 else errno_name(ctypes.get_errno())


@case
def xattr_create_replace_remove(log):
    write("f")
    os.mkdir("d")
    for path in ("f", "d"):
        log.do(path + " get none", os.getxattr, path, "user.a")
        log.do(path + " remove none", os.removexattr, path, "user.a")
        log.do(path + " replace none", os.setxattr, path, "user.a", b"1", os.XATTR_REPLACE)
        log.do(path + " create", os.setxattr, path, "user.a", b"1", os.XATTR_CREATE)
        log.do(path + " create again", os.setxattr, path, "user.a", b"2", os.XATTR_CREATE)
        log.value(path + " get", os.getxattr, path, "user.a")
        log.do(path + " replace", os.setxattr, path, "user.a", b"three", os.XATTR_REPLACE)
        log.do(path + " set", os.setxattr, path, "user.b", b"")
        log.do(path + " both flags", os.setxattr, path, "user.b", b"", 3)
        log.do(path + " odd flags", os.setxattr, path, "user.b", b"", 4)
        log.value(path + " get replaced", os.getxattr, path, "user.a")
        log.value(path + " get empty", os.getxattr, path, "user.b")
        log(path + " list", sorted(os.listxattr(path)))
        log.do(path + " remove", os.removexattr, path, "user.a")
        log.do(path + " remove again", os.removexattr, path, "user.a")
        log(path + " list then", sorted(os.listxattr(path)))
        log.times(path + " setxattr", [path, "."], os.setxattr, path, "user.c", b"1")
        log.times(path + " the same", [path], os.setxattr, path, "user.c", b"1")
        log.times(path + " getxattr", [path], os.getxattr, path, "user.c")
        log.times(path + " listxattr", [path], os.listxattr, path)
        log.times(path + " removexattr", [path, "."], os.removexattr, path, "user.c")
    log.do("no file", os.setxattr, "none", "user.a", b"")
    log.do("no file, list", os.listxattr, "none")


@case
def xattr_names(log):
    write("f")
    for name in (
        "user.", "user", "userx.a", "foo.bar", "noname", "", "user.a.b", "user. ", "user.\n",
        "user.\u4e16", "User.a", "system.a", "system.", "trusted.", "security.", "btrfs.a",
        "user." + "n" * 250, "user." + "n" * 251, "user." + "n" * 500, "os2.x", ".", "user..",
        "user./", "user.a/b", "user.a/../b", "user.=", "user.\\", "user.A", "user.\x01",
    ):
        label = repr(name[:20]) + " %d" % len(name)
        log.do("set " + label, os.setxattr, "f", name, b"v")
        log.do("get " + label, os.getxattr, "f", name)
        log.do("remove " + label, os.removexattr, "f", name)
    log("listed", sorted(os.listxattr("f")))


@case
def xattr_sizes(log):
    write("f")
    for size in (0, 1, 100, 1000, 3000, 4096, 10000, 65535, 65536):
        value = bytes(i % 251 for i in range(size))
        log.do("set %d" % size, os.setxattr, "f", "user.big", value)
        log("get %d" % size, os.getxattr("f", "user.big") == value)
        log("size %d" % size, raw("getxattr", b"f", b"user.big", None, 0))
        buffer = ctypes.create_string_buffer(max(1, size))
        log("exact %d" % size, raw("getxattr", b"f", b"user.big", buffer, size))
        log("short %d" % size, raw("getxattr", b"f", b"user.big", buffer, size - 1 if size else 0))
    log.do("too large", os.setxattr, "f", "user.big", b"x" * 65537)
    log.do("much too large", os.setxattr, "f", "user.big", b"x" * (1 << 20))
    log("kept", len(os.getxattr("f", "user.big")))
    for i in range(20):
        os.setxattr("f", "user.n%02d" % i, b"%d" % i * i)
    total = raw("listxattr", b"f", None, 0)
    buffer = ctypes.create_string_buffer(1000)
    log("list size", total)
    log("list exact", raw("listxattr", b"f", buffer, total))
    log("list short", raw("listxattr", b"f", buffer, total - 1))
    log("list in 1", raw("listxattr", b"f", buffer, 1))
    log("all", sorted(os.listxattr("f")))
    log("values", [os.getxattr("f", "user.n%02d" % i) for i in range(20)])


@case
def xattr_of_other_types(log):
    os.symlink("nowhere", "s")
    os.mkfifo("p")
    os.mknod("k", 0o140600)
    for name in ("user.a", "trusted.a", "security.a"):
        for path in ("s", "p", "k"):
            label = "%s of %s" % (name, path)
            log.do("set " + label, os.setxattr, path, name, b"v", follow_symlinks=False)
            log.do("get " + label, os.getxattr, path, name, follow_symlinks=False)
            log.do("list " + label, os.listxattr, path, follow_symlinks=False)
            log.do("remove " + label, os.removexattr, path, name, follow_symlinks=False)
    write("f")
    os.symlink("f", "to_f")
    log.do("through a symlink", os.setxattr, "to_f", "user.a", b"1")
    log("arrived", os.listxattr("f"))
    log("itself", os.listxattr("to_f", follow_symlinks=False))


@case
def xattr_privileged_namespaces(log):
    write("f")
    for name in ("trusted.a", "security.a", "security.capability", "security.selinux"):
        log.do("set " + name, os.setxattr, "f", name, b"value")
        log.do("get " + name, os.getxattr, "f", name)
        log("listed after " + name, sorted(os.listxattr("f")))
        log.do("remove " + name, os.removexattr, "f", name)


@case(root=True)
def xattr_of_root_seen_by_others(log):
    write("f")
    os.mkdir("d")
    for path in ("f", "d"):
        os.chown(path, USER, USER)
        os.setxattr(path, "trusted.hidden", b"secret")
        os.setxattr(path, "security.shown", b"public")
        os.setxattr(path, "user.shown", b"public")

    def work(who):
        for path in ("f", "d"):
            log(who + ", list " + path, sorted(os.listxattr(path)))
            for name in ("trusted.hidden", "security.shown", "user.shown"):
                where = "%s, %s of %s" % (who, name, path)
                log.do("get " + where, os.getxattr, path, name)
                log.do("set " + where, os.setxattr, path, name, b"new")
                log.do("create " + where, os.setxattr, path, name + "2", b"new")
                log.do("remove " + where, os.removexattr, path, name)

    as_user(work, "other", uid=OTHER)
    as_user(work, "owner")
    work("root")


@case(root=True)
def xattr_of_sticky_directories(log):
    os.mkdir("d")
    os.chmod("d", 0o1777)
    as_user(lambda: log.do("by another", os.setxattr, "d", "user.a", b"1"))
    os.chmod("d", 0o777)
    as_user(lambda: log.do("not sticky", os.setxattr, "d", "user.b", b"1"))
    write("f")
    os.chmod("f", 0o444)
    as_user(lambda: log.do("read-only", os.setxattr, "f", "user.a", b"1"))
    os.chmod("f", 0o222)
    os.setxattr("f", "user.a", b"1")
    as_user(lambda: log.do("write-only, get", os.getxattr, "f", "user.a"))
    as_user(lambda: log.do("write-only, set", os.setxattr, "f", "user.b", b"1"))
    as_user(lambda: log.value("write-only, list", os.listxattr, "f"))


@case
def xattr_by_descriptor(log):
    write("f", b"content")
    with opened("f") as file:
        log.do("set", os.setxattr, file, "user.a", b"1")
        os.unlink("f")
        log.value("get without a name", os.getxattr, file, "user.a")
        log.do("set without a name", os.setxattr, file, "user.b", b"2")
        log.value("get that", os.getxattr, file, "user.b")
        log("list", sorted(os.listxattr(file)))
        log.do("remove without a name", os.removexattr, file, "user.a")
        log("list then", sorted(os.listxattr(file)))
    write("g")
    with opened("g", os.O_RDONLY) as file:
        log.do("set, read-only descriptor", os.setxattr, file, "user.a", b"1")
    with opened("g", os.O_PATH) as file:
        log.do("set, O_PATH", os.setxattr, file, "user.b", b"1")
        log.do("get, O_PATH", os.getxattr, file, "user.a")
        log.do("list, O_PATH", os.listxattr, file)
    os.mkdir("d")
    with opened("d", os.O_RDONLY) as folder:
        os.rmdir("d")
        log.do("removed directory, set", os.setxattr, folder, "user.a", b"1")
        log.value("removed directory, list", os.listxattr, folder)


@case
def xattr_is_kept(log):
    write("f", b"one")
    os.setxattr("f", "user.a", b"kept")
    os.rename("f", "g")
    log.value("renamed", os.getxattr, "g", "user.a")
    os.link("g", "h")
    os.setxattr("h", "user.b", b"by the other name")
    log("linked", sorted(os.listxattr("g")))
    write("g", b"two")
    log("overwritten", sorted(os.listxattr("g")))
    os.chmod("g", 0o600)
    os.utime("g", (1, 1))
    log("chmod and utime", sorted(os.listxattr("g")))
    write("i")
    os.rename("i", "g")
    log("replaced", sorted(os.listxattr("g")))
    log("the other name", sorted(os.listxattr("h")))
    with opened("h") as file:
        os.write(file, b"open")
        os.setxattr("h", "user.c", b"while written")
        os.write(file, b"more")
    log("while written", sorted(os.listxattr("h")))
    os.mkdir("d")
    os.setxattr("d", "user.d", b"1")
    os.rename("d", "e")
    log("directory", os.listxattr("e"))
    os.mkdir("e/sub")
    log("not inherited", os.listxattr("e/sub"))


@case
def xattr_tools(log):
    def tool(label, *command):
        done = subprocess.run(command, capture_output=True, check=False)
        log(label, (done.returncode, done.stdout.decode()))

    write("f", b"x")
    tool("setfattr", "setfattr", "-n", "user.mime", "-v", "text/plain", "f")
    tool("hex", "setfattr", "-n", "user.bin", "-v", "0x0001ff", "f")
    tool("getfattr", "getfattr", "-d", "f")
    tool("cp", "cp", "-a", "f", "g")
    tool("copied", "getfattr", "-d", "-e", "hex", "g")
    tool("mv", "mv", "g", "h")
    tool("moved", "getfattr", "-d", "h")
    tool("remove", "setfattr", "-x", "user.mime", "h")
    tool("removed", "getfattr", "-d", "h")

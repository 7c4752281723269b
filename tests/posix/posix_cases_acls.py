"""Cases about POSIX access control lists."""

import os
import struct
import subprocess

from tests.posix.posix_kit import OTHER, USER, as_user, case, opened, write

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"
TAGS = {"u::": 1, "u": 2, "g::": 4, "g": 8, "m::": 16, "o::": 32}
NO_ID = 0xFFFFFFFF


def acl(text):
    """Bytes of an ACL such as "u::rwx u:2000:r-- g::r-- m::rwx o::---"."""
    entries = []
    for word in text.split():
        tag, identity, rights = word.split(":")
        kind = TAGS[tag if identity else tag + "::"]
        bits = sum(bit for bit, letter in ((4, "r"), (2, "w"), (1, "x")) if letter in rights)
        entries.append(struct.pack("<HHI", kind, bits, int(identity) if identity else NO_ID))
    return struct.pack("<I", 2) + b"".join(entries)


def text_of(value):
    """The reverse of acl()."""
    names = {number: name for name, number in TAGS.items()}
    words = []
    for offset in range(4, len(value), 8):
        kind, bits, identity = struct.unpack_from("<HHI", value, offset)
        rights = "".join(letter if bits & bit else "-" for bit, letter in zip((4, 2, 1), "rwx"))
        name = names[kind]
        prefix = name if name.endswith("::") else "%s:%d:" % (name, identity)
        words.append(prefix + rights)
    return " ".join(words)


def set_acl(path, text, name=ACCESS):
    os.setxattr(path, name, acl(text))


def show(log, label, path):
    """Logs the mode and both ACLs of a path."""
    log.stat(label, path)
    for name in (ACCESS, DEFAULT):
        try:
            value = text_of(os.getxattr(path, name))
        except OSError as error:
            value = os.strerror(error.errno)
        log("%s, %s" % (label, name.rpartition("_")[2]), value)
    log("%s, listed" % label, sorted(os.listxattr(path)))


MINIMAL = "u::rw- g::r-- o::---"
EXTENDED = "u::rw- u:2000:rw- g::r-- g:2001:rw- m::rw- o::---"


@case
def acl_set_and_get(log):
    write("f")
    os.mkdir("d")
    show(log, "new file", "f")
    for text in (
        MINIMAL, EXTENDED, "u::--- g::--- o::---", "u::rwx g::rwx o::rwx",
        "u::rw- u:0:r-- u:1:rwx u:3000:--- g::r-- g:0:r-- g:7:--x m::r-x o::r--",
        "u::r-- g::r-- m::--- o::---",
    ):
        log.do("set " + text, set_acl, "f", text)
        show(log, "after " + text, "f")
        log.do("set on d " + text, set_acl, "d", text)
        show(log, "d after " + text, "d")
        log.do("default " + text, set_acl, "d", text, DEFAULT)
        show(log, "d after default " + text, "d")
    os.chmod("d", 0o755)
    log.do("default on a file", set_acl, "f", MINIMAL, DEFAULT)
    log.times("times", ["f"], set_acl, "f", EXTENDED)


@case
def acl_invalid(log):
    write("f")
    os.mkdir("d")
    good = acl(EXTENDED)
    for label, value in (
        ("empty", b""),
        ("header only", good[:4]),
        ("short header", good[:3]),
        ("cut", good[:-1]),
        ("cut by an entry", good[:-8]),
        ("wrong version", b"\1" + good[1:]),
        ("no owner", acl("g::r-- o::r--")),
        ("no mask", acl("u::rw- u:2000:rw- g::r-- o::---")),
        ("two masks", acl("u::rw- g::r-- m::rw- m::rw- o::---")),
        ("wrong order", acl("g::r-- u::rw- o::---")),
        ("two of one user", acl("u::rw- u:5:rw- u:5:r-- g::r-- m::rw- o::---")),
        ("users not in order", acl("u::rw- u:6:rw- u:5:r-- g::r-- m::rw- o::---")),
        ("odd tag", good[:4] + struct.pack("<HHI", 3, 4, 0) + good[12:]),
        ("odd rights", good[:4] + struct.pack("<HHI", 1, 8, NO_ID) + good[12:]),
    ):
        for path, name in (("f", ACCESS), ("d", ACCESS), ("d", DEFAULT)):
            where = "%s, %s of %s" % (label, name, path)
            log.do(where, os.setxattr, path, name, value)
            show(log, "after " + where, path)
            os.setxattr("f", ACCESS, acl(MINIMAL))
    log.do("XATTR_CREATE", os.setxattr, "f", ACCESS, good, os.XATTR_CREATE)
    log.do("XATTR_REPLACE", os.setxattr, "f", ACCESS, good, os.XATTR_REPLACE)
    log.do("unknown name", os.setxattr, "f", "system.posix_acl_other", good)
    log.do("get unknown name", os.getxattr, "f", "system.other")
    os.symlink("f", "s")
    log.do("symlink itself", os.setxattr, "s", ACCESS, good, follow_symlinks=False)
    log.do("get from symlink", os.getxattr, "s", ACCESS, follow_symlinks=False)
    log.do("through a symlink", os.setxattr, "s", ACCESS, good)
    os.mkfifo("p")
    log.do("fifo", os.setxattr, "p", ACCESS, good)
    show(log, "fifo", "f")


@case
def acl_remove(log):
    write("f")
    os.mkdir("d")
    log.do("none on a file", os.removexattr, "f", ACCESS)
    log.do("no default", os.removexattr, "d", DEFAULT)
    set_acl("f", EXTENDED)
    set_acl("d", EXTENDED)
    set_acl("d", EXTENDED, DEFAULT)
    log.do("remove", os.removexattr, "f", ACCESS)
    show(log, "removed", "f")
    log.do("remove again", os.removexattr, "f", ACCESS)
    log.do("remove default", os.removexattr, "d", DEFAULT)
    show(log, "default removed", "d")
    log.do("again", os.removexattr, "d", DEFAULT)
    log.do("remove access of d", os.removexattr, "d", ACCESS)
    show(log, "both removed", "d")
    log.do("remove default of a file", os.removexattr, "f", DEFAULT)
    os.chmod("d", 0o755)


@case
def acl_and_chmod(log):
    write("f")
    set_acl("f", EXTENDED)
    for mode in (0o777, 0o700, 0o640, 0o604, 0o6770, 0o000, 0o666):
        os.chmod("f", mode)
        show(log, "chmod %o" % mode, "f")
    with opened("f") as file:
        os.fchmod(file, 0o654)
    show(log, "fchmod", "f")
    set_acl("f", MINIMAL)
    show(log, "minimal again", "f")
    os.chmod("f", 0o777)
    show(log, "chmod of a minimal one", "f")


@case(root=True)
def acl_is_enforced(log):
    os.mkdir("d")
    os.chmod("d", 0o755)
    write("d/f", b"content")

    def work(label):
        log.open(label + ", read", "d/f", os.O_RDONLY)
        log.open(label + ", write", "d/f", os.O_WRONLY)
        log(label + ", access", [os.access("d/f", mode) for mode in (4, 2, 1)])
        log.do(label + ", create", write, "d/new")
        log.do(label + ", list", os.listdir, "d")
        log.do(label + ", getxattr", os.getxattr, "d/f", ACCESS)
        log.do(label + ", setxattr", set_acl, "d/f", MINIMAL)
        log.do(label + ", removexattr", os.removexattr, "d/f", ACCESS)

    for text in (
        "u::rwx u:2000:rwx g::--- m::rwx o::---",
        "u::rwx u:2000:rwx g::--- m::r-x o::---",
        "u::rwx u:2000:--- g::rwx m::rwx o::rwx",
        "u::rwx g::--- g:2001:rwx m::rwx o::---",
        "u::rwx g::--- g:2001:r-x g:2002:-wx m::rwx o::---",
        "u::rwx g::--- g:2001:--- m::rwx o::rwx",
        "u::rwx u:3000:r-x g::--- m::--- o::--x",
        "u::--- g::--- o::---",
    ):
        set_acl("d", text)
        set_acl("d/f", text)
        as_user(work, "user, " + text)
        as_user(work, "other, " + text, uid=OTHER)
        log.open("root, " + text, "d/f", os.O_RDWR)
        os.chown("d/f", OTHER, 2002)
        as_user(work, "owner, " + text, uid=OTHER)
        os.chown("d/f", 0, 0)
        if os.path.exists("d/new"):
            os.unlink("d/new")


@case
def default_acl_is_inherited(log):
    texts = (
        "u::rwx u:2000:rwx g::r-x m::rwx o::r-x",
        "u::rwx g::rwx o::rwx",
        "u::rw- g::r-- g:7:rwx m::r-x o::---",
        "u::--- g::--- o::---",
    )
    for number, text in enumerate(texts):
        for mask in (0o022, 0o077, 0):
            os.umask(mask)
            home = "d%d_%o" % (number, mask)
            os.mkdir(home)
            set_acl(home, text, DEFAULT)
            write(home + "/f", b"", 0o666)
            write(home + "/private", b"", 0o600)
            write(home + "/x", b"", 0o777)
            os.mkdir(home + "/sub", 0o777)
            os.mkdir(home + "/closed", 0o700)
            os.mkfifo(home + "/p", 0o666)
            os.symlink("f", home + "/s")
            for name in ("f", "private", "x", "sub", "closed", "p"):
                show(log, "%s/%s" % (home, name), home + "/" + name)
            if os.access(home + "/sub", os.W_OK | os.X_OK):
                os.mkdir(home + "/sub/deep")
                show(log, home + "/sub/deep", home + "/sub/deep")
    os.mkdir("from")
    write("from/f")
    os.rename("from/f", "d0_0/moved")
    show(log, "moved in", "d0_0/moved")
    os.link("d0_0/moved", "d0_0/linked")
    show(log, "linked", "d0_0/linked")


@case
def acl_is_kept(log):
    write("f", b"content")
    set_acl("f", EXTENDED)
    os.rename("f", "g")
    show(log, "renamed", "g")
    os.link("g", "h")
    show(log, "linked", "h")
    set_acl("h", "u::rw- u:4:r-- g::r-- m::r-- o::r--")
    show(log, "through the other name", "g")
    with opened("g") as file:
        os.write(file, b"more")
        os.fsync(file)
    show(log, "written", "g")
    os.setxattr("g", "user.x", b"1")
    show(log, "with another attribute", "g")
    os.truncate("g", 0)
    show(log, "truncated", "g")
    with opened("g") as file:
        os.unlink("g")
        os.unlink("h")
        log.do("without a name, get", os.getxattr, file, ACCESS)
        log.do("without a name, set", set_acl, file, EXTENDED)
        log.stat("without a name", file)


@case(root=True)
def acl_clears_setgid(log):
    write("f")
    os.chown("f", USER, 2005)

    def work(label):
        for text in (MINIMAL, EXTENDED, "u::rwx g::r-x o::r-x"):
            os.chmod("f", 0o6755)
            log.stat(label + ", before " + text, "f")
            log.do(label + ", set " + text, set_acl, "f", text)
            log.stat(label + ", after " + text, "f")

    as_user(work, "not in the group")
    work("root")
    os.chown("f", USER, 2001)
    as_user(work, "in the group")


@case
def acl_tools(log):
    def tool(label, *command):
        done = subprocess.run(command, capture_output=True, check=False)
        log(label, (done.returncode, done.stdout.decode()))

    write("f")
    os.mkdir("d")
    tool("setfacl", "setfacl", "-m", "u:2000:rw,g:2001:r,o::-", "f")
    tool("getfacl", "getfacl", "-n", "f")
    tool("mode", "stat", "-c", "%A", "f")
    tool("default", "setfacl", "-d", "-m", "u:3000:rwx", "d")
    write("d/new")
    tool("inherited", "getfacl", "-n", "d", "d/new")
    tool("cp -a", "cp", "-a", "f", "copy")
    tool("of the copy", "getfacl", "-n", "copy")
    tool("tar", "tar", "--acls", "-cf", "t.tar", "d", "f")
    os.mkdir("out")
    tool("untar", "tar", "--acls", "-C", "out", "-xpf", "t.tar")
    tool("of what came out", "getfacl", "-n", "out", "out/d", "out/d/new", "out/f")
    tool("remove one", "setfacl", "-x", "u:2000", "f")
    tool("after removing one", "getfacl", "-n", "f")
    tool("remove all", "setfacl", "-b", "f")
    tool("after removing all", "getfacl", "-n", "f")
    tool("remove defaults", "setfacl", "-k", "d")
    tool("after removing defaults", "getfacl", "-n", "d")
    log("listed", [entry for entry in sorted(os.listdir("out"))])
    os.unlink("t.tar")  # It holds times.


@case(root=True)
def acl_of_another(log):
    write("f")
    os.chown("f", USER, USER)
    os.mkdir("d")
    os.chown("d", USER, USER)

    def work():
        log.do("set", set_acl, "f", EXTENDED)
        log.do("set default", set_acl, "d", EXTENDED, DEFAULT)
        log.do("remove", os.removexattr, "f", ACCESS)
        log.value("get", os.getxattr, "f", ACCESS)
        log("listed", os.listxattr("f"))

    as_user(work, uid=OTHER)
    as_user(work)
    as_user(work, uid=OTHER)

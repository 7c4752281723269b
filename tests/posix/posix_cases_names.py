"""Cases about names: links, symbolic links, special files, lengths, removing."""

import errno
import os
import socket
import stat

from tests.posix.posix_kit import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_FOLLOW,
    as_user,
    case,
    contents,
    fork,
    ended,
    linkat,
    opened,
    read,
    write,
)


@case
def hard_links_share_everything(log):
    write("a", b"one")
    os.link("a", "b")
    log.stat("two names", "b")
    log("same inode", os.stat("a").st_ino == os.stat("b").st_ino)
    write("b", b"changed")
    log("through the other", read("a"))
    os.chmod("a", 0o640)
    log.stat("chmod through the other", "b")
    os.rename("a", "c")
    os.link("c", "d")
    log.stat("three names", "d")
    os.unlink("b")
    log.stat("two again", "c")
    os.unlink("c")
    log.stat("one", "d")
    log("content", read("d"))
    os.mkdir("dir")
    os.link("d", "dir/e")
    log("in another directory", os.stat("d").st_ino == os.stat("dir/e").st_ino)


@case
def hard_link_errors(log):
    write("a")
    os.mkdir("dir")
    os.symlink("nowhere", "dangling")
    log.do("existing name", os.link, "a", "dir")
    log.do("of a directory", os.link, "dir", "dir2")
    log.do("of nothing", os.link, "none", "x")
    log.do("below a file", os.link, "a", "a/x")
    log.do("below nothing", os.link, "a", "none/x")
    log.do("onto itself", os.link, "a", "a")
    log.do("onto a dangling symlink", os.link, "a", "dangling")
    log.do("empty old name", linkat, "", "x")
    log.do("empty new name", linkat, "a", "")
    log.do("with a slash at the end", linkat, "a/", "x")
    log.do("to a slash at the end", linkat, "a", "x/")
    log.do("dot", linkat, ".", "x")
    log.do("unknown flags", linkat, "a", "x", 0x80)
    log.do("a long name", os.link, "a", "n" * 256)
    log.do("to .", linkat, "a", ".")


@case
def links_of_symlinks(log):
    write("target", b"t")
    os.symlink("target", "s")
    linkat("s", "link")
    log.stat("the link itself", "link")
    log("its target", os.readlink("link"))
    linkat("s", "followed", AT_SYMLINK_FOLLOW)
    log.stat("followed", "followed")
    os.symlink("nowhere", "dangling")
    log.do("follow a dangling one", linkat, "dangling", "x", AT_SYMLINK_FOLLOW)
    log.do("the dangling one itself", linkat, "dangling", "dangling2")
    os.unlink("dangling")
    log.stat("its other name", "dangling2")


@case
def links_of_open_files(log):
    write("a", b"content")
    with opened("a") as file:
        path = "/proc/self/fd/%d" % file
        log.do("through /proc", linkat, path, "b", AT_SYMLINK_FOLLOW)
        log.stat("then", file)
        os.unlink("a")
        log.stat("under one name less", file)
        log.do("again", linkat, path, "c", AT_SYMLINK_FOLLOW)
        os.unlink("b")
        os.unlink("c")
        log.stat("without a name", file)
        log.do("without a name, a new one", linkat, path, "d", AT_SYMLINK_FOLLOW)
        log.do("by an empty path", linkat, "", "e", AT_EMPTY_PATH, file)
        os.write(file, b"still ")
        log("content", os.pread(file, 100, 0))


@case
def links_change_times(log):
    os.mkdir("d")
    os.mkdir("e")
    write("d/a")
    log.times("link", ["d", "e", "d/a"], os.link, "d/a", "e/b")
    log.times("link that exists", ["d", "e", "d/a"], os.link, "d/a", "e/b")
    log.times("unlink", ["d", "e", "e/b"], os.unlink, "d/a")
    log.times("symlink", ["d"], os.symlink, "x", "d/s")
    log.times("mkdir", ["d"], os.mkdir, "d/sub")
    log.times("rmdir", ["d"], os.rmdir, "d/sub")
    log.times("mkfifo", ["d"], os.mkfifo, "d/fifo")
    log.times("create", ["d"], write, "d/new")
    log.times("overwrite", ["d", "d/new"], write, "d/new", b"x")
    log.times("mkdir that fails", ["d"], os.mkdir, "d/new")
    log.times("unlink that fails", ["d"], os.unlink, "d/none")


@case
def symlinks(log):
    for size in (1, 59, 60, 255, 256, 1000, 4094, 4095, 4096):
        target = ("t" * 200 + "/") * 30
        name = "s%d" % size
        log.do("target of %d bytes" % size, os.symlink, target[:size], name)
        log.stat("size of %d" % size, name)
        if os.path.lexists(name):
            log("kept", os.readlink(name) == target[:size])
    log.do("empty target", os.symlink, "", "empty")
    log.do("existing name", os.symlink, "x", "s1")
    log.do("slash at the end", os.symlink, "x", "new/")
    log.do("long name", os.symlink, "x", "n" * 256)
    log.do("readlink of a directory", os.readlink, ".")
    write("file")
    log.do("readlink of a file", os.readlink, "file")
    log.do("readlink of nothing", os.readlink, "none")
    os.symlink(b"\xff\xfe not utf-8", "bytes")
    log("bytes", os.readlink(b"bytes"))
    log.do("chmod of a symlink", os.chmod, "/proc/self/cwd/s1", 0o600)
    log.do("truncate through a dangling one", os.truncate, "s1", 0)


@case
def symlinks_are_followed(log):
    os.mkdir("d")
    write("d/f", b"inside")
    os.symlink("d", "to_dir")
    os.symlink("d/f", "to_file")
    os.symlink("new", "dangling")
    os.symlink("../to_file", "d/up")
    log("through a directory", read("to_dir/f"))
    log("to a file", read("to_file"))
    log("up", read("d/up"))
    log.open("create through a dangling one", "dangling", os.O_CREAT | os.O_WRONLY)
    log.stat("made", "new")
    log.open("O_EXCL", "dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    log.open("O_NOFOLLOW", "to_file", os.O_RDONLY | os.O_NOFOLLOW)
    log.open("O_NOFOLLOW in the middle", "to_dir/f", os.O_RDONLY | os.O_NOFOLLOW)
    log.open("O_DIRECTORY|O_NOFOLLOW", "to_dir", os.O_DIRECTORY | os.O_NOFOLLOW)
    log.do("mkdir on one", os.mkdir, "to_dir")
    log.do("rmdir of one", os.rmdir, "to_dir")
    log.do("rmdir with a slash", os.rmdir, "to_dir/")
    log.do("unlink with a slash", os.unlink, "to_file/")
    log.do("mkdir through a dangling one", os.mkdir, "dangling/")
    log.do("unlink", os.unlink, "to_file")
    log("the file stays", read("d/f"))


@case
def symlink_loops(log):
    os.symlink("b", "a")
    os.symlink("a", "b")
    os.symlink("self", "self")
    log.open("two", "a", os.O_RDONLY)
    log.open("self", "self", os.O_RDONLY)
    log.open("self, create", "self", os.O_RDWR | os.O_CREAT)
    log.open("below", "self/x", os.O_RDONLY)
    log.do("stat", os.stat, "self")
    log.do("chmod", os.chmod, "self", 0o600)
    log.do("truncate", os.truncate, "self", 0)
    log.do("mkdir below", os.mkdir, "self/x")
    log.do("rename below", os.rename, "self/x", "y")
    log.stat("lstat", "self")
    write("s0", b"end of a chain")
    for i in range(45):
        os.symlink("s%d" % i, "s%d" % (i + 1))
    for i in (39, 40, 41, 45):
        log.open("chain of %d" % i, "s%d" % i, os.O_RDONLY)


@case
def long_names(log):
    for size in (254, 255, 256, 1000):
        name = "n" * size
        log.do("create, %d" % size, write, name)
        log.do("mkdir, %d" % size, os.mkdir, name[:-1] + "d")
        log.do("symlink, %d" % size, os.symlink, "x", name[:-1] + "s")
        log.do("mkfifo, %d" % size, os.mkfifo, name[:-1] + "f")
        log.do("stat, %d" % size, os.stat, name)
        log.do("unlink of none, %d" % size, os.unlink, name[:-1] + "z")
        log.do("rename, %d" % size, os.rename, name, name[:-1] + "r")
    bytes_of_utf8 = "\u4e16" * 85  # 255 bytes
    log.do("characters of three bytes", write, bytes_of_utf8)
    log.do("one more", write, bytes_of_utf8 + "x")
    log("listed", sorted(len(os.fsencode(name)) for name in os.listdir(".")))


@case
def long_paths(log):
    part = "p" * 250
    home = os.open(".", os.O_RDONLY)
    for _ in range(15):
        os.mkdir(part)
        os.chdir(part)
    os.fchdir(home)
    prefix = (part + "/") * 15
    write(prefix + "f", b"deep")
    for size in (4094, 4095, 4096, 5000):
        # Slashes in the middle make the path longer, and mean nothing.
        path = prefix + "/" * (size - len(prefix) - 1) + "f"
        log.do("path of %d" % size, os.stat, path)
        log.do("new one of %d" % size, os.mkdir, path[:-1] + "d%d" % (size % 10))
    log.value("content", read, prefix + "f")
    os.chdir(prefix)
    for _ in range(5):
        os.mkdir(part)
        os.chdir(part)
    log.do("beyond PATH_MAX, step by step", write, "bottom", b"bottom")
    log("the way up", os.stat("../" * 20).st_ino == os.fstat(home).st_ino)
    os.fchdir(home)
    os.close(home)


@case
def odd_names(log):
    names = [
        b"\xff\xfe", b" ", b"\n", b"-", b"...", b"..x", b"\\", b"*", b"a:b", b"\x01",
        b"A", b"a", "\u00e9".encode(), "e\u0301".encode(), b"'\"", b"a b ", b"#", b".a",
        b"\xe4\xb8", b"\xed\xa0\x80", b"\x7f", b"nul", b"con", b"store",
    ]
    for name in names:
        write(name, name)
    log("listed", sorted(os.listdir(b".")) == sorted(names))
    log("contents", all(read(name) == name for name in names))
    for name in (".", "..", "", "./", "a/.", "a/..", "/"):
        log.do("mkdir %r" % name, os.mkdir, name)
        log.do("rmdir %r" % name, os.rmdir, name)
        log.do("unlink %r" % name, os.unlink, name)
        log.open("create %r" % name, name, os.O_CREAT | os.O_WRONLY)
    os.mkdir("dir")
    log.do("mkdir with slashes", os.mkdir, "dir///sub//")
    log.do("rmdir of .", os.rmdir, "dir/.")
    log.do("rmdir of ..", os.rmdir, "dir/sub/..")
    log.open("file with a slash", "a/", os.O_RDONLY)
    log.open("create with a slash", "fresh/", os.O_CREAT | os.O_WRONLY)
    log.do("stat with a slash", os.stat, "a/")


@case
def removing(log):
    os.mkdir("full")
    write("full/f")
    os.mkdir("empty")
    os.mkdir("parent")
    os.mkdir("parent/child")
    os.symlink("full", "s")
    log.do("rmdir of a full one", os.rmdir, "full")
    log.do("rmdir of a file", os.rmdir, "full/f")
    log.do("rmdir of nothing", os.rmdir, "none")
    log.do("rmdir below a file", os.rmdir, "full/f/x")
    log.do("unlink of a directory", os.unlink, "empty")
    log.do("unlink of nothing", os.unlink, "none")
    log.do("unlink below a file", os.unlink, "full/f/x")
    log.stat("two children", "parent")
    log.do("rmdir", os.rmdir, "parent/child")
    log.stat("one child less", "parent")
    log.do("again", os.rmdir, "parent/child")
    log.do("unlink", os.unlink, "full/f")
    log.do("now empty", os.rmdir, "full")
    log.do("unlink of a symlink to nothing", os.unlink, "s")
    log.do("mkdir, existing", os.mkdir, "empty")
    write("empty/..x")
    log.do("an odd name counts", os.rmdir, "empty")


@case
def fifos(log):
    os.mkfifo("fifo", 0o640)
    log.stat("fifo", "fifo")
    log.do("existing", os.mkfifo, "fifo")
    log.open("no reader", "fifo", os.O_WRONLY | os.O_NONBLOCK)
    log.open("no writer", "fifo", os.O_RDONLY | os.O_NONBLOCK)

    def writer():
        with opened("fifo", os.O_WRONLY) as end:
            os.write(end, b"through ")
            os.write(end, b"the fifo")

    pid = fork(writer)
    with opened("fifo", os.O_RDONLY) as end:
        data = b""
        while part := os.read(end, 100):
            data += part
    log("data", data)
    log("writer", ended(pid))
    os.rename("fifo", "moved")
    os.link("moved", "linked")
    with opened("moved", os.O_RDWR) as end:
        os.write(end, b"both ways")
        with opened("linked", os.O_RDONLY) as other:
            log("under another name", os.read(other, 100))
        os.unlink("moved")
        os.unlink("linked")
        os.write(end, b"no name")
        log("without a name", os.read(end, 100))
        log.stat("without a name", end)
    os.mkfifo("left", 0o600)
    log.do("truncate", os.truncate, "left", 0)


@case
def sockets(log):
    server = socket.socket(socket.AF_UNIX)
    log.do("bind", server.bind, "socket")
    log.stat("socket", "socket")
    server.listen(1)
    client = socket.socket(socket.AF_UNIX)
    log.do("connect", client.connect, "socket")
    peer = server.accept()[0]
    client.sendall(b"hello")
    log("received", peer.recv(100))
    log.do("bind again", socket.socket(socket.AF_UNIX).bind, "socket")
    log.open("open", "socket", os.O_RDONLY)
    os.rename("socket", "moved")
    log.do("connect after renaming", socket.socket(socket.AF_UNIX).connect, "moved")
    server.close()
    log.do("nobody listens", socket.socket(socket.AF_UNIX).connect, "moved")
    write("file")
    log.do("connect to a file", socket.socket(socket.AF_UNIX).connect, "file")
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagram.bind("datagram")
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"packet", "datagram")
    log("packet", datagram.recv(100))
    log.do("mknod of a socket", os.mknod, "made", stat.S_IFSOCK | 0o600)
    log.stat("made", "made")
    os.unlink("datagram")
    log.do("after unlinking", datagram.connect, "datagram")


@case(root=True)
def device_nodes(log):
    for name, kind, major, minor in (
        ("null", stat.S_IFCHR, 1, 3),
        ("zero", stat.S_IFCHR, 1, 5),
        ("zero-zero", stat.S_IFCHR, 0, 0),
        ("block", stat.S_IFBLK, 7, 255),
        ("minor", stat.S_IFCHR, 10, 65536 + 77),
        ("large", stat.S_IFBLK, 4095, (1 << 20) - 1),
    ):
        log.do("mknod %s" % name, os.mknod, name, kind | 0o666, os.makedev(major, minor))
        log.stat(name, name)
    os.chmod("null", 0o666)
    os.chmod("zero", 0o666)
    with opened("null") as null:
        log("write to null", os.write(null, b"gone"))
        log("read from null", os.read(null, 10))
    with opened("zero") as zero:
        log("read from zero", os.read(zero, 4))
    log.open("null with O_TRUNC", "null", os.O_WRONLY | os.O_TRUNC)
    log.stat("null is the same", "null")
    log.open("no such driver", "large", os.O_RDONLY)
    os.rename("null", "renamed")
    os.link("renamed", "linked")
    log.stat("linked", "linked")
    log.do("mknod of a file", os.mknod, "file", stat.S_IFREG | 0o600)
    log.do("mknod of a directory", os.mknod, "dir", stat.S_IFDIR | 0o700)
    log.do("mknod without a type", os.mknod, "none", 0o600)
    log.do("mknod, existing", os.mknod, "file", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    log.do("odd type", os.mknod, "odd", 0o170000)

    def as_other():
        with opened("zero") as zero:
            log("a user reads zero", os.read(zero, 3))

    as_user(as_other)


@case
def devices_need_root(log):
    for name, kind in (("c", stat.S_IFCHR), ("b", stat.S_IFBLK)):
        as_root = os.geteuid() == 0
        error = None
        try:
            os.mknod(name, kind | 0o600, os.makedev(1, 3))
        except OSError as failure:
            error = errno.errorcode[failure.errno]
        log("mknod", (as_root, error))
    log.do("mknod of a file", os.mknod, "f", stat.S_IFREG | 0o644)
    log.stat("file", "f")


@case
def relative_to_directories(log):
    os.mkdir("d")
    write("f", b"x")
    with opened("d", os.O_RDONLY | os.O_DIRECTORY) as d, opened("f") as f:
        log.open("create", "a", os.O_CREAT | os.O_WRONLY, dir_fd=d)
        log.do("mkdir", os.mkdir, "sub", dir_fd=d)
        log.do("symlink", os.symlink, "a", "s", dir_fd=d)
        log.do("link", os.link, "a", "b", src_dir_fd=d, dst_dir_fd=d)
        log.do("rename", os.rename, "b", "c", src_dir_fd=d, dst_dir_fd=d)
        log.do("mkfifo", os.mkfifo, "p", dir_fd=d)
        log.do("stat", os.stat, "s", dir_fd=d)
        log.do("unlink", os.unlink, "a", dir_fd=d)
        log.do("a file as directory", os.mkdir, "x", dir_fd=f)
        log.do("no descriptor", os.mkdir, "x", dir_fd=999)
        log.open("up", "../f", os.O_RDONLY, dir_fd=d)
        log("cwd", AT_FDCWD)
        os.rename("d", "moved")
        log.do("after renaming", os.mkdir, "late", dir_fd=d)
        log("listed", sorted(os.listdir(d)))
    log("content", contents("moved/c"))

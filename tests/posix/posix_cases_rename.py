"""Cases about rename."""

import itertools
import os

from tests.posix.posix_kit import (
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    case,
    in_child,
    opened,
    read,
    renameat2,
    write,
)

KINDS = ("file", "symlink", "fifo", "empty", "full", "none")


def make(kind, name):
    """Makes something of a kind under a name."""
    if kind == "file":
        write(name, name.encode())
    elif kind == "symlink":
        os.symlink("target of " + name, name)
    elif kind == "fifo":
        os.mkfifo(name)
    elif kind == "empty":
        os.mkdir(name)
    elif kind == "full":
        os.mkdir(name)
        write(name + "/inside")


@case
def rename_kind_over_kind(log):
    for flags in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
        for source, target in itertools.product(KINDS, KINDS):
            label = "%s over %s, flags %d" % (source, target, flags)
            home = label.replace(" ", "_")
            os.mkdir(home)
            os.mkdir(home + "/other")
            make(source, home + "/a")
            make(target, home + "/other/b")
            log.do(label, renameat2, home + "/a", home + "/other/b", flags)
            log.stat("a after " + label, home + "/a")
            log.stat("b after " + label, home + "/other/b")
            log.stat("parent after " + label, home)
            log.stat("other parent after " + label, home + "/other")


@case
def rename_refuses(log):
    os.makedirs("d/sub/deep")
    write("f")
    for flags in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
        for old, new in (
            ("d", "d/x"), ("d", "d/sub/x"), ("d", "d/sub/deep"), ("d/sub", "d"),
            ("d/sub/deep", "d"), ("d", "d"), ("d", "d/sub/.."), (".", "x"), ("d/.", "x"),
            ("d/..", "x"), ("f", "."), ("f", "d/."), ("f", "d/.."), ("d/sub/..", "x"), ("", "x"),
            ("f", ""), ("none", "x"), ("none", "d"), ("none/x", "y"), ("f", "none/x"),
            ("f/x", "y"), ("f", "f/x"), ("f", "f/"), ("f/", "x"), ("f", "x/"), ("d/", "d"),
            ("n" * 256, "x"), ("f", "n" * 256), ("f", "f"), ("d/sub/deep", "d/sub"),
            ("/", "x"), ("f", "/"),
        ):
            label = "%s to %s, flags %d" % (old[:20], new[:20], flags)
            log.do(label, renameat2, old, new, flags)
    log.do("directory with a slash", os.rename, "d/sub/", "d/new/")
    log("listed", sorted(os.listdir(".")) + sorted(os.listdir("d")))


@case
def rename_flags(log):
    for flags in (3, 5, 6, 7, 8, 16, 0x80000000 - (1 << 32), -1):
        write("a", b"a")
        write("b", b"b")
        log.do("flags %d" % flags, renameat2, "a", "b", flags)
        log("contents after flags %d" % flags, [read(n) for n in sorted(os.listdir("."))])


@case
def rename_same_inode_does_nothing(log):
    write("a", b"one")
    os.link("a", "b")
    log.times("link onto link", ["a", "b", "."], os.rename, "a", "b")
    log.stat("a stays", "a")
    log.times("onto itself", ["a", "."], os.rename, "a", "a")
    log.do("NOREPLACE", renameat2, "a", "b", RENAME_NOREPLACE)
    log.do("NOREPLACE onto itself", renameat2, "a", "a", RENAME_NOREPLACE)
    log.do("EXCHANGE", renameat2, "a", "b", RENAME_EXCHANGE)
    log.do("EXCHANGE with itself", renameat2, "a", "a", RENAME_EXCHANGE)
    os.mkdir("d")
    os.link("a", "d/c")
    log.do("across directories", os.rename, "d/c", "a")
    log("listed", sorted(os.listdir(".")) + sorted(os.listdir("d")))
    os.mkdir("e")
    log.do("directory onto itself", os.rename, "e", "e")


@case
def rename_times_and_links(log):
    os.mkdir("p")
    os.mkdir("q")
    write("p/f")
    write("q/g")
    os.mkdir("p/d")
    os.mkdir("q/e")
    both = ["p", "q"]
    log.times("within", both + [("p/f", "p/f2")], os.rename, "p/f", "p/f2")
    log.times("across", both + [("p/f2", "q/f")], os.rename, "p/f2", "q/f")
    with opened("q/g") as replaced:
        log.times("over", both + [("q/f", "q/g"), replaced], os.rename, "q/f", "q/g")
        log.stat("replaced", replaced)
    log.times("directory within", both + [("p/d", "p/d2")], os.rename, "p/d", "p/d2")
    log.times("directory across", both + [("p/d2", "q/d")], os.rename, "p/d2", "q/d")
    for path in both:
        log.stat(path, path)
    log.times("directory over", both + [("q/d", "q/e")], os.rename, "q/d", "q/e")
    log.times("directory back", both + [("q/e", "p/e")], os.rename, "q/e", "p/e")
    for path in both:
        log.stat(path, path)
    log.times("refused", both + ["p/e"], os.rename, "p/e", "p/e/x")
    os.symlink("x", "p/s")
    log.times("symlink", both + [("p/s", "q/s")], os.rename, "p/s", "q/s")


@case
def exchange_times_and_links(log):
    os.mkdir("p")
    os.mkdir("q")
    write("p/f", b"f")
    os.mkdir("q/d")
    write("q/d/inside")
    with opened("p/f") as f, opened("q/d", os.O_RDONLY) as d:
        paths = ["p", "q", f, d]
        log.times("file and directory", paths, renameat2, "p/f", "q/d", RENAME_EXCHANGE)
        for path in ("p", "q", "p/f", "q/d", "p/f/inside"):
            log.stat(path, path)
        log("..", os.stat("p/f/..").st_ino == os.stat("p").st_ino)
        log.times("and back", paths, renameat2, "q/d", "p/f", RENAME_EXCHANGE)
    os.mkdir("p/e")
    log.do("directories", renameat2, "p/e", "q/d", RENAME_EXCHANGE)
    log("inside", os.listdir("p/e"))
    log.do("with its own child", renameat2, "p", "p/e", RENAME_EXCHANGE)
    log.do("with its own parent", renameat2, "p/e", "p", RENAME_EXCHANGE)
    log.do("with nothing", renameat2, "p/e", "none", RENAME_EXCHANGE)
    write("p/g", b"g")
    log.do("in one directory", renameat2, "p/g", "p/f", RENAME_EXCHANGE)
    log("contents", [read("p/f"), read("p/g")])


@case
def noreplace(log):
    write("a", b"a")
    write("b", b"b")
    os.symlink("nowhere", "s")
    paths = [".", "a", "b"]
    log.times("existing", paths, renameat2, "a", "b", RENAME_NOREPLACE)
    log.do("dangling symlink", renameat2, "a", "s", RENAME_NOREPLACE)
    log.times("free", [".", ("a", "c")], renameat2, "a", "c", RENAME_NOREPLACE)
    log.do("no source", renameat2, "a", "d", RENAME_NOREPLACE)
    log("contents", [read("b"), read("c")])


@case(root=True)
def whiteout(log):
    write("a", b"a")
    write("b", b"b")
    os.mkdir("d")
    log.do("whiteout", renameat2, "a", "c", RENAME_WHITEOUT)
    log.stat("what is left", "a")
    log.stat("moved", "c")
    log.do("over a file", renameat2, "c", "b", RENAME_WHITEOUT)
    log.stat("left there", "c")
    log.do("a directory", renameat2, "d", "e", RENAME_WHITEOUT)
    log.stat("left of it", "d")
    log.do("with NOREPLACE", renameat2, "b", "f", RENAME_WHITEOUT | RENAME_NOREPLACE)
    log.stat("left by that", "b")


@case
def dot_dot_after_moves(log):
    os.makedirs("one/sub/deep")
    os.makedirs("two")

    def parent_is(path, parent):
        return os.stat(path + "/..").st_ino == os.stat(parent).st_ino

    log("before", parent_is("one/sub", "one"))
    with opened("one/sub", os.O_RDONLY) as sub:
        os.rename("one/sub", "two/sub")
        log("after", parent_is("two/sub", "two"))
        log("deep", parent_is("two/sub/deep", "two/sub"))
        with opened("..", os.O_RDONLY, dir_fd=sub) as up:
            log("openat", os.fstat(up).st_ino == os.stat("two").st_ino)

        def inside():
            os.fchdir(sub)
            log("cwd", os.getcwd().split("/")[-2:])
            os.rename("../../two/sub", "../../one/other")
            log("cwd after", os.getcwd().split("/")[-2:])
            log(".. of cwd", os.stat("..").st_ino == os.stat("../../one").st_ino)
            os.mkdir("made")

        in_child(inside)
    log("made", sorted(os.listdir("one/other/")))
    os.makedirs("x/a")
    os.makedirs("y/b")
    renameat2("x/a", "y/b", RENAME_EXCHANGE)
    log("exchanged", parent_is("x/a", "x") and parent_is("y/b", "y"))
    log("through ..", sorted(os.listdir("one/other/../../")))
    for path in ("one", "two", "x", "y"):
        log.stat(path, path)


@case
def rename_of_open_things(log):
    write("a", b"old a")
    write("b", b"old b")
    with opened("a") as a, opened("b") as b:
        os.rename("a", "b")
        log.stat("moved", a)
        log.stat("replaced", b)
        os.pwrite(a, b"NEW", 0)
        os.pwrite(b, b"GONE", 0)
        log("moved content", read("b"))
        log("replaced content", os.pread(b, 100, 0))
        os.ftruncate(b, 2)
        log.stat("replaced, truncated", b)
    os.mkdir("d")
    os.mkdir("e")
    with opened("e", os.O_RDONLY) as e:
        os.rename("d", "e")
        log.stat("replaced directory", e)
        log.value("listing it", os.listdir, e)
        log.open("creating in it", "x", os.O_CREAT | os.O_WRONLY, dir_fd=e)
        log.do("its ..", os.stat, "..", dir_fd=e)


@case
def rename_chain(log):
    write("f0", b"moved often")
    for i in range(150):
        os.rename("f%d" % i, "f%d" % (i + 1))
    log("listed", os.listdir("."))
    log("content", read("f150"))
    os.mkdir("d0")
    write("d0/inside", b"below")
    for i in range(100):
        os.mkdir("p%d" % i)
        os.rename("d%d" % i if i == 0 else "p%d/d" % (i - 1), "p%d/d" % i)
    log("below", read("p99/d/inside"))

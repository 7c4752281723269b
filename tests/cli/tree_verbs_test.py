#!/usr/bin/env python3
"""The verbs that work with trees: get, put, cp, rm, mkdir, ls, mv. Trees are
compared attribute by attribute, and the verbs with the Unix tools of their
names."""

import collections
import contextlib
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import socket
import stat
import struct
import tempfile
import time
import unittest

from tests.kit import junit
from tests.cli.cli_test import (
    BUSY, CliTest, DAMAGE, FAILURE, NOT_A_STORE, NOT_FOUND, REFUSED, USAGE, WRONG_KIND,
)
from tests.kit.mounted import MountedStore, run, varve, varve_binary

IS_ROOT = os.geteuid() == 0
ACL_VERSION = struct.pack("<I", 2)


def acl(*entries):
    return ACL_VERSION + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ANYBODY = 0xFFFFFFFF
ACCESS = acl((1, 6, ANYBODY), (2, 6, 1234), (4, 4, ANYBODY), (16, 6, ANYBODY), (32, 0, ANYBODY))
DEFAULT = acl((1, 7, ANYBODY), (2, 5, 4321), (4, 5, ANYBODY), (16, 5, ANYBODY), (32, 5, ANYBODY))


def describe(root):
    """All that belongs to each file of a tree, by relative path."""
    root = os.fsencode(root)
    result, links = {}, collections.defaultdict(list)
    pending = [b"."]
    while pending:
        path = pending.pop()
        full = os.path.join(root, path)
        status = os.lstat(full)
        kind = stat.S_IFMT(status.st_mode)
        content = None
        if kind == stat.S_IFREG:
            # So that looking at it changes no time.
            flags = os.O_RDONLY | (os.O_NOATIME if status.st_uid == os.geteuid() or IS_ROOT else 0)
            with open(os.open(full, flags), "rb") as file:
                content = file.read()
        elif kind == stat.S_IFLNK:
            content = os.readlink(full)
        elif kind == stat.S_IFDIR:
            pending += [os.path.join(path, name) for name in os.listdir(full)]
        names = os.listxattr(full, follow_symlinks=False)
        if kind != stat.S_IFDIR and status.st_nlink > 1:
            links[status.st_ino].append(path)
        result[path] = {
            "mode": oct(status.st_mode), "owner": (status.st_uid, status.st_gid),
            # Reading a directory or a link may have changed the other one.
            "times": (status.st_mtime_ns, status.st_atime_ns if kind == stat.S_IFREG else None),
            "device": status.st_rdev, "content": content,
            "xattrs": {name: os.getxattr(full, name, follow_symlinks=False) for name in names},
        }
    for paths in links.values():
        for path in paths:
            result[path]["links"] = sorted(paths)
    return result


def data_ranges(path):
    """Where a file has data, as (begin, end)."""
    with open(path, "rb") as file:
        ranges, at, size = [], 0, os.fstat(file.fileno()).st_size
        while at < size:
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            ranges.append((begin, at))
        return ranges


class TreeTest(CliTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(os.umask, os.umask(0o022))

    @contextlib.contextmanager
    def case(self, *what):
        """A sub-test in a folder of its own."""
        outer, store = self.folder, self.store
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=outer))
        self.store = self.folder / "store.varve"
        try:
            with self.subTest(what):
                yield self.folder
        finally:
            self.folder, self.store = outer, store

    def compare(self, left, right):
        expected, found = describe(left), describe(right)
        self.assertEqual(expected.keys(), found.keys())
        for path, attributes in expected.items():
            self.assertEqual(attributes, found[path], path)

    def make_tree(self):
        """A tree with everything that a tree can have."""
        root = self.folder / "tree"
        (root / "d/empty").mkdir(parents=True)
        (root / "d/small").write_bytes(b"content")
        (root / "d/none").touch()
        (root / "d/nul").write_bytes(b"\0")
        (root / "d/big").write_bytes(os.urandom(9_000_000))
        os.link(root / "d/small", root / "d/linked")
        os.link(root / "d/small", root / "also linked")
        (root / "link").symlink_to("d/small")
        (root / "dangling").symlink_to("/nowhere/at/all")
        os.mkfifo(root / "fifo", 0o640)
        with socket.socket(socket.AF_UNIX) as server:
            here = os.getcwd()
            os.chdir(root)  # an address has to be short
            try:
                server.bind("socket")
            finally:
                os.chdir(here)
        with open(root / "sparse", "wb") as sparse:
            sparse.seek(1 << 20)
            sparse.write(b"x" * 4096)
            sparse.truncate(1 << 30)
        os.setxattr(root / "d/small", "user.note", b"\0 bytes")
        os.setxattr(root / "d", "user.empty", b"")
        os.setxattr(root / "d/big", "system.posix_acl_access", ACCESS)
        os.setxattr(root / "d/empty", "system.posix_acl_default", DEFAULT)
        (root / "d/empty/inside").mkdir()
        (root / "d/empty/inside/file").write_bytes(b"1")
        (root / os.fsdecode(b"\xff\xfe [a,b]\n")).write_bytes(b"odd")
        if IS_ROOT:
            os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(8, 300))
            os.chown(root / "d/none", 12, 34)
            os.chown(root / "link", 56, 78, follow_symlinks=False)
            os.setxattr(root / "d/none", "trusted.secret", b"1")
            os.chown(root / "d/nul", 99, 99)
            os.setxattr(root / "d/nul", "security.capability",
                        struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
        os.chmod(root / "d/none", 0o6751)
        os.chmod(root / "d/small", 0)
        os.chmod(root / "d", 0o1751)
        for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
            os.utime(path, ns=(10**18 + 7 * number + 1, 10**18 - 10**9 * number + 123456789),
                     follow_symlinks=False)
        os.utime(root, ns=(1, 2_000_000_003))
        return root


class Everything(TreeTest):
    @unittest.skipUnless(IS_ROOT, "only root can give files away")
    def test_all_attributes_come_back(self):
        root = self.make_tree()
        self.varve("put", "-r", "--create", self.store, "t", root)
        self.varve("get", "-r", self.store, "t", "out")
        self.compare(root, self.folder / "out")
        self.assertEqual(data_ranges(root / "sparse"), data_ranges(self.folder / "out/sparse"))
        self.assertLess(self.store.stat().st_size, 12_000_000)
        self.varve("check", self.store)
        # And a copy within the store has them all as well, and takes no space.
        before = self.store.stat().st_size
        self.varve("cp", "-a", self.store, "t", "copy")
        self.assertLess(self.store.stat().st_size, before + 100_000)
        self.varve("get", "-r", self.store, "copy", "again")
        self.compare(root, self.folder / "again")
        # Once more over what is there: nothing changes.
        self.varve("put", "-r", self.store, "t", str(root) + "/.")
        self.varve("get", "-r", self.store, "t/.", "out")
        self.compare(root, self.folder / "out")
        self.varve("check", self.store)

    @unittest.skipUnless(IS_ROOT, "only root can mount and give files away")
    def test_a_mount_shows_what_was_put(self):
        root = self.make_tree()
        self.varve("put", "-r", "--create", self.store, "/", str(root) + "/.")
        mount = self.folder / "mnt"
        mount.mkdir()
        varve("mount", "-o", "ro", self.store, mount)
        try:
            self.compare(root, mount)
        finally:
            varve("umount", mount)

    def test_trees_of_the_system(self):
        for tree in ("/usr/share/doc", "/etc"):
            with self.subTest(tree):
                self.varve("put", "-r", "--create", self.store, tree[1:].replace("/", "-"), tree)
                self.varve("get", "-r", self.store, tree[1:].replace("/", "-"), "out")
                self.compare(tree, self.folder / "out")
                shutil.rmtree(self.folder / "out")
        self.varve("check", self.store)

    def test_ten_thousand_files_are_quick(self):
        root = self.folder / "many"
        for folder in range(100):
            (root / str(folder)).mkdir(parents=True)
            for name in range(100):
                (root / str(folder) / str(name)).write_bytes(b"%d" % name)
        begin = time.monotonic()
        run("cp", "-a", root, self.folder / "by-cp")
        by_cp = time.monotonic() - begin
        begin = time.monotonic()
        self.varve("put", "-r", "--create", self.store, "m", root)
        # One small commit for each, with everything that belongs to the file.
        self.assertLess(self.store.stat().st_size, 10_100 * 512)
        self.varve("get", "-r", self.store, "m", "out")
        self.varve("cp", "-r", self.store, "m", "n")
        self.varve("rm", "-r", self.store, "n")
        taken = time.monotonic() - begin
        # A sync for each file would take a hundred times as long as cp.
        self.assertLess(taken, 20 * by_cp + 60)
        self.compare(root, self.folder / "out")

    @unittest.skipUnless(IS_ROOT, "only root can become somebody else")
    def test_an_ordinary_user_owns_what_he_makes(self):
        root = self.make_tree()
        self.varve("put", "-r", "--create", self.store, "t", root)
        self.varve("rm", self.store, "t/null", "t/disk")
        # Where somebody else gets to: the folder of the test may be closed to others.
        home = pathlib.Path(tempfile.mkdtemp(prefix="varve-tree-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, home)
        os.chown(home, 65534, 65534)
        shutil.copy(varve_binary(), home / "varve")
        shutil.copy(self.store, home / "store")
        (home / "varve").chmod(0o755)
        (home / "store").chmod(0o644)
        result = run(home / "varve", "get", "-r", home / "store", "t", home / "out", check=False,
                     user=65534, group=65534, extra_groups=[])
        self.assertEqual((result.stderr, result.returncode), (b"", 0))
        status = (home / "out/d/none").stat()
        self.assertEqual((status.st_uid, status.st_gid), (65534, 65534))
        # What belongs to another one must not run as him.
        self.assertEqual(oct(status.st_mode & 0o7777), oct(0o751))
        self.assertEqual((home / "out/d/big").read_bytes(), (root / "d/big").read_bytes())


class Targets(TreeTest):
    """Where things go, as cp(1) has it: each case is done by both, and compared."""

    def tree(self):
        root = self.folder / "here"
        (root / "d/sub").mkdir(parents=True)
        (root / "d/f").write_bytes(b"1")
        (root / "d/sub/g").write_bytes(b"2")
        (root / "e").mkdir()
        (root / "file").write_bytes(b"3")
        (root / "other").write_bytes(b"old")
        (root / "to-d").symlink_to("d")
        (root / "to-file").symlink_to("file")
        return root

    def names(self, root):
        """Paths with what a copy must get right, and time stamps left out."""
        return {path: (entry["mode"], entry["content"]) for path, entry in describe(root).items()}

    CASES = (
        ("-a", "d", "new"), ("-a", "d", "e"), ("-a", "d/", "e"), ("-a", "d/.", "e"),
        ("-a", "d", "e/"), ("-a", "d", "new/"), ("-aT", "d", "e"), ("-a", "file", "e"),
        ("-a", "file", "e/x"), ("-a", "file", "other"), ("-a", "file", "new/"),
        ("-a", "to-d", "new"), ("-a", "to-d/", "new"), ("-a", "to-file", "new"),
        ("-a", "d", "file"), ("-aT", "file", "e"), ("-a", "nope", "e"), ("-a", "file", "no/x"),
        ("-r", "d", "new"), ("-r", "d", "d/sub"), ("", "d", "new"), ("", "file", "new"),
        ("", "file", "e"), ("", "file", "file"), ("", "file", "other"), ("", "to-file", "new"),
        ("-n", "file", "other"), ("", "file", "other/"), ("", "file/", "new"),
        ("", "file", "d/."), ("-r", "d", "to-d"), ("", "other", "to-file"),
        ("-a", "file", "d", "e"), ("", "file", "other", "e"), ("", "file", "other", "new"),
        ("-a", "nope", "file", "e"), ("-T", "file", "other", "e"),
    )

    def test_cp_as_cp_does(self):
        for options, *words in self.CASES:
            with self.case("cp", options, *words) as folder:
                root = self.tree()
                self.varve("put", "-r", "--create", self.store, "/", str(root) + "/.")
                flags = [options] if options else []
                theirs = run("cp", *flags, *words, cwd=root, check=False)
                ours = run(varve_binary(), "cp", *flags, self.store, *words, check=False)
                self.assertEqual(ours.returncode == 0, theirs.returncode == 0,
                                 (ours.stderr, theirs.stderr))
                self.varve("get", "-r", self.store, "/.", "there")
                if theirs.returncode == 0 or len(words) > 2:
                    self.assertEqual(self.names(folder / "there"), self.names(root))

    def test_put_and_get_as_cp_does(self):
        pairs = [words for options, *words in self.CASES if options == "-a" and len(words) == 2]
        for source, target in pairs:
            for option in ("-r", "-rT"):
                with self.case(option, source, target) as folder:
                    root, expected, there = self.tree(), folder / "expected", folder / "there"
                    shutil.copytree(root, expected, symlinks=True)
                    theirs = run("cp", option.replace("r", "a"), source,
                                 "%s/%s" % (expected, target), cwd=root, check=False)
                    self.varve("put", "-r", "--create", self.store, "/", str(root) + "/.")
                    ours = run(varve_binary(), "put", option, self.store, target, source, cwd=root,
                               check=False)
                    self.assertEqual(ours.returncode == 0, theirs.returncode == 0,
                                     (ours.stderr, theirs.stderr))
                    # And the same the other way round.
                    shutil.copytree(root, there, symlinks=True)
                    self.varve("put", "-r", "--create", "second", "/", str(root) + "/.")
                    back = run(varve_binary(), "get", option, folder / "second", source,
                               "%s/%s" % (there, target), check=False)
                    self.assertEqual(back.returncode == 0, theirs.returncode == 0,
                                     (back.stderr, theirs.stderr))
                    if theirs.returncode == 0:
                        self.assertEqual(self.names(there), self.names(expected))
                        self.varve("get", "-r", self.store, "/", "put")
                        self.assertEqual(self.names(folder / "put"), self.names(expected))

    def test_one_file_goes_into_a_directory_and_through_pipes(self):
        self.put("d/f", b"content")
        (self.folder / "out").mkdir()
        self.varve("get", self.store, "d/f", "out")
        self.varve("get", self.store, "d/f", ".")
        self.assertEqual((self.folder / "out/f").read_bytes(), b"content")
        self.assertEqual((self.folder / "f").read_bytes(), b"content")
        self.assertEqual(self.output("get", self.store, "d/f", "-"), b"content")
        self.assertEqual(self.output("get", "-r", self.store, "d/f"), b"content")
        self.varve("get", self.store, "d/f", "new/", status=WRONG_KIND)
        with open(self.file("in", b"piped"), "rb") as piped:
            self.varve("put", self.store, "g", "-", stdin=piped)
        self.assertEqual(self.output("get", self.store, "g"), b"piped")
        self.varve("put", self.store, "new/", self.file("x"), status=WRONG_KIND)
        self.varve("put", self.store, "g/", self.file("x"), status=WRONG_KIND)
        self.assertIn("use -r", self.message("get", self.store, "d", status=WRONG_KIND))
        self.assertIn("use -r", self.message("put", self.store, "x", self.folder,
                                             status=WRONG_KIND))
        self.varve("get", "-r", self.store, "d", status=USAGE)
        self.varve("put", "-r", self.store, "d", "-", status=USAGE)

    def test_the_store_is_neither_overwritten_nor_put_into_itself(self):
        self.put("f", b"content")
        before = self.store.read_bytes()
        self.assertIn("the store itself",
                      self.message("get", self.store, "f", self.store, status=REFUSED))
        self.varve("put", self.store, "self", self.store, status=REFUSED)
        self.assertEqual(self.store.read_bytes(), before)
        result = run(varve_binary(), "put", "-r", self.store, "all", self.folder, check=False)
        self.assertEqual(result.returncode, FAILURE)
        self.assertIn(b"it is the store itself", result.stderr)
        self.assertEqual(self.output("ls", self.store, "all"), b"source\n")
        self.put("store.varve", b"mine")
        self.varve("get", "-r", self.store, "/.", self.folder, status=FAILURE)
        self.varve("check", self.store)


class Failing(TreeTest):
    def test_the_rest_is_copied_and_each_failure_told(self):
        root = self.folder / "t"
        root.mkdir()
        for name in "abc":
            (root / name).write_bytes(b"new " + name.encode())
        self.put("t/b/in", b"in the way")
        result = run(varve_binary(), "put", "-rT", self.store, "t", root, check=False)
        self.assertEqual(result.returncode, WRONG_KIND)
        self.assertRegex(result.stderr.decode(),
                         r'\Avarve: cannot copy "[^"]*/t/b": a directory is in its place\n\Z')
        self.assertEqual(self.output("ls", "-R", self.store, "t"), b"t:\na\nb\nc\n\nt/b:\nin\n")
        (self.folder / "out/a").mkdir(parents=True)
        result = run(varve_binary(), "get", "-rT", self.store, "t", self.folder / "out",
                     check=False)
        self.assertEqual(result.returncode, WRONG_KIND)
        self.assertEqual(sorted(os.listdir(self.folder / "out")), ["a", "b", "c"])

    def test_a_damaged_file_is_left_out(self):
        self.put("d/a", b"first file " * 20)
        self.put("d/b", b"other " * 20)
        with open(self.store, "r+b") as file:
            file.seek(self.store.read_bytes().find(b"first file") + 5)
            file.write(b"X")
        result = run(varve_binary(), "get", "-r", self.store, "d", self.folder / "out",
                     check=False)
        self.assertEqual(result.returncode, DAMAGE)
        self.assertEqual(result.stderr.count(b"\n"), 1)
        self.assertIn(b'cannot copy "d/a"', result.stderr)
        self.assertEqual(os.listdir(self.folder / "out"), ["b"])

    def test_links_in_the_target_are_not_followed(self):
        self.put("d/sub/f", b"content")
        outside = self.folder / "outside"
        outside.mkdir()
        (self.folder / "out").mkdir()
        (self.folder / "out/sub").symlink_to(outside)
        self.varve("get", "-rT", self.store, "d", "out", status=WRONG_KIND)
        self.assertEqual(os.listdir(outside), [])
        (self.folder / "out/sub").unlink()
        (self.folder / "out/sub").mkdir()
        (self.folder / "victim").write_bytes(b"victim")
        (self.folder / "out/sub/f").symlink_to(self.folder / "victim")
        self.varve("get", "-rT", self.store, "d", "out")
        self.assertEqual((self.folder / "victim").read_bytes(), b"victim")
        self.assertEqual((self.folder / "out/sub/f").read_bytes(), b"content")

    def test_swapped_arguments_are_told(self):
        self.put("f", b"1")
        store, notes = self.store.name, self.file("notes", b"some notes " * 30).name
        (self.folder / "dir").mkdir()
        for arguments, status, text in (
            (("get", "f", store), NOT_FOUND, " is a store: it comes first (varve get STORE PATH"),
            (("ls", "dir", store), WRONG_KIND, "varve ls STORE [PATH...]"),
            (("put", notes, store, "x"), NOT_A_STORE, "varve put STORE PATH [FILE]"),
            (("adopt", notes, store), NOT_A_STORE, "varve adopt STORE KEYS-FILE"),
            (("mount", "dir", store), WRONG_KIND, "varve mount STORE DIR"),
            (("mount", "dir", "new.store"), WRONG_KIND,
             "if new.store is the store, it comes first"),
            (("put", store, notes, "f"), NOT_FOUND, "the path in the store comes before the file"),
            (("get", store, notes, "f"), NOT_FOUND, "what to copy comes before where to"),
            (("raw", "read", "key", store), NOT_FOUND, "varve raw read STORE KEY"),
        ):
            with self.subTest(arguments):
                self.assertIn(text, self.message(*arguments, status=status))
        self.assertFalse((self.folder / "new.store").exists())

    def test_misspelt_words_are_recognised(self):
        for arguments, text in (
            (("mout", "s", "d"), "unknown command: mout; did you mean mount?"),
            (("raw", "raed"), "did you mean read?"),
            (("put", "--parnets", "s", "x"), "did you mean --parents?"),
            (("umount", "--tiemout=3", "x"), "did you mean --timeout?"),
        ):
            with self.subTest(arguments):
                self.assertIn(text, self.message(*arguments, status=USAGE))
        self.assertNotIn("did you mean", self.message("ls", "--frobnicate", "s", status=USAGE))


class Names(TreeTest):
    def test_version_and_help(self):
        text = self.output("--version")
        self.assertEqual(self.output("-V"), text)
        self.assertEqual(self.output("version"), text)
        self.assertEqual(text, b"varve 0.9.0\n")
        self.assertEqual(self.output("help", "raw", "read"),
                         self.output("raw", "read", "--help"))
        self.assertEqual(self.output("help"), self.output("--help"))
        self.assertEqual(self.output("unmount", "--help"), self.output("umount", "--help"))
        self.varve("help", "frobnicate", status=USAGE)
        about = json.loads(self.output("version", "--json"))
        self.assertEqual(about["version"], "0.9.0")
        for library in ("libfuse", "xxhash", "abseil", "isa-l", "libarchive", "cli11", "spdlog"):
            self.assertRegex(about["libraries"][library], r"\A\d+\.\d+")
        self.assertEqual(about["kernel"]["release"], os.uname().release)
        self.assertIs(about["kernel"]["fuse"]["device"], os.path.exists("/dev/fuse"))
        if IS_ROOT and about["kernel"]["fuse"]["device"]:
            self.assertRegex(about["kernel"]["fuse"]["protocol"], r"\A7\.\d+\Z")
        self.assertIn("compiler", about["build"])

    def test_rm_as_rm_does(self):
        tree = ("a", "d/e/f", "d/g", "x/y")
        for flags, words in (
            ((), ("a",)), ((), ("d",)), (("-f",), ("nope",)), (("-f",), ()), ((), ()),
            (("-f",), ("a/b",)), ((), ("a/",)), (("-r",), ("d/",)), (("-r",), ("d/.",)),
            (("-r",), ("d/..",)), (("-r",), (".",)), (("-rf",), ("d", "nope", "a")),
            (("-r",), ("nope", "d")), ((), ("d", "a")), (("-r",), ("d", "d/e")),
            ((), ("--", "a",)),
        ):
            with self.case("rm", *flags, *words) as folder:
                root = folder / "root"
                for path in tree:
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    (root / path).write_bytes(b"1")
                self.varve("put", "-r", "--create", self.store, "/", str(root) + "/.")
                theirs = run("rm", *flags, *words, cwd=root, check=False)
                ours = run(varve_binary(), "rm", *flags, self.store, *words, check=False)
                self.assertEqual(ours.returncode == 0, theirs.returncode == 0, ours.stderr)
                if words:
                    self.assertEqual(ours.stderr.count(b"\n"), theirs.stderr.count(b"\n"))
                self.assertEqual(self.output("ls", "-R", self.store),
                                 run("ls", "-R", cwd=root).stdout)

    def test_mkdir_as_mkdir_does(self):
        for flags, words in (
            ((), ("a",)), ((), ("a/",)), ((), ("a/b",)), (("-p",), ("a/b/c", "a/d")),
            (("-p",), ("there",)), ((), ("there",)), (("-p",), ("file",)), ((), ("file/x",)),
            (("-p",), ("file/x",)), ((), ("there/.",)), (("-m", "1700"), ("a",)),
            (("-p", "-m", "500"), ("p/q",)), ((), ("there", "b")), (("-m", "9"), ("a",)),
            (("-p",), ("/",)), ((), ("--", "-x",)),
        ):
            with self.case("mkdir", *flags, *words) as folder:
                root = folder / "root"
                (root / "there").mkdir(parents=True)
                (root / "file").touch()
                self.varve("put", "-r", "--create", self.store, "/", str(root) + "/.")
                theirs = run("mkdir", *flags, *words, cwd=root, check=False)
                ours = run(varve_binary(), "mkdir", *flags, self.store, *words, check=False)
                self.assertEqual(ours.returncode == 0, theirs.returncode == 0, ours.stderr)
                self.varve("get", "-r", self.store, "/", "there")
                mine, expected = describe(folder / "there"), describe(root)
                self.assertEqual({path: mine[path]["mode"] for path in mine},
                                 {path: expected[path]["mode"] for path in expected})

    def test_ls_as_ls_does(self):
        root = self.folder / "root"
        (root / "d/.hidden").mkdir(parents=True)
        (root / ".dot").write_bytes(b"1")
        (root / "d/f").write_bytes(b"12")
        (root / "d/.hidden/g").write_bytes(b"1")
        (root / "e").mkdir()
        (root / "to-d").symlink_to("d")
        for name, size in (("k", 1023), ("l", 1024), ("m", 1025), ("n", 10_200), ("o", 1 << 20),
                           ("p", 999_999), ("q", 1_048_000), ("r", 5_000_000_000)):
            with open(root / name, "wb") as file:
                file.truncate(size)
        self.varve("put", "-r", "--create", self.store, "/", str(root) + "/.")
        for flags, words in (
            ((), ()), (("-a",), ()), (("-A",), ()), (("-R",), ()), (("-aR",), ()),
            (("-d",), ("d", "e")), ((), ("d", "e")), ((), ("k", "d", "l")), (("-p",), ()),
            ((), ("to-d",)), ((), ("to-d/",)), (("-d",), ("to-d",)), ((), ("nope", "k")),
            ((), ("k/",)), (("-A",), ("d/.hidden",)),
        ):
            with self.subTest((flags, words)):
                theirs = run("ls", *flags, *words, cwd=root, check=False,
                             env={**os.environ, "LC_ALL": "C"})
                ours = run(varve_binary(), "ls", *flags, self.store, *words, check=False)
                self.assertEqual(ours.stdout, theirs.stdout)
                self.assertEqual(ours.returncode == 0, theirs.returncode == 0)
        sizes = [line.split()[4] for line in self.output("ls", "-lh", self.store).splitlines()
                 if line.split()[-1] in b"klmnopqr"]
        theirs = [line.split()[4] for line in run("ls", "-lh", cwd=root).stdout.splitlines()[1:]
                  if line.split()[-1] in b"klmnopqr"]
        self.assertEqual(sizes, theirs)

    def test_ls_as_json(self):
        root = self.folder / "root"
        root.mkdir()
        (root / "f").write_bytes(b"12345")
        os.chmod(root / "f", 0o640)
        os.utime(root / "f", ns=(1, 1_700_000_000_123_456_789))
        (root / "link").symlink_to("f")
        (root / os.fsdecode(b"\xff")).touch()
        self.varve("put", "-r", "--create", self.store, "d", root)
        self.assertEqual(json.loads(self.output("ls", "--json", self.store, "d/link"))[0]["target"],
                         "f")
        listed = {item["path"]: item for item in
                  json.loads(self.output("ls", "--json", "-R", self.store))}
        file = listed["d/f"]
        self.assertEqual((file["type"], file["mode"], file["size"], file["links"]),
                         ("file", "0640", 5, 1))
        self.assertEqual(file["mtime"], "2023-11-14T22:13:20.123456789Z")
        self.assertEqual(listed["d"]["type"], "directory")
        self.assertIn(b"d/\xff".hex(), [item.get("path_hex") for item in listed.values()])
        self.varve("mkdir", self.store, "empty")
        self.assertEqual(json.loads(self.output("ls", "--json", self.store, "empty")), [])

    def test_mv_moves_several(self):
        for path in ("a", "b", "d/x"):
            self.put(path, path.encode())
        self.varve("mv", self.store, "a", "b", "d")
        self.assertEqual(self.output("ls", self.store, "d"), b"a\nb\nx\n")
        self.put("a", b"new")
        self.varve("mv", "-n", self.store, "a", "d/b")
        self.assertEqual(self.output("get", self.store, "d/b"), b"b")
        self.varve("mv", self.store, "a", "d/x", "nope", status=NOT_FOUND)
        self.varve("mv", self.store, "a", "new/", status=WRONG_KIND)
        self.varve("mv", self.store, "a", "a", status=FAILURE)
        self.assertEqual(self.output("get", self.store, "a"), b"new")


class Around(TreeTest):
    @unittest.skipUnless(IS_ROOT, "only root can mount here")
    def test_a_mounted_store_is_told_and_can_be_read(self):
        with MountedStore() as store:
            (store / "d").mkdir()
            (store / "d/f").write_bytes(b"content")
            for command in (("put", "-r", store.path, "x", "/etc/hostname"),
                            ("cp", store.path, "d/f", "g"), ("mkdir", store.path, "e"),
                            ("rm", "-rf", store.path, "d")):
                text = self.message(*command, status=BUSY)
                self.assertIn("it is mounted at %s" % store.root, text)
            self.varve("get", "-r", store.path, "d", "out")
            self.assertEqual((self.folder / "out/f").read_bytes(), b"content")

    def terminal(self, *command, halt_when=lambda: False):
        """What a command prints on a terminal. It is stopped for more than a second, once."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(command[0], [str(word) for word in command])
        text, halted = b"", False
        while True:
            if not halted and halt_when():
                halted = True
                os.kill(pid, signal.SIGSTOP)
                time.sleep(1.2)
                os.kill(pid, signal.SIGCONT)
            if select.select([fd], [], [], 0.001)[0]:
                try:
                    some = os.read(fd, 65536)
                except OSError:
                    break
                if not some:
                    break
                text += some
        os.close(fd)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, text)
        return text

    def test_progress_is_for_terminals_and_for_what_takes_long(self):
        root = self.folder / "t"
        root.mkdir()
        (root / "f").write_bytes(b"1")
        put = (varve_binary(), "put", "-r", "--create", self.store)
        self.assertEqual(self.terminal(*put, "quick", root), b"")
        for number in range(100):
            (root / ("big%d" % number)).write_bytes(os.urandom(1_000_000))
        grown = self.store.stat().st_size + 2_000_000
        text = self.terminal(*put, "slow", root,
                             halt_when=lambda: self.store.stat().st_size > grown)
        self.assertIn(b" files, ", text)
        self.assertTrue(text.endswith(b"\r\x1b[K"), text[-80:])


if __name__ == "__main__":
    junit.main()

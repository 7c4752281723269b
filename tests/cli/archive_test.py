#!/usr/bin/env python3
"""varve export and varve import, compared with GNU tar and bsdtar in both
directions."""

import io
import os
import pathlib
import socket
import subprocess
import tarfile
import tempfile
import unittest

from tests.kit import junit
from tests.cli.cli_test import FAILURE, NO_SPACE, NOT_FOUND, OK, REFUSED, USAGE, WRONG_KIND
from tests.cli.tree_verbs_test import IS_ROOT, TreeTest, data_ranges, describe
from tests.kit.mounted import run, varve, varve_binary

GNU_ALL = ("--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner")
SYSTEM_TREES = ("/usr/share/doc", "/etc")


def member(name, content=b"", **fields):
    """A member for archive(), with these fields of a TarInfo."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(*members, end=True):
    """The bytes of an archive with these members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
        offset = tar.offset
    return out.getvalue() if end else out.getvalue()[:offset]


def link(name, target):
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name, target):
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def folder(name, **fields):
    return member(name, type=tarfile.DIRTYPE, mode=0o755, **fields)


class ArchiveTest(TreeTest):
    def make_tree(self):
        """What tar has no place for is left out; what is hard for it is added."""
        root = super().make_tree()
        (root / "socket").unlink()
        names = root / "names"
        names.mkdir()
        (names / ("n" * 255)).write_bytes(b"long")
        deep = names
        for _ in range(4):
            deep = deep / ("d" * 200)
            deep.mkdir()
        (deep / "far").write_bytes(b"away")
        (names / "composed \u00e9").write_bytes(b"1")
        (names / "decomposed e\u0301").write_bytes(b"2")
        (names / "to decomposed").symlink_to("decomposed e\u0301")
        os.symlink(b"to \xff\xfe", os.fsencode(names) + b"/link \xff")
        os.link(names / "decomposed e\u0301", names / "other e\u0301")
        os.setxattr(names / ("n" * 255), "user.a=b%41", b"=")
        # Holes at the begin, at the end, in between, and nothing else.
        with open(root / "all hole", "wb") as file:
            file.truncate(5_000_001)
        with open(root / "pieces", "wb") as file:
            for offset in range(0, 64, 3):
                file.seek(offset << 16)
                file.write(b"p" * 5000)
        for path in (names, names / ("n" * 255), root / "pieces"):
            os.utime(path, ns=(10**18 + 1, -987_654_321_987_654_321))
        return root

    def put(self, root):
        self.varve("put", "-r", "--create", self.store, "/", str(root) + "/.")

    def imported(self, content, status=OK, arguments=()):
        """Imports an archive; returns what was said."""
        result = run(varve_binary(), "import", "--create", self.store, *arguments, "--tar",
                     check=False, stdin=None, input=content)
        self.assertEqual(result.returncode, status, result.stderr)
        self.varve("check", self.store)
        return result.stderr.decode(errors="replace")

    def got(self):
        """What is in the store, as describe() tells it."""
        out = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "out"
        self.varve("get", "-r", self.store, "/", out)
        return describe(out)

    def contents(self):
        return {path: entry["content"] for path, entry in self.got().items()
                if path != b"." and entry["content"] is not None}


@unittest.skipUnless(IS_ROOT, "only root can give files away")
class Everything(ArchiveTest):
    def test_gnu_tar_unpacks_all_that_was_exported(self):
        root = self.make_tree()
        self.put(root)
        with open(self.folder / "tar", "wb") as file:
            subprocess.run([varve_binary(), "export", str(self.store), "--tar"], stdout=file,
                           check=True)
        (self.folder / "out").mkdir()
        run("tar", "-C", self.folder / "out", *GNU_ALL, "-xpf", self.folder / "tar")
        self.compare_without_atime(root, self.folder / "out")
        for name in ("sparse", "all hole", "pieces"):
            self.assertEqual(data_ranges(root / name), data_ranges(self.folder / "out" / name))

    def test_bsdtar_unpacks_what_was_exported(self):
        root = self.make_tree()
        self.put(root)
        self.varve("export", self.store, "--tar=tar")
        (self.folder / "out").mkdir()
        run("bsdtar", "-C", self.folder / "out", "--numeric-owner", "-xpf", self.folder / "tar",
            env={**os.environ, "LC_ALL": "C.UTF-8"})
        expected, found = describe(root), describe(self.folder / "out")
        # It normalizes names, does not decode those of attributes, and takes fractions of
        # seconds before 1970 for others.
        for path in (b"./d/small", b"./d/none", b"./d/big", b"./d/empty", b"./null", b"./fifo"):
            path = os.path.normpath(path)
            for what in ("mode", "owner", "device", "content", "xattrs"):
                self.assertEqual(by_path(expected)[path][what], by_path(found)[path][what],
                                 (path, what))
            self.assertEqual(by_path(expected)[path]["times"][0], by_path(found)[path]["times"][0])

    def compare_without_atime(self, left, right):
        """Programs of tar change access times when they read, and when they unpack."""
        expected, found = describe(left), describe(right)
        self.assertEqual(expected.keys(), found.keys())
        for path, entry in expected.items():
            entry["times"], found[path]["times"] = entry["times"][:1], found[path]["times"][:1]
            self.assertEqual(entry, found[path], path)

    def test_what_was_exported_is_imported(self):
        root = self.make_tree()
        self.put(root)
        self.varve("export", self.store, "--tar=tar")
        self.varve("import", "--create", "second", "--tar=tar")
        self.varve("get", "-r", "second", "/", "out")
        self.compare(root, self.folder / "out")
        self.assertEqual(data_ranges(root / "pieces"), data_ranges(self.folder / "out/pieces"))
        self.assertLess((self.folder / "second").stat().st_size, 12_000_000)
        # The same tree, the same bytes; also once more over what is there.
        self.varve("export", "second", "--tar=tar2")
        run("cmp", self.folder / "tar", self.folder / "tar2")
        self.varve("import", "second", "--tar=tar")
        self.varve("export", "second", "--tar=tar3")
        run("cmp", self.folder / "tar", self.folder / "tar3")
        self.varve("check", "second")

    def test_an_export_is_what_tar_makes_of_the_mount(self):
        root = self.make_tree()
        self.put(root)
        mount = self.folder / "mnt"
        mount.mkdir()
        varve("mount", "-o", "ro", self.store, mount)
        self.addCleanup(run, "umount", "-l", mount, check=False)
        # It also works while the store is mounted.
        self.varve("export", self.store, "--tar=ours")
        run("tar", "-C", mount, *GNU_ALL, "--sparse", "--format=pax", "-cf",
            self.folder / "theirs", ".")
        varve("umount", mount)
        ours, theirs = (members_of(self.folder / name) for name in ("ours", "theirs"))
        self.assertEqual(ours.keys(), theirs.keys())
        for name, fields in ours.items():
            # Which of two names is a link to the other one is up to the order.
            one_is_link = tarfile.LNKTYPE in (fields[-2], theirs[name][-2])
            count = 6 if one_is_link else len(fields)
            self.assertEqual(fields[:count], theirs[name][:count], name)

    def test_all_is_imported_of_what_gnu_tar_made(self):
        root = self.make_tree()
        for options in (("--format=pax",), ("--format=pax", "--sparse"),
                        ("--format=gnu", "--sparse"), ("--format=pax", "--sparse",
                                                       "--sparse-version=0.1")):
            with self.case(*options) as case:
                run("tar", "-C", root, *(GNU_ALL if "pax" in options[0] else ()), *options,
                    "-cf", case / "tar", ".")
                self.varve("import", "--create", self.store, "--tar", case / "tar")
                self.varve("get", "-r", self.store, "/", "out")
                if "--format=gnu" in options:  # which has no fractions, and no attributes
                    self.assertEqual(contents_of(root), contents_of(case / "out"))
                else:
                    self.compare_without_atime(root, case / "out")
                if "--sparse" in options:
                    self.assertEqual(data_ranges(root / "sparse"),
                                     data_ranges(case / "out/sparse"))

    def test_all_is_imported_of_what_bsdtar_made(self):
        root = self.make_tree()
        for path in (root / "names", root / "pieces", root / "names" / ("n" * 255)):
            os.utime(path, ns=(10**18 + 1, 10**18))  # see above
        run("bsdtar", "-C", root, "--format=pax", "--xattrs", "--acls", "--numeric-owner",
            "--read-sparse", "-cf", self.folder / "tar", ".",
            env={**os.environ, "LC_ALL": "C.UTF-8"})
        self.varve("import", "--create", self.store, "--tar=tar")
        self.varve("get", "-r", self.store, "/", "out")
        self.compare_without_atime(root, self.folder / "out")

    def test_lists_that_name_users(self):
        (self.folder / "tree").mkdir()
        (self.folder / "tree/file").touch()
        run("setfacl", "-m", "u:daemon:rw,g:adm:r", self.folder / "tree/file")
        run("tar", "-C", self.folder / "tree", "--acls", "-cf", self.folder / "tar", ".")
        self.varve("import", "--create", self.store, "--tar=tar")
        self.varve("get", "-r", self.store, "/", "out")
        self.assertEqual(run("getfacl", "-p", "-n", "file", cwd=self.folder / "tree").stdout,
                         run("getfacl", "-p", "-n", "file", cwd=self.folder / "out").stdout)
        content = (self.folder / "tar").read_bytes().replace(b"user:daemon:", b"user:nobdyx:")
        said = self.imported(content, FAILURE)
        self.assertIn('its access control list names "nobdyx", who is unknown here', said)

    def test_trees_of_the_system(self):
        for tree in SYSTEM_TREES:
            for tar in (("tar", *GNU_ALL, "--format=pax"), ("tar", "--format=gnu"),
                        ("bsdtar", "--numeric-owner")):
                with self.case(tree, *tar) as case:
                    with subprocess.Popen([*tar, "-C", tree, "-cf", "-", "."],
                                          stdout=subprocess.PIPE) as packer:
                        run(varve_binary(), "import", "--create", self.store, "--tar",
                            stdin=packer.stdout)
                        packer.stdout.close()
                    self.assertEqual(packer.returncode, 0)
                    self.varve("export", self.store, "--dir", "out")
                    expected, found = describe(tree), describe(case / "out")
                    self.assertEqual(expected.keys(), found.keys())
                    for path, entry in expected.items():
                        for what in ("mode", "owner", "content", "links", "device"):
                            self.assertEqual(entry.get(what), found[path].get(what), (path, what))
                    self.varve("check", self.store)

    def test_directories_of_the_host(self):
        root = self.make_tree()
        self.varve("import", "--create", "-p", self.store, "a/b", "--dir", root)
        self.varve("export", self.store, "a/b", "--dir=out")
        self.compare(root, self.folder / "out")
        # Over what is there, too, and of one file.
        self.varve("import", self.store, "a/b", "--dir", root)
        self.varve("export", self.store, "a/b", "--dir=out")
        self.compare(root, self.folder / "out")
        self.varve("export", self.store, "a/b/d/nul", "--dir=out")
        self.assertEqual((self.folder / "out/nul").read_bytes(), b"\0")


def members_of(path):
    """What is told of each member."""
    result = {}
    with tarfile.open(path, errorlevel=2) as tar:
        for info in tar:
            acl = {name: sorted(text.replace(",", "\n").split())
                   for name, text in info.pax_headers.items() if name.startswith("SCHILY.acl")}
            if len(acl.get("SCHILY.acl.access", [])) == 3:  # as the mode says
                del acl["SCHILY.acl.access"]
            # With a list, the bits of the group are those of the mask, or of the group.
            mode = info.mode & ~0o070 if "SCHILY.acl.access" in acl else info.mode
            result[info.name] = (
                mode, info.uid, info.gid, info.devmajor, info.devminor,
                info.pax_headers.get("mtime"), acl,
                {name for name in info.pax_headers
                 if name.startswith("SCHILY.xattr.") and "posix_acl" not in name},
                info.type, info.linkname)
    return result


def by_path(described):
    return {os.path.normpath(path): entry for path, entry in described.items()}


def contents_of(root):
    return {path: (entry["mode"], entry["owner"], entry["content"], entry.get("links"))
            for path, entry in describe(root).items()}


class Exports(ArchiveTest):
    def setUp(self):
        super().setUp()
        root = self.folder / "tree"
        (root / "d").mkdir(parents=True)
        (root / "d/f").write_bytes(b"content")
        (root / "file").write_bytes(b"3")
        self.root = root

    def names(self, content):
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            return tar.getnames()

    def test_names_of_members(self):
        self.put(self.root)
        for path, expected in (((), [".", "./d", "./d/f", "./file"]), (("/",), None),
                               (("d",), [".", "./f"]), (("d/f",), ["f"]), (("file",), ["file"])):
            content = self.output("export", self.store, *path, "--tar")
            self.assertEqual(self.names(content),
                             [".", "./d", "./d/f", "./file"] if expected is None else expected)
            self.assertEqual(content, self.output("export", self.store, *path, "--tar=-"))
            self.assertEqual(len(content) % 10240, 0)

    def test_sockets_are_left_out_with_a_warning(self):
        root = super().make_tree()
        (root / "another").hardlink_to(root / "fifo")
        here = os.getcwd()
        os.chdir(root)  # an address has to be short
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind("socket")
        finally:
            os.chdir(here)
        os.link(root / "socket", root / "same")
        self.put(root)
        result = run(varve_binary(), "export", self.store, "--tar=" + str(self.folder / "tar"))
        self.assertEqual(result.stderr.decode(), (
            'varve: warning: "./same" is a socket, which tar has no place for; left out\n'
            'varve: warning: "./socket" is a socket, which tar has no place for; left out\n'))

    def test_damaged_content_is_told_and_the_rest_exported(self):
        self.put(self.root)
        data = bytearray(self.store.read_bytes())
        data[data.index(b"content")] ^= 1
        self.store.write_bytes(data)
        result = run(varve_binary(), "export", self.store, "--tar", check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(b'cannot copy "/d/f"', result.stderr)
        self.assertEqual(self.names(result.stdout), [".", "./d", "./file"])

    def test_an_output_that_fails_ends_it(self):
        self.put(self.root)
        with open("/dev/full", "wb") as full:
            result = subprocess.run([varve_binary(), "export", str(self.store), "--tar"],
                                    stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(result.returncode, NO_SPACE)
        self.assertEqual(result.stderr.count(b"\n"), 1, result.stderr)
        self.assertIn(b"cannot write standard output: No space left", result.stderr)

    def test_wrong_use(self):
        self.put(self.root)
        for arguments, status, text in (
                (("export", self.store), USAGE, "either --tar or --dir is needed"),
                (("import", self.store), USAGE, "either --tar or --dir is needed"),
                (("export", self.store, "--tar=x", "--dir=y"), USAGE, "excludes"),
                (("export", self.store, "nope", "--tar=x"), NOT_FOUND, 'cannot read "nope"'),
                (("export", self.store, "--tar", self.store), REFUSED, "is the store itself"),
                (("import", self.store, "--tar", self.store), REFUSED, "is the store itself"),
                (("import", self.store, "file", "--tar", "/dev/null"), WRONG_KIND,
                 'cannot write "file"'),
                (("import", "new", "--tar=/dev/null"), NOT_FOUND, "there is no store"),
                (("import", "--create", "new", "--tar=nope"), NOT_FOUND, "nope"),
                (("import", "--create", "new", "--dir=nope"), NOT_FOUND, "nope"),
                (("export", "nope", "--tar=x"), NOT_FOUND, "there is no store")):
            with self.subTest(arguments):
                result = self.varve(*arguments, status=status)
                self.assertIn(text, result.stderr.decode())
        self.assertFalse((self.folder / "new").exists())
        self.assertFalse((self.folder / "x").exists())
        result = run("script", "-qec", "%s export %s --tar" % (varve_binary(), self.store),
                     "/dev/null", check=False)
        self.assertIn(b"a terminal is no place for an archive", result.stdout)


if __name__ == "__main__":
    junit.main()

#!/usr/bin/env python3
"""varve import of archives that mean harm, or that replace what is there."""

import io
import os
import resource
import subprocess
import tarfile

from tests.kit import junit
from tests.cli.archive_test import ArchiveTest, archive, folder, hard_link, link, member
from tests.cli.cli_test import FAILURE, NO_SPACE, NOT_FOUND, REFUSED, WRONG_KIND
from tests.kit.mounted import run, varve_binary


class Hostile(ArchiveTest):
    """Nothing leaves the directory, and nothing that was there is lost."""

    def setUp(self):
        super().setUp()
        self.imported(archive(member("kept", b"old"), folder("dir"), member("dir/in", b"old"),
                              link("out", ".."), link("abs", "/")))

    def test_names_that_lead_out_are_refused(self):
        for name in ("../evil", "dir/../../evil", "/evil", "//evil", "a/..", "..", "dir/../kept"):
            for evil in (member(name, b"evil"), folder(name), link(name, "x"),
                         hard_link(name, "kept"), member(name, type=tarfile.FIFOTYPE),
                         hard_link("new", name)):
                with self.subTest(name, type=evil[0].type):
                    said = self.imported(archive(evil, member("good", b"1")), REFUSED,
                                         arguments=["dir"])
                    self.assertRegex(said, r'\Avarve: cannot import "[^"]+": [^\n]*leads out of '
                                           r'the directory\n\Z')
                    self.assertEqual(self.contents(), {
                        b"./kept": b"old", b"./dir/in": b"old", b"./dir/good": b"1",
                        b"./out": b"..", b"./abs": b"/"})

    def test_members_through_links_are_refused(self):
        for name in ("out/evil", "abs/tmp/evil", "out/dir/in", "fresh/evil"):
            with self.subTest(name):
                said = self.imported(archive(link("fresh", "/tmp"), member(name, b"evil"),
                                             hard_link("hard", "out/kept")), WRONG_KIND)
                self.assertIn('" on the way is a symbolic link', said)
                self.assertEqual(said.count("\n"), 2)
                self.assertEqual(self.contents()[b"./kept"], b"old")
        self.assertFalse(os.path.exists("/tmp/evil"))

    def test_one_that_is_cut_short(self):
        big = os.urandom(300_000)
        whole = archive(member("first", b"1"), folder("sub", mtime=5), member("kept", big),
                        member("last", b"2"))
        cuts = list(range(0, 5000, 512)) + [1, 100, 700, 5001, 100_000, len(whole) - 10240]
        for cut in sorted(set(cuts)):
            with self.case(cut):
                self.imported(archive(member("kept", b"old")))
                said = self.imported(whole[:cut], FAILURE)
                self.assertTrue(said.startswith("varve: "), said)
                # Content is the old one, or the new one, and nothing in between.
                self.assertIn(self.contents()[b"./kept"], (b"old", big))

    def test_one_that_ends_between_two_members(self):
        said = self.imported(archive(member("first", b"1"), end=False), FAILURE)
        self.assertIn("ends without an end mark", said)
        self.assertEqual(self.contents()[b"./first"], b"1")

    def test_what_is_no_archive(self):
        for content in (b"", b"x" * 10240, os.urandom(5000), b"\x1f\x8b" + bytes(600)):
            said = self.imported(content, FAILURE)
            self.assertIn("If it is compressed, unpack it on the way", said)
        self.imported(bytes(10240))  # an archive without a member

    def test_sizes_beyond_all_bounds(self):
        for size in (10**12, 2**62, 2**63 - 1):
            info, _ = member("kept")
            info.size = size
            header = info.tobuf(tarfile.GNU_FORMAT)
            said = self.imported(header + b"short", FAILURE)
            self.assertTrue('cannot import "kept"' in said or "size overflow" in said, said)
            self.assertEqual(self.contents()[b"./kept"], b"old")
        # Of a sparse file, too.
        for size in ("9223372036854775807", "99999999999999999999999"):
            sparse, _ = member("sparse", pax_headers={
                "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "kept",
                "GNU.sparse.realsize": size})
            data = b"1\n0\n9\n".ljust(512, b"\0") + b"123456789".ljust(512, b"\0")
            sparse.size = 521
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
                tar.addfile(sparse, io.BytesIO(data))
            result = run(varve_binary(), "import", self.store, "--tar", check=False, stdin=None,
                         input=out.getvalue())
            self.varve("check", self.store)
            if result.returncode:
                self.assertEqual(self.contents()[b"./kept"], b"old")

    def test_flipped_bits(self):
        """Whatever is wrong, it ends, and the store is whole."""
        whole = archive(member("first", b"1", pax_headers={
            "SCHILY.xattr.user.a": "b", "SCHILY.acl.access": "user::rw-,user:5:r--,group::r--,"
            "mask::r--,other::r--"}), folder("sub"), member("sub/second", b"2" * 700),
            hard_link("third", "first"), link("fourth", "first"))
        for at in range(0, 6000, 41):
            broken = bytearray(whole)
            broken[at] ^= 1 << at % 8
            result = run(varve_binary(), "import", self.store, "--tar", check=False, stdin=None,
                         input=bytes(broken))
            self.assertIn(result.returncode, range(0, 17), result.stderr)
        self.varve("check", self.store)
        self.assertEqual(self.contents()[b"./kept"], b"old")

    def test_memory_is_bounded(self):
        # A name of a gibibyte, says its header.
        info, _ = member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME)
        info.size = 1 << 30
        content = info.tobuf(tarfile.GNU_FORMAT) + bytes(4 << 20)
        result = subprocess.run(
            [varve_binary(), "import", str(self.store), "--tar"], input=content, check=False,
            stderr=subprocess.PIPE, timeout=60,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29)))
        self.assertEqual(result.returncode, FAILURE, result.stderr)
        self.assertEqual(self.contents()[b"./kept"], b"old")


class Replacing(ArchiveTest):
    """What is there when a member comes, as tar(1) has it."""

    def test_later_members_replace_earlier_ones(self):
        self.imported(archive(
            member("a", b"1"), member("a", b"2"), link("b", "x"), member("b", b"3"),
            member("c", b"4"), link("c", "y"), member("d", b"5"), folder("d"), member("d/e", b"6"),
            member("f", b"7"), hard_link("g", "f"), member("f", b"8"), hard_link("a", "a"),
            member("h", b"9"), hard_link("h", "g")))
        self.assertEqual(self.contents(), {
            b"./a": b"2", b"./b": b"3", b"./c": b"y", b"./d/e": b"6", b"./f": b"8", b"./g": b"7",
            b"./h": b"7"})

    def test_a_directory_is_not_replaced(self):
        said = self.imported(archive(folder("d"), member("d/e", b"1"), member("d", b"2"),
                                     link("d", "x"), hard_link("d", "d/e")), WRONG_KIND)
        self.assertEqual(said.count("a directory is in its place"), 3, said)
        self.assertEqual(self.contents(), {b"./d/e": b"1"})

    def test_directories_get_their_attributes_last(self):
        self.imported(archive(folder("d", mtime=1000), folder("e", mtime=2000),
                              member("d/f", b"1"), member("e/f", b"1"), member("d/g", b"2"),
                              member("made/on/the/way", b"3"),
                              member("closed", type=tarfile.DIRTYPE, mode=0, mtime=3000),
                              member("closed/file", b"4")))
        got = self.got()
        self.assertEqual(got[b"./d"]["times"][0], 1000 * 10**9)
        self.assertEqual(got[b"./e"]["times"][0], 2000 * 10**9)
        self.assertEqual(got[b"./closed"]["times"][0], 3000 * 10**9)
        self.assertEqual(got[b"./closed"]["mode"], oct(0o40000))
        self.assertEqual(got[b"./made/on"]["mode"], oct(0o40755))

    def test_a_hard_link_to_nothing(self):
        said = self.imported(archive(hard_link("a", "nope"), member("b", b"1")), NOT_FOUND)
        self.assertIn('another name of "nope", which does not exist', said)
        self.assertEqual(self.contents(), {b"./b": b"1"})

    def test_a_full_store_ends_it(self):
        members = [member("f%d" % number, os.urandom(100_000)) for number in range(50)]
        result = subprocess.run(
            [varve_binary(), "import", "--create", str(self.store), "--tar"],
            input=archive(*members), check=False, stderr=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
        self.assertEqual(result.returncode, NO_SPACE, result.stderr)
        self.varve("check", self.store)


if __name__ == "__main__":
    junit.main()

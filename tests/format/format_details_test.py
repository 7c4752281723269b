#!/usr/bin/env python3
"""Sentences of docs/format.md about what writers do not write: stores made byte by byte,
of which the reader that was written from the document, and a mount, must say the same.
"""

import stat
import struct
import unittest

from tests.format.fields import UNIX_EPOCH
from tests.format.format_reader import (
    Damage, NotAStore, TooNew, Tree, align64, chain, find_tail)
from tests.format.format_reader_test import (
    MountTestCase, append_tombstone, append_value, read, write)
from tests.format.format_writer import (
    FILE, FOLDER, Place, StoreWriter, change, drop_inode, drop_name, file_with, hole, inline,
    put_inode, put_name, set_content, set_xattr, value_entry, varint, whole)
from tests.format.reserved_keys import reserved_hash
from tests.format.xxh3 import xxh3_64
from tests.kit import junit
from tests.kit.mounted import varve

ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, rights, 0xFFFFFFFF) for tag, rights in ((1, 6), (4, 4), (0x20, 0)))


def put_with_times(ino, mode, size, generation, bits, *times):
    return change(1, b"".join(map(varint, (ino, mode, 0, 0, 0, size, generation)))
                  + bytes([bits]) + struct.pack("<%dQ" % len(times), *times))


def flip(data, offset, bits=0xFF):
    return data[:offset] + bytes([data[offset] ^ bits]) + data[offset + 1:]


class Details(MountTestCase):
    def setUp(self):
        super().setUp()
        self.mounted.options = "noatime,ro"
        self.writer = StoreWriter()

    def closed(self, *changes):
        if changes:
            self.writer.commit(*changes)
        self.writer.close()
        return bytes(self.writer.data)

    def expect_same(self, data):
        """Returns what both find: path -> what is seen."""
        found = self.stored_tree(data)
        write(self.store, data)
        mounted = self.mount()
        self.assertEqual(self.mounted_tree(), found)
        mounted.umount()
        self.assertEqual(read(self.store), data)
        return found

    def expect_content(self, content, *changes):
        found = self.expect_same(self.closed(*changes))
        self.assertEqual(Tree(read(self.store)).content(9), content)
        return found

    def expect_refused(self, data, error=Damage):
        with self.assertRaises(error):
            Tree(data)
        write(self.store, data)
        self.assertNotEqual(varve("get", self.store, "f", check=False).returncode, 0)
        self.assertNotEqual(
            varve("mount", "-o", "ro", self.store, self.mounted.base, check=False).returncode, 0)
        self.assertEqual(read(self.store), data)


class Changes(Details):
    """Sections 5.2 and 5.3."""

    def test_the_root_exists_from_the_start(self):
        root = self.expect_same(self.closed())[b""]
        self.assertEqual((root.mode, root.uid, root.atime, root.mtime, root.ctime),
                         (FOLDER, 0, 0, 0, 0))
        self.assertEqual(stat.S_IMODE(FOLDER), 0o755)

    def test_other_bits_of_times_mean_nothing(self):
        seconds = 1 << 30
        found = self.expect_content(
            b"", put_with_times(9, FILE, 0, 7, 0xF0, *(UNIX_EPOCH + i * seconds
                                                     for i in range(1, 5))),
            put_name(1, 9, b"f"))
        self.assertEqual((found[b"f"].atime, found[b"f"].mtime), (10**9, 2 * 10**9))

    def test_a_hole_takes_away_what_stands_before_it(self):
        self.expect_content(b"ab\0\0ef", put_inode(9, FILE, size=6), put_name(1, 9, b"f"),
                            set_content(9, inline(0, b"abcdef"), hole(2, 2)))

    def test_a_hole_takes_away_nothing_that_stands_behind_it(self):
        self.expect_content(b"abcdef", put_inode(9, FILE, size=6), put_name(1, 9, b"f"),
                            set_content(9, hole(2, 2), inline(0, b"abcdef")))

    def test_of_extents_that_overlap_the_later_one_counts(self):
        self.expect_content(b"abXYef", put_inode(9, FILE, size=6), put_name(1, 9, b"f"),
                            set_content(9, inline(0, b"abcdef"), inline(2, b"XY")))

    def test_what_was_beyond_the_size_comes_to_light(self):
        self.writer.commit(put_inode(9, FILE, size=4), put_name(1, 9, b"f"),
                           set_content(9, inline(0, b"abcdefgh")))
        self.expect_content(b"abcdef", put_inode(9, FILE, size=6))

    def test_what_grows_after_shrinking_is_a_hole(self):
        self.writer.commit(*file_with(9, 1, b"f", b"abcdef"))
        self.writer.commit(put_inode(9, FILE, size=2))
        self.expect_content(b"ab\0\0", put_inode(9, FILE, size=4))

    def test_an_inode_without_a_name_counts_for_nothing(self):
        found = self.expect_same(self.closed(
            put_inode(8, FOLDER), *file_with(9, 8, b"inside", b"x"), *file_with(7, 1, b"f", b"y")))
        self.assertEqual(sorted(found), [b"", b"f"])

    def test_an_inode_of_an_unknown_type_is_no_damage(self):
        data = self.closed(put_inode(9, 0o150644), put_name(1, 9, b"odd"),
                           *file_with(8, 1, b"f", b"text"))
        tree = Tree(data)
        self.assertEqual(tree.inodes[tree.resolve(b"odd")].mode, 0o150644)
        write(self.store, data)
        self.assertEqual(varve("get", self.store, "f").stdout, b"text")

    def test_access_lists_are_attributes(self):
        found = self.expect_same(self.closed(
            put_inode(9, stat.S_IFREG | 0o640), put_name(1, 9, b"f"),
            set_xattr(9, b"system.posix_acl_access", ACL)))
        self.assertEqual(found[b"f"].xattrs, {b"system.posix_acl_access": ACL})

    def test_an_access_list_of_another_form_is_no_damage(self):
        data = self.closed(*file_with(9, 1, b"f", b"text"),
                           set_xattr(9, b"system.posix_acl_access", b"?"))
        self.assertEqual(Tree(data).inodes[9].xattrs, {b"system.posix_acl_access": b"?"})
        write(self.store, data)
        self.assertEqual(varve("get", self.store, "f").stdout, b"text")

    def test_an_unknown_kind_of_extent_is_damage(self):
        self.expect_refused(self.closed(
            put_inode(9, FILE, size=1), put_name(1, 9, b"f"),
            set_content(9, bytes([9]) + varint(0) + varint(1))))

    def test_dropping_and_making_an_inode_is_no_change_of_type(self):
        self.writer.commit(*file_with(9, 1, b"f", b"text"))
        found = self.expect_same(self.closed(drop_name(1, b"f"), drop_inode(9),
                                             put_inode(9, FOLDER), put_name(1, 9, b"f")))
        self.assertEqual(found[b"f"].mode, FOLDER)


class Records(Details):
    """Sections 4, 5, 7 and 11."""

    def setUp(self):
        super().setUp()
        self.first = self.writer.commit(*file_with(9, 1, b"f", b"text"))

    def expect_text(self, data, unnamed=0):
        self.expect_same(data)
        tree = Tree(data)
        self.assertEqual(tree.content(tree.resolve(b"f")), b"text")
        self.assertEqual(len(tree.unnamed()), unnamed)

    def commit_key(self, sequence):
        return reserved_hash(self.writer.secret, b"c", sequence)

    def test_a_header_that_ends_early_is_no_record(self):
        data = self.closed()
        self.expect_text(append_value(data, self.commit_key(3), b"VRC1\1\0" + bytes(8)), unnamed=1)

    def test_flags_that_are_not_known_are_too_new(self):
        self.writer.commit(flags=16)
        self.expect_refused(bytes(self.writer.data), TooNew)

    def test_content_that_looks_like_a_record_with_unknown_flags_is_content(self):
        place = self.writer.plain(b"looks", b"VRC1\1\xff" + bytes(100))
        self.expect_text(self.closed(
            put_inode(8, FILE, size=place.size), put_name(1, 8, b"looks"),
            set_content(8, whole(place))))

    def test_a_later_header_is_as_it_is_known_up_to_the_number(self):
        self.writer.value(self.commit_key(2), b"VRC1\2\0" + bytes(8) + varint(2))
        self.expect_refused(bytes(self.writer.data), TooNew)

    def test_a_number_that_two_commits_bear_is_damage(self):
        self.writer.commit(*file_with(8, 1, b"g", b"text"), sequence=1)
        self.expect_refused(self.closed())

    def test_a_missing_number_is_damage(self):
        self.writer.commit(*file_with(8, 1, b"g", b"text"), sequence=3)
        self.expect_refused(self.closed())

    def test_a_damaged_commit_is_damage(self):
        self.writer.commit(*file_with(8, 1, b"g", b"text"))
        data = flip(self.closed(), self.first.start + 30)
        self.expect_refused(data)

    def test_a_checkpoint_that_is_not_there_is_passed_over(self):
        at = self.first.start + self.first.size
        self.writer.commit(*file_with(8, 1, b"g", b"text"), checkpoint=at)
        self.writer.close(checkpoint=at)
        self.expect_text(bytes(self.writer.data))

    def test_an_identity_that_does_not_match_its_checksum_is_damage(self):
        data = self.closed()
        self.expect_refused(flip(data, 20))
        # A newer one is no substitute, if the records do not lie under its keys.
        other = data[:24] + bytes(byte ^ 0xff for byte in data[24:40]) + data[40:56]
        self.expect_refused(append_value(flip(data, 20), xxh3_64(b"\0varve"), other))

    def test_an_identity_may_be_mended_by_a_copy_of_it(self):
        data = self.closed(*file_with(9, 1, b"g", b"abc"))
        identity = data[:56]
        write(self.store, append_value(flip(data, 20), xxh3_64(b"\0varve"), identity))
        self.assertEqual(varve("get", self.store, "g").stdout, b"abc")

    def test_a_store_in_a_store_is_a_value(self):
        data = append_value(b"", xxh3_64(b"image"), self.closed())
        with self.assertRaises(NotAStore):
            Tree(data)
        write(self.store, data)
        mounted = self.mount()
        self.assertEqual(self.mounted_contents(), {})
        mounted.umount()


class OtherPrograms(Details):
    """Section 9: the names of one file."""

    def setUp(self):
        super().setUp()
        place = self.writer.plain(b"a", b"old")
        self.data = self.closed(
            put_inode(9, FILE, size=place.size), put_name(1, 9, b"a"), put_name(1, 9, b"b"),
            set_content(9, whole(place)))

    def expect(self, data, expected):
        tree = Tree(data)
        self.assertEqual({path.decode(): tree.content(ino) for path, ino in tree.walk()}, expected)
        for options in ("ro", "rw"):
            self.mounted.options = options
            write(self.store, data)
            mounted = self.mount()
            self.assertEqual(self.mounted_contents(), expected)
            mounted.umount()
        self.assertEqual(self.contents(read(self.store)), expected)

    def value(self, path, content):
        self.data = append_value(self.data, xxh3_64(path), content)

    def delete(self, path):
        self.data = append_tombstone(self.data, xxh3_64(path))

    def test_the_last_of_several_values_counts(self):
        for paths in ((b"a", b"b"), (b"b", b"a")):
            with self.subTest(paths):
                self.setUp()
                self.value(paths[0], b"first")
                self.value(paths[1], b"second")
                self.expect(self.data, {"a": b"second", "b": b"second"})

    def test_one_name_is_written_while_the_other_is_deleted(self):
        self.value(b"b", b"new")
        self.delete(b"a")
        self.expect(self.data, {"b": b"new"})

    def test_a_tombstone_of_a_name_without_the_content_means_nothing(self):
        self.delete(b"b")
        self.expect(self.data, {"a": b"old", "b": b"old"})

    def test_a_name_that_was_written_and_deleted_is_as_before(self):
        self.value(b"b", b"new")
        self.delete(b"b")
        self.expect(self.data, {"a": b"old", "b": b"old"})


class Mending(unittest.TestCase):
    """Section 3.1: the example of rows a and b."""

    ENDS = (100, 200, 300, 400)
    STARTS = (0, 128, 256, 320)

    def test_the_example_is_what_it_says(self):
        data, places = b"", []
        for number, end in enumerate(self.ENDS):
            payload = b"%d" % number * (end - 20 - align64(len(data)))
            entry, place = value_entry(len(data), xxh3_64(b"key%d" % number), payload)
            data += entry
            places.append(place)
        self.assertEqual([place.start for place in places], list(self.STARTS))
        self.assertEqual([e.end for e in reversed(chain(data, find_tail(data)))], list(self.ENDS))

        def with_links(third, fourth):
            result = bytearray(data)
            for end, link in ((300, third), (400, fourth)):
                struct.pack_into("<Q", result, end - 12, link)
            return bytes(result)

        self.assertEqual(with_links(200, 300), data)
        self.assertEqual(find_tail(with_links(204, 296)), 200)
        self.assertEqual(find_tail(with_links(204, 300)), 200)
        self.assertEqual(find_tail(with_links(200, 296)), 300)


if __name__ == "__main__":
    junit.main()

#!/usr/bin/env python3
"""docs/format.md against the truth: a reader written from it alone must find in
stores what their writers put there.

The writers are the original (tests/format/golden) and Varve (a mount). A third one, in
this file, knows entries only, as other programs do.
"""

import collections
import errno
import glob
import hashlib
import json
import os
import random
import re
import shutil
import stat
import struct
import unittest
import zlib

from tests.format import block_sums, format_reader
from tests.kit import junit
from tests.format.format_reader import CutShort, Damage, NotAStore, TooNew, Tree, chain, find_tail
from tests.format.format_writer import (
    FILE, FOLDER, StoreWriter, identity_payload, put_inode, put_name, set_content, whole,
)
from tests.kit.mounted import MountedStore, varve
from tests.format.xxh3 import xxh3_64

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


# --- A writer of entries, and of commit records -------------------------------


def append_value(data, key_hash, payload):
    tail = len(data)
    pad = format_reader.align64(tail) - tail
    return data + bytes(pad) + payload + struct.pack("<QQI", key_hash, tail, zlib.crc32(payload))


def append_tombstone(data, key_hash):
    return data + b"\0" + struct.pack("<QQI", key_hash, len(data), zlib.crc32(b"\0"))


def compact(data):
    """Live entries only, newest first, as the original does it."""
    result, seen = b"", set()
    for entry in chain(data, len(data)):
        if entry.key_hash not in seen and not entry.is_tombstone:
            payload = data[entry.start:entry.metadata]
            result = append_value(result, entry.key_hash, payload)
        seen.add(entry.key_hash)
    return result


def varint(value):
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def append_commit(data, changes, version=1):
    """One commit more, of (kind, body) pairs."""
    tree = Tree(data)
    sequence = tree.last_sequence + 1
    header = b"VRC1" + bytes([version, 0]) + struct.pack("<Q", 1 << 61)
    for number in (sequence, format_reader.align64(len(data)), len(data), len(data), 1 << 20,
                   tree.next_data_id, 0):
        header += varint(number)
    body = b"".join(bytes([kind]) + varint(len(rest)) + rest for kind, rest in changes)
    return append_value(data, tree.reserved_hash(b"c", sequence), header + body)


class Golden(unittest.TestCase):
    """The entry level, on stores that the original wrote."""

    def stores(self):
        paths = sorted(glob.glob(os.path.join(HERE, "golden", "*.json")))
        self.assertGreater(len(paths), 20)
        for path in paths:
            with open(path, encoding="utf-8") as file:
                manifest = json.load(file)
            with self.subTest(manifest["store"]):
                yield manifest, read(path[:-len("json")] + "store")

    def test_key_hashes_are_those_of_the_original(self):
        for manifest, _ in self.stores():
            for live in manifest["live"]:
                key = bytes.fromhex(live["key_hex"]) if "key_hex" in live else live["key"].encode()
                self.assertEqual("%016x" % xxh3_64(key), live["key_hash"])

    def test_chains_are_those_of_the_original(self):
        for manifest, data in self.stores():
            tail = find_tail(data)
            self.assertEqual(tail, len(data))
            found = [
                ("tombstone" if e.is_tombstone else "value", "%016x" % e.key_hash, e.start, e.size,
                 e.metadata, e.prev_tail, "%08x" % e.crc)
                for e in reversed(chain(data, tail))
            ]
            fields = ("kind", "key_hash", "payload_start", "payload_length", "metadata_offset",
                      "prev_offset", "crc32")
            self.assertEqual(found, [tuple(e[f] for f in fields) for e in manifest["chain"]])

    def test_live_payloads_are_those_of_the_original(self):
        for manifest, data in self.stores():
            newest = {}
            for entry in chain(data, len(data)):
                newest.setdefault(entry.key_hash, entry)
            found = {
                "%016x" % e.key_hash: hashlib.sha256(data[e.start:e.metadata]).hexdigest()
                for e in newest.values() if not e.is_tombstone
            }
            self.assertEqual(
                found, {e["key_hash"]: e["payload_sha256"] for e in manifest["live"]})

    def test_the_example_in_the_document_is_a_golden_store(self):
        with open(os.path.join(TOP, "docs", "format.md"), encoding="utf-8") as file:
            lines = re.findall(r"^[0-9a-f]{8}: ([0-9a-f ]+)$", file.read(), re.MULTILINE)
        example = bytes.fromhex("".join(lines))
        self.assertEqual(example, read(os.path.join(HERE, "golden", "one_key.store")))

    def test_the_sums_in_the_document_are_those_of_its_value(self):
        with open(os.path.join(TOP, "docs", "format.md"), encoding="utf-8") as file:
            example = file.read().split("sums, 48 bytes:\n\n")[1].split("\n\n")[0]
        found = bytes.fromhex("".join(re.findall(
            r"^    ((?:[0-9a-f]{2} {1,2})+)", example, re.MULTILINE)))
        value = b"".join(letter * 65536 for letter in (b"a", b"b", b"c", b"d")) + b"!"
        self.assertEqual(found, block_sums.encode(xxh3_64(b"big"), value))


class Recovery(unittest.TestCase):
    """Section 3, on the longest store of small entries."""

    def setUp(self):
        self.sound = read(os.path.join(HERE, "golden", "batch.store"))
        self.tails = [entry.end for entry in reversed(chain(self.sound, len(self.sound)))]

    def test_what_follows_the_tail_is_not_taken_for_entries(self):
        rest = random.Random(1)
        for torn in (b"\0", bytes(20), bytes(4096), b"text", rest.randbytes(3000),
                     self.sound, self.sound[100:], self.sound[64:] + bytes(100)):
            self.assertEqual(find_tail(self.sound + torn), len(self.sound))

    def test_a_store_cut_short_keeps_its_whole_entries(self):
        for size in range(self.tails[3], len(self.sound), 97):
            expected = max(tail for tail in self.tails if tail <= size)
            self.assertEqual(find_tail(self.sound[:size]), expected)

    def test_a_lost_last_page_costs_the_entries_in_it(self):
        page = len(self.sound) // 4096 * 4096
        data = self.sound[:page] + bytes(len(self.sound) - page)
        self.assertEqual(find_tail(data), max(tail for tail in self.tails if tail <= page))

    def test_a_file_without_entries_is_no_store(self):
        for data in (bytes(25), bytes(100000), b"#!/bin/sh\nexit 0\n", b"x"):
            with self.assertRaises(NotAStore):
                find_tail(data)
        self.assertEqual(find_tail(b""), 0)


# --- A mount ------------------------------------------------------------------


class MountTestCase(unittest.TestCase):
    def setUp(self):
        # Times of reading are in memory until the mount ends.
        self.mounted = MountedStore(options="noatime")
        self.addCleanup(shutil.rmtree, self.mounted.base, ignore_errors=True)
        self.store = str(self.mounted.path)
        self.maxDiff = None

    def mount(self):
        """Returns the store, mounted until the end of the test at the latest."""
        if not os.path.exists(self.mounted.root):
            self.enterContext(self.mounted)
        else:
            self.mounted.mount()
        return self.mounted

    def kill(self):
        """Crashes the daemon, and takes the dead mount away."""
        self.mounted.kill()
        self.mounted.umount()

    def path(self, name):
        return os.path.join(str(self.mounted.root), name)

    def put(self, name, content):
        write(self.path(name), content)

    def patch(self, name, offset, content):
        with open(self.path(name), "r+b") as file:
            file.seek(offset)
            file.write(content)

    def contents(self, data):
        """What the reader finds: path -> content of regular files."""
        tree = Tree(data)
        return {
            path.decode(): tree.content(ino) for path, ino in tree.walk()
            if stat.S_ISREG(tree.inodes[ino].mode)
        }

    def mounted_contents(self):
        found = {}
        for folder, _, names in os.walk(self.path("")):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    found[os.path.relpath(path, self.path(""))] = read(path)
        return found

    # Everything that the kernel and the reader both know of an inode.
    FIELDS = ("mode", "nlink", "uid", "gid", "rdev", "size", "atime", "mtime", "ctime", "target",
              "xattrs", "content")
    Seen = collections.namedtuple("Seen", FIELDS)

    def seen_by_kernel(self, path):
        info = os.lstat(path)
        is_file, is_link = stat.S_ISREG(info.st_mode), stat.S_ISLNK(info.st_mode)
        names = os.listxattr(path, follow_symlinks=False)
        return self.Seen(
            info.st_mode, info.st_nlink, info.st_uid, info.st_gid, info.st_rdev,
            0 if stat.S_ISDIR(info.st_mode) else info.st_size,
            info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns,
            os.fsencode(os.readlink(path)) if is_link else b"",
            {os.fsencode(n): os.getxattr(path, n, follow_symlinks=False) for n in names},
            hashlib.sha256(read(path)).hexdigest() if is_file else "",
        )

    def seen_by_reader(self, tree, ino):
        inode = tree.inodes[ino]
        is_file, is_link = stat.S_ISREG(inode.mode), stat.S_ISLNK(inode.mode)
        return self.Seen(
            inode.mode, inode.nlink(tree.inodes), inode.uid, inode.gid, inode.rdev, inode.size,
            *(format_reader.nanoseconds(t) for t in (inode.atime, inode.mtime, inode.ctime)),
            tree.content(ino) if is_link else b"",
            inode.xattrs,
            hashlib.sha256(tree.content(ino)).hexdigest() if is_file else "",
        )

    def mounted_tree(self):
        found = {b"": self.seen_by_kernel(self.path(""))}
        for folder, folders, names in os.walk(self.path("")):
            for name in folders + names:
                path = os.path.join(folder, name)
                found[os.fsencode(os.path.relpath(path, self.path("")))] = self.seen_by_kernel(path)
        return found

    def stored_tree(self, data):
        tree = Tree(data)
        found = {b"": self.seen_by_reader(tree, 1)}
        found.update((path, self.seen_by_reader(tree, ino)) for path, ino in tree.walk())
        return found

    # One of each kind of thing, and of each way in which content can lie.
    def make_everything(self):
        rest = random.Random(7)
        self.put("empty", b"")
        self.put("nul", b"\0")
        self.put("one", b"x")
        os.mkdir(self.path("dir"))
        os.mkdir(self.path("dir/inner"), 0o1750)
        self.put("dir/plain", rest.randbytes(300000))
        self.put("emptied", b"not for long")
        self.put("emptied", b"")
        os.symlink("dir/plain", self.path("link"))
        os.link(self.path("dir/plain"), self.path("second name"))
        os.mkfifo(self.path("fifo"))
        if os.geteuid() == 0:
            os.mknod(self.path("device"), stat.S_IFCHR | 0o600, os.makedev(1, 300))
            os.chown(self.path("one"), 12345, 54321)
        os.setxattr(self.path("one"), "user.a", b"1\0" + bytes(range(256)))
        os.setxattr(self.path("dir"), "user.b", b"gone")
        os.removexattr(self.path("dir"), "user.b")
        self.put("sparse", b"")
        os.truncate(self.path("sparse"), 1 << 20)
        self.patch("sparse", 500000, b"X")
        self.put("patched", rest.randbytes(200000))
        self.patch("patched", 100, b"inside the record")
        self.patch("patched", 70000, rest.randbytes(9000))
        self.put("shrunk", rest.randbytes(50000))
        os.truncate(self.path("shrunk"), 1234)
        os.truncate(self.path("shrunk"), 4321)
        self.put("big", rest.randbytes(9 << 20))
        with open(self.path("log"), "ab") as log:
            for _ in range(10):
                log.write(rest.randbytes(5000))
                log.flush()
                os.fsync(log.fileno())
        self.clone("patched", "clone")
        self.put("renamed", b"small")
        os.rename(self.path("renamed"), self.path("dir/moved"))
        os.rename(self.path("big"), self.path("dir/inner/big"))
        os.rename(self.path("dir"), self.path("folder"))
        os.mkdir(self.path("dir"))
        self.put("dir/plain", b"another file of that path")
        os.mkdir(self.path("removed"))
        self.put("removed/file", b"removed")
        shutil.rmtree(self.path("removed"))
        self.put("name \udcff\n", b"any bytes")
        os.chmod(self.path("one"), 0o4711)
        os.utime(self.path("nul"), ns=(-(1 << 31) * 10**9 + 1, 10424617689123456789))

    def clone(self, source, target):
        with open(self.path(source), "rb") as old, open(self.path(target), "wb") as new:
            size = os.fstat(old.fileno()).st_size
            while size > 0:
                size -= os.copy_file_range(old.fileno(), new.fileno(), size)


class TreeOfAMount(MountTestCase):
    def test_everything_is_read_as_it_was_seen(self):
        mounted = self.mount()
        self.make_everything()
        expected = self.mounted_tree()
        self.assertGreater(len(expected), 20)
        while_mounted = read(self.store)
        mounted.umount()
        closed = read(self.store)
        self.assertEqual(self.stored_tree(closed), expected)
        self.assertEqual(self.stored_tree(while_mounted), expected)
        self.assertTrue(Tree(closed).is_clean)
        self.assertFalse(Tree(while_mounted).is_clean)

    def test_a_second_mount_starts_from_a_checkpoint(self):
        mounted = self.mount()
        self.make_everything()
        mounted.umount()
        mounted = self.mount()
        self.patch("folder/plain", 5, b"patched")
        self.put("new", b"new")
        os.unlink(self.path("patched"))
        expected = self.mounted_tree()
        mounted.umount()
        self.assertEqual(self.stored_tree(read(self.store)), expected)

    def test_a_plain_file_is_the_entry_of_its_path(self):
        mounted = self.mount()
        os.mkdir(self.path("a"))
        self.put("a/plain", b"these bytes")
        mounted.umount()
        data = read(self.store)
        entry = Tree(data).live(xxh3_64(b"a/plain"))
        self.assertEqual(data[entry.start:entry.metadata], b"these bytes")

    def test_a_large_file_has_block_sums(self):
        content = random.Random(5).randbytes(5 * block_sums.BLOCK + 99)
        mounted = self.mount()
        self.put("large", content)
        mounted.umount()
        data = read(self.store)
        tree = Tree(data)
        entry = tree.live(xxh3_64(b"large"))
        self.assertEqual(tree.sums_of(entry), [
            zlib.crc32(content[begin:end]) for begin, end in block_sums.blocks(len(content))])
        self.assertEqual(tree.unnamed(), [])
        at = entry.start + 2 * block_sums.BLOCK + 5
        write(self.store, data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        with self.assertRaises(Damage):
            Tree(read(self.store)).content(tree.resolve(b"large"))
        mounted = self.mount()
        with open(self.path("large"), "rb", buffering=0) as file:
            for begin, end in block_sums.blocks(len(content)):
                if begin == 2 * block_sums.BLOCK:
                    with self.assertRaises(OSError) as caught:
                        os.pread(file.fileno(), 10, begin)
                    self.assertEqual(caught.exception.errno, errno.EIO)
                else:
                    self.assertEqual(os.pread(file.fileno(), end - begin, begin),
                                     content[begin:end])
        mounted.umount()

    def test_a_killed_daemon_leaves_what_was_committed(self):
        self.mount()
        self.make_everything()
        expected = self.mounted_tree()
        with open(self.path("one"), "wb") as unfinished:
            unfinished.write(b"never closed")
            unfinished.flush()
            self.kill()
            try:
                unfinished.close()
            except OSError:
                pass  # the mount is gone
        self.assertEqual(self.stored_tree(read(self.store)), expected)
        self.assertFalse(Tree(read(self.store)).is_clean)

    def test_a_torn_end_is_ignored(self):
        mounted = self.mount()
        self.put("a", b"first")
        mounted.umount()
        closed = read(self.store)
        mounted = self.mount()
        self.put("a", b"second")
        mounted.umount()
        longer = read(self.store)
        for size in range(len(closed), len(longer), 11):
            self.assertIn(self.contents(longer[:size])["a"], (b"first", b"second"))
            self.assertIn(self.contents(longer[:size] + bytes(100))["a"], (b"first", b"second"))

    def test_damage_in_what_was_synced_is_damage(self):
        mounted = self.mount()
        self.put("a", b"first content")
        mounted.umount()
        data = bytearray(read(self.store))
        data[data.index(b"first content")] ^= 1
        with self.assertRaises(Damage):
            self.contents(bytes(data))
        data = read(self.store)
        newest = chain(data, len(data))[0]
        broken = bytearray(data)
        broken[newest.prev_tail - 1] ^= 0xff
        # That was the checkpoint: the commits before it say the same.
        self.assertEqual(self.contents(bytes(broken))["a"], b"first content")
        tree = Tree(data)
        commit = next(e for e in reversed(tree.chain)
                      if (r := tree.record_in(e)) is not None and r.sequence == 2)
        broken[commit.metadata - 1] ^= 0xff
        with self.assertRaises(Damage):
            Tree(bytes(broken))


class OtherPrograms(MountTestCase):
    def test_a_compacted_store_keeps_its_tree(self):
        mounted = self.mount()
        for name in ("a", "b", "c"):
            self.put(name, name.encode() * 100000)
        self.patch("b", 1000, b"inside the record")
        self.patch("c", 1000, b"an entry of its own" * 1000)
        os.unlink(self.path("a"))
        os.symlink("b", self.path("link"))
        expected = self.mounted_tree()
        mounted.umount()
        compacted = compact(read(self.store))
        self.assertTrue(Tree(compacted).is_relocated)
        self.assertEqual(self.stored_tree(compacted), expected)
        write(self.store, compacted)
        mounted = self.mount()
        self.assertEqual(self.mounted_tree(), expected)
        self.put("new", b"new")
        expected = self.mounted_tree()
        mounted.umount()
        data = read(self.store)
        self.assertEqual(self.stored_tree(data), expected)
        # The new checkpoint is where it belongs.
        self.assertFalse(Tree(data).is_relocated)
        data = append_value(data, xxh3_64(b"new"), b"newer")
        write(self.store, data)
        self.assertEqual(self.contents(data)["new"], b"newer")
        mounted = self.mount()
        self.assertEqual(read(self.path("new")), b"newer")
        mounted.umount()

    def test_new_content_in_a_compacted_store_is_taken_over(self):
        mounted = self.mount()
        self.put("a", b"old content")
        self.put("b", b"kept")
        mounted.umount()
        data = compact(append_value(read(self.store), xxh3_64(b"a"), b"new content"))
        self.assertTrue(Tree(data).is_relocated)
        write(self.store, data)
        expected = {"a": b"new content", "b": b"kept"}
        self.assertEqual(self.contents(data), expected)
        mounted = self.mount()
        self.assertEqual(self.mounted_contents(), expected)
        mounted.umount()
        self.assertFalse(Tree(read(self.store)).is_relocated)
        self.assertEqual(self.contents(read(self.store)), expected)

    def test_bytes_that_compaction_dropped_are_an_error_and_not_others(self):
        mounted = self.mount()
        self.put("a", b"old" * 30000)
        self.clone("a", "clone")
        self.put("a", b"new" * 30000)  # the same key and size
        mounted.umount()
        data = read(self.store)
        self.assertEqual(self.contents(data)["clone"], b"old" * 30000)
        write(self.store, compact(data))
        tree = Tree(read(self.store))
        self.assertEqual(tree.content(tree.resolve(b"a")), b"new" * 30000)
        with self.assertRaises(Damage):
            tree.content(tree.resolve(b"clone"))
        mounted = self.mount()
        self.assertEqual(read(self.path("a")), b"new" * 30000)
        with self.assertRaises(OSError):
            read(self.path("clone"))
        mounted.umount()

    def test_entries_behind_a_clean_end_change_files(self):
        mounted = self.mount()
        os.mkdir(self.path("dir"))
        for name in ("dir/overwritten", "deleted", "kept"):
            self.put(name, name.encode())
        mounted.umount()
        data = read(self.store)
        data = append_value(data, xxh3_64(b"dir/overwritten"), b"first try")
        data = append_value(data, xxh3_64(b"dir/overwritten"), b"by another program")
        data = append_tombstone(data, xxh3_64(b"deleted"))
        data = append_value(data, xxh3_64(b"unheard of"), b"unnamed")
        write(self.store, data)
        expected = {"dir/overwritten": b"by another program", "kept": b"kept"}
        self.assertEqual(self.contents(data), expected)
        self.assertEqual(
            [data[e.start:e.metadata] for e in Tree(data).unnamed()], [b"unnamed"])
        mounted = self.mount()
        self.assertEqual(self.mounted_contents(), expected)
        unnamed = self.path(".varve/unnamed/%016x" % xxh3_64(b"unheard of"))
        self.assertEqual(read(unnamed), b"unnamed")
        mounted.umount()
        self.assertEqual(self.contents(read(self.store)), expected)

    def test_entries_behind_an_unclean_end_change_nothing(self):
        mounted = self.mount()
        self.put("a", b"committed")
        self.kill()
        data = append_value(read(self.store), xxh3_64(b"a"), b"of nobody's")
        write(self.store, data)
        self.assertEqual(self.contents(data), {"a": b"committed"})
        self.assertEqual(
            [data[e.start:e.metadata] for e in Tree(data).unnamed()], [b"of nobody's"])
        mounted = self.mount()
        self.assertEqual(self.mounted_contents(), {"a": b"committed"})
        unnamed = self.path(".varve/unnamed/%016x" % xxh3_64(b"a"))
        self.assertEqual(read(unnamed), b"of nobody's")
        mounted.umount()

    def test_a_store_of_another_program_gets_a_tree(self):
        shutil.copy(os.path.join(HERE, "golden", "path_keys.store"), self.store)
        before = read(self.store)
        mounted = self.mount()
        self.put("new", b"new")
        mounted.umount()
        data = read(self.store)
        self.assertEqual(data[:len(before)], before)
        self.assertEqual(self.contents(data), {"new": b"new"})
        self.assertEqual(len(Tree(data).unnamed()), 9)


class LaterVersions(MountTestCase):
    """Section 11."""

    TOO_NEW = 15  # exit status of the command

    def make(self):
        mounted = self.mount()
        self.put("a", b"content")
        mounted.umount()
        return read(self.store)

    def command(self, *arguments):
        return varve(*arguments, check=False).returncode

    def test_a_commit_that_another_program_wrote_is_applied(self):
        data = self.make()
        write(self.store, append_commit(data, [(3, b"\x01\x02b"), (4, b"\x01a")]))
        self.assertEqual(self.contents(read(self.store)), {"b": b"content"})
        mounted = self.mount()
        self.assertEqual(self.mounted_contents(), {"b": b"content"})
        mounted.umount()

    def test_a_change_of_an_unknown_kind_is_for_readers_only(self):
        data = append_commit(self.make(), [(200, b"from the future")])
        write(self.store, data)
        self.assertEqual(Tree(data).unknown_kinds, {200})
        self.assertEqual(self.contents(data), {"a": b"content"})
        self.assertEqual(self.command("get", self.store, "a"), 0)
        self.assertEqual(self.command("put", self.store, "a", os.devnull), self.TOO_NEW)
        self.assertEqual(self.command("mount", self.store, self.mounted.root), self.TOO_NEW)
        self.assertEqual(read(self.store), data)

    def test_a_record_of_a_later_version_is_for_nobody(self):
        data = append_commit(self.make(), [], version=2)
        write(self.store, data)
        with self.assertRaises(TooNew):
            Tree(data)
        self.assertEqual(self.command("get", self.store, "a"), self.TOO_NEW)
        self.assertEqual(self.command("mount", self.store, self.mounted.root), self.TOO_NEW)
        self.assertEqual(read(self.store), data)


class OtherPrograms(unittest.TestCase):
    """Sections 4, 9 and 10, on stores that are written here byte by byte."""

    def setUp(self):
        writer = StoreWriter()
        place = writer.plain(b"f", b"text of f")
        writer.commit(
            put_inode(1, FOLDER), put_inode(2, FILE, size=place.size), put_name(1, 2, b"f"),
            put_name(1, 2, b"g"), set_content(2, whole(place)), put_inode(3, FILE),
            put_name(1, 3, b"empty"))
        writer.close()
        self.data = bytes(writer.data)

    def expect(self, data, files, unnamed=0):
        tree = Tree(data)
        self.assertEqual({path: tree.content(ino) for path, ino in tree.walk()}, files)
        self.assertEqual(len(tree.unnamed()), unnamed)

    def test_a_value_under_any_name_of_a_file_is_its_content(self):
        self.expect(append_value(self.data, xxh3_64(b"g"), b"by g"),
                    {b"f": b"by g", b"g": b"by g", b"empty": b""},
                    unnamed=1)  # until a writer hides what was there before

    def test_values_before_and_after_a_compaction_are_content(self):
        ours = {b"f": b"text of f", b"g": b"text of f", b"empty": b""}
        self.expect(compact(self.data), ours)
        self.expect(compact(append_value(self.data, xxh3_64(b"empty"), b"new")),
                    {**ours, b"empty": b"new"})
        for data in (compact(append_value(self.data, xxh3_64(b"f"), b"new")),
                     append_value(compact(self.data), xxh3_64(b"f"), b"new")):
            self.expect(data, {b"f": b"new", b"g": b"new", b"empty": b""})

    def test_a_deletion_after_a_compaction_removes_a_name(self):
        self.expect(append_tombstone(compact(self.data), xxh3_64(b"f")),
                    {b"g": b"text of f", b"empty": b""})

    def test_a_store_shorter_than_its_identity_says_is_cut_short(self):
        identity = identity_payload() + struct.pack("<Q", 1 << 20)
        writer = StoreWriter(identity=identity)
        writer.plain(b"f", b"text")
        with self.assertRaises(CutShort):
            Tree(bytes(writer.data))
        writer.commit(put_inode(1, FOLDER))
        self.assertEqual(Tree(bytes(writer.data)).least_length, 1 << 20)


if __name__ == "__main__":
    junit.main()

#!/usr/bin/env python3
"""What lies beside a store, and trees of extreme shapes.

VARVE_SECURITY_DEPTH sets the number of levels of the deepest directory (10,000
by default).
"""

import errno
import itertools
import json
import os
import pathlib
import re
import stat
import struct
import unittest
import zlib

from tests.kit import junit
from tests.format.format_reader import CHECKPOINT, Tree, align64
from tests.format.format_writer import FOLDER, MAX_U64, forged, put_inode, put_name, record
from tests.kit.mounted import MountedStore, run, varve, varve_binary
from tests.posix.posix_kit import USER, in_child
from tests.security.security_test import NAME_LIKE_THE_IDENTITY, SecurityTest, spent
from tests.format.xxh3 import xxh3_64

DEPTH = int(os.environ.get("VARVE_SECURITY_DEPTH", "10000"))
# chown, dac_override, dac_read_search, fowner, fsetid, sys_admin, sys_resource.
NEEDED = sum(1 << number for number in (0, 1, 2, 3, 4, 21, 24))
OK, NOT_FOUND, DAMAGE, NOT_A_STORE, WRONG_KIND, EXISTS, REFUSED = 0, 3, 4, 5, 6, 13, 14


class RawCommandTest(SecurityTest):
    def test_links_beyond_the_end_of_all_numbers_are_refused(self):
        payload = b"p" * 100
        for link in (MAX_U64, MAX_U64 - 20, MAX_U64 - 63, 1 << 63, (1 << 63) - 1, 121, 120, 119):
            store = payload + struct.pack("<QQI", xxh3_64(b"key"), link, zlib.crc32(payload))
            for command in (("write", "key", "value"), ("read", "key"), ("delete", "key"),
                            ("info",), ("compact",)):
                with self.subTest(link=link, command=command):
                    self.store.write_bytes(store)
                    status, text, _ = spent("raw", command[0], self.store, *command[1:])
                    self.assertIn(status, (OK, DAMAGE, NOT_A_STORE, NOT_FOUND), text)
                    self.assertEqual(store, self.store.read_bytes())
                    if link == MAX_U64:
                        self.assertIn(status, (DAMAGE, NOT_A_STORE), text)

    def test_keys_of_the_tree_are_refused(self):
        self.store.write_bytes(forged([]))
        before = self.store.read_bytes()
        name = os.fsdecode(NAME_LIKE_THE_IDENTITY)
        other = self.folder / "other"
        varve("raw", "write", other, "key", "value")
        for command in (("write", self.store, "--", name, "value"),
                        ("delete", self.store, "--", name)):
            with self.subTest(command=command):
                result = run(varve_binary(), "raw", *command, check=False)
                self.assertEqual(REFUSED, result.returncode, result.stderr)
                self.assertIn(b"choose another key", result.stderr)
                self.assertEqual(before, self.store.read_bytes())
        result = run(varve_binary(), "raw", "rename", other, "--", "key", name, check=False)
        self.assertEqual(REFUSED, result.returncode, result.stderr)


def eight_bytes_of(key_hash):
    """The only eight bytes with that XXH3-64: each step of XXH3_len_4to8_64b can be undone."""
    inverse = pow(0x9FB21C651E98DF25, -1, 1 << 64)

    def rotate(value, bits):
        return (value << bits | value >> (64 - bits)) & MAX_U64

    value = key_hash ^ key_hash >> 28 ^ key_hash >> 56
    value = value * inverse & MAX_U64
    value ^= (value >> 35) + 8
    value = value * inverse & MAX_U64
    for _ in range(63):  # linear over bits, and its 64th power changes nothing
        value ^= rotate(value, 49) ^ rotate(value, 24)
    value ^= 0x1CAD21F72C81017C ^ 0xDB979083E96DD4DE
    return struct.pack("<Q", rotate(value, 32))


class ChosenKeyTest(unittest.TestCase):
    def test_a_file_in_the_place_of_the_checkpoint(self):
        while not self.attacked():
            pass  # of this store, the bytes are no name

    def attacked(self):
        with MountedStore("compact=never", "/tmp") as store:
            key_hash = xxh3_64(store.path.read_bytes()[24:40] + b"k")
            name = eight_bytes_of(key_hash)
            self.assertEqual(key_hash, xxh3_64(name))
            if b"/" in name or b"\0" in name:
                return False
            (store / "victim").write_text("root's")
            file = os.open(os.fsencode(store.root) + b"/" + name, os.O_CREAT | os.O_WRONLY)
            tail = store.size()
            content = record(
                [put_inode(1, FOLDER), put_inode(900, 0o104755), put_name(1, 900, b"forged")],
                sequence=Tree(store.path.read_bytes()).last_sequence, flags=CHECKPOINT,
                position=align64(tail), batch_begin=tail)
            os.write(file, content)
            os.close(file)
            store.kill()
            store.mount()
            self.assertEqual(sorted([name, b"victim"]), sorted(os.listdir(bytes(store.root))))
            self.assertEqual(content, (store / os.fsdecode(name)).read_bytes())
            self.assertEqual("root's", (store / "victim").read_text())
            store.umount()
            store.check()
        return True


class BesideTheStoreTest(SecurityTest):
    def content(self):
        return sorted(os.listdir(self.folder))

    def mode(self, path):
        return stat.S_IMODE(os.lstat(path).st_mode)

    def test_new_stores_are_for_their_owner(self):
        for mask in (0, 0o022, 0o777):
            def by_mount(path):
                varve("mount", path, self.mnt, umask=mask)
                varve("umount", self.mnt)

            for make in (by_mount,
                         lambda path: varve("put", "--create", path, "f", "/etc/hostname",
                                            umask=mask),
                         lambda path: varve("raw", "write", path, "key", "/etc/hostname",
                                            umask=mask)):
                with self.subTest(mask=oct(mask), make=make):
                    path = self.folder / "new"
                    try:
                        make(path)
                        self.assertEqual(oct(0o600), oct(self.mode(path)))
                    finally:
                        path.unlink(missing_ok=True)

    def torn_store(self):
        """A store with bytes behind its end; returns where these begin."""
        self.store.write_bytes(forged([]))
        self.store.chmod(0o640)
        os.chown(self.store, USER, USER)
        size = self.store.stat().st_size
        with open(self.store, "ab") as file:
            file.write(b"half a write")
        return size

    def test_torn_bytes_get_mode_and_owner_of_the_store(self):
        path = self.folder / ("store.varve.torn-%d" % self.torn_store())
        varve("mount", self.store, self.mnt, umask=0o077)
        status = path.stat()
        self.assertEqual((0o640, USER, USER, b"half a write"),
                         (self.mode(path), status.st_uid, status.st_gid, path.read_bytes()))

    def plant(self, path, how):
        """Something at a path that is not Varve's to touch; returns how to look at it."""
        victim = self.folder / "victim"
        victim.write_bytes(b"somebody's")
        if how == "file":
            os.rename(victim, path)
            return path.read_bytes
        (os.symlink if how == "symlink" else os.link)(victim, path)
        return lambda: (victim.read_bytes() if os.path.lexists(path) else b"removed")

    def test_what_is_planted_beside_the_store_stays(self):
        for how, command in itertools.product(("file", "symlink", "link"), ("torn", "compact")):
            with self.subTest(how=how, command=command):
                tail = self.torn_store()
                path = self.folder / ("store.varve." + (
                    "compact" if command == "compact" else "torn-%d" % tail))
                look = self.plant(path, how)
                if command == "torn":
                    varve("mount", self.store, self.mnt)
                    varve("umount", self.mnt)
                    self.assertEqual(b"half a write",
                                     path.with_name(path.name + ".1").read_bytes())
                else:
                    result = varve("compact", "--forget", self.store, check=False)
                    self.assertIn(result.returncode, (OK, EXISTS), result.stderr)
                self.assertEqual(b"somebody's", look())
                self.assertEqual((0o640, USER), (self.mode(self.store), self.store.stat().st_uid))
                varve("check", self.store)
            for name in self.content():
                if name != "mnt":
                    os.unlink(self.folder / name)

    @unittest.skipUnless(os.geteuid() == 0, "only root has privileges to give up")
    def test_the_daemon_of_root_keeps_few_privileges(self):
        with MountedStore() as store:
            pid = json.loads((store / ".varve/status.json").read_text())["pid"]
            for task in os.listdir("/proc/%d/task" % pid):
                status = pathlib.Path("/proc/%d/task/%s/status" % (pid, task)).read_text()
                for name in ("CapPrm", "CapEff", "CapInh", "CapBnd"):
                    kept = int(re.search(name + r":\s+(\w+)", status).group(1), 16)
                    self.assertEqual(0, kept & ~NEEDED, name)

    def test_failures_leave_nothing(self):
        (self.folder / "junk").write_bytes(b"This is no store. " * 9)
        (self.folder / "damaged").write_bytes(forged([put_name(1, 77, b"a")]))
        before = self.content()
        for status, arguments in (
                (NOT_A_STORE, ("mount", "junk", "mnt")), (WRONG_KIND, ("mount", "mnt", "mnt")),
                (NOT_FOUND, ("mount", "new", "missing")), (WRONG_KIND, ("mount", "new", "junk")),
                (DAMAGE, ("mount", "damaged", "mnt")), (DAMAGE, ("put", "damaged", "f", "junk")),
                (NOT_FOUND, ("put", "--create", "new", "f", "missing")),
                (NOT_A_STORE, ("compact", "junk")), (DAMAGE, ("compact", "damaged"))):
            with self.subTest(arguments):
                result = varve(*arguments, cwd=self.folder, check=False)
                self.assertEqual(status, result.returncode, result.stderr)
                self.assertEqual(before, self.content())


class DeepTest(unittest.TestCase):
    def descend(self, root, name, depth):
        """Makes directories, each in the last one, and a file in the lowest."""
        os.chdir(root)
        for _ in range(depth):
            os.mkdir(name)
            os.chdir(name)
        pathlib.Path("lowest").write_text("deep down")
        os.mkfifo("fifo")

    def look(self, root, name, depth):
        os.chdir(root)
        for _ in range(depth):
            os.chdir(name)
        self.assertEqual("deep down", pathlib.Path("lowest").read_text(encoding="ascii"))

    def remove(self, root, name, depth):
        os.chdir(root)
        for _ in range(depth):
            os.chdir(name)
        os.unlink("lowest")
        os.unlink("fifo")
        for _ in range(depth):
            os.chdir("..")
            os.rmdir(name)

    def test_deep_directories(self):
        for name, depth in (("d", DEPTH), ("n" * 255, DEPTH // 10)):
            with self.subTest(name=name[:3]), MountedStore("compact=never") as store:
                tree = (store.root, name, depth)
                in_child(self.descend, *tree)
                store.kill()
                store.mount()
                in_child(self.look, *tree)
                store.remount()
                run(varve_binary(), "compact", "--forget", store.root)
                in_child(self.look, *tree)
                run(varve_binary(), "compact", "--forget", "--punch", store.root)
                store.umount()
                store.check()
                lines = varve("ls", "-R", store.path).stdout.splitlines()
                self.assertIn(b"lowest", lines[-1] + lines[-2])
                varve("compact", "--forget", store.path)
                store.mount()
                in_child(self.look, *tree)
                in_child(self.remove, *tree)
                self.assertEqual([], os.listdir(store.root))

    def test_chains_of_links(self):
        with MountedStore() as store:
            (store / "end").write_text("end")
            for i in range(100):
                os.symlink("end" if i == 0 else "l%d" % (i - 1), store / ("l%d" % i))
            os.symlink("self", store / "self")
            os.symlink("./" * 2046 + "end", store / "long")
            for _ in range(2):
                self.assertEqual("end", (store / "l39").read_text())
                self.assertEqual("end", (store / "long").read_text())
                for name in ("l40", "l99", "self"):
                    with self.assertRaises(OSError) as caught:
                        os.stat(store / name)
                    self.assertEqual(errno.ELOOP, caught.exception.errno)
                store.remount()
            varve("compact", "--forget", store.root)
            store.umount()
            store.check()
            for name in ("l99", "self"):
                self.assertLess(0, varve("get", store.path, name, check=False).returncode)


if __name__ == "__main__":
    junit.main()

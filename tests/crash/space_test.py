#!/usr/bin/env python3
"""What a store grows by: what has changed, and not the files that it changed in.

Also a directory of very many entries, which is to be listed whole while others
change it. Environment:

    VARVE_SPACE_FULL  if it is 1, the long form: larger files, more entries

Either form needs 2 GiB of disk; the long one takes a quarter of an hour:

    VARVE_SPACE_FULL=1 bazel test //tests/crash:space_test \\
        --test_env=VARVE_SPACE_FULL --test_timeout=3600

What a file has grown the store by is known for sure once the store is closed:
the kernel tells the daemon of the last close of a file after close(2) has
returned. So sizes that closing may change are taken after unmounting.
"""

import os
import random
import threading
import unittest

from tests.kit import junit
from tests.kit.mounted import MountedStore, run, varve

FULL = os.environ.get("VARVE_SPACE_FULL") == "1"
KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
PAGE = 4096
APPENDED = b"%08d " + b"one line of a log " * 5 + b"\n"  # 100 bytes
WRITES_PER_SYNC = 100


class Growth:
    """What the store has grown by since this was made."""

    def __init__(self, store):
        self._store = store
        self._before = store.size()

    def now(self):
        return self._store.size() - self._before

    def after_umount(self):
        """Unmounts first, and mounts again when the size has been taken."""
        self._store.umount()
        growth = self.now()
        self._store.mount()
        return growth


def make_files(folder, count, first=0):
    for i in range(first, first + count):
        os.close(os.open(os.path.join(folder, str(i)), os.O_CREAT | os.O_WRONLY | os.O_EXCL))


class LargeFileTest(unittest.TestCase):
    """A file of 1 GiB, which is written once, and what is done to it."""

    store = None

    @classmethod
    def setUpClass(cls):
        cls.store = cls.enterClassContext(MountedStore())
        block = os.urandom(MIB)
        with open(cls.store / "large", "wb", buffering=0) as large:
            for i in range(GIB // MIB):
                large.write(i.to_bytes(8, "little") + block[8:])

    def setUp(self):
        self.store.remount()  # Nothing of what was done before is left to be done.

    def test_one_byte(self):
        whole = Growth(self.store)
        places = (0, GIB // 2 + 1, GIB - 1)
        for place in places:
            with open(self.store / "large", "r+b", buffering=0) as large:
                byte = bytes([os.pread(large.fileno(), 1, place)[0] ^ 1])
                growth = Growth(self.store)
                os.pwrite(large.fileno(), byte, place)
                os.fsync(large.fileno())
                print("one byte of 1 GiB: store grew by %d" % growth.now())
                self.assertLess(growth.now(), 16 * KIB)
            with open(self.store / "large", "rb", buffering=0) as large:
                self.assertEqual(byte, os.pread(large.fileno(), 1, place))
        self.assertLess(whole.after_umount(), 16 * KIB * len(places))

    def test_copy(self):
        growth = Growth(self.store)
        run("cp", self.store / "large", self.store / "copy")
        print("cp of 1 GiB: store grew by %d" % growth.now())
        self.assertLess(growth.now(), MIB)
        self.assertLess(growth.after_umount(), MIB)
        run("cmp", self.store / "large", self.store / "copy")
        os.unlink(self.store / "copy")

    def test_rename(self):
        growth = Growth(self.store)
        os.rename(self.store / "large", self.store / "renamed")
        print("renaming 1 GiB: store grew by %d" % growth.now())
        self.assertLess(growth.now(), 4 * KIB)
        self.assertLess(growth.after_umount(), 12 * KIB)  # nodes, and their parity
        self.assertEqual(GIB, os.stat(self.store / "renamed").st_size)
        os.rename(self.store / "renamed", self.store / "large")


class DirectoryTest(unittest.TestCase):
    def test_rename(self):
        count = 100_000 if FULL else 20_000
        with MountedStore() as store:
            (store / "folder").mkdir()
            make_files(store / "folder", count)
            # A checkpoint is written once the log is long enough, and any commit
            # may be the one. A compaction leaves no log.
            store.umount()
            varve("compact", "--forget", store.path)
            store.mount()
            growth = Growth(store)
            os.rename(store / "folder", store / "renamed")
            print("renaming %d files: store grew by %d" % (count, growth.now()))
            self.assertLess(growth.now(), 4 * KIB)
            self.assertLess(growth.after_umount(), 4 * KIB)
            self.assertEqual(count, len(set(os.listdir(store / "renamed"))))

    def list_while_it_changes(self, folder, expected):
        """Whole, and nothing twice, while other entries come and go."""
        done = threading.Event()
        changes = 0
        problems = []

        def change():
            # No name comes back, so that none may be seen twice.
            nonlocal changes
            try:
                while not done.is_set():
                    changes += 1
                    make_files(folder, 1, first=-changes)
                    os.unlink(os.path.join(folder, str(-changes)))
            except OSError as error:
                problems.append(error)

        changer = threading.Thread(target=change)
        changer.start()
        try:
            for _ in range(5):
                with os.scandir(folder) as entries:
                    names = [entry.name for entry in entries]
                found = set(names)
                self.assertEqual(len(found), len(names))
                self.assertEqual(set(), expected - found)
                self.assertEqual([], [name for name in found - expected if name[0] != "-"])
        finally:
            done.set()
            changer.join()
        self.assertEqual([], problems)
        print("listed %d entries 5 times while %d came and went" % (len(expected), changes))
        self.assertGreater(changes, 5)

    def test_very_many_entries(self):
        count = 1_000_000 if FULL else 20_000
        expected = {str(i) for i in range(count)}
        with MountedStore() as store:
            folder = store / "many"
            folder.mkdir()
            make_files(folder, count)
            print("%d entries: store has %d bytes" % (count, store.size()))
            for _ in range(2):
                self.list_while_it_changes(folder, expected)
                names = os.listdir(folder)
                self.assertEqual(count, len(names))
                self.assertEqual(expected, set(names))
                store.remount()
            run("rm", "-rf", folder)
            self.assertEqual([], os.listdir(store.root))
            store.remount()
            self.assertEqual([], os.listdir(store.root))
            store.umount()
            store.check()


class FileTest(unittest.TestCase):
    def test_appending_to_a_log(self):
        total = (64 if FULL else 4) * MIB
        with MountedStore() as store:
            growth = Growth(store)
            count = total // len(APPENDED % 0)
            for i in range(count):
                log = os.open(store / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
                os.write(log, APPENDED % i)
                os.close(log)
            grown = growth.after_umount()
            print("%d bytes, appended in %d steps: store grew by %d" % (total, count, grown))
            self.assertLess(grown, 8 * total)
            # Not assertEqual, which would print both of them.
            text = b"".join(APPENDED % i for i in range(count))
            self.assertTrue(text == (store / "log").read_bytes())

    def test_random_writes(self):
        size = (256 if FULL else 64) * MIB
        randomness = random.Random(size)
        with MountedStore() as store:
            content = bytearray().join(randomness.randbytes(MIB) for _ in range(size // MIB))
            (store / "file").write_bytes(content)
            store.remount()
            growth = Growth(store)
            count = size // PAGE
            with open(store / "file", "r+b", buffering=0) as file:
                for i in range(1, count + 1):
                    place = randomness.randrange(count) * PAGE
                    page = randomness.randbytes(PAGE)
                    self.assertEqual(PAGE, os.pwrite(file.fileno(), page, place))
                    content[place : place + PAGE] = page
                    if i % WRITES_PER_SYNC == 0:
                        os.fsync(file.fileno())
                open_growth = growth.now()
                self.assertLess(open_growth, 4 * count * PAGE)
            grown = growth.after_umount()
            print("%d bytes, written at random: store grew by %d, and by %d after closing"
                  % (count * PAGE, open_growth, grown))
            self.assertLess(grown, 4 * count * PAGE)
            self.assertTrue(content == (store / "file").read_bytes())

    def test_output_of_several_commands(self):
        with MountedStore() as store:
            parts = {name: os.urandom(10**6) for name in "abc"}
            for name, part in parts.items():
                (store.base / name).write_bytes(part)
            growth = Growth(store)
            script = '{ cat a; cat b; cat c; } > "$1"'
            run("sh", "-ec", script, "sh", store / "f", cwd=store.base)
            content = b"".join(parts.values())
            self.assertTrue(content == (store / "f").read_bytes())
            grown = growth.after_umount()
            print("%d bytes of 3 commands: store grew by %d" % (len(content), grown))
            self.assertLess(grown, 3 * len(content))
            self.assertTrue(content == (store / "f").read_bytes())


if __name__ == "__main__":
    junit.main()

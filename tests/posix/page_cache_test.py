#!/usr/bin/env python3
"""What the kernel keeps of files in its page cache is what the files are."""

import multiprocessing
import os
import time
import unittest

from tests.kit import junit
from tests.kit.async_io import LinuxAio, Uring
from tests.kit.linux_calls import PAGE, Mapping, aligned
from tests.kit.mounted import MountedStore, run

SECONDS_OF_WRITING = 6
READERS = 3
BLOCK = 4 * PAGE
BLOCKS = 16


def read_again_and_again(path, end):
    with open(path, "rb", buffering=0) as file:
        while not end.is_set():
            for block in range(BLOCKS):
                os.pread(file.fileno(), BLOCK, block * BLOCK)


class DirectWrites(unittest.TestCase):
    """Writes with O_DIRECT that nobody waits for, while others read through the cache."""

    def setUp(self):
        self.store = MountedStore()
        self.store.__enter__()
        self.addCleanup(self.store.__exit__, None, None, None)
        self.path = self.store / "file"
        self.path.write_bytes(b"\0" * (BLOCK * BLOCKS))
        self.end = multiprocessing.Event()

    def start_readers(self):
        readers = [multiprocessing.Process(target=read_again_and_again, args=(self.path, self.end))
                   for _ in range(READERS)]
        for reader in readers:
            reader.start()
        return readers

    def write_and_compare(self, writer):
        """Writes for a while, and returns how often another read saw something else after it."""
        stale = writes = 0
        descriptor = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        reader = os.open(self.path, os.O_RDONLY)
        deadline = time.monotonic() + SECONDS_OF_WRITING
        while time.monotonic() < deadline:
            block = writes % BLOCKS
            content = aligned(bytes([1 + writes % 255]) * BLOCK)
            writer.write(descriptor, content, block * BLOCK)
            self.assertEqual(writer.wait(), BLOCK)
            stale += os.pread(reader, BLOCK, block * BLOCK) != bytes(content)
            writes += 1
        os.close(reader)
        os.close(descriptor)
        return stale, writes

    def check(self, writer):
        self.addCleanup(writer.close)
        readers = self.start_readers()
        try:
            stale, writes = self.write_and_compare(writer)
        finally:
            self.end.set()
            for reader in readers:
                reader.join()
        self.assertGreater(writes, BLOCKS)
        self.assertEqual(stale, 0, "of %d writes" % writes)
        seen = self.path.read_bytes()
        self.store.remount()
        self.assertEqual(seen, self.path.read_bytes(), "the cache and the store")

    @unittest.skipUnless(LinuxAio.is_there(), "its system calls are not known for this machine")
    def test_by_io_submit(self):
        self.check(LinuxAio())

    @unittest.skipUnless(Uring.is_there(), "the system has no io_uring")
    def test_by_io_uring(self):
        self.check(Uring())


class BehindTheEnd(unittest.TestCase):
    """Bytes written through a map behind the end of a file, which then grows.

    What becomes of them is the kernel's doing; docs/semantics.md says what that is.
    """

    SIZE, GROWN = 100, 200
    TEXT = b"behind"

    def setUp(self):
        self.store = MountedStore()
        self.store.__enter__()
        self.addCleanup(self.store.__exit__, None, None, None)
        self.path = self.store / "file"
        self.path.write_bytes(b"x" * self.SIZE)

    def grown(self, sync, grow):
        """What lies behind the old end, before and after another mount."""
        descriptor = os.open(self.path, os.O_RDWR)
        area = Mapping(descriptor, PAGE)
        area.write(self.SIZE, self.TEXT)
        if sync:
            area.sync()
        grow(descriptor)
        area.close()
        os.close(descriptor)
        seen = self.path.read_bytes()
        self.assertEqual(seen[:self.SIZE], b"x" * self.SIZE)
        self.store.remount()
        self.assertEqual(self.path.read_bytes(), seen)
        return seen[self.SIZE:]

    def test_they_are_zeros_after_msync(self):
        tail = self.grown(True, lambda descriptor: os.ftruncate(descriptor, self.GROWN))
        self.assertEqual(tail, bytes(self.GROWN - self.SIZE))

    def test_they_are_the_same_in_cache_and_store(self):
        for grow in (lambda descriptor: os.ftruncate(descriptor, self.GROWN),
                     lambda descriptor: os.pwrite(descriptor, b"\0", self.GROWN - 1),
                     lambda descriptor: os.posix_fallocate(descriptor, 0, self.GROWN)):
            self.path.write_bytes(b"x" * self.SIZE)
            zeros = bytes(self.GROWN - self.SIZE)
            kept = self.TEXT + zeros[len(self.TEXT):]
            # A kernel that clears the page is right, too.
            self.assertIn(self.grown(False, grow), (kept, zeros))


class WritersThatShareAFile(unittest.TestCase):
    """Who commits by closing, as a kill -9 of the daemon shows."""

    OLD, NEW = b"o" * 4000, b"n" * 400

    def after_kill(self, what_others_do):
        with MountedStore() as store:
            path = store / "file"
            path.write_bytes(self.OLD)
            writer = os.open(path, os.O_WRONLY | os.O_TRUNC)
            os.write(writer, self.NEW)
            what_others_do(path, writer)
            store.kill()
            try:
                os.close(writer)
            except OSError:
                pass  # there is nobody to answer
            run("umount", store.root)
            store.mount()
            return path.read_bytes()

    def test_not_who_wrote_nothing(self):
        def others(path, _):
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
                os.close(os.open(path, flags))

        self.assertEqual(self.after_kill(others), self.OLD)

    def test_not_who_truncates_by_path(self):
        self.assertEqual(self.after_kill(lambda path, _: os.truncate(path, 10)), self.OLD[:10])

    def test_who_shares_the_open(self):
        def others(_, writer):
            if os.fork() == 0:
                os.close(writer)
                os._exit(0)
            os.wait()

        self.assertEqual(self.after_kill(others), self.NEW)

    def test_who_syncs(self):
        def others(path, _):
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

        self.assertEqual(self.after_kill(others), self.NEW)


if __name__ == "__main__":
    junit.main()

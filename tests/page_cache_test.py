#!/usr/bin/env python3
"""What the kernel keeps of files in its page cache is what the files are."""

import multiprocessing
import os
import time
import unittest

import junit
from async_io import LinuxAio, Uring
from linux_calls import PAGE, aligned
from mounted import MountedStore

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


if __name__ == "__main__":
    junit.main()

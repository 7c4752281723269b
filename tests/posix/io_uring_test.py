#!/usr/bin/env python3
"""Mounts whose requests come through io_uring: when they do, and how they behave.

The tests of other files run on such mounts, too, as the targets *_io_uring_test.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import random
import select
import signal
import subprocess
import time
import unittest

from tests.kit import io_uring
from tests.kit import junit
from tests.kit.mounted import GONE, MountedStore, listing, run, varve_binary, wait_until

FORBIDDEN = pathlib.Path("/proc/sys/kernel/io_uring_disabled")
SECONDS_OF_LOAD = 5


def transport(status):
    return status["transport"]


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@unittest.skipUnless(io_uring.is_there(), "the kernel has no FUSE over io_uring, or not for us")
class RingTest(unittest.TestCase):
    offered = True

    def setUp(self):
        switch = io_uring.offered(self.offered)
        switch.__enter__()
        self.addCleanup(switch.__exit__, None, None, None)

    def mount(self, options="io_uring"):
        store = MountedStore(options)
        store.__enter__()
        self.addCleanup(store.__exit__, None, None, None)
        return store


class ChoiceTest(RingTest):
    def test_it_is_used_where_it_is_offered(self):
        for options in ("io_uring", "io_uring=no,io_uring=yes"):
            with MountedStore(options) as store:
                self.assertEqual(transport(store.remount()), "io_uring", options)
                self.assertIn("transport: io_uring", (store / ".varve/status").read_text())

    def test_it_is_not_used_unless_asked_for(self):
        for options in ("", "io_uring,io_uring=no"):
            with MountedStore(options) as store:
                self.assertEqual(transport(store.remount()), "/dev/fuse", options)

    @unittest.skipUnless(os.access(FORBIDDEN, os.W_OK), "io_uring cannot be forbidden")
    def test_it_does_without_where_the_system_forbids_it(self):
        before = FORBIDDEN.read_text()
        FORBIDDEN.write_text("2")
        try:
            with MountedStore("io_uring") as store:
                self.assertEqual(transport(store.remount()), "/dev/fuse")
                (store / "file").write_text("text")
                store.remount()
                self.assertEqual((store / "file").read_text(), "text")
        finally:
            FORBIDDEN.write_text(before)


class NotOfferedTest(RingTest):
    offered = False

    def test_it_does_without(self):
        store = self.mount()
        self.assertEqual(transport(store.remount()), "/dev/fuse")

    def test_who_asks_for_it_is_told_what_to_do(self):
        store = self.mount()
        store.umount()
        daemon = subprocess.Popen(
            [varve_binary(), "mount", "-f", "-o", "io_uring", store.path, store.root],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: os.path.ismount(store.root), "the mount")
        run("umount", store.root)
        log = daemon.communicate(timeout=60)[1]
        self.assertEqual(daemon.returncode, 0, log)
        self.assertIn("/sys/module/fuse/parameters/enable_uring", log)


class ContentTest(RingTest):
    def test_requests_and_answers_of_every_size(self):
        store = self.mount()
        content = random.Random(1).randbytes(5 << 20)
        for size in (0, 1, 4095, 4096, 4097, 131071, 131072, 131073, 1 << 20, (1 << 20) + 1,
                     5 << 20):
            (store / ("file-%d" % size)).write_bytes(content[:size])
        for name in range(3000):
            (store / ("n" * 200 + str(name))).touch()
        os.symlink("t" * 4095, store / "link")
        os.setxattr(store / "file-0", "user.large", content[:65536])
        before = listing(store.root)
        store.remount()
        self.assertEqual(listing(store.root), before)
        self.assertEqual(os.getxattr(store / "file-0", "user.large"), content[:65536])
        for path in store.root.glob("file-*"):
            self.assertEqual(path.read_bytes(), content[:int(path.name[5:])], path.name)
        with open(store / ("file-%d" % (5 << 20)), "r+b", buffering=0) as file:
            for offset in (1, 4097, 131071, 1 << 20, (4 << 20) + 3):
                length = min(1 << 20, len(content) - offset)
                self.assertEqual(os.pread(file.fileno(), length, offset),
                                 content[offset:offset + length])
            os.pwrite(file.fileno(), content[:1 << 20], 12345)
        expected = content[:12345] + content[:1 << 20] + content[12345 + (1 << 20):]
        store.remount()
        self.assertEqual((store / ("file-%d" % (5 << 20))).read_bytes(), expected)
        store.umount()
        store.check()

    def test_errors_come_through(self):
        store = self.mount()
        with self.assertRaises(FileNotFoundError):
            (store / "missing").read_text()
        with self.assertRaises(OSError):
            os.setxattr(store.root, "user.x", b"x" * 65537)
        with self.assertRaises(FileNotFoundError):
            os.getxattr(store / "missing", "user.x")
        (store / "folder").mkdir()
        (store / "folder/file").touch()
        with self.assertRaises(OSError):
            (store / "folder").rmdir()


class CallersTest(RingTest):
    def work(self, folder, seed):
        """Creates, syncs, reads and removes; returns what is left."""
        rng = random.Random(seed)
        left = {}
        folder.mkdir()
        end = time.monotonic() + SECONDS_OF_LOAD
        for i in range(1 << 20):
            if time.monotonic() > end:
                break
            path = folder / str(i)
            content = rng.randbytes(rng.choice((10, 5000, 300_000)))
            with open(path, "wb") as file:
                file.write(content)
                if i % 2 == 0:
                    file.flush()
                    os.fsync(file.fileno())
            left[path.name] = hashlib.sha256(content).hexdigest()
            if i % 3 == 0:
                victim = rng.choice(sorted(left))
                self.assertEqual(digest_of(folder / victim), left.pop(victim))
                (folder / victim).unlink()
        return left

    def expect_all_right(self, options, callers):
        store = self.mount(options)
        with concurrent.futures.ThreadPoolExecutor(callers) as pool:
            results = list(pool.map(lambda i: self.work(store / str(i), i), range(callers)))
        store.remount()
        for i, left in enumerate(results):
            self.assertEqual({p.name: digest_of(p) for p in (store / str(i)).iterdir()}, left)
        store.umount()
        store.check()

    def test_more_callers_than_threads(self):
        self.expect_all_right("io_uring", 24)

    def test_one_thread_for_each_processor(self):
        self.expect_all_right("io_uring,threads=1", 6)

    def test_callers_that_are_killed(self):
        store = self.mount()
        (store / "large").write_bytes(os.urandom(64 << 20))
        store.remount()
        for _ in range(50):
            reader = subprocess.Popen(["cat", store / "large", store / "large"],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            reader.stdout.read(1 << 20)
            reader.send_signal(signal.SIGKILL)
            reader.communicate()
            self.assertEqual(reader.returncode, -signal.SIGKILL)
        self.assertEqual((store / "large").stat().st_size, 64 << 20)

    def test_an_idle_mount_takes_no_processor_time(self):
        store = self.mount()
        (store / "file").write_text("text")
        wait_until(lambda: self.ticks_of_a_second(store.pid) == 0, "an idle mount")
        self.assertLessEqual(sum(self.ticks_of_a_second(store.pid) for _ in range(3)), 1)

    def ticks_of_a_second(self, pid):
        def ticks():
            fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        before = ticks()
        time.sleep(1)
        return ticks() - before


class EndTest(RingTest):
    def test_the_daemon_ends_with_its_mount(self):
        for _ in range(20):
            with MountedStore("io_uring") as store:
                (store / "file").write_text("text")
                # Readable once all threads have ended, also before the parent
                # has taken note, until when the process still has its number.
                daemon = os.pidfd_open(store.pid)
                try:
                    store.umount()
                    self.assertEqual(select.select([daemon], [], [], 0)[0], [daemon])
                finally:
                    os.close(daemon)

    def test_callers_of_a_killed_daemon_are_told(self):
        store = self.mount()
        file = os.open(store / "file", os.O_WRONLY | os.O_CREAT)
        os.write(file, b"text")
        os.fsync(file)
        store.kill()
        for call in (lambda: os.fsync(file), lambda: os.listdir(store.root),
                     lambda: os.close(file)):
            with self.assertRaises(OSError) as raised:
                call()
            self.assertIn(raised.exception.errno, GONE)
        run("umount", store.root)
        store.mount()
        self.assertEqual((store / "file").read_bytes(), b"text")


if __name__ == "__main__":
    junit.main()

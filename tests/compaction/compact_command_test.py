#!/usr/bin/env python3
"""`varve compact`, and the ioctls of fs/ioctl/varve_ioctl.h that a mount answers."""

import contextlib
import errno
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import unittest

from tests.kit import junit
from tests.kit.mounted import MountedStore, run, varve_binary, wait_until

OK, USAGE, NO_PERMISSION, READ_ONLY, CANCELLED = 0, 2, 7, 9, 130
NOBODY = 65534

# fs/ioctl/varve_ioctl.h
START, GET_PROGRESS, CANCEL = 0xC0405680, 0x81805681, 0x5682
GET_STATISTICS, SYNC, RECLAIM = 0x80C05683, 0x5684, 0x5685
PUNCH = 1
ENDED = 5

MIB = 1 << 20


def call(descriptor, request, buffer=None):
    """What the call has put into its struct; an OSError if it fails."""
    if buffer is None:
        fcntl.ioctl(descriptor, request)
        return b""
    buffer = bytearray(buffer)
    fcntl.ioctl(descriptor, request, buffer, True)
    return bytes(buffer)


FORGET = 2  # VARVE_COMPACT_FORGET


def start(descriptor, version=1, flags=FORGET, rate=0, reserved=0):
    words = struct.pack("=IIQIIQQQQQ", version, flags, rate, 0, 0, 0, 0, 0, 0, reserved)
    return struct.unpack_from("=I", call(descriptor, START, words), 16)[0]


def progress(descriptor):
    names = ("version", "phase", "kind", "result", "bytes_done", "bytes_total", "files_done",
             "files_total", "bytes_reclaimed", "elapsed_ms", "eta_ms", "longest_stall_us")
    words = call(descriptor, GET_PROGRESS, bytes(384))
    return dict(zip(names, struct.unpack_from("=4I8Q", words)))


def statistics(descriptor):
    names = ("version", "reserved", "total_bytes", "allocated_bytes", "live_bytes", "dead_bytes",
             "files", "commits", "extents", "peak_extra_bytes", "available_bytes")
    return dict(zip(names, struct.unpack_from("=2I10Q", call(descriptor, GET_STATISTICS,
                                                             bytes(192)))))


def is_running(descriptor):
    return progress(descriptor)["phase"] not in (0, ENDED)


class CompactTest(unittest.TestCase):
    options = "compact=never"

    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.store = stack.enter_context(MountedStore(self.options))
        (self.store / "dir").mkdir()
        self.contents = {"dir/kept%d" % i: os.urandom(MIB) for i in range(8)}
        for name, content in self.contents.items():
            (self.store / name).write_bytes(content)

    def open(self, name=""):
        descriptor = os.open(self.store / name, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        return descriptor

    def make_dead(self):
        for i in range(8):
            (self.store / "dead").write_bytes(os.urandom(MIB))
        (self.store / "dead").unlink()

    def varve(self, *arguments, status=OK):
        result = run(varve_binary(), *arguments, check=False)
        self.assertEqual(result.returncode, status, result.stderr.decode(errors="replace"))
        return result

    def compact(self, *arguments, **options):
        return json.loads(self.varve("compact", "--forget", "--json", *arguments, **options).stdout)

    def assert_intact(self):
        for name, content in self.contents.items():
            self.assertEqual((self.store / name).read_bytes(), content, name)


class Ioctls(CompactTest):
    options = "compact=never,allow_other"

    def fails(self, number, function, *arguments, **options):
        with self.assertRaises(OSError) as caught:
            function(*arguments, **options)
        self.assertEqual(caught.exception.errno, number)

    def test_each_file_and_directory_answers(self):
        for name in ("", "dir", "dir/kept0", ".varve", ".varve/status", ".varve/unnamed"):
            with self.subTest(name):
                descriptor = self.open(name)
                self.assertEqual(progress(descriptor)["version"], 1)
                figures = statistics(descriptor)
                self.assertEqual(figures["files"], 10)
                self.assertGreater(figures["live_bytes"], 8 * MIB)
                self.assertGreater(figures["available_bytes"], 0)
                call(descriptor, SYNC)

    def test_what_is_not_known_is_refused(self):
        descriptor = self.open()
        self.fails(errno.ENOTTY, call, descriptor, 0x568F)
        self.fails(errno.ENOTTY, call, descriptor, START + (8 << 16), bytes(72))
        self.fails(errno.EINVAL, start, descriptor, version=2)
        self.fails(errno.EINVAL, start, descriptor, flags=4)
        self.fails(errno.EINVAL, start, descriptor, reserved=1)
        self.assertEqual(progress(descriptor)["phase"], 0)

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_others_may_only_look(self):
        descriptor = self.open()
        # It changes its user when Python has read all its files.
        code = "\n".join((
            "import os, tests.compaction.compact_command_test as t",
            "os.setgroups([]); os.setgid(%d); os.setuid(%d)" % (NOBODY, NOBODY),
            "def number(function, *arguments):",
            "    try:",
            "        function(%d, *arguments)" % descriptor,
            "    except OSError as error:",
            "        return error.errno",
            "    return 0",
            "print(number(t.start), number(t.call, t.CANCEL), number(t.call, t.RECLAIM),",
            "      number(t.progress), number(t.statistics), number(t.call, t.SYNC))",
        ))
        result = subprocess.run(
            [sys.executable, "-c", code], pass_fds=[descriptor], stdout=subprocess.PIPE,
            env=dict(os.environ, PYTHONPATH=os.getcwd()),
            check=True,
        )
        self.assertEqual(result.stdout.split(),
                         [b"%d" % n for n in (errno.EPERM,) * 3 + (0, 0, 0)])

    def test_start_and_watch(self):
        self.make_dead()
        descriptor = self.open("dir")
        before = statistics(descriptor)
        self.assertEqual(start(descriptor), 0)
        wait_until(lambda: not is_running(descriptor), "the compaction to end")
        end = progress(descriptor)
        self.assertEqual((end["phase"], end["result"], end["eta_ms"]), (ENDED, 0, 0))
        self.assertGreater(end["bytes_reclaimed"], 4 * MIB)
        self.assertLess(statistics(descriptor)["allocated_bytes"],
                        before["allocated_bytes"] - 4 * MIB)
        self.assert_intact()

    def test_reclaim_punches(self):
        self.make_dead()
        descriptor = self.open()
        call(descriptor, RECLAIM)
        wait_until(lambda: not is_running(descriptor), "the compaction to end")
        end = progress(descriptor)
        self.assertEqual((end["kind"], end["result"]), (PUNCH, 0))
        self.assert_intact()

    def test_cancel(self):
        descriptor = self.open()
        call(descriptor, CANCEL)  # none is running
        self.assertEqual(start(descriptor, rate=MIB), 0)
        self.assertEqual(start(descriptor), 1)
        call(descriptor, CANCEL)
        wait_until(lambda: not is_running(descriptor), "the compaction to end")
        self.assertEqual(progress(descriptor)["result"], errno.ECANCELED)
        self.assert_intact()


class Command(CompactTest):
    def setUp(self):
        super().setUp()
        # Where tests run in the background it is ignored, which is inherited.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)

    def begin(self, *arguments):
        """Starts a slow compaction as a process of its own, and waits until it runs."""
        process = subprocess.Popen(
            [varve_binary(), "compact", "--forget", "--limit", "1M", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def begin_mounted(self):
        process = self.begin(self.store.root)
        descriptor = self.open()
        wait_until(lambda: is_running(descriptor), "the compaction to begin")
        os.utime(self.store.root)  # the mount stays in use
        return process

    def test_a_mount_does_the_work_whatever_names_it(self):
        for name in (self.store.root, self.store / "dir", self.store / "dir/kept0",
                     self.store.path):
            with self.subTest(name):
                self.make_dead()
                report = self.compact(name)
                self.assertEqual(report["result"], "done")
                self.assertEqual(report["mounted_at"], os.path.realpath(self.store.root))
                self.assertEqual((report["kind"], report["joined"]), ("copy", False))
                self.assertGreater(report["bytes_reclaimed"], 4 * MIB)
        self.assert_intact()
        self.store.umount()
        self.store.check()

    def test_a_store_that_is_not_mounted(self):
        self.make_dead()
        self.store.umount()
        before = self.store.path.read_bytes()
        outlook = self.compact("--dry-run", self.store.path)
        self.assertIs(outlook["fits"], True)
        self.assertGreater(outlook["would_reclaim_bytes"], 4 * MIB)
        self.assertEqual(self.store.path.read_bytes(), before)
        result = self.varve("compact", "--forget", self.store.path)
        self.assertRegex(result.stdout.decode(),
                         r"\A%s: .* reclaimed; copied .*\n\Z" % self.store.path)
        self.assertEqual(result.stderr, b"")
        self.assertLess(self.store.size(), len(before) - 4 * MIB)
        self.store.check()
        self.store.mount()
        self.assert_intact()

    def test_punching(self):
        self.make_dead()
        report = self.compact("--punch", self.store.root)
        self.assertEqual((report["kind"], report["result"]), ("punch", "done"))
        self.assert_intact()
        self.store.umount()
        self.compact("--punch", self.store.path)
        self.store.check()

    def test_a_second_one_joins_and_a_signal_cancels_both(self):
        first = self.begin_mounted()
        second = self.begin(self.store.path)
        self.assertIn(b"is running already", second.stderr.readline())
        second.send_signal(signal.SIGINT)
        for process in (second, first):
            self.assertEqual(process.wait(), CANCELLED)
            self.assertIn(b"was cancelled", process.stderr.read())
        self.assert_intact()

    def test_cancelling_without_a_mount_leaves_the_store(self):
        self.store.umount()
        before = self.store.size()
        process = self.begin("--json", self.store.path)
        leftover = self.store.path.with_name(self.store.path.name + ".compact")
        wait_until(leftover.exists, "the compaction to begin")
        process.send_signal(signal.SIGTERM)
        output = process.stdout.read()
        self.assertEqual(process.wait(), CANCELLED)
        self.assertEqual(json.loads(output)["result"], "cancelled")
        self.assertFalse(leftover.exists())
        self.assertGreaterEqual(self.store.size(), before)
        self.store.check()

    def test_a_read_only_mount_is_refused(self):
        self.store.umount()
        self.store.options = "ro"
        self.store.mount()
        for name in (self.store.root, self.store.path):
            result = self.varve("compact", "--forget", name, status=READ_ONLY)
            self.assertRegex(result.stderr, rb"\Avarve: .*read-only; unmount it, .*\n\Z")
        self.compact("--dry-run", self.store.root)


if __name__ == "__main__":
    junit.main()

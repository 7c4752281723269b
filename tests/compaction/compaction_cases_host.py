"""Cases for compaction_test.py: the store's file, its disk, and what watches it.

VARVE_SPACE_FULL=1 rewrites trees of 1 GiB instead of 80 MiB.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import time
import unittest

from tests.compaction.compact_command_test import (
    CANCEL, CANCELLED, ENDED, READ_ONLY, SYNC, call, is_running, progress, start)
from tests.compaction.compaction_kit import (
    IN_USE, KIB, MIB, NO_SPACE, OK, ROOT, allocated, compact, compact_done, content_of, fill_disk,
    leftover, make_tree, mounted_at, small_disk, status_of, verify_tree, writes_fail)
from tests.kit.mounted import MountedStore, run, varve, varve_binary, wait_until

FULL = os.environ.get("VARVE_SPACE_FULL") == "1"
ROUNDS = 10
TREE_BYTES = (1024 if FULL else 80) * MIB
SMALLEST, LARGEST = 64 * KIB, 4 * MIB
BOUND = 2.5
BY_HAND = "compact=never"


class HostTest(unittest.TestCase):
    """A store with some files, which have to be there in the end, too."""

    options = BY_HAND

    def mounted(self, **options):
        store = self.enterContext(MountedStore(self.options, **options))
        self.made = make_tree(store / "kept", 11, 20, MIB)
        return store

    def make_dead(self, store, size=8 * MIB):
        (store / "dead").write_bytes(content_of(12, size))
        (store / "dead").unlink()

    def assert_usable(self, store):
        """With everything in it, before and after a remount, and no leftover."""
        for _ in range(2):
            self.assertEqual([], verify_tree(store / "kept", self.made))
            (store / "new").write_text("new")
            (store / "new").unlink()
            self.assertFalse(leftover(store).exists())
            store.umount()
            store.check()
            store.mount()


class StoreFileTest(HostTest):
    """It is the same file for all that others can see, but for its inode number."""

    @unittest.skipUnless(ROOT, "only root can give a file away")
    def test_mode_owner_and_attributes_are_kept(self):
        store = self.mounted()
        os.chown(store.path, 1234, 2345)
        os.chmod(store.path, 0o640)
        os.setxattr(store.path, "user.note", b"mine")
        os.setxattr(store.path, "trusted.note", b"root's")
        run("setfacl", "-m", "u:4711:r", store.path)

        def look():
            status = os.stat(store.path)
            return (oct(status.st_mode), status.st_uid, status.st_gid,
                    {name: os.getxattr(store.path, name) for name in os.listxattr(store.path)})

        before, inode = look(), os.stat(store.path).st_ino
        self.assertEqual(4, len(before))
        self.make_dead(store)
        compact_done(store.root)
        self.assertEqual(before, look())
        self.assertNotEqual(inode, os.stat(store.path).st_ino)
        store.umount()
        compact_done(store.path)
        self.assertEqual(before, look())
        store.mount()
        self.assert_usable(store)

    def test_a_symlink_stays(self):
        store = self.mounted()
        real = store.base / "elsewhere/real.varve"
        real.parent.mkdir()
        store.umount()
        os.rename(store.path, real)
        os.symlink("elsewhere/real.varve", store.path)
        store.mount()
        for name in (store.root, store.path, real):
            with self.subTest(name):
                self.make_dead(store)
                before = os.stat(real)
                compact_done(name)
                self.assertEqual("elsewhere/real.varve", os.readlink(store.path))
                self.assertNotEqual(before.st_ino, os.stat(real).st_ino)
                self.assertLess(os.stat(real).st_size, before.st_size - 4 * MIB)
                self.assertEqual(["real.varve"], os.listdir(real.parent))
        self.assert_usable(store)

    @unittest.skipUnless(ROOT, "only root can mount")
    def test_a_directory_that_is_mounted_elsewhere(self):
        store = self.mounted()
        store.umount()
        real, bound = store.base / "real", store.base / "bound"
        real.mkdir()
        bound.mkdir()
        os.rename(store.path, real / "store.varve")
        with mounted_at(bound, "--bind", real):
            first, store.path = store.path, bound / "store.varve"
            store.mount()
            self.make_dead(store)
            before = os.stat(real / "store.varve")
            compact_done(store.root)
            after = os.stat(real / "store.varve")
            self.assertNotEqual(before.st_ino, after.st_ino)
            self.assertEqual(after.st_ino, os.stat(store.path).st_ino)
            self.assertLess(after.st_size, before.st_size - 4 * MIB)
            self.assert_usable(store)
            store.umount()
            store.path = first

    @unittest.skipUnless(ROOT, "only root can mount")
    def test_a_file_that_is_mounted_is_refused(self):
        store = self.mounted()
        store.umount()
        bound = store.base / "bound.varve"
        bound.touch()
        with mounted_at(bound, "--bind", store.path):
            first, store.path = store.path, bound
            store.mount()
            self.make_dead(store)
            inode = os.stat(bound).st_ino
            for name in (store.root, store.path):
                status, _, complaints = compact(name)
                self.assertNotEqual(OK, status)
                self.assertIn("bound.varve", complaints)
                self.assertEqual(1, len(complaints.splitlines()), complaints)
                self.assertFalse(status_of(store)["read_only"])
                self.assertEqual(inode, os.stat(bound).st_ino)
            compact_done(store.root, "--punch")
            self.assert_usable(store)
            store.umount()
            self.assertNotEqual(OK, compact(store.path)[0])
            store.check()
            store.path = first
        store.mount()
        self.assert_usable(store)

    def test_another_file_in_its_place(self):
        store = self.mounted()
        aside = store.base / "aside"
        with subprocess.Popen(
            [varve_binary(), "compact", "--forget", "--limit", "8M", str(store.root)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        ) as process:
            wait_until(leftover(store).exists, "the compaction to begin")
            os.rename(store.path, aside)
            store.path.write_text("another")
            complaints = process.stderr.read().decode()
            self.assertNotIn(process.wait(), (OK, READ_ONLY), complaints)
        self.assertIn("another file has taken the place of %s" % store.path, complaints)
        self.assertEqual("another", store.path.read_text())
        self.assertEqual([], verify_tree(store / "kept", self.made))
        self.assertFalse(leftover(store).exists())
        os.rename(aside, store.path)
        self.assert_usable(store)

    def test_a_second_mount_is_refused_throughout(self):
        store = self.mounted()
        other = store.base / "other"
        other.mkdir()
        # It goes on asking for some seconds, while files take the place of files.
        with subprocess.Popen(
            [varve_binary(), "mount", str(store.path), str(other)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        ) as second:
            count = 0
            while second.poll() is None:
                compact_done(store.root)
                count += 1
            self.assertIn(b"%d" % store.pid, second.stderr.read())
        self.assertEqual(IN_USE, second.returncode)
        self.assertGreater(count, 1)
        self.assert_usable(store)


@unittest.skipUnless(ROOT, "only root can mount a disk")
class DiskFullTest(HostTest):
    SIZE = 160 * MIB

    def setUp(self):
        base = self.enterContext(
            tempfile.TemporaryDirectory(prefix="varve-", dir=os.environ.get("TEST_TMPDIR")))
        self.disk = self.enterContext(small_disk(pathlib.Path(base), self.SIZE))
        self.store = self.mounted(directory=self.disk)
        self.made.update({"../more/" + name: line for name, line in
                          make_tree(self.store / "more", 13, 30, 2 * MIB).items()})
        self.make_dead(self.store, 12 * MIB)
        self.filler = self.disk / "filler"
        # What is dead is durably so, and a commit says that.
        descriptor = os.open(self.store.root, os.O_RDONLY)
        call(descriptor, SYNC)
        os.close(descriptor)
        (self.store / "more/last").touch()

    def use_up_room(self):
        """Writes until that fails: a store has room of its own ahead."""
        for _ in range(1000):
            if writes_fail(self.store / "more/new"):
                return
        self.fail("the disk is not full")

    def finish(self):
        self.filler.unlink(missing_ok=True)
        self.assert_usable(self.store)
        self.store.umount()

    def test_copying_is_refused_with_figures(self):
        fill_disk(self.filler)
        for name in (self.store.root, self.store.path):
            status, report, complaints = compact(name)
            self.assertEqual(NO_SPACE, status, complaints)
            self.assertRegex(complaints, r"\d+ MiB .*\d+ MiB")
            self.assertEqual("failed", report["result"])
            self.assertFalse(leftover(self.store).exists())
        outlook = json.loads(
            varve("compact", "--forget", "--json", "--dry-run", self.store.root).stdout)
        self.assertIs(outlook["fits"], False)
        self.assertEqual([], verify_tree(self.store / "kept", self.made))
        self.store.umount()
        status, _, complaints = compact(self.store.path)
        self.assertEqual(NO_SPACE, status, complaints)
        self.store.check()
        self.filler.unlink()
        self.store.mount()
        self.finish()

    def test_punching_makes_room(self):
        fill_disk(self.filler)
        self.use_up_room()
        before = allocated(self.store.path)
        report = compact_done(self.store.root, "--punch")
        self.assertGreater(report["bytes_reclaimed"], 8 * MIB)
        self.assertLess(allocated(self.store.path), before - 8 * MIB)
        self.assertFalse(writes_fail(self.store / "more/new"))
        self.finish()

    def test_deleting_when_full_and_punching_then(self):
        """Removing needs some bytes, which are kept for it (docs/semantics.md)."""
        fill_disk(self.filler)
        self.use_up_room()
        names = [name for name in self.made if name.startswith("../more/d1")]
        for name in names:
            os.unlink(self.store / "kept" / name)
        removed = sum(self.made.pop(name)[1] for name in names)
        report = compact_done(self.store.root, "--punch")
        self.assertGreater(report["bytes_reclaimed"], removed * 3 // 4)
        self.assertFalse(writes_fail(self.store / "more/new"))
        self.finish()

    def test_copying_pauses_while_there_is_little_room(self):
        descriptor = os.open(self.store.root, os.O_RDONLY)
        with subprocess.Popen(
            [varve_binary(), "compact", "--forget", "--limit", "8M", str(self.store.root)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        ) as process:
            # From then on it has looked whether there is room, and found it.
            wait_until(lambda: leftover(self.store).exists() or process.poll() is not None,
                       "the compaction to begin")
            fill_disk(self.filler, leave=8 * MIB)
            wait_until(lambda: self.stands_still(descriptor), "the compaction to pause")
            done = progress(descriptor)
            self.assertNotEqual(ENDED, done["phase"], done)
            self.assertLess(done["bytes_done"], done["bytes_total"])
            self.filler.unlink()
            self.assertEqual(OK, process.wait(), process.stderr.read())
        os.close(descriptor)
        self.finish()

    @staticmethod
    def stands_still(descriptor):
        before = progress(descriptor)["bytes_done"]
        time.sleep(1.2)  # without the pause, it would go on by 9 MiB
        return progress(descriptor)["bytes_done"] == before


class SpaceTest(unittest.TestCase):
    """Automatic compaction keeps a store small whose files are rewritten for ever."""

    def rewrite(self, root, number):
        """All files anew; returns their bytes and what is in them."""
        rng = random.Random(number)
        made, total = {}, 0
        while total < TREE_BYTES:
            size = rng.randint(SMALLEST, LARGEST)
            name = "f%d" % len(made)
            with open(root / name, "wb") as file:
                file.write(content_of((number << 20) + len(made), size))
            made[name] = ((number << 20) + len(made), size)
            total += size
        for name in set(os.listdir(root)) - set(made):
            os.unlink(root / name)
        return made, total

    def test_rewriting_a_tree(self):
        with MountedStore("compact=auto") as store:
            (store / "tree").mkdir()
            most = 0
            for number in range(ROUNDS):
                made, live = self.rewrite(store / "tree", number)
                before = allocated(store.path) / live
                begin = time.monotonic()
                wait_until(lambda: allocated(store.path) < BOUND * live,
                           "%d bytes for %d live ones" % (allocated(store.path), live))
                most = max(most, before)
                print("round %d: %.0f MiB live, %.2f times that on the disk; %.2f after %.1f s" % (
                    number, live / MIB, before, allocated(store.path) / live,
                    time.monotonic() - begin), flush=True)
                self.assertEqual([], verify_tree(store / "tree", made))
            print("at most %.2f times its live bytes" % most)
            store.remount()
            self.assertEqual([], verify_tree(store / "tree", made))
            store.umount()
            store.check()
            self.assertLess(allocated(store.path), BOUND * live)
            self.assertFalse(leftover(store).exists())


class ProgressTest(HostTest):
    """Requests to a compaction that is running."""

    def setUp(self):
        # Where tests run in the background it is ignored, which is inherited.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        self.store = self.mounted()
        self.live = sum(size for _, size in self.made.values())
        self.descriptor = os.open(self.store.root, os.O_RDONLY)
        self.addCleanup(self.close)

    def close(self):
        with contextlib.suppress(OSError):
            os.close(self.descriptor)

    def finish(self):
        self.close()
        compact_done(self.store.root)
        self.assert_usable(self.store)

    def begin(self, *arguments):
        process = subprocess.Popen(
            [varve_binary(), "compact", "--forget", "--json", *arguments, str(self.store.root)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        for cleanup in (process.stderr.close, process.stdout.close, process.wait, process.kill):
            self.addCleanup(cleanup)
        wait_until(lambda: is_running(self.descriptor), "the compaction to begin")
        return process

    def test_a_limit_is_kept_to(self):
        rate = self.live // 2
        begin = time.monotonic()
        report = compact_done(self.store.root, "--limit", str(rate))
        seconds = time.monotonic() - begin
        print("%.1f MiB at %.1f MiB/s: %.1f s" % (
            report["bytes_done"] / MIB, rate / MIB, seconds))
        expected_seconds = report["bytes_done"] / rate
        self.assertGreaterEqual(report["bytes_done"], self.live)
        self.assertGreater(seconds, expected_seconds * 0.8)
        self.assertLess(seconds, expected_seconds * 2 + 2)
        self.finish()

    def test_interrupting_the_command(self):
        process = self.begin("--limit", "100K")
        self.make_dead(self.store)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        self.assertEqual(CANCELLED, process.wait())
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual("cancelled", json.loads(process.stdout.read())["result"])
        self.assertFalse(leftover(self.store).exists())
        self.finish()

    def test_cancelling_by_ioctl(self):
        process = self.begin("--limit", "100K")
        call(self.descriptor, CANCEL)
        self.assertEqual(CANCELLED, process.wait())
        end = progress(self.descriptor)
        self.assertEqual(ENDED, end["phase"])
        self.assertEqual(0, start(self.descriptor))
        wait_until(lambda: not is_running(self.descriptor), "the compaction to end")
        self.assertEqual(0, progress(self.descriptor)["result"])
        self.finish()

    def test_a_second_request_joins(self):
        first = self.begin("--limit", str(self.live))
        report = compact_done(self.store.root, "--punch")
        self.assertTrue(report["joined"])
        self.assertEqual("copy", report["kind"])
        self.assertEqual(OK, first.wait())
        mine = json.loads(first.stdout.read())
        self.assertFalse(mine["joined"])
        self.assertEqual(mine["bytes_done"], report["bytes_done"])
        self.finish()

    def test_unmounting_ends_it(self):
        self.assertEqual(0, start(self.descriptor, rate=100 * KIB))
        wait_until(leftover(self.store).exists, "the compaction to begin")
        self.close()
        begin = time.monotonic()
        self.store.umount()
        self.assertLess(time.monotonic() - begin, 10)
        self.assertFalse(leftover(self.store).exists())
        self.store.check()
        self.store.mount()
        self.finish()

#!/usr/bin/env python3
"""What others do to the file of a store while it is mounted or being read.

It gets cut, overwritten, replaced, deleted, write-protected; its disk fails or
turns read-only. The daemon has to survive, to serve what can be served, and
never to say of a write that it has worked if the next mount does not show it.
Environment:

    VARVE_CHANGES_ROUNDS  how often each command is run on a file that somebody
                          cuts meanwhile (10)
    VARVE_TEST_SEED       decides when and where it is cut then
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile
import threading
import unittest

from tests.kit import junit
from tests.compaction.compaction_kit import KIB, MIB, ROOT, content_of, mounted_at, status_of
from tests.kit.mounted import (
    MountedStore, check_unclosed, run, varve, varve_binary, wait_until,
)

ROUNDS = int(os.environ.get("VARVE_CHANGES_ROUNDS", "10"))
SEED = int(os.environ.get("VARVE_TEST_SEED", "0")) or random.randrange(1, 1 << 30)
SHUTDOWN = 0x8004587D  # of ext4 and of xfs
FLUSH_LOG = 1
ONE_LINE = r"\Avarve: [^\n]+\n\Z"
COMMANDS = ("check STORE", "ls -R STORE", "info STORE", "get STORE second", "raw info STORE",
            "raw read STORE second", "raw metadata STORE third")
GET_FLAGS, SET_FLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10

# The smallest that each can be made with; no blocks that only root may use.
DISKS = {
    "ext4": (64 * MIB, ["-q", "-F", "-m", "0"]),
    "xfs": (300 * MIB, ["-q", "-f"]),
    "tmpfs": (64 * MIB, None),
}


@contextlib.contextmanager
def new_disk(kind):
    """A small file system of its own; the directory where it is mounted."""
    size, options = DISKS[kind]
    with tempfile.TemporaryDirectory(
            prefix="varve-disk-", dir=os.environ.get("TEST_TMPDIR")) as base:
        image, directory = os.path.join(base, "image"), pathlib.Path(base, "disk")
        directory.mkdir()
        if options is None:
            arguments = ["-t", kind, "-o", "size=%d" % size, kind]
        else:
            with open(image, "wb") as file:
                file.truncate(size)
            # Not everybody's path leads there.
            mkfs = shutil.which("mkfs." + kind, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
            run(mkfs, *options, image)
            arguments = ["-o", "loop", image]
        with mounted_at(directory, *arguments):
            yield directory


def read_anew(path):
    """The bytes of a file, of which the kernel has forgotten what it could."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()


CUT_SHORT = 16  # what varve umount ends with if the store was not closed


class WatchedStore(MountedStore):
    """A mount whose daemon is a child of the test: its log and its end are seen."""

    def __init__(self, options="", directory=None, before_start=None):
        super().__init__(options, directory)
        self._log = tempfile.TemporaryFile("a+b")  # not on the disk under test
        self.before_start = before_start  # runs in the daemon's process first
        self.process = None

    def log(self):
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def mount(self):
        arguments = ["mount", "-f"] + (["-o", self.options] if self.options else [])
        begun = len(self.log())
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [varve_binary(), *arguments, str(self.path), str(self.root)],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            preexec_fn=self.before_start)
        self.pid = self.process.pid
        wait_until(lambda: "is mounted at" in self.log()[begun:] or not self.is_alive(),
                   "the mount to be usable")
        if not self.is_alive():
            self.pid = None
            raise AssertionError("mounting: exit status %s\n%s" % (
                self.process.returncode, self.log()[begun:]))
        return status_of(self)

    def is_alive(self):
        return self.process.poll() is None

    def umount(self, may_stay_open=False):
        """Returns what the daemon ended with; a signal is a failure. `may_stay_open`: the daemon
        may be unable to mark the store as closed, and umount(1) then says so."""
        result = varve("umount", self.root, check=not may_stay_open)
        self.pid = None
        status = self.process.wait()
        told = b"was not closed properly" in result.stderr
        if result.returncode != (CUT_SHORT if told else 0):
            raise AssertionError(result.stderr.decode())
        if status < 0:
            raise AssertionError("the daemon died of signal %d\n%s" % (-status, self.log()))
        return status

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.pid = None

    def _clean_up(self):
        super()._clean_up()
        self._log.close()


def run_on(store, words):
    """Runs a command, of which "STORE" stands for the store."""
    arguments = [store if word == "STORE" else word for word in words.split()]
    return run(varve_binary(), *arguments, check=False)


class ChangesTest(unittest.TestCase):
    """A store of three synced files, of which the daemon has read nothing yet."""

    # Whether names may be gone with the nodes of the tree that they were in.
    loses_names = False
    SIZES = {"first": 500 * KIB, "second": 3 * MIB, "third": 700 * KIB, "last": 3 * KIB}

    def setUp(self):
        self.begin(None)

    def begin(self, directory):
        self.store = self.enterContext(WatchedStore(directory=directory))
        self.content = {}
        for number, (name, size) in enumerate(self.SIZES.items()):
            self.content[name] = content_of(number + 1, size)
            self.assertIsNone(self.write(name, self.content[name]))
        self.store.remount()
        everything = self.store.path.read_bytes()
        self.size = len(everything)
        self.place = {name: everything.find(known) for name, known in self.content.items()}
        self.assertGreater(min(self.place.values()), 0)

    def read(self, name):
        """The bytes, or None for EIO."""
        try:
            return read_anew(self.store / name)
        except OSError as error:
            self.assertEqual(errno.EIO, error.errno, name)
            return None

    def write(self, name, content):
        """Writes and syncs a file; None, or the name of the error."""
        try:
            with open(self.store / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            return errno.errorcode[error.errno]
        return None

    def assert_alive(self):
        self.assertTrue(self.store.is_alive(), self.store.log())
        try:
            names = set(os.listdir(self.store.root))
        except OSError as error:
            self.assertTrue(self.loses_names)
            self.assertEqual(errno.EIO, error.errno)
            return
        self.assertLessEqual(self.content.keys(), names)

    def assert_served(self, whole, gone=()):
        """Each file of `whole` as it was, each of `gone` an error that the log names."""
        for name in whole:
            content = self.read(name)
            if content is not None or not self.loses_names:
                self.assertEqual(self.content[name], content, name)
        for name in gone:
            self.assertIsNone(self.read(name), name)
            if not self.loses_names:
                self.assertIn(name, self.store.log())
        if self.loses_names and gone:
            self.assertRegex(self.store.log(), "was truncated by somebody else|of the tree")
        self.assert_alive()

    def try_to_write(self, allowed):
        """Writes a new file and a new version, and remembers what was acknowledged."""
        for name, content in (("new", content_of(77, 40 * KIB)), ("last", content_of(78, 5000))):
            failed = self.write(name, content)
            if failed is None:
                self.content[name] = content
            else:
                self.assertIn(failed, allowed)
                self.assert_reason_is_given()
        self.assert_alive()

    def assert_reason_is_given(self):
        status = status_of(self.store)
        if self.loses_names and not status["read_only"]:
            # Nothing can be changed in a tree that cannot be read.
            self.assertIn("of the tree", self.store.log())
            return
        self.assertTrue(status["read_only"], self.store.log())
        self.assertTrue(status["read_only_reason"])
        self.assertIn("read_only_reason: ", (self.store / ".varve/status").read_text())

    def assert_commands_survive(self, store):
        """Whatever they say of it, no command dies of it."""
        for words in COMMANDS:
            result = run_on(store, words)
            self.assertGreaterEqual(result.returncode, 0, words)
            if result.returncode != 0 and not words.startswith("check"):
                lines = result.stderr.decode().splitlines(keepends=True)
                told = [line for line in lines if not line.startswith("varve: warning: ")]
                self.assertRegex("".join(told), ONE_LINE, words)

    def mount_again(self):
        """Whether that works; if not, one line has said why."""
        begun = len(self.store.log())
        try:
            self.store.mount()
        except AssertionError:
            self.assertGreater(self.store.process.returncode, 0, self.store.log())
            self.assertRegex(self.store.log()[begun:], ONE_LINE)
            return False
        return True

    def assert_nothing_false(self, acknowledged=()):
        """After mounting again each file is as it was, damaged, or gone.

        The last one may have been made, and not written yet, by then.
        """
        there = set(os.listdir(self.store.root))
        for name in self.content.keys() & there:
            content = self.read(name)
            self.assertTrue(content in (None, b"", self.content[name]), name)
            self.assertFalse(name in acknowledged and not content, name)
        self.assertLessEqual(set(acknowledged), there, self.store.log())


class CutTest(ChangesTest):
    """The file becomes shorter, and perhaps longer again."""

    # The newest nodes of the tree lie at its end.
    loses_names = True

    def cut(self, size, grow=False):
        before = dict(self.content)
        os.truncate(self.store.path, size)
        if grow:
            os.truncate(self.store.path, self.size)
        whole = [name for name in self.content
                 if self.place[name] + len(self.content[name]) + 20 <= size]
        gone = self.content.keys() - set(whole)
        self.assert_served(whole, gone)
        if gone:  # a copy of the rest would look sound
            self.assertNotEqual(
                0, run(varve_binary(), "compact", "--forget", self.store.root,
                       check=False).returncode)
            self.assert_served(whole, gone)
        self.try_to_write({"EIO", "EROFS"})
        acknowledged = [name for name in self.content if before.get(name) != self.content[name]]
        self.assert_served(whole if "last" not in acknowledged else set(whole) - {"last"})
        self.store.umount(may_stay_open=grow)
        self.assert_commands_survive(self.store.path)
        if self.mount_again():
            self.assert_nothing_false(acknowledged)
            self.store.umount()
        elif not grow:  # of which the length tells nothing
            self.assertEqual([], acknowledged)
        self.assert_commands_survive(self.store.path)

    def test_to_nothing(self):
        self.cut(0)

    def test_to_half(self):
        self.cut(self.size // 2)

    def test_by_some_bytes(self):
        self.cut(self.size - 30)

    def test_in_the_middle_of_a_small_entry(self):
        self.cut(self.place["first"] + 100 * KIB)

    def test_to_half_and_grown_again(self):
        self.cut(self.size // 2, grow=True)

    def test_to_nothing_and_grown_again(self):
        self.cut(0, grow=True)

    def test_by_some_bytes_while_files_are_written(self):
        """What is acknowledged after the cut is there after a remount, or it cannot be mounted."""
        acknowledged = []
        for number in range(20):
            if number == 10:
                os.truncate(self.store.path, self.store.size() - 1)
            name, content = "n%d" % number, content_of(200 + number, 30 * KIB)
            failed = self.write(name, content)
            if failed is None:
                self.content[name] = content
                acknowledged.append(name)
            else:
                self.assertIn((number >= 10, failed), {(True, "EIO"), (True, "EROFS")})
        self.assert_alive()
        self.store.umount()
        self.assertTrue(self.mount_again())
        # The cut may have taken the last one before it, and nothing else.
        self.assert_nothing_false(set(acknowledged) - {"n9"})
        self.store.umount()


class OverwrittenTest(ChangesTest):
    def test_bytes_in_the_middle_of_a_payload(self):
        with open(self.store.path, "r+b") as file:
            file.seek(self.place["third"] + 300 * KIB)
            file.write(b"something else")
        self.assert_served(["first", "second", "last"], ["third"])
        self.assertIsNone(self.write("new", b"goes on"))
        self.content["new"] = b"goes on"
        for _ in range(2):
            self.assert_served(["first", "second", "last", "new"], ["third"])
            self.store.remount()
        self.store.umount()
        self.assertEqual(4, run(varve_binary(), "check", self.store.path, check=False).returncode)


class PlaceTest(ChangesTest):
    """The name of the store leads elsewhere, or nowhere: the mount keeps the file it has."""

    def assert_goes_on(self):
        self.assert_served(self.content)
        self.try_to_write({"EIO", "EROFS"})
        self.assert_served(self.content)
        self.rescue()
        self.store.umount()

    def rescue(self):
        """What was synced can be had from the daemon's descriptor, as a store."""
        folder = pathlib.Path("/proc/%d/fd" % self.store.pid)
        found = [link for link in folder.iterdir()
                 if os.readlink(link) == str(self.store.path) + " (deleted)"]
        self.assertTrue(found)
        copy = self.store.base / "rescued"
        shutil.copyfile(found[0], copy)
        check_unclosed(copy)
        for name, content in self.content.items():
            self.assertEqual(content, varve("get", copy, name).stdout)

    def test_deleted(self):
        self.store.path.unlink()
        self.assert_goes_on()
        self.assertEqual({"mnt", "rescued"}, set(os.listdir(self.store.base)))
        self.store.options = "nocreate"
        self.assertFalse(self.mount_again())

    def test_replaced_by_another_store(self):
        other = self.store.base / "other"
        source = self.store.base / "source"
        source.write_bytes(b"of another store")
        varve("put", "--create", other, "theirs", source)
        theirs = other.read_bytes()
        os.rename(other, self.store.path)
        self.assert_goes_on()
        self.assertEqual(theirs, self.store.path.read_bytes())
        self.assertTrue(self.mount_again())
        self.assertEqual(b"of another store", (self.store / "theirs").read_bytes())
        self.store.umount()

    def test_replaced_by_something_else(self):
        other, text = self.store.base / "other", "no store at all " * 100
        other.write_text(text)
        os.rename(other, self.store.path)
        self.assert_goes_on()
        self.assertFalse(self.mount_again())
        self.assertEqual(text, self.store.path.read_text())


@unittest.skipUnless(ROOT, "only root can mount a disk")
class DiskTest(ChangesTest):
    """The disk below the store fails, or does not let itself be written to."""

    kind = "ext4"

    def setUp(self):
        self.disk = self.enterContext(new_disk(self.kind))
        self.begin(self.disk)

    def assert_goes_on(self, allowed):
        """Reading, of what the kernel has in memory; writing fails, and the log says why."""
        self.assertEqual(self.content["first"], (self.store / "first").read_bytes())
        for name in self.content:
            self.assertIn(self.read(name), (None, self.content[name]))
        self.assertIn(self.write("new", content_of(77, 40 * KIB)), allowed)
        self.assertIn(self.write("last", content_of(78, 5000)), allowed)
        self.assertRegex(self.store.log(), "cannot (write|sync|truncate) .*" + self.store.path.name)
        self.assert_alive()

    def assert_all_there_later(self):
        """After the disk has been mounted anew, as after any such failure."""
        self.store.umount()
        run("umount", self.disk)
        run("mount", "-o", "loop", self.disk.parent / "image", self.disk)
        self.assertTrue(self.mount_again())
        self.assert_served(self.content)
        self.assertIsNone(self.write("after", b"works"))
        self.store.umount()
        self.store.check()

    def test_a_disk_that_fails(self):
        self.assertEqual(self.content["first"], (self.store / "first").read_bytes())
        descriptor = os.open(self.disk, os.O_RDONLY)
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", FLUSH_LOG))
        os.close(descriptor)
        self.assert_goes_on({"EIO", "EROFS"})
        self.assert_all_there_later()


class XfsDiskTest(DiskTest):
    kind = "xfs"


class Ext4DiskTest(DiskTest):
    def test_a_disk_that_turns_read_only(self):
        """As ext4 does when it finds itself damaged."""
        run("mount", "-o", "remount,errors=remount-ro", self.disk)
        self.assertEqual(self.content["first"], (self.store / "first").read_bytes())
        device = os.stat(self.disk).st_dev
        name = os.path.basename(os.readlink(
            "/sys/dev/block/%d:%d" % (os.major(device), os.minor(device))))
        pathlib.Path("/sys/fs/ext4", name, "trigger_fs_error").write_text("by a test")
        with self.assertRaisesRegex(OSError, "Read-only"):
            (self.disk / "new").touch()
        self.assert_goes_on({"EIO", "EROFS"})
        self.assert_served(self.content)
        self.assert_all_there_later()

    def test_a_store_without_permission_to_write(self):
        self.store.path.chmod(0o400)
        self.assertIsNone(self.write("new", b"goes on"))
        self.content["new"] = b"goes on"
        for _ in range(2):
            self.assert_served(self.content)
            self.store.remount()
        self.store.umount()
        self.store.check()

    def test_a_store_that_cannot_be_changed(self):
        """For a while: chattr +i holds for files that are open, too."""
        self.set_immutable(True)
        self.assert_goes_on({"EPERM", "EACCES", "EIO", "EROFS"})
        self.assert_served(self.content)
        self.set_immutable(False)
        self.store.remount()
        self.assert_served(self.content)
        self.assertIsNone(self.write("new", b"works"))
        self.store.umount()
        self.store.check()

    def set_immutable(self, wanted):
        descriptor = os.open(self.store.path, os.O_RDONLY)
        flags, = struct.unpack("L", fcntl.ioctl(descriptor, GET_FLAGS, bytes(8)))
        flags = flags | IMMUTABLE if wanted else flags & ~IMMUTABLE
        fcntl.ioctl(descriptor, SET_FLAGS, struct.pack("L", flags))
        os.close(descriptor)


class CommandsTest(unittest.TestCase):
    """Commands read a store without a mount; somebody cuts it meanwhile."""

    def setUp(self):
        self.base = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(
            prefix="varve-", dir=os.environ.get("TEST_TMPDIR"))))
        self.path = self.base / "store.varve"
        source = self.base / "source"
        for number, name in enumerate(("first", "second", "third", "fourth")):
            source.write_bytes(content_of(number, (1 + number % 2) * MIB))
            varve("put", "--create", self.path, name, source)
        self.content = self.path.read_bytes()
        self.stop = threading.Event()

    def cut_and_mend(self):
        """Cuts the file anywhere and puts all its bytes back, for ever."""
        rng = random.Random(SEED)
        with open(self.path, "r+b", buffering=0) as file:
            while not self.stop.is_set():
                size = rng.randrange(len(self.content))
                file.truncate(rng.choice((0, size)))
                file.seek(0)
                file.write(self.content)

    def test_none_of_them_crashes(self):
        print("VARVE_TEST_SEED=%d" % SEED)
        thread = threading.Thread(target=self.cut_and_mend)
        thread.start()
        try:
            ends = {words: sorted(run_on(self.path, words).returncode for _ in range(ROUNDS))
                    for words in COMMANDS}
        finally:
            self.stop.set()
            thread.join()
        print(ends)
        self.assertEqual([], [words for words in COMMANDS if ends[words][0] < 0])
        # Somebody has noticed, or nothing has been tested.
        self.assertGreater(max(statuses[-1] for statuses in ends.values()), 0)
        self.assertEqual(self.content, self.path.read_bytes())
        varve("check", self.path)


del DiskTest  # it is no case by itself; nor is the other


if __name__ == "__main__":
    junit.main()

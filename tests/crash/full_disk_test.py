#!/usr/bin/env python3
"""A store on a disk that fills up, and under limits that are not the disk's.

Most cases run on ext4, xfs and tmpfs. "Full" means here that not one more byte
can be written to the disk. Environment:

    VARVE_FULL_DISK_SECONDS  how long each mixed load lasts (3)
    VARVE_FULL_DISK_FILES    how many files are deleted on a full disk (100)

The long form, of a quarter of an hour:

    bazel test //tests/crash:full_disk_test --test_env=VARVE_FULL_DISK_SECONDS=180 \\
        --test_env=VARVE_FULL_DISK_FILES=300 --test_timeout=3600
"""

import ctypes
import errno
import multiprocessing
import os
import pathlib
import random
import resource
import struct
import time
import unittest

from tests.kit import junit
from tests.compaction.compaction_kit import (
    KIB, MIB, ROOT, allocated, compact_done, content_of, fill_disk, status_of)
from tests.kit.mounted import listing, run, wait_until
from tests.crash.store_changes_test import WatchedStore, new_disk, read_anew

SECONDS = float(os.environ.get("VARVE_FULL_DISK_SECONDS", "3"))
FILES = int(os.environ.get("VARVE_FULL_DISK_FILES", "100"))
ROOM = 24 * MIB  # what a store has for itself on a new disk
WRITERS = 3
ENOUGH_OPERATIONS = 5000  # more than fit into what a full disk has left


def fill_up(path):
    """Lets a file take what is left of its disk, down to the last byte."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        before = None
        while before != os.fstat(descriptor).st_size:
            before = os.fstat(descriptor).st_size
            for size in (MIB, 4 * KIB, 1):
                try:
                    while True:
                        os.write(descriptor, bytes(size))
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
            os.fsync(descriptor)  # which may give back what was held for it
    finally:
        os.close(descriptor)


class Files:
    """The files of a directory, and for each what its content may be.

    That is one, unless a write has failed and closing the file has not.
    """

    def __init__(self, folder, known=None):
        self.folder = pathlib.Path(folder)
        self.known = known or {}

    def write(self, name, content, sync=False):
        """Replaces a file; returns the first call's error number, or 0."""
        try:
            descriptor = os.open(self.folder / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        except OSError as error:
            return error.errno
        old = self.known.setdefault(name, [b""])
        accepted, failed = 0, 0
        try:
            while accepted < len(content):
                accepted += os.write(descriptor, content[accepted:accepted + 128 * KIB])
            if sync:
                os.fsync(descriptor)
        except OSError as error:
            failed = error.errno
        try:
            os.close(descriptor)
        except OSError as error:
            return failed or error.errno
        # A program that closes after a failed write may be told that this has worked.
        whole = accepted == len(content)
        self.known[name] = [content] if whole else old + [content[:accepted]]
        return failed

    def remove(self, name):
        """Returns the error number, or 0."""
        try:
            os.unlink(self.folder / name)
        except OSError as error:
            return error.errno
        del self.known[name]
        return 0

    def rename(self, name, target):
        try:
            os.rename(self.folder / name, self.folder / target)
        except OSError as error:
            return error.errno
        self.known[target] = self.known.pop(name)
        return 0

    def is_wrong(self, name):
        # What a close could not commit is given up a moment after it has returned.
        end = time.monotonic() + 10
        while (content := read_anew(self.folder / name)) not in self.known[name]:
            if time.monotonic() > end:
                break
            time.sleep(0.01)  # nothing tells when
        else:
            return None
        return "%s: %d bytes, not one of %s" % (
            name, len(content), [len(known) for known in self.known[name]])

    def wrong(self):
        """A line for each file that is not as it has to be."""
        there = set(os.listdir(self.folder))
        lines = ["%s: %s" % (name, "is there" if name in there else "is missing")
                 for name in there ^ self.known.keys()]
        return lines + [line for name in self.known.keys() & there
                        if (line := self.is_wrong(name)) is not None]

    def write_until_full(self, seed, sizes=(700 * KIB, 60 * KIB, 3 * KIB, 1)):
        """Writes files until not even one byte can be; returns the error numbers."""
        errors, number = set(), 0
        for size in sizes:
            failures = 0
            while failures < 3:
                number += 1
                failed = self.write("w%d" % number, content_of(seed + number, size), number % 2)
                failures += failed != 0
                errors.add(failed)
        return errors - {0}


def load(folder, seed, seconds, connection):
    """Writes, overwrites, renames and deletes; sends what has to be there then."""
    rng = random.Random(seed)
    files, errors, wrong = Files(folder), {}, []
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end or count < 30:
        count += 1
        name = "f%d" % rng.randrange(40)
        action = rng.choice(("write", "write", "write", "rename", "delete"))
        if action == "write":
            size = rng.choice((1, 100, 5000, 50000, 400000, 6000000))
            failed = files.write(name, rng.randbytes(rng.randint(1, size)), rng.random() < 0.3)
        elif name not in files.known:
            continue
        elif action == "rename":
            failed = files.rename(name, "f%d" % rng.randrange(40))
        else:
            failed = files.remove(name)
        if failed:
            errors.setdefault(action, set()).add(errno.errorcode[failed])
        if name in files.known and (line := files.is_wrong(name)) is not None:
            wrong.append("%s, after its %s: error %d" % (line, action, failed))
    connection.send((files.known, errors, wrong, count))


class StoreCase(unittest.TestCase):
    """What is the same for a full disk and for a limit."""

    store = files = None
    # Whether the mark of a clean close always finds room.
    closes = True

    def assert_sound(self):
        """As acknowledged, the daemon alive, and ready for writing."""
        self.assertTrue(self.store.is_alive(), self.store.log())
        self.assertEqual([], self.files.wrong())
        self.assertFalse(status_of(self.store)["read_only"], self.store.log())

    def assert_kept(self):
        """As acknowledged now, after a remount, and after kill -9."""
        self.assert_sound()
        self.store.umount(may_stay_open=not self.closes)
        if self.closes:
            self.store.check()
        else:
            self.store.check_unclosed()
        self.store.mount()
        self.assert_sound()
        self.store.kill()
        self.store.mount()
        self.assert_sound()

    def end(self):
        self.store.umount()
        self.store.check()

    def change_names(self, number, errors):
        """Operations on names: each works, or fails and changes nothing."""
        root = self.store.root
        new = root / ("n%d" % number)
        before = listing(root)
        for label, call in (
                ("mkdir", lambda: new.mkdir()),
                ("rename", lambda: new.rename(root / ("r%d" % number))),
                ("symlink", lambda: os.symlink("target", str(new) + "s")),
                ("link", lambda: os.link(root / "kept/old", str(new) + "l")),
                ("create", lambda: os.mknod(str(new) + "c")),
                ("chmod", lambda: os.chmod(root / "kept/old", 0o600 + number % 64)),
                ("setxattr", lambda: os.setxattr(root, "user.n", b"%d" % number))):
            try:
                call()
            except FileNotFoundError:
                self.assertEqual("rename", label)  # there is no new directory
            except OSError as error:
                errors.setdefault(label, set()).add(error.errno)
                self.assertEqual(before, listing(root), label)
            before = listing(root)

    def assert_names_hold(self, expected):
        """Changes names until all kinds of changes fail; nothing is half done."""
        errors = {}
        kinds = {"mkdir", "symlink", "link", "create", "chmod", "setxattr"}
        for number in range(ENOUGH_OPERATIONS):
            self.change_names(number, errors)
            if kinds <= errors.keys():
                break
        self.assertEqual({expected}, set().union(*errors.values()), errors)
        self.assertLessEqual(kinds, errors.keys())
        before = listing(self.store.root)
        self.store.kill()
        self.store.mount()
        self.assertEqual(before, listing(self.store.root))


class DiskCase(StoreCase):
    """Has the cases that run on each kind of disk."""

    kind = None

    def setUp(self):
        self.disk = self.enterContext(new_disk(self.kind))
        fill_disk(self.disk / "ballast", leave=ROOM)
        self.filler = self.disk / "filler"
        self.filler.touch()  # while there is room for its name
        self.store = self.enterContext(WatchedStore(directory=self.disk))
        self.folder = self.store / "kept"
        self.folder.mkdir()
        self.files = Files(self.folder)
        self.put("old", 300 * KIB, 1)

    def put(self, name, size, seed):
        self.assertEqual(0, self.files.write(name, content_of(seed, size), sync=True))

    def fill_up(self):
        """Writers fill the disk, and what they have left somebody else takes."""
        errors = self.files.write_until_full(1000)
        self.assertEqual({errno.ENOSPC}, errors)
        fill_up(self.filler)
        with self.assertRaises(OSError) as caught:
            (self.disk / "one byte").write_bytes(b"1")
        self.assertEqual(errno.ENOSPC, caught.exception.errno)

    def test_what_was_acknowledged_stays(self):
        self.fill_up()
        # A small one may still find room in the last block of the store.
        for size in (100, 20 * KIB, 900 * KIB, 9 * MIB):
            for sync in (False, True):
                failed = self.files.write("old", content_of(size, size), sync)
                self.assertIn(failed, (0, errno.ENOSPC))
                self.assertEqual([], self.files.wrong())
        self.assertEqual(errno.ENOSPC, failed)
        self.assert_kept()
        self.end()

    def test_copying_over_a_file_keeps_the_old_one(self):
        new = self.disk / "new"
        for size, room in ((3 * MIB, MIB), (9 * MIB, 6 * MIB)):
            with self.subTest("%d bytes" % size):
                self.filler.unlink()
                new.write_bytes(content_of(size, size))
                fill_disk(self.filler, leave=room)  # and up to 1 MiB more
                result = run("cp", new, self.folder / "old", check=False)
                self.assertEqual(1, result.returncode)
                self.assertIn(b"No space left", result.stderr)
                self.assertEqual([], self.files.wrong())
        self.assert_kept()
        self.end()

    def test_names(self):
        self.fill_up()
        self.assert_names_hold(errno.ENOSPC)
        self.end()

    def test_deleting_works_and_makes_room(self):
        """Without anybody asking for it, and within seconds."""
        for number in range(FILES):
            self.put("dead%d" % number, 8 * MIB // FILES, 2000 + number)
        (self.store / "empty").mkdir()
        self.put("cut", 3 * MIB, 5)
        self.fill_up()
        before = allocated(self.store.path)
        self.assertLess(os.statvfs(self.store.root).f_bavail, MIB // 4096)
        begun = time.monotonic()
        self.delete()
        wait_until(lambda: allocated(self.store.path) < before - 9 * MIB, "space to come back")
        print("%s: space is back after %.1f s" % (self.kind, time.monotonic() - begun))
        self.put("new", 4 * MIB, 7)
        self.assert_df()
        self.assert_kept()
        self.end()

    def test_punching_on_request_makes_room(self):
        self.store.options = "compact=never"
        self.store.remount()
        self.put("dead", 9 * MIB, 2000)
        self.fill_up()
        self.assertEqual(0, self.files.remove("dead"))
        self.assertGreater(compact_done(self.store.root, "--punch")["bytes_reclaimed"], 8 * MIB)
        self.put("new", 4 * MIB, 7)
        self.assert_kept()
        self.end()

    def delete(self):
        """All of this has to work."""
        for number in range(FILES):
            self.assertEqual(0, self.files.remove("dead%d" % number))
        os.rmdir(self.store / "empty")
        os.truncate(self.folder / "cut", 0)
        self.files.known["cut"] = [b""]
        self.assertEqual([], self.files.wrong())

    def assert_df(self):
        mount, host = os.statvfs(self.store.root), os.statvfs(self.disk)
        self.assertAlmostEqual(host.f_bavail * host.f_frsize, mount.f_bavail * mount.f_frsize,
                               delta=2 * MIB)
        used = (mount.f_blocks - mount.f_bfree) * mount.f_frsize
        self.assertAlmostEqual(
            sum(len(known[-1]) for known in self.files.known.values()), used, delta=MIB)

    def test_a_failed_fsync_can_be_repeated(self):
        content = content_of(9, MIB)
        descriptor = os.open(self.folder / "late", os.O_CREAT | os.O_WRONLY)
        self.files.known["late"] = [b""]
        self.fill_up()
        self.assertEqual(MIB, os.write(descriptor, content))
        with self.assertRaises(OSError) as caught:
            os.fsync(descriptor)
        self.assertEqual(errno.ENOSPC, caught.exception.errno)
        os.truncate(self.disk / "ballast", MIB)
        os.fsync(descriptor)
        self.files.known["late"] = [content]
        self.store.kill()
        with self.assertRaises(OSError):
            os.close(descriptor)
        self.store.mount()
        self.assert_kept()
        self.end()

    def test_a_failed_close_beside_a_reader(self):
        """Nobody sees what was not taken, now or when the reader is done."""
        self.fill_up()
        with open(self.folder / "old", "rb"):
            self.assertEqual(errno.ENOSPC, self.files.write("old", content_of(6, MIB)))
            self.assertEqual([], self.files.wrong())
            os.truncate(self.disk / "ballast", MIB)
        self.assert_kept()
        self.end()

    def test_a_mixed_load(self):
        context = multiprocessing.get_context("fork")
        running = []
        folders = [self.store / ("load%d" % number) for number in range(WRITERS)]
        for folder in folders:
            folder.mkdir()
        self.put("dead", 4 * MIB, 8)
        self.fill_up()
        self.assertEqual(0, self.files.remove("dead"))  # this is what they fight for
        for number, folder in enumerate(folders):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(
                target=load, args=(folder, number, SECONDS, sender), daemon=True)
            process.start()
            sender.close()
            running.append((folder, receiver, process))
        everything = []
        for folder, receiver, process in running:
            known, errors, wrong, count = receiver.recv()
            process.join()
            print("%s: %d operations; failed: %s" % (self.kind, count, errors))
            self.assertEqual([], wrong)
            self.assertLessEqual(set().union(*errors.values()), {"ENOSPC"})
            self.assertNotIn("delete", errors)
            everything.append(Files(folder, known))
        for _ in range(2):
            for files in everything:
                self.assertEqual([], files.wrong())
            self.assert_kept()
        self.end()


@unittest.skipUnless(ROOT, "only root can mount a disk")
class Ext4Test(DiskCase):
    kind = "ext4"


@unittest.skipUnless(ROOT, "only root can mount a disk")
class XfsTest(DiskCase):
    kind = "xfs"


@unittest.skipUnless(ROOT, "only root can mount a disk")
class TmpfsTest(DiskCase):
    kind = "tmpfs"


del DiskCase  # it is no case by itself


def refuse_writes_from(offset, number):
    """For `before_start`: system calls that write from there on fail with an error.

    A filter of system calls stands in for a quota: few kernels have quotas, and
    all that the daemon sees of one is that a call fails with EDQUOT.
    """
    allow, refuse = 0x7FFF0000, 0x00050000 | number
    load_word, jump, jump_if_equal, jump_if_set, jump_if_beyond, answer = (
        0x20, 0x05, 0x15, 0x45, 0x35, 0x06)
    pwrite64, pwritev, fallocate, punch_hole = 18, 296, 285, 2
    program = [  # operation, lines to skip if so, lines to skip if not, value
        (load_word, 0, 0, 0),  # the number of the system call
        (jump_if_equal, 6, 0, pwrite64),
        (jump_if_equal, 5, 0, pwritev),
        (jump_if_equal, 0, 7, fallocate),
        (load_word, 0, 0, 24),  # its mode
        (jump_if_set, 5, 0, punch_hole),
        (load_word, 0, 0, 32),  # its offset
        (jump, 0, 0, 1),
        (load_word, 0, 0, 40),  # the offset of a write
        (jump_if_beyond, 0, 1, offset),
        (answer, 0, 0, refuse),
        (answer, 0, 0, allow),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    set_seccomp, with_filter = 22, 2
    libc = ctypes.CDLL(None, use_errno=True)

    def apply(_code=code):
        if libc.prctl(set_seccomp, with_filter, header, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "cannot filter system calls")

    return apply


class LimitTest(StoreCase):
    """Limits of the daemon's own; what it wrote stays, and can be used without them."""

    LIMIT = 8 * MIB
    closes = False

    def begin(self, before_start):
        self.store = self.enterContext(WatchedStore(before_start=before_start))
        self.folder = self.store / "kept"
        self.folder.mkdir()
        self.files = Files(self.folder)
        for name, size in (("old", 300 * KIB), ("dead", MIB)):
            self.assertEqual(0, self.files.write(name, content_of(size, size)))

    def reach(self, expected):
        self.assertEqual({expected}, self.files.write_until_full(1000))
        for size in (900 * KIB, 9 * MIB):
            self.assertEqual(expected, self.files.write("old", content_of(size, size), True))
        self.assert_sound()
        self.assert_names_hold(expected)
        self.assert_sound()
        before = listing(self.store.root)
        failed = self.files.remove("dead")
        self.assertIn(failed, (0, expected))
        if failed:
            self.assertEqual(before, listing(self.store.root))
        self.assert_kept()

    def lift(self):
        """Without the limit everything is there, and works."""
        self.store.umount(may_stay_open=True)
        self.store.before_start = None
        self.store.mount()
        self.assert_sound()
        self.assertEqual(0, self.files.write("old", content_of(3, 9 * MIB), True))
        self.assertEqual(0, self.files.write("new", content_of(4, MIB)))
        self.assert_kept()
        self.end()

    def test_a_limit_of_the_size_of_files(self):
        self.begin(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (self.LIMIT, self.LIMIT)))
        self.reach(errno.EFBIG)
        self.assertLessEqual(self.store.size(), self.LIMIT)
        self.lift()

    @unittest.skipUnless(ROOT and os.uname().machine == "x86_64", "the filter is for x86-64")
    def test_a_quota(self):
        self.begin(refuse_writes_from(self.LIMIT, errno.EDQUOT))
        self.reach(errno.EDQUOT)
        self.lift()


if __name__ == "__main__":
    junit.main()

#!/usr/bin/env python3
"""Power cuts under a mount: what was synced is there, all else whole or not at all.

The store lies on an ext4 or xfs of its own, in an image file. Processes, and
SQLite with `synchronous=EXTRA`, work on the mount, and log elsewhere what they
were told is durable. Then the file system below the store is shut down without
a further byte reaching its disk, which leaves what a power cut leaves. It is
mounted again, and so is the store.

What counts as durable is what was acknowledged before the shutdown began: ext4
and xfs themselves may say of a sync that is under way then that all is well,
and lose what it was to write. Power that is gone acknowledges nothing.

Environment:

    VARVE_CRASH_ROUNDS  power cuts on each file system (5 by default)
    VARVE_SEED          the seed of what is done; when it ends is by chance

The long form takes half an hour:

    VARVE_CRASH_ROUNDS=200 bazel test //tests/crash:power_cut_test \\
        --test_env=VARVE_CRASH_ROUNDS --test_timeout=7200
"""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import random
import select
import shutil
import sqlite3
import struct
import subprocess
import tempfile
import time
import unittest

from tests.kit import junit
from tests.crash.kill_test import Load, compact_for_ever, counts, up_to
from tests.kit.mounted import MountedStore, run, varve_binary, wait_until
from tests.crash.power_cut_kit import KIB, MIB, Model

# Not everybody's path leads to losetup and mkfs.
os.environ["PATH"] += ":/usr/sbin:/sbin"

ROUNDS = int(os.environ.get("VARVE_CRASH_ROUNDS", "5"))
SEED = int(os.environ.get("VARVE_SEED", random.SystemRandom().randrange(1 << 32)))
PROCESSES = 4
DISK_SIZE = 2048 * MIB  # the image is sparse
CONTROL_ROUNDS = 3

# EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are the same number with the same flags.
SHUTDOWN = 0x8004587D
FLUSH_LOG, NO_LOG_FLUSH = 1, 2

SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


class Disk:
    """A file system in an image file, whose power can be cut."""

    def __init__(self, kind):
        self.kind = kind
        base = os.environ.get("TEST_TMPDIR")
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="disk-", dir=base))
        self.root = self.base / "mnt"
        self.device = None

    def __enter__(self):
        try:
            self.root.mkdir()
            image = self.base / "image"
            with open(image, "wb") as file:
                file.truncate(DISK_SIZE)
            run("mkfs." + self.kind, "-q", image)
            self.device = run("losetup", "--find", "--show", image).stdout.decode().strip()
            self.mount()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, *_):
        self._clean_up()

    def mount(self):
        run("mount", "-t", self.kind, self.device, self.root)

    def umount(self):
        run("umount", self.root)

    def cut_power(self, how):
        """From here on nothing reaches the disk, and every call that wants to fails."""
        root = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(root, SHUTDOWN, struct.pack("I", how))
        finally:
            os.close(root)

    def _clean_up(self):
        if self.root.is_mount():
            subprocess.run(["umount", "-l", str(self.root)], check=False)
        if self.device:
            subprocess.run(["losetup", "-d", self.device], check=False)
        shutil.rmtree(self.base, ignore_errors=True)


class StoreOnDisk(MountedStore):
    """A store on a Disk; its daemon may be one whose syncs do nothing."""

    def __init__(self, disk, name):
        super().__init__()
        self.path = disk.root / name
        self.syncs = True

    def __enter__(self):
        """Not mounted yet."""
        self.root.mkdir()
        return self

    def mount(self):
        if self.syncs:
            return super().mount()
        library = os.path.join(os.getcwd(), "tests/crash/no_fsync.so")
        before = os.environ.get("LD_PRELOAD")
        os.environ["LD_PRELOAD"] = library
        try:
            return super().mount()
        finally:
            del os.environ["LD_PRELOAD"]
            if before is not None:
                os.environ["LD_PRELOAD"] = before

    def is_alive(self):
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            return not select.select([descriptor], [], [], 0)[0]
        finally:
            os.close(descriptor)

    def end_after_power_cut(self, kindly):
        """The daemon is gone, and the mount; whether it unmounts or is killed."""
        if kindly:
            run(varve_binary(), "umount", self.root, check=False)  # it cannot say that all is well
            wait_until(lambda: not self.is_alive(), "the daemon ends")
            self.pid = None
        else:
            self.kill()
        if self._is_mounted():
            run("umount", "-l", self.root)

    def empty_mountpoint(self):
        """Removes what a process has made that came when the mount was gone."""
        for entry in os.scandir(self.root):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def rows_of(number):
    return random.Random(number).randbytes(random.Random(-number).randrange(1, 5000))


def run_database(write, path, mode, first):
    """A process that commits transactions numbered from `first` on; logs each."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    number = first
    try:
        database = sqlite3.connect(path, isolation_level=None, timeout=60)
        database.execute("PRAGMA journal_mode=%s" % mode)
        database.execute("PRAGMA synchronous=EXTRA")
        while True:
            write("b", number)
            database.execute("BEGIN")
            if number == 0:
                database.execute("CREATE TABLE filler (number INTEGER PRIMARY KEY, data BLOB)")
                database.execute("CREATE TABLE total (id INTEGER PRIMARY KEY, newest INTEGER)")
            database.execute("INSERT INTO filler VALUES (?, ?)", (number, rows_of(number)))
            database.execute("DELETE FROM filler WHERE number < ?", (number - 100,))
            database.execute("INSERT OR REPLACE INTO total VALUES (1, ?)", (number,))
            database.execute("COMMIT")
            write("s", number)
            number += 1
    except sqlite3.Error as error:
        write("e", 0, str(error))


class Database:
    """A database on the mount, and what it has to hold."""

    def __init__(self, mode):
        self.mode = mode
        self.next = 0
        self.log = None

    def path(self, root):
        return os.path.join(root, "database-" + self.mode, "db")

    def add_to(self, load):
        self.log = load.add("database-" + self.mode, run_database, self.path(load.root), self.mode,
                            self.next)

    def verify(self, root, cut):
        """Problems after a power cut at that time; the next load goes on from what is there."""
        lines = self.log.read()
        begun, durable = counts(lines)[0], counts(up_to(cut, lines))[2]
        begun, durable = max(begun, self.next), max(durable, self.next)
        if not os.path.exists(self.path(root)):
            self.next = 0
            return ["%s: none, with %d transactions durable" % (self.mode, durable)] * (durable > 0)
        with contextlib.closing(sqlite3.connect(self.path(root), timeout=60)) as database:
            return ["database in mode %s: %s" % (self.mode, text)
                    for text in self._problems(database, begun, durable)]

    def _problems(self, database, begun, durable):
        problems = []
        try:
            integrity = database.execute("PRAGMA integrity_check").fetchall()
            if integrity != [("ok",)]:
                problems.append("integrity_check: %s" % integrity[:3])
            if not database.execute("SELECT name FROM sqlite_master").fetchall():
                self.next = 0
                return problems + ["empty, with %d durable" % durable] * (durable > 0)
            (newest,), = database.execute("SELECT newest FROM total").fetchall()
            rows = database.execute("SELECT number, data FROM filler ORDER BY number").fetchall()
        except sqlite3.Error as error:
            return problems + [str(error)]
        if not durable <= newest + 1 <= begun:
            problems.append("%d transactions; %d were durable, %d begun" % (
                newest + 1, durable, begun))
        if rows != [(n, rows_of(n)) for n in range(max(0, newest - 100), newest + 1)]:
            problems.append("not the rows as after transaction %d" % newest)
        self.next = newest + 1
        return problems


def write_some_early(path, rng):
    """Has the kernel write a part of the store, as it does when it is short of memory.

    So that the disk holds later parts without earlier ones.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        size = os.fstat(fd).st_size
        offset = max(0, size - rng.randrange(1, MIB)) & ~4095
        if _libc.sync_file_range(fd, offset, 4 * KIB * rng.randrange(1, 30), SYNC_FILE_RANGE_WRITE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(fd)


class Rig:
    """One store on one disk; each round cuts the power, and looks at what is left."""

    def __init__(self, disk, store, seed):
        self.disk = disk
        self.store = store
        self.rng = random.Random(seed)
        self.seed = seed
        self.number = 0
        # In all rounds:
        self.durable = self.lost = self.transactions = 0
        self.last = ""  # how the last round has ended
        self.begin_anew()

    def begin_anew(self):
        """With a store that is not there yet."""
        self.store.path = self.disk.root / ("store-%d.varve" % self.number)
        self.models = [Model() for _ in range(PROCESSES)]
        self.databases = [Database("delete"), Database("wal")]

    def load(self):
        load = Load(self.store.root, self.store.base, self.models, self.seed + 1000 * self.number)
        for database in self.databases:
            database.add_to(load)
        if self.number % 3 == 1:
            load.add("compaction", compact_for_ever, str(self.store.root),
                     self.number // 3 % 2 == 1, self.seed + self.number)
        return load

    def work_until_cut(self, load, enough, how):
        """Returns the time of the cut."""
        early = self.rng.random() < 0.5

        def has_done_enough():
            if early:
                write_some_early(self.store.path, self.rng)
            return load.size() >= enough

        load.start()
        wait_until(has_done_enough, "the processes have done enough")
        time.sleep(self.rng.uniform(0, 0.02))  # somewhere in a step
        load.assert_at_work()
        cut = time.monotonic_ns()
        self.disk.cut_power(how)
        return cut

    def round(self, how, enough):
        """A power cut when the logs have `enough` bytes. Returns what is wrong then."""
        self.store.mount()
        load = self.load()
        try:
            cut = self.work_until_cut(load, enough, how)
            ending = self.rng.choice(("kill at once", "kill", "umount"))
            self.last = "log %s, then %s" % ("flushed" if how == FLUSH_LOG else "lost", ending)
            if ending != "kill at once":
                load.join()
                if not self.store.is_alive():
                    raise AssertionError("the daemon has died of the disk's errors")
            self.store.end_after_power_cut(kindly=ending == "umount")
            load.join()
        finally:
            load.end()
        self.store.empty_mountpoint()
        self.disk.umount()
        self.disk.mount()
        self.number += 1
        return self.problems(load, cut)

    def problems(self, load, cut):
        least = load.durable(cut)
        problems = []
        if self.store.path.exists():
            try:
                self.store.check_unclosed()
            except AssertionError as error:
                problems.append(str(error))
        elif any(least):
            problems.append("there is no store")
        self.store.mount()
        wrong, lost = load.verify(least)
        for database in self.databases:
            before = database.next
            wrong += database.verify(str(self.store.root), cut)
            self.transactions += max(0, database.next - before)
        self.store.umount()
        self.store.check()
        if self.store.path.with_name(self.store.path.name + ".compact").exists():
            problems.append("a compaction has left its file")
        self.durable, self.lost = self.durable + sum(least), self.lost + lost
        return problems + wrong


@contextlib.contextmanager
def rig_on(kind):
    print("VARVE_SEED=%d" % SEED, flush=True)
    with Disk(kind) as disk, StoreOnDisk(disk, "store.varve") as store:
        yield Rig(disk, store, SEED)


class PowerCutTest(unittest.TestCase):
    def cut_again_and_again(self, kind):
        with rig_on(kind) as rig:
            for number in range(ROUNDS):
                # Some rounds see the creation of a store, and end soon.
                young = number % 4 == 0
                if young:
                    rig.begin_anew()
                enough = 2 ** rig.rng.uniform(0 if young else 8, 10 if young else 16)
                how = FLUSH_LOG if rig.rng.random() < 0.2 else NO_LOG_FLUSH
                problems = rig.round(how, enough)
                self.assertEqual([], problems, "round %d (%s), VARVE_SEED=%d" % (
                    number, rig.last, SEED))
            torn = [name for name in os.listdir(rig.disk.root) if ".torn-" in name]
            print("%d rounds on %s: %d steps durable, %d others gone; %d transactions; "
                  "%d torn ends kept" % (ROUNDS, kind, rig.durable, rig.lost, rig.transactions,
                                         len(torn)), flush=True)
            self.assertGreater(rig.durable, ROUNDS)

    def test_ext4(self):
        self.cut_again_and_again("ext4")

    def test_xfs(self):
        self.cut_again_and_again("xfs")


class ControlTest(unittest.TestCase):
    """A rig that finds nothing missing when nothing was synced would find nothing ever."""

    def test_a_daemon_that_does_not_sync_is_caught(self):
        with rig_on("ext4") as rig:
            for _ in range(CONTROL_ROUNDS):
                rig.begin_anew()
                rig.store.syncs = True
                rig.store.mount()  # the store itself is to be there
                rig.store.umount()
                rig.store.syncs = False
                try:
                    problems = rig.round(NO_LOG_FLUSH, 8 * KIB)
                finally:
                    rig.store.syncs = True
                missing = [text for text in problems if "none of the states" in text]
                if missing:
                    print("caught: " + missing[0], flush=True)
                    return
            self.fail("%d power cuts without a sync, and nothing was missed" % CONTROL_ROUNDS)


if __name__ == "__main__":
    junit.main()

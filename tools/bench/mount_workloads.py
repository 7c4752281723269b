"""The workloads, in the order in which they run on each target.

A workload has up to four parts, of which only `run` is timed:

    prepare  makes ready what the workloads before it have not left
    run      the work itself
    check    raises BenchError unless the work has been done, and rightly
    finish   leaves no process behind, whatever has happened

What it needs to be there are other workloads, by name.
"""

import filecmp
import math
import os
import random
import shutil
import sqlite3
import time

from bench_tools import BenchError, run, run_pipeline, wait_until
from mount_data import NEEDLE, regular_files, tree_facts
from mount_parallel import Parallel

BLOCK = 4096
APPENDED = b"a line of a log, as long as lines of logs are " + b"." * 53 + b"\n"


def expect(truth, complaint, *values):
    if not truth:
        raise BenchError(complaint % values)


def expect_tree(bench, name):
    found = tree_facts(bench.path(name))
    expected = (bench.data.entries, bench.data.tree_bytes)
    expect(found == expected, "%s has %s entries and bytes instead of %s", name, found, expected)


class Bench:
    """Where a workload runs: one target in one round."""

    def __init__(self, target, data, seed):
        self.target = target
        self.data = data
        self.sizes = data.sizes
        self.random = random.Random(seed)

    def path(self, *names):
        return os.path.join(self.target.root, *names)


class Workload:
    name = ""
    title = ""
    needs = ()

    def prepare(self, bench):
        pass

    def run(self, bench):
        raise NotImplementedError

    def check(self, bench):
        raise NotImplementedError

    def finish(self):
        pass


class AfterRemount(Workload):
    def prepare(self, bench):
        bench.target.remount()


# ---- Trees ------------------------------------------------------------------


class Untar(Workload):
    name = "untar"
    title = "untar"

    def run(self, bench):
        run("tar", "xf", bench.data.tar, "-C", bench.target.root)

    def check(self, bench):
        expect_tree(bench, "tree")


class Grep(Workload):
    name = "grep"
    title = "grep -r"
    needs = ("untar",)

    def run(self, bench):
        self.found, _ = run("grep", "-r", NEEDLE, "tree", cwd=bench.target.root)

    def check(self, bench):
        expect(self.found == "tree/needle:%s\n" % NEEDLE, "grep found %r", self.found)


class Copy(Workload):
    name = "cp"
    title = "cp -a"
    needs = ("untar",)

    def run(self, bench):
        run("cp", "-a", "tree", "copy", cwd=bench.target.root)

    def check(self, bench):
        expect_tree(bench, "copy")


class RsyncNothing(Workload):
    name = "rsync-same"
    title = "rsync, nothing to do"
    needs = ("cp",)

    def prepare(self, bench):
        # On fuse2fs, cp -a changes permissions.
        run("rsync", "-a", "tree/", "copy/", cwd=bench.target.root)

    def run(self, bench):
        self.done, _ = run("rsync", "-ai", "tree/", "copy/", cwd=bench.target.root)

    def check(self, bench):
        expect(self.done == "", "rsync had something to do: %.300s", self.done)


class RsyncInto(Workload):
    name = "rsync-into"
    title = "rsync into it"

    def run(self, bench):
        run("rsync", "-a", bench.data.tree + "/", bench.path("synced"))

    def check(self, bench):
        left, _ = run("rsync", "-ain", bench.data.tree + "/", bench.path("synced"))
        expect(left == "", "rsync has left: %.300s", left)


class Rename(Workload):
    name = "rename"
    title = "rename files"
    needs = ("cp",)

    def prepare(self, bench):
        self.paths = regular_files(bench.path("copy"))[:bench.sizes.renames]

    def run(self, bench):
        for path in self.paths:
            os.rename(path, path + ".new")

    def check(self, bench):
        for path in self.paths:
            expect(os.path.isfile(path + ".new"), "%s.new is missing", path)
            expect(not os.path.lexists(path), "%s is still there", path)


class Append(Workload):
    name = "append"
    title = "open, append, close"

    def run(self, bench):
        path = bench.path("log")
        for _ in range(bench.sizes.appends):
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(file, APPENDED)
            os.close(file)

    def check(self, bench):
        with open(bench.path("log"), "rb") as log:
            expect(log.read() == APPENDED * bench.sizes.appends, "the log is not what was written")


# ---- A big file -------------------------------------------------------------


class WriteBig(Workload):
    def __init__(self, name, title, file, block):
        self.name = name
        self.title = title
        self.file = file
        self.block = block

    def run(self, bench):
        run("dd", "if=" + bench.data.big, "of=" + bench.path(self.file), "bs=" + self.block)

    def check(self, bench):
        expect(filecmp.cmp(bench.data.big, bench.path(self.file), shallow=False),
               "%s is not what was written", self.file)


class ReadBig(Workload):
    name = "read-again"
    title = "read 1 MiB blocks, again"
    needs = ("write-1m",)

    def run(self, bench):
        run("dd", "if=" + bench.path("big"), "of=/dev/null", "bs=1M")

    def check(self, bench):
        expect(filecmp.cmp(bench.data.big, bench.path("big"), shallow=False),
               "the big file is not what was written")


class ReadBigFirst(AfterRemount, ReadBig):
    name = "read-first"
    title = "read 1 MiB blocks, first"


class ReadRandom(Workload):
    name = "read-random"
    title = "random 4 KiB reads"
    needs = ("write-1m",)

    def prepare(self, bench):
        last = bench.sizes.big_bytes - BLOCK
        self.offsets = [bench.random.randint(0, last) for _ in range(bench.sizes.reads)]

    def run(self, bench):
        self.read_all(bench.path("big"), self.offsets)

    @staticmethod
    def read_all(path, offsets):
        file = os.open(path, os.O_RDONLY)
        try:
            for offset in offsets:
                if len(os.pread(file, BLOCK, offset)) != BLOCK:
                    raise BenchError("a short read at %d" % offset)
        finally:
            os.close(file)

    def check(self, bench):
        with open(bench.path("big"), "rb") as file, open(bench.data.big, "rb") as original:
            for offset in self.offsets[:1000]:
                file.seek(offset)
                original.seek(offset)
                expect(file.read(BLOCK) == original.read(BLOCK), "wrong bytes at %d", offset)


class WriteRandom(Workload):
    name = "write-random"
    title = "random 4 KiB writes in place"
    needs = ("write-1m",)

    def prepare(self, bench):
        blocks = bench.sizes.big_bytes // BLOCK
        self.offsets = [
            BLOCK * bench.random.randrange(blocks) for _ in range(bench.sizes.writes)]
        self.bytes = bench.random.randbytes(BLOCK)

    def run(self, bench):
        file = os.open(bench.path("big"), os.O_RDWR)
        for offset in self.offsets:
            os.pwrite(file, self.bytes, offset)
        os.close(file)

    def check(self, bench):
        written = set(self.offsets)
        with open(bench.path("big"), "rb") as file, open(bench.data.big, "rb") as original:
            for offset in range(0, bench.sizes.big_bytes, BLOCK):
                expected = original.read(BLOCK)
                expect(file.read(BLOCK) == (self.bytes if offset in written else expected),
                       "wrong bytes at %d", offset)


# ---- Listing and reading trees ----------------------------------------------


class Find(Workload):
    name = "find-again"
    title = "find -printf, again"
    needs = ("untar",)

    def run(self, bench):
        self.listing, _ = run(
            "find", "tree", "-printf", "%y %s %m %T@ %p\n", cwd=bench.target.root)

    def check(self, bench):
        entries = [line for line in self.listing.splitlines() if not line.startswith("d ")]
        found = len(entries), sum(int(line.split()[1]) for line in entries if line[0] == "f")
        expected = (bench.data.entries, bench.data.tree_bytes)
        expect(found == expected, "find saw %s entries and bytes instead of %s", found, expected)


class FindFirst(AfterRemount, Find):
    name = "find-first"
    title = "find -printf, first"


class Tar(Workload):
    name = "tar-again"
    title = "tar, again"
    needs = ("untar",)

    def run(self, bench):
        # tar reads no file if it sees that it writes to /dev/null.
        _, self.totals = run_pipeline(
            'tar cf - --totals -C "$1" tree | cat >/dev/null', bench.target.root)

    def check(self, bench):
        written = int(self.totals.split("written: ")[1].split()[0])
        expect(written >= bench.data.tree_bytes, "tar wrote %d bytes only", written)


class TarFirst(AfterRemount, Tar):
    name = "tar-first"
    title = "tar, first"


class Remove(Workload):
    name = "rm"
    title = "rm -rf"
    needs = ("untar",)

    def run(self, bench):
        run("rm", "-rf", "tree", cwd=bench.target.root)

    def check(self, bench):
        expect(not os.path.lexists(bench.path("tree")), "the tree is still there")


# ---- Programs with access patterns of their own -----------------------------


class GitClone(Workload):
    name = "git-clone"
    title = "git clone"

    def run(self, bench):
        run("git", "clone", "-q", "--no-hardlinks", bench.data.repository, bench.path("clone"))

    def check(self, bench):
        commit, _ = run("git", "-C", bench.path("clone"), "rev-parse", "HEAD")
        expect(commit.strip() == bench.data.commit, "the clone is at %s", commit.strip())
        run("git", "-C", bench.path("clone"), "fsck", "--no-progress")


class GitStatus(Workload):
    """Of a clone whose index git has settled.

    The times in an index are whole seconds, and git reads again whatever was written in the
    second of the index itself: the faster the clone, the more files. So it gets a later index.
    """

    name = "git-status"
    title = "git status"
    needs = ("git-clone",)

    def prepare(self, bench):
        written = os.stat(bench.path("clone", ".git", "index")).st_mtime
        wait_until(lambda: time.time() >= math.floor(written) + 1, "the second is over")
        run("git", "-C", bench.path("clone"), "status", "--porcelain")

    def run(self, bench):
        self.changes, _ = run("git", "-C", bench.path("clone"), "status", "--porcelain")

    def check(self, bench):
        expect(self.changes == "", "git sees changes: %.300s", self.changes)


class Sqlite(Workload):
    name = "sqlite"
    title = "SQLite transactions"

    def run(self, bench):
        database = sqlite3.connect(bench.path("database"), isolation_level=None)
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE notes (number INTEGER PRIMARY KEY, text TEXT)")
        for number in range(bench.sizes.transactions):
            database.execute("BEGIN")
            database.execute("INSERT INTO notes VALUES (?, ?)", (number, "a note " * 10))
            database.execute("COMMIT")
        database.close()

    def check(self, bench):
        database = sqlite3.connect(bench.path("database"))
        rows = database.execute("SELECT count(*) FROM notes").fetchone()[0]
        health = database.execute("PRAGMA integrity_check").fetchone()[0]
        database.close()
        expect(rows == bench.sizes.transactions and health == "ok", "%d rows, %s", rows, health)


class Fsync(Workload):
    name = "fsync"
    title = "write files with fsync"

    def prepare(self, bench):
        os.mkdir(bench.path("synced-files"))

    def run(self, bench):
        for number in range(bench.sizes.syncs):
            file = os.open(bench.path("synced-files", str(number)),
                           os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(file, APPENDED)
            os.fsync(file)
            os.close(file)

    def check(self, bench):
        for number in range(bench.sizes.syncs):
            with open(bench.path("synced-files", str(number)), "rb") as file:
                expect(file.read() == APPENDED, "file %d is not what was written", number)


class ReadersAndWriters(Workload):
    name = "parallel"
    title = "4 readers, 2 writers"
    needs = ("untar",)
    parallel = None

    def prepare(self, bench):
        self.folder = bench.path("written")
        os.mkdir(self.folder)
        self.parallel = Parallel(
            regular_files(bench.path("tree")), bench.data.tree_bytes,
            self.folder, bench.sizes.writer_files)
        self.parallel.start()

    def run(self, bench):
        self.parallel.run()

    def finish(self):
        if self.parallel is not None:
            self.parallel.stop()

    def check(self, bench):
        sizes = [entry.stat().st_size for entry in os.scandir(self.folder)]
        count = 2 * bench.sizes.writer_files
        expect(len(sizes) == count and set(sizes) == {Parallel.FILE_BYTES},
               "%d files of sizes %s", len(sizes), sorted(set(sizes))[:5])
        shutil.rmtree(self.folder)


WORKLOADS = [
    Untar(),
    Grep(),
    Copy(),
    RsyncNothing(),
    RsyncInto(),
    Rename(),
    Append(),
    WriteBig("write-1m", "write 1 MiB blocks", "big", "1M"),
    WriteBig("write-4k", "write 4 KiB blocks", "big-4k", "4k"),
    FindFirst(),
    Find(),
    TarFirst(),
    Tar(),
    ReadBigFirst(),
    ReadBig(),
    ReadRandom(),
    WriteRandom(),
    GitClone(),
    GitStatus(),
    Sqlite(),
    Fsync(),
    ReadersAndWriters(),
    Remove(),
]
BY_NAME = {workload.name: workload for workload in WORKLOADS}


def with_needs(names):
    """The workloads named and those they need, in the order of WORKLOADS."""
    wanted = set()

    def add(name):
        wanted.add(name)
        for need in BY_NAME[name].needs:
            add(need)

    for name in names:
        add(name)
    return [workload for workload in WORKLOADS if workload.name in wanted]

#!/usr/bin/env python3
"""What size costs Varve: many files, a large file, a large store; each on a mount.

    tools/bench/scale                       all of it; half an hour, and 25 GiB of disk
    tools/bench/scale --parts names         one part
    tools/bench/scale --files 100000 --file-gib 1 --store-gib 10

The part `tree` is about many files without a mount, and measures what the daemon
does to them. Its long form takes half an hour, and 15 GiB of disk; its short one
some seconds:

    tools/bench/scale --parts tree --files 10000000
    tools/bench/scale --parts tree --files 20000

Where two stores are compared, they take turns, and ratios are medians.
"""

import argparse
import json
import os
import shutil
import signal
import struct
import subprocess
import statistics
import sys
import tempfile
import time
import zlib

import scale_tree
from bench_tools import BenchError, end_group
from mount_targets import Varve

THOUSAND = 1000  # files in a directory, and files that are timed together
GIB = 1 << 30
MIB = 1 << 20
CONTENT = b"x" * 100
SYNC_SECONDS = 5  # between two syncs of a daemon
KILLED_CHANGES = 10 * THOUSAND
OPENINGS = 5
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Of an entry's metadata: hash of the key, end of the entry before it, CRC-32 of
# the payload (docs/format.md, "Entry").
METADATA = struct.Struct("<QQI")
ALIGNMENT = 64


class Report:
    """Prints each figure when it is known, beside its target."""

    def __init__(self):
        self.rows = []

    def add(self, what, value, unit, at_most=None, **more):
        reached = None if at_most is None else value <= at_most
        self.rows.append({"what": what, "value": value, "unit": unit, "target": at_most,
                          "reached": reached, **more})
        print("%-58s %10.3g %-8s %s" % (
            what, value, unit,
            "" if reached is None else
            "%s %g" % ("within" if reached else "MISSED:", at_most)), flush=True)


# ---- A mount ----------------------------------------------------------------

class Store(Varve):
    """A store of its own, its mount, and its daemon's memory."""

    def __init__(self, folder, varve):
        super().__init__(folder, {"varve": varve}, None)
        self.path = os.path.join(folder, "store")

    def mounted_in(self):
        """Mounts it; returns the time in seconds."""
        begun = time.perf_counter()
        self.mount()
        return time.perf_counter() - begun

    def end(self):
        self.unmount()
        self.wait_for_end()

    def kill(self):
        end_group(self.process)
        self.process = None
        subprocess.run(["fusermount3", "-uz", self.root], check=True, stdin=subprocess.DEVNULL)

    def memory(self, field="RssAnon"):
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        raise BenchError("the kernel does not tell " + field)

    def wait_until_idle(self):
        """Waits until the daemon has no work left, including its regular syncs."""
        def work():
            with open("/proc/%d/stat" % self.process.pid, encoding="ascii") as stat:
                return stat.read().rpartition(")")[2].split()[11:13]

        done = None
        while done != work():
            done = work()
            time.sleep(SYNC_SECONDS + 1)

    def forget_peak(self):
        with open("/proc/%d/clear_refs" % self.process.pid, "w", encoding="ascii") as file:
            file.write("5")


def forget_names():
    """Has the kernel ask for all names anew."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("2")


def paths_in(folder, count=THOUSAND):
    return [os.path.join(folder, "file%d.txt" % number) for number in range(count)]


def create(paths):
    for path in paths:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL)
        os.write(descriptor, CONTENT)
        os.close(descriptor)


def timed(function, *arguments):
    begun = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begun


def time_a_thousand(store):
    """Seconds to create, find, read and remove a thousand files."""
    folder = os.path.join(store.root, "thousand")
    os.mkdir(folder)
    paths = paths_in(folder)

    def read():
        for path in paths:
            with open(path, "rb", buffering=0) as file:
                if file.read() != CONTENT:
                    raise BenchError("%s is not what was written" % path)

    seconds = {"creating": timed(create, paths)}
    forget_names()
    seconds["finding"] = timed(lambda: [os.stat(path) for path in paths])
    seconds["reading"] = timed(read)
    seconds["removing"] = timed(lambda: [os.unlink(path) for path in paths])
    os.rmdir(folder)
    return seconds


def compare(report, stores, rounds, texts, at_most):
    """Reports the second store's times as multiples of the first one's."""
    ratios = {}
    for number in range(rounds + 1):
        order = stores if number % 2 else stores[::-1]
        seconds = {store: time_a_thousand(store) for store in order}
        if number == 0:
            continue  # to warm up
        for what, base in seconds[stores[0]].items():
            ratios.setdefault(what, []).append(seconds[stores[1]][what] / base)
    for what, values in ratios.items():
        report.add(texts % what, statistics.median(values), "times", at_most)


def opened_in(store):
    """The median of some openings; the store is mounted before and after."""
    seconds = []
    for _ in range(OPENINGS):
        store.end()
        seconds.append(store.mounted_in())
    return statistics.median(seconds)


# ---- Parts ------------------------------------------------------------------

def many_files(report, arguments, stores):
    few, many = stores
    few.start()
    many.start()
    begun = time.perf_counter()
    for number in range(arguments.files // THOUSAND):
        folder = os.path.join(many.root, "d%d" % number)
        os.mkdir(folder)
        create(paths_in(folder))
    count = arguments.files
    report.add("%d files: created at" % count, (time.perf_counter() - begun) / count * 1e6,
               "µs each")
    many.wait_until_idle()
    report.add("  memory in the session that made them", many.memory() / count, "B each", 250)
    compare(report, stores, arguments.rounds,
            "  %s a thousand more, against the first thousand", 1.3)
    report.add("  mounted in", opened_in(many), "s", 0.3)
    report.add("  memory after mounting", many.memory() / count, "B each", 250)
    for store, text in ((few, "  killed after %d changes, mounted in (few files)"),
                        (many, "  killed after %d changes, mounted in (many files)")):
        folder = os.path.join(store.root, "changes")
        os.mkdir(folder)
        create(paths_in(folder, KILLED_CHANGES))
        store.kill()
        report.add(text % KILLED_CHANGES, store.mounted_in(), "s")
        if len(os.listdir(folder)) != KILLED_CHANGES:
            raise BenchError("not all is there that was closed before the daemon was killed")


def large_file(report, arguments, stores):
    store = stores[0]
    store.start()
    path = os.path.join(store.root, "large")
    block = bytearray(os.urandom(MIB))
    count = arguments.file_gib * 1024

    def write():
        with open(path, "wb", buffering=0) as file:
            for number in range(count):
                block[:8] = number.to_bytes(8, "little")
                file.write(block)

    def read():
        with open(path, "rb", buffering=0) as file:
            for number in range(count):
                block[:8] = number.to_bytes(8, "little")
                if file.read(MIB) != block:
                    raise BenchError("block %d is not what was written" % number)

    for what, function in (("written", write), ("read", read)):
        if what == "read":
            store.end()
            store.mount()
        store.forget_peak()
        seconds = timed(function)
        report.add("a file of %d GiB: %s at" % (arguments.file_gib, what), count / seconds,
                   "MiB/s")
        report.add("  memory of the daemon meanwhile, at most", store.memory("VmHWM") / MIB,
                   "MiB", 200)


def append_zeros(path, count):
    """Appends entries of 1 GiB of zeros each, which take no space on the disk."""
    zeros = bytes(MIB)
    checksum = 0
    for _ in range(GIB // MIB):
        checksum = zlib.crc32(zeros, checksum)
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        for number in range(count):
            metadata_at = -(-end // ALIGNMENT) * ALIGNMENT + GIB
            file.seek(metadata_at)
            file.write(METADATA.pack(0x5ca1e << 32 | number, end, checksum))
            end = file.tell()


def large_store(report, arguments, stores):
    for store, gib in zip(stores, (1, arguments.store_gib)):
        store.start()
        create([os.path.join(store.root, "first")])
        store.end()
        append_zeros(store.path, gib)
        # The mount takes over entries that another program has appended.
        store.mount()
    text = "a store of %d GiB, against one of 1 GiB:" % arguments.store_gib
    compare(report, stores, arguments.rounds, text + " %s", 1.3)
    small, large = (opened_in(store) for store in stores)
    report.add(text + " mounting", large / small, "times", 1.3)
    report.add("  mounted in", large, "s")
    report.add("  memory of the daemon", stores[1].memory("VmRSS") / MIB, "MiB", 200)


def tree_alone(report, arguments, stores):
    scale_tree.measure(report, arguments, [store.path for store in stores])


PARTS = {"tree": tree_alone, "names": many_files, "file": large_file, "store": large_store}
WITHOUT_MOUNT = {"tree"}
# Of disk for each file of the tree: it lies there twice while it is compacted.
BYTES_PER_FILE = 1500


# ---- The program ------------------------------------------------------------

def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="of %(default)s")
    parser.add_argument("--files", type=int, default=1000 * THOUSAND, metavar="N")
    parser.add_argument("--file-gib", type=int, default=20, metavar="N")
    parser.add_argument("--store-gib", type=int, default=100, metavar="N")
    parser.add_argument("--rounds", type=int, default=9, metavar="N",
                        help="of what is compared (%(default)s)")
    parser.add_argument("--dir", default=None, metavar="DIR", help="where to work")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--changes", type=int, default=10 * THOUSAND, metavar="N",
                        help="before the tree's session is killed (%(default)s)")
    parser.add_argument("--snapshots", type=int, default=THOUSAND, metavar="N",
                        help="of the tree (%(default)s)")
    parser.add_argument("--varve", metavar="PROGRAM",
                        default=os.path.join(REPOSITORY, "bazel-bin", "tools", "varve", "varve"))
    parser.add_argument("--tree-bench", metavar="PROGRAM",
                        default=os.path.join(REPOSITORY, "bazel-bin", "tools", "bench",
                                             "tree_bench"))
    arguments = parser.parse_args()
    if arguments.dir and not os.path.isdir(arguments.dir):
        parser.error("there is no directory %s" % arguments.dir)
    arguments.parts = arguments.parts.split(",")
    for name in arguments.parts:
        if name not in PARTS:
            parser.error("no part %r; there are %s" % (name, ", ".join(PARTS)))
    if min(arguments.files // THOUSAND, arguments.file_gib, arguments.store_gib,
           arguments.rounds, arguments.changes) < 1:
        parser.error("at least a thousand files, 1 GiB and one round")
    if os.geteuid() != 0 and not WITHOUT_MOUNT.issuperset(arguments.parts):
        parser.error("only root can have the kernel forget names; run it as root")
    return arguments


def run_part(name, report, arguments, folder):
    free = shutil.disk_usage(folder).free
    if name == "file" and free < (arguments.file_gib + 2) * GIB:
        raise BenchError("%s has no room for %d GiB; choose another --dir or --file-gib" % (
            folder, arguments.file_gib))
    if name == "tree" and free < arguments.files * BYTES_PER_FILE + 2 * GIB:
        raise BenchError("%s has no room for %d files; choose another --dir or --files" % (
            folder, arguments.files))
    stores = []
    for label in ("one", "two"):
        stores.append(Store(os.path.join(folder, label), arguments.varve))
        os.mkdir(stores[-1].folder)
    try:
        PARTS[name](report, arguments, stores)
    finally:
        for store in stores:
            store.stop()


def main():
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    report = Report()
    folder = tempfile.mkdtemp(prefix="varve-scale-", dir=arguments.dir)
    try:
        for name in arguments.parts:
            run_part(name, report, arguments, folder)
    except BenchError as error:
        sys.exit("tools/bench/scale: %s" % error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(report.rows, file, indent=1)
            file.write("\n")
    if any(row["reached"] is False for row in report.rows):
        print("Not all targets are reached.")


if __name__ == "__main__":
    main()

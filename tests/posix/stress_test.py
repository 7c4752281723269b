#!/usr/bin/env python3
"""Load by known tools, and by many processes in one tree, on a mount.

fio verifies what it has written, also after a remount; stress-ng's stressors
verify what the calls do; dbench replays a file server's day. Environment:

    VARVE_STRESS_SECONDS  how long all tests together run, roughly (90 by default)
    VARVE_SEED            the seed of the tree that several processes change

The long form is the same with a larger number:

    VARVE_STRESS_SECONDS=3600 bazel test //tests/posix:stress_test \\
        --test_env=VARVE_STRESS_SECONDS --test_timeout=9000
"""

import json
import os
import random
import unittest

from tests.kit import junit
from tests.kit.mounted import MountedStore, run
from tests.kit.tree_churn import churn_tree, full_listing

SECONDS = float(os.environ.get("VARVE_STRESS_SECONDS", "90"))
LONGEST = 500  # no single command may take longer than mounted.run() waits
SEED = int(os.environ.get("VARVE_SEED", random.SystemRandom().randrange(1 << 32)))

# Jobs of fio: name, and options beside those common to all.
FIO_JOBS = [
    ("write-4k", ["--rw=write", "--bs=4k"]),
    ("write-64k", ["--rw=write", "--bs=64k"]),
    ("write-1m", ["--rw=write", "--bs=1m"]),
    ("random-4k", ["--rw=randwrite", "--bs=4k"]),
    ("random-64k", ["--rw=randwrite", "--bs=64k"]),
    ("random-1m", ["--rw=randwrite", "--bs=1m"]),
    ("random-sizes", ["--rw=randwrite", "--bsrange=512-96k"]),
    ("mixed-4k", ["--rw=randrw", "--bs=4k"]),
    ("mixed-64k", ["--rw=randrw", "--bs=64k", "--fsync=16"]),
    ("mapped-4k", ["--rw=randwrite", "--bs=4k", "--ioengine=mmap"]),
    ("direct-4k", ["--rw=randwrite", "--bs=4k", "--direct=1", "--ioengine=libaio", "--iodepth=8"]),
    ("direct-1m", ["--rw=write", "--bs=1m", "--direct=1"]),
    ("vectors-64k", ["--rw=randwrite", "--bs=64k", "--ioengine=pvsync2"]),
]

# Stressors of stress-ng. Of its class "filesystem" these are left out:
#   binderfs, eventfd, ioprio, procfs  do nothing to the file system under test
#   fiemap, verity, inode-flags        ioctls that a mount has not (semantics.md)
#   io                                 sync(2) of the whole machine, over and over
#   fanotify                           watches all mounts of the machine
STRESSORS = [
    "access", "chattr", "chdir", "chmod", "chown", "copy-file", "dentry", "dir", "dirdeep",
    "dirmany", "dnotify", "dup", "fallocate", "fcntl", "file-ioctl", "filename", "flock", "fpunch",
    "fsize", "fstat", "getdent", "handle", "hdd", "inotify", "iomix", "lease", "link", "locka",
    "lockf", "lockofd", "mknod", "open", "rename", "symlink", "sync-file", "touch", "utime",
    "xattr",
    # Of other classes, but they work on files.
    "aio", "aiol", "io-uring", "mmap", "msync", "readahead", "revio", "seek", "sendfile", "splice",
]
STRESSOR_OPTIONS = {
    "hdd": ["--hdd-bytes", "16m", "--hdd-opts", "direct,fsync,rd-rnd,wr-rnd"],
    "mmap": ["--mmap-file", "--mmap-bytes", "4m"],
    "msync": ["--msync-bytes", "8m"],
}


class StressTest(unittest.TestCase):
    def finish(self, store):
        """The daemon has lived through all of it, and the store is in order."""
        status = json.loads((store / ".varve/status.json").read_text())
        self.assertEqual(store.pid, status["pid"])
        self.assertFalse(status["read_only"])
        store.umount()
        store.check()

    def fio(self, store, size_mib, *more):
        for name, options in FIO_JOBS:
            with self.subTest(name):
                run(
                    "fio", "--name=" + name, "--directory=%s" % store.root,
                    "--size=%dm" % size_mib, "--verify=crc32c", "--verify_fatal=1",
                    "--verify_state_save=0", "--randseed=4711", "--fallocate=none",
                    *options, *more, cwd=store.base,
                )

    def test_fio_finds_what_it_has_written(self):
        size_mib = min(max(4, int(SECONDS / 11)), 512)
        with MountedStore() as store:
            self.fio(store, size_mib, "--do_verify=1")
            store.remount()
            self.fio(store, size_mib, "--verify_only")
            self.finish(store)

    def test_stressors_of_stress_ng(self):
        seconds = min(max(1, round(SECONDS * 0.5 / len(STRESSORS))), LONGEST)
        with MountedStore() as store:
            for name in STRESSORS:
                with self.subTest(name):
                    # A relative path, for io-uring's cannot do with others.
                    run(
                        "stress-ng", "--" + name, "1", "--timeout", "%ds" % seconds,
                        "--temp-path", store.root.name, "--verify",
                        *STRESSOR_OPTIONS.get(name, []), cwd=store.base,
                    )
            self.assertEqual([], os.listdir(store.root))
            self.finish(store)

    def test_dbench(self):
        seconds = min(max(3, round(SECONDS * 0.1)), LONGEST)
        with MountedStore() as store:
            run("dbench", "-D", store.root, "-t", seconds, "4", cwd=store.base)
            before = full_listing(store.root)
            store.remount()
            self.assertEqual(before, full_listing(store.root))
            self.finish(store)

    def test_processes_in_one_tree(self):
        print("VARVE_SEED=%d" % SEED)
        with MountedStore() as store:
            for round_number in range(3):
                seconds = max(2, SECONDS * 0.05)
                counts, failures = churn_tree(
                    store.root, SEED + 100 * round_number, processes=4, seconds=seconds)
                print(counts)
                self.assertEqual([], failures)
                before = full_listing(store.root)
                store.remount()
                after = full_listing(store.root)
                self.assertEqual(before.keys(), after.keys())
                for path, line in before.items():
                    self.assertEqual(line, after[path], path)
            self.finish(store)


if __name__ == "__main__":
    junit.main()

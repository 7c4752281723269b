#!/usr/bin/env python3
"""Compaction of a store that is mounted and in use: nobody is to notice.

This file: load, what stays untouched, what other readers find, crashes. The
store's file and its disk are in compaction_cases_host.py. Environment:

    VARVE_COMPACTION_SECONDS  how long the load runs (25 by default)
    VARVE_CRASH_ROUNDS        how often the daemon is killed (6 by default)
    VARVE_SPACE_FULL          if it is 1, trees of 1 GiB are rewritten
    VARVE_SEED                the seed of the load

The long form takes more than an hour, and needs 5 GiB of disk:

    VARVE_COMPACTION_SECONDS=3600 VARVE_CRASH_ROUNDS=200 VARVE_SPACE_FULL=1 \\
        bazel test //tests/compaction:compaction_test --test_env=VARVE_COMPACTION_SECONDS \\
        --test_env=VARVE_CRASH_ROUNDS --test_env=VARVE_SPACE_FULL --test_timeout=9000
"""

import contextlib
import faulthandler
import multiprocessing
import os
import random
import socket
import stat
import subprocess
import time
import unittest

from tests.crash import crash_test
from tests.kit import junit
from tests.compaction.compaction_cases_host import (  # junit.main() runs them
    DiskFullTest, ProgressTest, SpaceTest, StoreFileTest)
from tests.compaction.compaction_holders import Appender, Cloner, Clerk, Mapper, Nameless, Streamer
from tests.compaction.compaction_kit import (
    KIB, MIB, OK, ROOT, compact, compact_done, content_of, differences, digest, leftover,
    make_tree, status_of, verify_tree, whole_listing)
from tests.compaction.compaction_load import Linker, Load, Reader, Renamer, Writer
from tests.format.format_reader import Tree, matches_checksum
from tests.kit.mounted import MountedStore, run, varve, varve_binary, wait_until

__all__ = ["DiskFullTest", "ProgressTest", "SpaceTest", "StoreFileTest"]

SECONDS = float(os.environ.get("VARVE_COMPACTION_SECONDS", "25"))
ROUNDS = int(os.environ.get("VARVE_CRASH_ROUNDS", "6"))
SEED = int(os.environ.get("VARVE_SEED", random.SystemRandom().randrange(1 << 32)))
KINDS = [Writer, Writer, Reader, Reader, Renamer, Linker, Appender, Mapper, Cloner, Nameless,
         Streamer, Clerk]
BY_HAND = "compact=never"
SPARSE = ("sparse", "folder/linked sparse")


class LoadTest(unittest.TestCase):
    """Compactions back to back under processes that verify every byte they read."""

    def compact_while(self, store, load):
        """(compactions of either kind, longest stall of any in seconds)"""
        counts, stall = [0, 0], 0
        while load.is_running():
            punch = sum(counts) % 2
            report = compact_done(store.root, *["--punch"][:punch])
            self.assertEqual(report["kind"], ("copy", "punch")[punch])
            self.assertFalse(report["joined"])
            counts[punch] += 1
            stall = max(stall, report["longest_stall_us"])
        return counts, stall / 1e6

    def assert_known(self, store, known):
        for path, (content, links) in known.items():
            with open(path, "rb") as file:
                self.assertEqual(content, digest(file.read()), path)
            self.assertEqual(links, os.stat(path).st_nlink, path)
        found = {os.path.join(folder, name) for folder, _, files in os.walk(store.root)
                 for name in files if "/clerk" not in folder and "/still/" not in folder}
        self.assertEqual(set(known), found)

    def test_nobody_sees_or_loses_anything(self):
        print("VARVE_SEED=%d" % SEED, flush=True)
        with MountedStore(BY_HAND) as store:
            still = make_tree(store / "still", SEED, 60, 600 * KIB)
            load = Load(store.root, SEED, SECONDS, KINDS)
            load.start()
            try:
                counts, stall = self.compact_while(store, load)
            finally:
                known, (longest, what), operations = load.finish()
            print("%d operations of %d processes, %d compactions by copying, %d by punching" % (
                operations, len(KINDS), *counts))
            print("longest stall: %.0f ms (%s); by the compactor's own account %.0f ms" % (
                longest * 1000, what, stall * 1000), flush=True)
            self.assertGreater(min(counts), 0)
            self.assertEqual([], verify_tree(store / "still", still))
            self.assert_known(store, known)
            # What the kernel answers from its cache is no reading: only a listing with nothing
            # cached brings every access time to where relatime then leaves it.
            store.remount()
            before = whole_listing(store.root)
            for step in (lambda: compact_done(store.root), store.remount,
                         lambda: compact_done(store.root, "--punch"), store.remount):
                step()
                self.assertEqual([], differences(before, whole_listing(store.root)))
            self.assert_known(store, known)
            self.assertFalse(status_of(store)["read_only"])
            store.umount()
            store.check()
            self.assertFalse(leftover(store).exists())


def make_one_of_each(root):
    """Each type of file, and each kind of content, some of it old."""
    (root / "folder/deeper").mkdir(parents=True)
    contents = {
        "plain": content_of(1, 100000), "empty": b"", "nul": b"\0", "nuls": bytes(5000),
        "one": b"x", "folder/large": content_of(2, 3 * MIB + 17),
        "folder/deeper/\udcff\n": b"a name", "folder/" + "n" * 255: b"a long name",
    }
    for name, content in contents.items():
        with open(os.path.join(root, name), "wb") as file:
            file.write(content)
    with open(root / "sparse", "wb") as file:
        file.truncate(5 * MIB)
        for at in (0, MIB + 1, 5 * MIB - 3):
            file.seek(at)
            file.write(b"abc")
    with open(root / "folder/changed", "wb") as file:
        file.write(content_of(3, MIB))
    with open(root / "folder/changed", "r+b") as file:
        file.seek(500000)
        file.write(b"changed")
    os.link(root / "plain", root / "folder/linked")
    os.link(root / "sparse", root / "folder/linked sparse")
    os.symlink("plain", root / "symlink")
    os.symlink("nowhere/" + "x" * 3000, root / "folder/dangling")
    os.mkfifo(root / "fifo")
    # Addresses of sockets have to be short.
    folder = os.open(root, os.O_PATH)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as end:
        end.bind("/proc/self/fd/%d/socket" % folder)
    os.close(folder)
    if ROOT:
        os.mknod(root / "device", 0o020640, os.makedev(1, 3))
        os.chown(root / "plain", 1234, 5678)
        os.setxattr(root / "folder", "trusted.t", b"for root")
        os.setxattr(root / "symlink", "trusted.s", b"of a symlink", follow_symlinks=False)
    for name in ("plain", "folder", "empty", "sparse"):
        os.setxattr(root / name, "user.small", name.encode())
    os.setxattr(root / "plain", "user.large", content_of(4, 20000))
    os.setxattr(root / "plain", "user.empty", b"")
    run("setfacl", "-m", "u:4711:rw,g:12:r", root / "plain", root / "folder")
    run("setfacl", "-d", "-m", "u:4711:rwx", root / "folder")
    os.chmod(root / "one", 0o7711)
    for number, name in enumerate(("plain", "symlink", "fifo", "folder/deeper", "folder")):
        os.utime(root / name, ns=(10**9 * number + 1, 10**18 + number), follow_symlinks=False)
    os.utime(root / "one", ns=(-10**18 + 5, -10**18 + 7))


def acls(root):
    return run("getfacl", "-R", "-n", "-p", root).stdout


class UntouchedTest(unittest.TestCase):
    """A backup tool that runs after a compaction finds nothing to do."""

    def test_what_a_backup_looks_at(self):
        with MountedStore(BY_HAND) as store, MountedStore() as other:
            # The backup is on a mount: ext4 has no room for such attributes.
            tree, backup = store / "tree", other / "backup"
            tree.mkdir()
            make_one_of_each(tree)
            run("cp", "-r", "/usr/include/linux", tree / "sources")
            rsync = ["rsync", "-aHAX", "--itemize-changes"]
            run(*rsync, "%s/" % tree, backup)
            store.remount()
            before = whole_listing(tree), acls(tree)
            for arguments in ([], ["--punch"], []):
                with self.subTest(arguments):
                    (store / "dead").write_bytes(content_of(5, MIB))
                    (store / "dead").unlink()
                    compact_done(store.root, *arguments)
                    self.assert_untouched(tree, before)
                    store.remount()
                    self.assert_untouched(tree, before)
                    self.assertEqual(b"", run(*rsync, "-n", "%s/" % tree, backup).stdout)
            store.umount()
            store.check()

    def assert_untouched(self, tree, before):
        self.assertEqual([], differences(before[0], whole_listing(tree)))
        self.assertEqual(before[1], acls(tree))


def contents_of(root):
    """{path: content} of all regular files."""
    found = {}
    for folder, _, files in os.walk(root):
        for path in (os.path.join(folder, name) for name in files):
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as file:
                    found[os.path.relpath(path, root)] = file.read()
    return found


class RawTest(unittest.TestCase):
    """What finds files without knowing the tree: one entry under each path."""

    def test_each_file_is_an_entry_under_its_path(self):
        with MountedStore(BY_HAND) as store:
            make_one_of_each(store.root)
            made = make_tree(store / "made", 7, 60, 200 * KIB, smallest=2)
            big = content_of(8, 9 * MIB)
            with open(store / "made/big", "wb") as file:
                file.write(big)
            os.rename(store / "made/d1", store / "folder/renamed")
            os.rename(store / "made/big", store / "big")
            run("cp", store / "big", store / "clone")
            compact_done(store.root)
            contents = contents_of(store.root)
            self.assertGreater(len(contents), len(made))
            store.umount()
            tree = Tree(store.path.read_bytes())
            names = {}  # of each file
            for path, ino in tree.walk():
                if os.fsdecode(path) in contents:
                    names.setdefault(ino, []).append(os.fsdecode(path))
            self.assertEqual(sorted(sum(names.values(), [])), sorted(contents))
            for ino, aliases in names.items():
                content = contents[aliases[0]]
                self.assertEqual(digest(tree.content(ino)), digest(content), aliases)
                # Nothing but zeros become holes.
                if content.strip(b"\0") and aliases[0] not in (*SPARSE, "clone"):
                    self.assert_plain(store, tree.inodes[ino], aliases, content)
            # But for a clone, which goes on sharing the bytes of the other file.
            inos = {path: ino for path, ino in tree.walk()}
            clone, big = (tree.inodes[inos[name]].extents for name in (b"clone", b"big"))
            self.assertEqual([extent.store_offset for extent in big],
                             [extent.store_offset for extent in clone])
            store.check()

    def test_punching_leaves_every_live_entry_whole(self):
        with MountedStore(BY_HAND) as store:
            make_one_of_each(store.root)
            made = make_tree(store / "made", 9, 40, 200 * KIB, smallest=2)
            # Large records of changes, which the next checkpoint makes useless.
            for number in range(30):
                os.setxattr(store / "one", "user.x%d" % (number % 3), content_of(number, 60000))
            for name in list(made)[::2]:
                os.unlink(store / "made" / name)
            store.remount()
            report = compact_done(store.root, "--punch")
            self.assertGreater(report["bytes_reclaimed"], 2 * MIB)
            contents = contents_of(store.root)
            store.umount()
            store.check()
            data = store.path.read_bytes()
            tree = Tree(data)
            for entry in tree.chain:
                if tree.live(entry.key_hash) is entry:
                    self.assertTrue(matches_checksum(data, entry), entry)
            self.assertEqual(
                {name: digest(content) for name, content in contents.items()},
                {os.fsdecode(path): digest(tree.content(ino)) for path, ino in tree.walk()
                 if os.fsdecode(path) in contents})

    def assert_plain(self, store, inode, aliases, content):
        self.assertEqual([(0, 0, len(content), len(content))],
                         [(extent.offset, extent.entry_offset, extent.length, extent.entry_size)
                          for extent in inode.extents], aliases)
        # A file with several names has its entry under one of them.
        reads = [run(varve_binary(), "raw", "read", store.path, name, check=False)
                 for name in aliases]
        self.assertEqual([digest(content)],
                         [digest(read.stdout) for read in reads if read.returncode == OK],
                         (aliases, [read.stderr for read in reads]))


class KillTest(unittest.TestCase):
    """kill -9 at any moment of compactions, of a store that is in use."""

    def compact_for_ever(self, store):
        """A process that goes on until the daemon is gone."""
        script = 'while "$0" compact "$1" && "$0" compact --punch "$1"; do :; done'
        return subprocess.Popen(
            ["bash", "-c", script, varve_binary(), str(store.root)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def crash_once(self, store, number, rng):
        """Returns what has to be there afterwards."""
        context = multiprocessing.get_context("fork")
        logs = [open(store.base / ("log%d-%d" % (number, i)), "w+", buffering=1)
                for i in range(2)]
        workers = [context.Process(target=crash_test.worker,
                                   args=(str(store.root), log, number * 10 + i))
                   for i, log in enumerate(logs)]
        for process in workers:
            process.start()
        with self.compact_for_ever(store) as compactions:
            # Compactions are to be met at all of their phases.
            time.sleep(rng.uniform(0.3, 1.0))
            if number % 2 == 0:
                wait_until(leftover(store).exists, "a compaction by copying")
                time.sleep(rng.uniform(0, 0.15))
            store.kill()
            compactions.wait()
        for process in workers:
            process.join()
        states = []
        for log in logs:
            log.seek(0)
            states.append(crash_test.expected(log.readlines()))
            log.close()
        return states

    def test_acknowledged_changes_survive(self):
        rng = random.Random(SEED)
        verifier = crash_test.CrashTest()
        begun = 0
        with MountedStore(BY_HAND) as store:
            still = make_tree(store / "still", SEED, 50, MIB)
            states = []
            for number in range(ROUNDS):
                states = states[-4:] + self.crash_once(store, number, rng)
                begun += leftover(store).exists()
                store.mount()
                self.assertFalse(leftover(store).exists())
                for state in states:
                    verifier.verify(state)
                self.assertEqual([], verify_tree(store / "still", still))
                store.umount()
                store.check()
                store.mount()
            print("%d kills, %d in the middle of copying" % (ROUNDS, begun))

    def test_a_file_that_is_no_leftover_is_kept(self):
        foreign = b"nobody's business"
        with MountedStore(BY_HAND) as store:
            (store / "file").write_text("text")
            store.umount()
            leftover(store).write_bytes(foreign)
            store.mount()
            self.assertEqual(foreign, leftover(store).read_bytes())
            status, _, complaints = compact(store.root)
            self.assertEqual(foreign, leftover(store).read_bytes())
            if status != OK:
                self.assertIn(str(leftover(store)), complaints)
            self.assertEqual("text", (store / "file").read_text())
            store.umount()
            compact(store.path)
            self.assertEqual(foreign, leftover(store).read_bytes())
            varve("check", store.path)


if __name__ == "__main__":
    faulthandler.enable()
    junit.main()

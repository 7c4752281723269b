#!/usr/bin/env python3
"""Incremental backups of a mount, before and after a remount, which changes the device number."""

import contextlib
import os
import unittest

from tests.kit import junit
from tests.kit.mounted import MountedStore, run

FILES = 20


class BackupTest(unittest.TestCase):
    def setUp(self):
        self.store = MountedStore()
        self.store.__enter__()
        self.addCleanup(self.store.__exit__)
        (self.store / "folder").mkdir()
        for number in range(FILES):
            (self.store / ("folder/file%d" % number)).write_bytes(os.urandom(5000))

    def tar(self, name, *options):
        """The files that an increment has."""
        archive = self.store.base / "increment.tar"
        run("tar", "--create", "--file", archive, "--listed-incremental", self.store.base / name,
            *options, "-C", self.store.root, ".")
        lines = run("tar", "--list", "--file", archive).stdout.decode().split()
        return sorted(line for line in lines if not line.endswith("/"))

    def remount_with_another_device(self):
        before = os.stat(self.store.root)
        with contextlib.ExitStack() as taken:
            self.store.umount()
            # Takes the number that has become free.
            taker = self.store.base / "taker"
            taker.mkdir()
            run("mount", "-t", "tmpfs", "taker", taker)
            taken.callback(run, "umount", taker)
            self.store.mount()
        after = os.stat(self.store.root)
        self.assertNotEqual(before.st_dev, after.st_dev)
        self.assertEqual(before.st_ino, after.st_ino)

    def test_tar(self):
        option = "--no-check-device"
        self.assertEqual(len(self.tar("with", option)), FILES)
        self.assertEqual(len(self.tar("without")), FILES)
        self.assertEqual(self.tar("without"), [])
        self.remount_with_another_device()
        # The reason for the advice in docs/backup.md.
        self.assertEqual(len(self.tar("without")), FILES)
        self.assertEqual(self.tar("with", option), [])
        (self.store / "folder/file7").write_text("changed")
        (self.store / "new").touch()
        self.assertEqual(self.tar("with", option), ["./folder/file7", "./new"])

    def test_rsync(self):
        def sync():
            result = run("rsync", "--archive", "--itemize-changes", "%s/" % self.store.root,
                         self.store.base / "copy")
            return result.stdout.decode().splitlines()

        self.assertEqual(sum(line.startswith(">f") for line in sync()), FILES)
        self.remount_with_another_device()
        self.assertEqual(sync(), [])
        (self.store / "folder/file7").write_text("changed")
        self.assertEqual([line.split()[1] for line in sync()], ["folder/file7"])


if __name__ == "__main__":
    junit.main()

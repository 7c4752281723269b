#!/usr/bin/env python3
"""Incremental backups of a mount, before and after a remount, which changes the device number."""

import contextlib
import os
import shutil
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

    def snapshot_again(self):
        """The directory of a snapshot of now, under the same name as before."""
        snapshot = self.store / ".varve/snapshots/backup"
        with contextlib.suppress(FileNotFoundError):
            snapshot.rmdir()
        snapshot.mkdir()
        return snapshot

    def change(self):
        (self.store / "folder/file7").write_text("changed")
        (self.store / "new").touch()

    @unittest.skipUnless(shutil.which("restic"), "restic is not installed")
    def test_restic_reads_of_a_snapshot_what_has_changed(self):
        repository = self.store.base / "restic"
        environment = dict(os.environ, RESTIC_PASSWORD="x", RESTIC_REPOSITORY=str(repository),
                           RESTIC_CACHE_DIR=str(self.store.base / "cache"))

        def restic(*arguments):
            return run("restic", *arguments, env=environment).stdout.decode()

        def backup():
            return restic("backup", "--ignore-inode", "-v", self.snapshot_again())
        restic("init")
        self.assertRegex(backup(), "Files: +%d new, +0 changed" % FILES)
        self.change()
        self.assertRegex(backup(), "Files: +1 new, +1 changed, +%d unmodified" % (FILES - 1))
        target = self.store.base / "restored"
        restic("restore", "latest", "--target", target)
        snapshot = self.store / ".varve/snapshots/backup"
        run("diff", "-r", "%s%s" % (target, snapshot), snapshot)

    @unittest.skipUnless(shutil.which("borg"), "borg is not installed")
    def test_borg_reads_of_a_snapshot_what_has_changed(self):
        environment = dict(os.environ, BORG_REPO=str(self.store.base / "borg"),
                           BORG_BASE_DIR=str(self.store.base),
                           BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes")

        def backup(name):
            listed = run("borg", "create", "--list", "--filter=AM", "--files-cache=ctime,size",
                         "::" + name, ".", env=environment, cwd=self.snapshot_again())
            return sorted(line.split()[-1] for line in listed.stderr.decode().splitlines())
        run("borg", "init", "-e", "none", env=environment)
        self.assertEqual(len(backup("one")), FILES)
        self.change()
        # It reads what is as young as its youngest file again.
        self.assertIn("folder/file7", backup("two"))
        self.assertLess(len(backup("three")), 5)
        target = self.store.base / "restored"
        target.mkdir()
        run("borg", "extract", "::three", env=environment, cwd=target)
        run("diff", "-r", target, self.store / ".varve/snapshots/backup")


if __name__ == "__main__":
    junit.main()

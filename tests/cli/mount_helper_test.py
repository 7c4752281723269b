#!/usr/bin/env python3
"""mount(8) and fstab(5) with a store: the spellings of mounting agree, and remounting works."""

import os
import pathlib
import shutil
import unittest

from tests.kit import junit
from tests.cli.mount_command_test import (
    BUSY, MOUNT_HELPER, MountTest, NO_PERMISSION, READ_ONLY, REFUSED,
)
from tests.kit.mounted import run, varve_binary

# In a mount namespace of its own, where varve and its helper are installed.
INSTALL = """
set -eu
mount --bind "$PWD/sbin" "$(realpath /sbin)"
mount --bind "$PWD/sbin" /usr/local/bin
shown() { grep -F " $PWD/mnt " /proc/self/mountinfo | tail -n 1 | cut -d" " -f6; }
"""


class MountHelperTest(MountTest):
    def setUp(self):
        super().setUp()
        sbin = self.folder / "sbin"
        sbin.mkdir()
        for helper in pathlib.Path("/sbin").glob("mount.fuse*"):
            shutil.copy(helper, sbin, follow_symlinks=True)
        shutil.copy(MOUNT_HELPER, sbin / "mount.varve")
        (sbin / "varve").symlink_to(varve_binary())
        self.fstab = self.folder / "fstab"

    def session(self, script, check=True):
        """What a shell script prints that finds varve and its helper installed."""
        result = run("unshare", "-m", "--propagation", "private", "sh", "-c", INSTALL + script,
                     cwd=self.folder, check=check)
        return result.stdout.decode() + result.stderr.decode()


class Spellings(MountHelperTest):
    SPELLINGS = {
        "varve mount": "varve mount %s store.varve mnt",
        "mount -t varve": "mount -t varve %s store.varve mnt",
        "mount -t fuse.varve": "mount -t fuse.varve %s store.varve mnt",
    }

    def setUp(self):
        super().setUp()
        self.make_store()

    def options(self, spelling, options):
        arguments = "-o " + options if options else ""
        script = self.SPELLINGS[spelling] % arguments + "; shown; varve umount mnt"
        return set(self.session(script).split()[0].split(","))

    def test_agree(self):
        safe = {"nosuid", "nodev"}
        for options, expected in (("", set()), ("suid,dev", set()), ("nosuid,nodev", safe),
                                  ("nosuid", {"nosuid"}), ("noexec,ro", {"noexec", "ro"})):
            for spelling in self.SPELLINGS:
                with self.subTest(spelling, options=options):
                    shown = self.options(spelling, options)
                    self.assertEqual(shown & (safe | {"noexec", "ro"}), expected)

    def test_agree_in_fstab(self):
        for kind in ("varve", "fuse.varve"):
            self.fstab.write_text("%s %s %s noauto,user,threads=2 0 0\n"
                                  % (self.store, self.mnt, kind))
            text = self.session("mount -T fstab %s; shown; varve umount mnt" % self.mnt)
            self.assertLessEqual({"nosuid", "nodev", "noexec"}, set(text.split()[0].split(",")))


class Remounting(MountHelperTest):
    def test_read_only_and_back(self):
        script = """
        mount -t %(kind)s -o nosuid store.varve mnt; echo content > mnt/file
        mount -o remount,ro mnt; shown
        ! echo x > mnt/new
        cat mnt/file
        mount -o remount,rw mnt; shown
        echo more >> mnt/file; cat mnt/file
        varve umount mnt
        """
        for kind in ("varve", "fuse.varve"):
            with self.subTest(kind):
                lines = self.session(script % {"kind": kind}).split("\n")
                self.assertLessEqual({"ro", "nosuid"}, set(lines[0].split(",")))
                self.assertEqual(lines[1], "content")
                self.assertLessEqual({"rw", "nosuid"}, set(lines[2].split(",")))
                self.assertEqual(lines[3:5], ["content", "more"])
                self.assertIn("Read-only file system", "".join(lines))

    def test_by_fstab(self):
        self.fstab.write_text("%s %s varve noauto,threads=2,allow_other,nodev 0 0\n"
                              % (self.store, self.mnt))
        lines = self.session("""
        mount -T fstab "$PWD/mnt"; touch mnt/file
        mount -T fstab -o remount,ro "$PWD/mnt"; shown
        mount -T fstab -o remount,rw "$PWD/mnt"; shown
        touch mnt/file
        varve umount mnt
        """).split()
        self.assertLessEqual({"ro", "nodev"}, set(lines[0].split(",")))
        self.assertLessEqual({"rw", "nodev"}, set(lines[1].split(",")))

    def test_what_is_refused(self):
        self.mount()
        other = self.folder / "other.varve"
        self.refused("mount", "-o", "remount,ro", other, self.mnt, status=REFUSED)
        self.refused("mount", "-o", "remount,ro", self.store, self.folder, status=REFUSED)
        with open(self.mnt / "file", "wb"):
            text = self.refused("mount", "-o", "remount,ro", self.store, self.mnt, status=BUSY)
            self.assertIn("open for writing", text)
        self.varve("umount", self.mnt)
        os.chmod(self.store, 0o644)
        self.mount("-o", "ro,allow_other")
        text = self.refused("mount", "-o", "remount,rw", self.store, self.mnt, status=READ_ONLY)
        self.assertIn("for reading only", text)
        self.assertIn("only root", self.as_nobody(
            "./varve", "mount", "-o", "remount,noexec", self.store, self.mnt,
            status=NO_PERMISSION))
        self.varve("umount", self.mnt)

    def test_umount_waits_for_a_daemon_that_can_write(self):
        self.mount()
        (self.mnt / "file").write_text("content")
        self.varve("mount", "-o", "remount,ro", self.store, self.mnt)
        self.varve("umount", self.mnt)
        self.varve("put", self.store, "again", "/etc/hostname")


if __name__ == "__main__":
    junit.main()

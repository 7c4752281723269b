#!/usr/bin/env python3
"""Past moments: snapshots, log, versions, diff, restore, undelete, --at, and what
compactions keep, on a mount and without one."""

import datetime
import json
import os
import select
import shutil
import subprocess
import unittest

from tests.kit import junit
from tests.cli.cli_test import DAMAGE, EXISTS, NOT_FOUND, REFUSED, USAGE
from tests.cli.tree_verbs_test import describe
from tests.kit.mounted import MountedStore, run, varve, varve_binary, wait_until


def lines_of(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


class HistoryTest(unittest.TestCase):
    def setUp(self):
        self.store = MountedStore()
        self.enterContext(self.store)
        self.mount = str(self.store.root)

    def path(self, *parts):
        return os.path.join(self.mount, *parts)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def make_tree(self, name):
        """A tree that was not made for this test, with some attributes more."""
        shutil.copytree("/usr/include/linux", self.path(name), symlinks=True)
        os.symlink("version.h", self.path(name, "a link"))
        os.link(self.path(name, "version.h"), self.path(name, "hard"))
        os.setxattr(self.path(name, "version.h"), "user.note", b"kept")
        os.utime(self.path(name), ns=(1, 10**18 + 7))

    def varve(self, *arguments, status=0):
        result = varve(*arguments, check=False)
        self.assertEqual(result.returncode, status, result.stderr)
        result.stdout = result.stdout.decode()
        return result

    def test_a_snapshot_shows_what_was(self):
        self.write("f", "one")
        self.varve("snapshot", "create", self.mount, "first")
        self.write("f", "two")
        path = self.store.path
        self.assertEqual(self.varve("get", "--at", "first", path, "f", "-").stdout, "one")
        self.assertEqual(self.varve("get", "--at", "now", path, "f", "-").stdout, "two")
        listed = json.loads(self.varve("snapshot", "list", self.mount, "--json").stdout)
        self.assertEqual([snapshot["name"] for snapshot in listed], ["first"])
        for arguments in (["--forget"], ["--punch", "--forget"]):
            self.varve("compact", *arguments, self.mount)
            self.assertEqual(self.varve("get", "--at", "first", path, "f", "-").stdout, "one")
        self.varve("snapshot", "rename", self.mount, "first", "second")
        self.varve("snapshot", "create", self.mount, "second", status=EXISTS)
        self.varve("snapshot", "hold", self.mount, "second")
        self.varve("snapshot", "delete", self.mount, "second", status=REFUSED)
        self.varve("snapshot", "release", self.mount, "second")
        self.store.umount()
        self.varve("snapshot", "delete", path, "second")
        self.varve("snapshot", "delete", path, "second", status=NOT_FOUND)
        self.varve("ls", "--at", "second", path, status=USAGE)

    def test_a_past_moment_can_be_mounted(self):
        self.make_tree("tree")
        before = describe(self.path("tree"))
        self.varve("snapshot", "create", self.mount, "s")
        shutil.rmtree(self.path("tree"))
        past = os.path.join(self.store.base, "past")
        os.mkdir(past)
        self.varve("mount", "--at", "s", self.store.path, past)
        try:
            self.assertEqual(describe(os.path.join(past, "tree")), before)
            with self.assertRaisesRegex(OSError, "Read-only"):
                os.mkdir(os.path.join(past, "new"))
        finally:
            self.varve("umount", past)

    def test_a_deleted_tree_comes_back(self):
        self.make_tree("tree")
        before = describe(self.path("tree"))
        os.listdir(self.mount)
        run("rm", "-rf", self.path("tree"))
        self.assertFalse(os.path.exists(self.path("tree")))
        self.write("later", "stays")
        self.varve("undelete", self.path("tree"))
        self.assertEqual(describe(self.path("tree")), before)
        self.assertEqual(sorted(os.listdir(self.mount)), ["later", "tree"])
        self.varve("undelete", self.path("tree"), status=EXISTS)
        self.varve("undelete", self.path("never was"), status=NOT_FOUND)
        self.store.umount()
        self.assertIn("clean", self.varve("check", self.store.path).stdout)
        self.store.mount()
        self.assertEqual(describe(self.path("tree")), before)

    def test_everything_that_was_deleted_since_a_time_comes_back(self):
        self.make_tree("tree")
        self.write("alone", "text")
        self.write("kept", "text")
        since = datetime.datetime.now(datetime.timezone.utc).isoformat()
        before = describe(self.path("tree"))
        run("rm", self.path("tree", "version.h"))
        run("rm", "-rf", self.path("tree"))
        run("rm", self.path("alone"))
        self.write("kept", "overwritten")
        shown = self.varve("undelete", self.mount, "--since", since, "-n").stdout
        self.assertEqual(len(shown.splitlines()), 2, shown)
        self.assertFalse(os.path.exists(self.path("tree")))
        self.varve("undelete", self.mount, "--since", since)
        self.assertEqual(sorted(os.listdir(self.mount)), ["alone", "kept", "tree"])
        self.assertEqual(describe(self.path("tree")), before)
        with open(self.path("kept"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "overwritten")
        self.varve("undelete", self.mount, "--since", since, status=NOT_FOUND)

    def test_a_purged_path_is_gone_from_the_past(self):
        self.make_tree("tree")
        self.write("secret", "hunter2, once")
        self.varve("snapshot", "create", self.mount, "s")
        past = os.path.join(self.mount, ".varve", "snapshots", "s")
        with open(os.path.join(past, "secret"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "hunter2, once")
        run("rm", self.path("secret"))
        tried = self.varve("history", "purge", self.mount, "secret", "-n").stdout
        self.assertIn("the snapshot s", tried)
        self.assertTrue(os.path.exists(os.path.join(past, "secret")))
        self.varve("history", "purge", self.mount, "secret", "tree/version.h")
        self.assertFalse(os.path.exists(os.path.join(past, "secret")))
        self.assertNotIn("secret", os.listdir(past))
        self.assertFalse(os.path.exists(os.path.join(past, "tree", "version.h")))
        self.assertTrue(os.path.exists(self.path("tree", "version.h")))
        self.assertIn("(purged)", self.varve("versions", self.mount, "secret").stdout)
        self.varve("get", "--at", "s", self.store.path, "secret", status=NOT_FOUND)
        self.varve("history", "purge", self.mount, "secret", status=NOT_FOUND)
        self.varve("compact", self.mount)
        self.store.umount()
        with open(self.store.path, "rb") as file:
            self.assertNotIn(b"hunter2, once", file.read())
        self.assertIn("clean", self.varve("check", self.store.path).stdout)
        self.store.mount()
        self.assertEqual(sorted(os.listdir(past)), ["tree"])

    def test_versions_of_snapshots_before_the_window_are_shown(self):
        self.write("file", "one")
        self.varve("snapshot", "create", self.mount, "s")
        self.write("file", "second")
        self.varve("compact", "--forget", self.mount)
        lines = self.varve("versions", self.mount, "file").stdout.splitlines()
        self.assertEqual([line.split()[-2] for line in lines], ["6", "3"], lines)

    def test_the_log_names_processes_if_asked(self):
        self.store.umount()
        self.store.options = ",".join(filter(None, [self.store.options, "log_processes"]))
        self.store.mount()
        run("touch", self.path("file"))
        line = self.varve("log", self.mount, "-n", "1").stdout
        self.assertRegex(line, r"file  by touch\[[0-9]+\]$")

    def test_restore_replaces_merges_and_leaves_open_files_alone(self):
        self.make_tree("tree")
        self.varve("snapshot", "create", self.mount, "s")
        before = describe(self.path("tree"))
        with open(self.path("tree", "version.h"), "r+", encoding="utf-8") as opened:
            opened.write("changed")
            opened.flush()
            os.fsync(opened.fileno())
            os.remove(self.path("tree", "types.h"))
            self.write("tree/new", "not there then")
            dry = self.varve("restore", self.path("tree"), "--at", "s", "-n", "--json")
            self.assertEqual(lines_of(dry)[0]["replaced"], 2)  # with the hard link
            self.varve("restore", self.path("tree"), "--at", "s")
            opened.seek(0)
            self.assertEqual(opened.read(7), "changed")
        self.assertTrue(os.path.exists(self.path("tree", "new")))
        self.varve("restore", self.path("tree"), "--at", "s", "--delete")
        self.assertEqual(describe(self.path("tree")), before)
        self.varve("restore", self.mount, "tree", "--at", "s", "--to", "copy/of/it",
                   status=NOT_FOUND)
        self.varve("restore", self.mount, "tree", "--at", "s", "--to", "copy")
        self.assertEqual(describe(self.path("copy")), before)
        self.varve("restore", self.mount, "nothing", "--at", "s", status=NOT_FOUND)

    def test_restoring_copies_no_bytes(self):
        with open(self.path("large"), "wb") as file:
            file.write(os.urandom(32 << 20))
        self.varve("snapshot", "create", self.mount, "s")
        os.remove(self.path("large"))
        size = os.stat(self.store.path).st_size
        self.varve("restore", self.path("large"), "--at", "s")
        self.assertLess(os.stat(self.store.path).st_size, size + 65536)
        self.assertEqual(os.stat(self.path("large")).st_size, 32 << 20)

    def test_log_versions_and_diff_tell_what_happened(self):
        self.write("f", "one")
        self.varve("snapshot", "create", self.mount, "s")
        self.write("f", "three")
        os.mkdir(self.path("d"))
        os.rename(self.path("f"), self.path("d", "g"))
        self.write("gone", "x")
        os.remove(self.path("gone"))
        os.setxattr(self.path("d"), "user.a", b"1")
        log = lines_of(self.varve("log", self.mount, "--json", "--since", "s"))
        self.assertEqual([(line["operation"], line["path"]) for line in log][::-1],
                         [("write", "f"), ("create", "d"), ("rename", "d/g"),
                          ("create", "gone"), ("write", "gone"), ("delete", "gone"),
                          ("xattr", "d")])
        self.assertEqual({line["uid"] for line in log}, {os.geteuid()})
        deleted = lines_of(self.varve("log", self.mount, "--json", "--op", "delete"))
        self.assertEqual([line["path"] for line in deleted], ["gone"])
        below = lines_of(self.varve("log", self.path("d"), "--json"))
        self.assertEqual({line["operation"] for line in below}, {"create", "rename", "xattr"})
        versions = lines_of(self.varve("versions", self.path("d", "g"), "--json"))
        self.assertEqual([version["size"] for version in versions], [5, 3, 0])
        oldest = "seq:%d" % versions[1]["sequence"]
        text = self.varve("get", "--at", oldest, self.store.path, "f", "-").stdout
        self.assertEqual(text, "one")
        diff = lines_of(self.varve("diff", self.mount, "s", "--json"))
        self.assertEqual([(line["change"], line["path"]) for line in diff],
                         [("+", "d"), ("R", "d/g")])
        copied = self.varve("diff", self.mount, "s", "-0").stdout.split("\0")[:-1]
        self.assertEqual(copied, ["d", "d/g"])

    def test_a_backup_copies_what_diff_names(self):
        self.make_tree("tree")
        backup = os.path.join(self.store.base, "backup")
        run("cp", "-a", self.mount + "/.", backup)
        self.varve("snapshot", "create", self.mount, "last backup")
        self.write("tree/types.h", "changed")
        os.mkdir(self.path("new"))
        self.write("new/file", "x")
        changed = subprocess.run([varve_binary(), "diff", self.mount, "last backup", "-0"],
                                 check=True, capture_output=True).stdout
        subprocess.run(["tar", "-C", self.mount, "--no-recursion", "--null", "-T", "-", "-cf",
                        os.path.join(self.store.base, "increment.tar")],
                       input=changed, check=True)
        run("tar", "-C", backup, "-xf", os.path.join(self.store.base, "increment.tar"))
        # By default, tar keeps times to the second only.
        copied, there = ({path: (file["mode"], file["owner"], file["content"])
                          for path, file in describe(root).items()}
                         for root in (backup, self.mount))
        self.assertEqual(copied, there)

    def test_the_policy_decides_what_a_compaction_keeps(self):
        self.write("f", "one")
        self.write("f", "two")
        log = self.varve("log", self.mount, "f").stdout
        self.varve("compact", self.mount)
        self.assertEqual(self.varve("log", self.mount, "f").stdout, log)
        self.assertEqual(self.varve("history", "policy", self.mount).stdout, "within=1d\n")
        said = self.varve("history", "policy", self.mount, "within=0").stdout
        self.assertEqual(said, "within=0\n")
        self.varve("compact", self.mount)
        self.assertEqual(self.varve("log", self.mount, "f").stdout, "")
        self.varve("ls", "--at", "1h", self.store.path, status=NOT_FOUND)
        self.varve("history", "policy", self.mount, "for ever", status=USAGE)

    def test_versions_follow_files_and_paths(self):
        def sizes(*names):
            return [json.loads(line)["size"] for line in self.varve(
                "versions", *names, "--json").stdout.splitlines()]

        # As editors save.
        for text in ("1", "22", "333"):
            self.write("new", text)
            os.rename(self.path("new"), self.path("file"))
        self.assertEqual([size for size in sizes(self.path("file")) if size], [3, 2, 1])
        os.rename(self.path("file"), self.path("moved"))
        self.assertEqual([size for size in sizes(self.path("moved")) if size], [3])
        self.assertEqual([size for size in sizes(self.path("file")) if size], [3, 2, 1])
        os.link(self.path("moved"), self.path("other"))
        self.varve("snapshot", "create", self.mount, "s")
        os.remove(self.path("moved"))
        os.remove(self.path("other"))
        self.varve("restore", self.mount, "--at", "s")
        self.assertEqual(sizes(self.path("moved"))[0], 3)
        self.varve("compact", "--forget", self.mount)
        self.assertEqual(sizes(self.path("moved")), [3])
        self.varve("versions", self.path("never"), status=NOT_FOUND)

    def test_a_check_finds_damage_in_the_past(self):
        secret = os.urandom(300_000)
        for name in ("in a snapshot", "in the window"):
            with open(self.path(name), "wb") as file:
                file.write(name.encode() + secret)
            if name == "in a snapshot":
                self.varve("snapshot", "create", self.mount, "s")
            os.remove(self.path(name))
            if name == "in a snapshot":
                self.varve("compact", "--forget", self.mount)
        self.store.umount()
        self.varve("check", self.store.path)
        whole = self.store.path.read_bytes()
        for name in ("in a snapshot", "in the window"):
            at = whole.index(name.encode() + secret[:100]) + 150_000
            with open(self.store.path, "r+b") as file:
                file.seek(at)
                file.write(bytes([whole[at] ^ 1]))
            said = self.varve("check", self.store.path, status=DAMAGE)
            self.assertIn("of the past", said.stdout + said.stderr.decode())
            with open(self.store.path, "r+b") as file:
                file.seek(at)
                file.write(whole[at:at + 1])
        self.varve("check", self.store.path)

    def test_the_log_can_be_followed(self):
        self.write("before", "x")
        with subprocess.Popen([varve_binary(), "log", self.mount, "-f", "-n", "4", "--op",
                               "create,delete", "--json"], stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL) as follower:
            try:
                # It has begun when it shows what is made.
                made = []

                def shows():
                    made.append("file %d" % len(made))
                    self.write(made[-1], "x")
                    return bool(select.select([follower.stdout], [], [], 0.2)[0])

                wait_until(shows, "nothing is shown")
                os.remove(self.path(made[-1]))
                self.varve("compact", "--forget", self.mount)
                for name in ("after one compaction", "and more", "and more still"):
                    self.write(name, "x")
                lines = [json.loads(line) for line in follower.stdout]
                self.assertEqual(follower.wait(60), 0)
            finally:
                follower.kill()
        self.assertEqual(len(lines), 4)
        self.assertNotIn("before", [line["path"] for line in lines])
        numbers = [line["sequence"] for line in lines]
        self.assertEqual(numbers, sorted(numbers))
        self.varve("log", self.mount, "-f", "--until", "now", status=USAGE)

    def test_a_mount_makes_snapshots_as_the_policy_has_it(self):
        self.write("f", "one")
        self.varve("snapshot", "create", self.mount, "mine")
        self.varve("history", "policy", self.mount, "within=1h", "hourly=2", "daily=7",
                   "zone=Europe/Berlin")
        self.assertEqual(self.varve("history", "policy", self.mount).stdout,
                         "within=1h hourly=2 daily=7 zone=Europe/Berlin\n")

        def listed():
            return json.loads(self.varve("snapshot", "list", self.mount, "--json").stdout)

        wait_until(lambda: len(listed()) == 2, "no snapshot was made")
        (automatic,) = [snapshot for snapshot in listed() if snapshot["automatic"]]
        self.assertEqual(automatic["name"], automatic["time"][:19] + "Z")
        self.assertEqual(
            self.varve("get", "--at", automatic["name"], self.store.path, "f", "-").stdout, "one")
        plan = json.loads(self.varve("history", "plan", self.mount, "--json").stdout)
        self.assertEqual([snapshot["kept_by"] for snapshot in plan["snapshots"]],
                         [["named"], ["hourly 1 of 2", "daily 1 of 7", "within=1h"]])
        self.assertIn("hourly 1 of 2, daily", self.varve("history", "plan", self.mount).stdout)
        # Nothing has changed since.
        self.store.remount()
        self.assertEqual(len(listed()), 2)
        # A policy without the rule lets it go.
        self.varve("history", "policy", self.mount, "within=0")
        wait_until(lambda: len(listed()) == 1, "the snapshot was not removed")
        self.assertEqual(listed()[0]["name"], "mine")


if __name__ == "__main__":
    junit.main()

#!/usr/bin/env python3
"""`.varve/deleted` in a mount: the names that some kept moment has and the
present has not, looked at with ordinary tools."""

import errno
import os
import shutil
import stat

from tests.cli.tree_verbs_test import describe
from tests.kit import junit
from tests.kit.mounted import run, varve
from tests.posix.past_trees_test import SOURCE, PastTreesCase
from tests.posix.posix_kit import USER


def lasting(description):
    """What of describe() stays as it was when a tree is removed. Removing what a directory has
    changes its time, and each name is a file of its own then."""
    result = {}
    for name, values in description.items():
        values = dict(values)
        values.pop("links", None)
        mtime, _ = values.pop("times")
        if values["content"] is not None:
            values["mtime"] = mtime
        result[name] = values
    return result


class DeletedNamesTest(PastTreesCase):
    def deleted(self, *parts):
        return self.path(".varve", "deleted", *parts)

    def names(self, *parts):
        return sorted(os.listdir(self.deleted(*parts)))

    # --- Which names there are ---

    def test_a_removed_tree_is_there_as_it_was(self):
        self.make_tree("tree")
        os.chown(self.path("tree", "types.h"), 12, 34)
        os.chmod(self.path("tree", "netfilter"), 0o2751)
        before = lasting(describe(self.path("tree")))
        run("rm", "-rf", self.path("tree"))
        self.assertEqual(self.names(), ["tree"])
        self.assertEqual(lasting(describe(self.deleted("tree"))), before)
        run("diff", "-r", "--no-dereference", "-x", "a link", "-x", "hard", "-x", "sparse",
            SOURCE, self.deleted("tree"))
        found = run("find", self.deleted("tree")).stdout.splitlines()
        self.assertEqual(len(found), len(before))
        grepped = run("grep", "-rlw", "LINUX_VERSION_CODE", self.deleted()).stdout.split()
        self.assertIn(self.deleted("tree", "version.h").encode(), grepped)
        run("tar", "-C", self.deleted(), "--xattrs", "--acls", "--sparse", "-cf",
            self.path("tar"), "tree")
        os.mkdir(self.path("unpacked"))
        run("tar", "-C", self.path("unpacked"), "--xattrs", "--acls", "-xf", self.path("tar"))
        self.assertEqual(lasting(describe(self.path("unpacked", "tree"))), before)
        run("cp", "-a", self.deleted("tree"), self.path("tree"))
        self.assertEqual(lasting(describe(self.path("tree"))), before)
        self.assertLess(os.stat(self.path("tree", "sparse")).st_blocks * 512, 1 << 20)
        self.assertEqual(self.names(), [])

    def test_names_come_and_go(self):
        self.assertEqual(self.names(), [])
        os.makedirs(self.path("d", "e"))
        for name in ("f", "d/g", "d/e/h"):
            self.write(name, "first " + name)
        self.assertEqual(self.names(), [])
        self.fails(errno.ENOENT, os.stat, self.deleted("f"))
        os.remove(self.path("f"))
        self.assertEqual(self.names(), ["f"])
        self.assertEqual(self.read(self.deleted("f")), "first f")
        # In a directory that is still there.
        os.remove(self.path("d/e/h"))
        self.assertEqual(self.names(), ["d", "f"])
        self.assertEqual(self.names("d"), ["e"])
        self.assertEqual(self.read(self.deleted("d/e/h")), "first d/e/h")
        os.remove(self.path("d/g"))
        self.assertEqual(self.names("d"), ["e", "g"])
        # There again, and gone again.
        self.write("f", "second")
        self.assertEqual(self.names(), ["d"])
        os.remove(self.path("f"))
        self.assertEqual(self.read(self.deleted("f")), "second")
        self.write("d/e/h", "again")
        self.assertEqual(self.names("d"), ["g"])

    def test_former_names_are_there(self):
        shutil.copytree(SOURCE + "/netfilter", self.path("old"))
        self.write("draft", "text")
        os.rename(self.path("draft"), self.path("final"))
        os.rename(self.path("old"), self.path("new"))
        self.assertEqual(self.names(), ["draft", "old"])
        self.assertEqual(self.read(self.deleted("draft")), "text")
        self.write("final", "changed since")
        self.assertEqual(self.read(self.deleted("draft")), "text")
        run("diff", "-r", SOURCE + "/netfilter", self.deleted("old"))
        os.rename(self.path("new"), self.path("old"))
        self.assertEqual(self.names(), ["draft", "new"])
        run("diff", "-r", self.path("old"), self.deleted("new"))

    # --- Who may look, and that nobody may change ---

    def test_modes_and_owners_hold(self):
        os.mkdir(self.path("private"), 0o700)
        os.mkdir(self.path("gone"), 0o700)
        os.mkdir(self.path("listed"), 0o755)
        os.mkdir(self.path("for one"), 0o700)
        for name in ("private/f", "gone/f", "listed/secret", "listed/open", "for one/f"):
            self.write(name, name)
        os.chmod(self.path("listed/secret"), 0o600)
        run("setfacl", "-m", "u:%d:rx" % USER, self.path("for one"))
        for name in ("private/f", "gone/f", "listed/secret", "listed/open", "for one/f"):
            os.remove(self.path(name))
        os.rmdir(self.path("gone"))
        self.assertEqual(self.names(), ["for one", "gone", "listed", "private"])
        self.assertEqual(stat.S_IMODE(os.stat(self.deleted("gone")).st_mode), 0o700)
        deleted = ".varve/deleted/"

        def look():
            self.assertEqual(sorted(os.listdir(deleted)), ["for one", "gone", "listed", "private"])
            for name in ("private", "gone"):
                self.fails(errno.EACCES, os.listdir, deleted + name)
                self.fails(errno.EACCES, os.stat, deleted + name + "/f")
            self.assertEqual(sorted(os.listdir(deleted + "listed")), ["open", "secret"])
            self.assertEqual(self.read(deleted + "listed/open"), "listed/open")
            self.fails(errno.EACCES, os.open, deleted + "listed/secret", os.O_RDONLY)
            self.assertEqual(self.read(deleted + "for one/f"), "for one/f")

        self.as_user(look)
        # Of a directory that is there, the present mode holds.
        os.chmod(self.path("private"), 0o755)
        os.chmod(self.path("listed"), 0o700)

        def look_again():
            self.assertEqual(os.listdir(deleted + "private"), ["f"])
            self.fails(errno.EACCES, os.listdir, deleted + "listed")

        self.as_user(look_again)

    def test_nothing_can_be_changed(self):
        os.mkdir(self.path("d"))
        self.write("d/f", "text")
        self.write("g", "text")
        os.remove(self.path("d/f"))
        os.remove(self.path("g"))
        for file in (self.deleted("g"), self.deleted("d", "f")):
            self.fails(errno.EROFS, os.remove, file)
            self.fails(errno.EROFS, os.rename, file, self.path("new"))
            self.fails(errno.EROFS, os.link, file, self.path("new"))
            self.fails(errno.EROFS, os.chmod, file, 0o777)
            self.fails(errno.EROFS, os.truncate, file, 0)
            self.fails(errno.EROFS, os.setxattr, file, "user.x", b"x")
            self.fails(errno.EROFS, os.open, file, os.O_WRONLY)
        for directory in (self.deleted(), self.deleted("d")):
            self.fails(errno.EROFS, os.mkdir, os.path.join(directory, "new"))
            self.fails(errno.EROFS, os.open, os.path.join(directory, "new"),
                       os.O_CREAT | os.O_WRONLY)
        self.fails(errno.EROFS, os.rmdir, self.deleted("d"))
        self.assertEqual(self.names("d"), ["f"])

    # --- What is kept ---

    def test_a_snapshot_keeps_a_name_and_compactions_move_it(self):
        self.make_tree("tree")
        self.write("old", "x" * 300000)
        os.mkdir(self.snapshot("s"))
        self.write("young", "y")
        before = lasting(describe(self.path("tree")))
        run("rm", "-rf", self.path("tree"), self.path("old"), self.path("young"))
        self.assertEqual(self.names(), ["old", "tree", "young"])
        self.compact()
        self.assertEqual(self.names(), ["old", "tree", "young"])
        self.assertEqual(lasting(describe(self.deleted("tree"))), before)
        for options in (["--forget"], ["--punch", "--forget"], ["--forget"]):
            self.compact(*options)
            self.assertEqual(self.names(), ["old", "tree"])
            self.assertEqual(lasting(describe(self.deleted("tree"))), before)
        with open(self.deleted("old"), encoding="utf-8") as opened:
            self.assertEqual(opened.read(10), "x" * 10)
            self.compact()
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self.assertEqual(len(opened.read()), 300000 - 10)
        self.store.remount()
        self.assertEqual(lasting(describe(self.deleted("tree"))), before)
        directory = os.open(self.deleted("tree"), os.O_RDONLY)
        os.rmdir(self.snapshot("s"))
        self.compact("--forget")
        self.assertEqual(self.names(), [])
        self.fails(errno.ENOENT, os.stat, self.deleted("old"))
        self.fails(errno.ESTALE, os.stat, "version.h", dir_fd=directory)
        os.close(directory)
        self.store.umount()
        self.assertIn(b"clean", varve("check", self.store.path).stdout)

    def test_it_is_there_after_a_remount_and_read_only(self):
        os.mkdir(self.path("d"))
        self.write("d/f", "text")
        os.remove(self.path("d/f"))
        self.assertEqual(self.names("d"), ["f"])
        self.store.remount()
        self.assertEqual(self.read(self.deleted("d", "f")), "text")
        self.store.umount()
        varve("mount", "-o", "ro", self.store.path, self.mount)
        self.assertEqual(self.read(self.deleted("d", "f")), "text")

    def test_files_have_numbers_of_their_own(self):
        self.write("f", "one")
        number = os.stat(self.path("f")).st_ino
        os.link(self.path("f"), self.path("g"))
        os.remove(self.path("f"))
        os.remove(self.path("g"))
        seen = {number}
        for name in ("f", "g"):
            status = os.stat(self.deleted(name))
            self.assertEqual(status.st_nlink, 1)
            self.assertNotIn(status.st_ino, seen)
            seen.add(status.st_ino)
        directory = os.stat(self.deleted())
        self.assertEqual(os.stat(self.deleted("..")).st_ino,
                         os.stat(self.path(".varve")).st_ino)
        self.assertNotIn(directory.st_ino, seen)


if __name__ == "__main__":
    junit.main()

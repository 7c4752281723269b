#!/usr/bin/env python3
"""Past moments as directories of a mount: `.varve/snapshots`, `at` and `gmt`,
looked at with ordinary tools while the present changes."""

import contextlib
import errno
import hashlib
import os
import shutil
import threading
import time
import unittest

from tests.kit import junit
from tests.cli.tree_verbs_test import describe
from tests.kit.mounted import MountedStore, run, varve
from tests.posix.posix_cases_linux import Handle
from tests.posix.posix_kit import USER, become, in_child

# A tree that was not made for this test.
SOURCE = "/usr/include/linux"


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class PastTreesCase(unittest.TestCase):
    """A mounted store for a test of the past."""

    def setUp(self):
        self.store = MountedStore("allow_other")
        self.enterContext(self.store)
        self.mount = str(self.store.root)
        self.snapshots = self.path(".varve", "snapshots")

    def path(self, *parts):
        return os.path.join(self.mount, *parts)

    def snapshot(self, *parts):
        return os.path.join(self.snapshots, *parts)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, *parts):
        with open(os.path.join(*parts), encoding="utf-8") as file:
            return file.read()

    def make_tree(self, name):
        shutil.copytree(SOURCE, self.path(name), symlinks=True)
        os.symlink("version.h", self.path(name, "a link"))
        os.link(self.path(name, "version.h"), self.path(name, "hard"))
        os.setxattr(self.path(name, "version.h"), "user.note", b"kept")
        os.setxattr(self.path(name), "user.of the directory", b"kept, too")
        run("setfacl", "-m", "u:1234:rw", self.path(name, "version.h"))
        with open(self.path(name, "sparse"), "wb") as file:
            file.seek(10 << 20)
            file.write(b"end")
        os.utime(self.path(name), ns=(1, 10**18 + 7))

    def fails(self, number, function, *arguments, **options):
        with self.assertRaises(OSError) as caught:
            function(*arguments, **options)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[number])

    def compact(self, *options):
        varve("compact", *options, self.mount)

    def as_user(self, function):
        """Runs it as a user who cannot get to the mount by an absolute path."""
        def work():
            os.chdir(self.mount)
            become(USER)
            function()

        in_child(work)


class PastTreesTest(PastTreesCase):
    # --- Snapshots as directories ---

    def test_directories_are_snapshots(self):
        self.write("f", "one")
        os.mkdir(self.snapshot("first"))
        self.write("f", "two")
        varve("snapshot", "create", self.mount, "second")
        self.write("f", "three")
        self.assertEqual(sorted(os.listdir(self.snapshots)), ["first", "second"])
        self.assertEqual(self.read(self.snapshot("first", "f")), "one")
        self.assertEqual(self.read(self.snapshot("second", "f")), "two")
        self.fails(errno.EEXIST, os.mkdir, self.snapshot("first"))
        self.fails(errno.EEXIST, os.rename, self.snapshot("first"), self.snapshot("second"))
        os.rename(self.snapshot("first"), self.snapshot("third"))
        self.assertEqual(sorted(os.listdir(self.snapshots)), ["second", "third"])
        self.assertEqual(self.read(self.snapshot("third", "f")), "one")
        self.fails(errno.ENOENT, os.stat, self.snapshot("first"))
        varve("snapshot", "hold", self.mount, "third")
        self.fails(errno.EBUSY, os.rmdir, self.snapshot("third"))
        varve("snapshot", "release", self.mount, "third")
        os.rmdir(self.snapshot("third"))
        varve("snapshot", "delete", self.mount, "second")
        self.assertEqual(os.listdir(self.snapshots), [])
        self.fails(errno.ENOENT, os.rmdir, self.snapshot("third"))
        self.fails(errno.ENAMETOOLONG, os.mkdir, self.snapshot("n" * 256))

    def test_they_are_not_listed(self):
        self.assertEqual(os.listdir(self.mount), [])
        self.assertEqual(os.listdir(self.path(".varve", "at")), [])
        self.assertLessEqual({"snapshots", "at", "gmt", "deleted"},
                             set(os.listdir(self.path(".varve"))))

    def test_a_listing_is_never_an_old_one(self):
        for i in range(20):
            varve("snapshot", "create", self.mount, "s%02d" % i)
            self.assertEqual(len(os.listdir(self.snapshots)), i + 1)

    def test_owner_and_root_make_them(self):
        self.write("secret", "for root")
        os.chmod(self.path("secret"), 0o600)
        self.write("open", "for all")
        os.mkdir(self.snapshot("s"))
        os.chmod(self.path("secret"), 0o644)
        snapshots = ".varve/snapshots/"

        def look():
            self.assertEqual(self.read(snapshots + "s/open"), "for all")
            self.assertEqual(self.read("secret"), "for root")
            # The mode of then holds.
            self.fails(errno.EACCES, os.open, snapshots + "s/secret", os.O_RDONLY)
            self.fails(errno.EACCES, os.mkdir, snapshots + "mine")
            self.fails(errno.EACCES, os.rmdir, snapshots + "s")
            self.fails(errno.EACCES, os.rename, snapshots + "s", snapshots + "t")

        self.as_user(look)
        os.chown(self.mount, USER, USER)

        def make():
            os.mkdir(snapshots + "mine")
            os.rename(snapshots + "mine", snapshots + "ours")
            os.rmdir(snapshots + "ours")

        self.as_user(make)
        self.assertEqual(os.listdir(self.snapshots), ["s"])

    def test_one_can_have_any_name(self):
        self.write("f", "text")
        for name in ("2h", "seq:1", "now", "yesterday", "with space", "\u00e4", "n" * 255):
            os.mkdir(self.snapshot(name))
            self.assertEqual(self.read(self.snapshot(name, "f")), "text")
        self.assertEqual(len(os.listdir(self.snapshots)), 7)

    # --- Moments by time and number ---

    def test_any_moment_can_be_looked_up(self):
        at = self.path(".varve", "at")
        self.write("f", "one")
        os.mkdir(self.snapshot("s"))
        numbers = [line.split()[0] for line in
                   varve("log", self.mount).stdout.decode().splitlines()]
        self.assertTrue(numbers)
        time.sleep(1.1)  # times in names count seconds
        then = time.time()
        time.sleep(1.1)
        self.write("f", "two")
        self.assertEqual(self.read(at, "s", "f"), "one")
        self.assertEqual(self.read(at, "now", "f"), "two")
        self.assertEqual(self.read(at, "last", "f"), "one")
        for form in ("%Y-%m-%dT%H:%M:%SZ", "@GMT-%Y.%m.%d-%H.%M.%S"):
            name = time.strftime(form, time.gmtime(then))
            self.assertEqual(self.read(at, name, "f"), "one")
        self.assertEqual(self.read(self.path(".varve", "gmt"), time.strftime(
            "@GMT-%Y.%m.%d-%H.%M.%S", time.gmtime(then)), "f"), "one")
        listed = os.listdir(self.path(".varve", "gmt"))
        self.assertTrue(listed)
        for name in listed:
            self.assertEqual(self.read(self.path(".varve", "gmt"), name, "f"), "one")
        for name in ("1d", "seq:999999", "no such thing", "1970-01-01"):
            self.fails(errno.ENOENT, os.stat, os.path.join(at, name))
        self.fails(errno.EROFS, os.mkdir, os.path.join(at, "x"))
        self.fails(errno.EROFS, os.rmdir, os.path.join(at, "s"))

    def test_a_span_moves_on(self):
        """`at/1s` is another moment each time, also for who has looked before."""
        self.write("f", "one")
        path = self.path(".varve", "at", "1s", "f")
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(FileNotFoundError):
                if self.read(path) == "one":
                    break
            self.assertLess(time.monotonic(), deadline)
        self.write("f", "two")
        while self.read(path) != "two":
            self.assertLess(time.monotonic(), deadline)

    # --- What past trees are ---

    def test_they_are_whole_and_tools_work_on_them(self):
        self.make_tree("tree")
        before = describe(self.path("tree"))
        os.mkdir(self.snapshot("s"))
        run("rm", "-rf", self.path("tree"))
        past = self.snapshot("s", "tree")
        self.assertEqual(describe(past), before)
        run("diff", "-r", "--no-dereference", "-x", "a link", "-x", "hard", "-x", "sparse",
            SOURCE, past)
        for command in (["cp", "-a", past, self.path("copied")],
                        ["rsync", "-aHAX", past + "/", self.path("synced")]):
            run(*command)
        run("tar", "-C", os.path.dirname(past), "--xattrs", "--acls", "--sparse", "-cf",
            self.path("tar"), "tree")
        os.mkdir(self.path("unpacked"))
        run("tar", "-C", self.path("unpacked"), "--xattrs", "--acls", "-xf", self.path("tar"))
        for copy in ("copied", "synced", "unpacked/tree"):
            got = describe(self.path(copy))
            for name, values in got.items():
                for values in (values, before[name]):
                    mtime, _ = values.pop("times", (None, None))
                    values["mtime"] = mtime
                    values.pop("links", None)
                self.assertEqual(got[name], before[name], (copy, name))
                before[name]["times"] = (before[name].pop("mtime"), None)
            self.assertTrue(os.path.samefile(self.path(copy, "version.h"),
                                             self.path(copy, "hard")))
        sparse = os.stat(self.path("copied", "sparse"))
        self.assertLess(sparse.st_blocks * 512, 1 << 20)
        found = run("grep", "-rlw", "LINUX_VERSION_CODE", past).stdout.split()
        self.assertIn(os.path.join(past, "version.h").encode(), found)

    def test_nothing_can_be_changed(self):
        self.make_tree("tree")
        os.mkdir(self.snapshot("s"))
        past = self.snapshot("s", "tree")
        file = os.path.join(past, "version.h")
        before = describe(past)
        self.fails(errno.EROFS, os.mkdir, os.path.join(past, "new"))
        self.fails(errno.EROFS, os.mknod, os.path.join(past, "new"))
        self.fails(errno.EROFS, os.symlink, "x", os.path.join(past, "new"))
        self.fails(errno.EROFS, os.link, file, os.path.join(past, "new"))
        self.fails(errno.EROFS, os.link, file, self.path("new"))
        self.fails(errno.EROFS, os.rename, file, self.path("new"))
        self.fails(errno.EROFS, os.rename, self.path("tree"), os.path.join(past, "new"))
        self.fails(errno.EROFS, os.remove, file)
        self.fails(errno.EROFS, os.rmdir, os.path.join(past, "netfilter"))
        self.fails(errno.EROFS, os.chmod, file, 0o777)
        self.fails(errno.EROFS, os.utime, file)
        self.fails(errno.EROFS, os.truncate, file, 0)
        self.fails(errno.EROFS, os.setxattr, file, "user.x", b"x")
        self.fails(errno.EROFS, os.removexattr, file, "user.note")
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
            self.fails(errno.EROFS, os.open, file, flags)
        self.fails(errno.EROFS, os.open, os.path.join(past, "new"), os.O_CREAT | os.O_WRONLY)
        self.fails(errno.EROFS, os.rmdir, self.snapshot("s", "tree"))
        self.assertEqual(describe(past), before)
        self.assertEqual(describe(self.path("tree")), before)

    def test_no_file_is_a_link_of_another_moment(self):
        self.make_tree("tree")
        os.mkdir(self.snapshot("a"))
        os.mkdir(self.snapshot("b"))
        seen = set()
        for root in (self.path("tree"), self.snapshot("a", "tree"), self.snapshot("b", "tree"),
                     self.path(".varve", "at", "a", "tree")):
            status = os.stat(os.path.join(root, "version.h"))
            self.assertEqual(status.st_nlink, 2)
            self.assertTrue(os.path.samefile(os.path.join(root, "version.h"),
                                             os.path.join(root, "hard")))
            self.assertNotIn(status.st_ino, seen)
            seen.add(status.st_ino)
        one = int(run("du", "-s", "--apparent-size", self.path("tree")).stdout.split()[0])
        both = int(run("du", "-s", "--apparent-size", self.snapshots).stdout.split()[0])
        self.assertGreaterEqual(both, 2 * one)

    # --- What compactions and deleting make of them ---

    def test_compactions_leave_them_alone(self):
        self.make_tree("tree")
        before = describe(self.path("tree"))
        os.mkdir(self.snapshot("s"))
        past = self.snapshot("s", "tree")
        with open(os.path.join(past, "version.h"), "rb") as opened:
            first = opened.read(10)
            run("rm", "-rf", self.path("tree"))
            for options in (["--forget"], ["--punch", "--forget"], ["--forget"]):
                self.write("more", "x" * 100000)
                self.compact(*options)
                self.assertEqual(describe(past), before)
                opened.seek(0)
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                self.assertEqual(opened.read(10), first)
        self.store.remount()
        self.assertEqual(describe(past), before)

    def test_what_is_no_longer_kept_is_stale(self):
        self.make_tree("tree")
        os.mkdir(self.snapshot("s"))
        run("rm", "-rf", self.path("tree"))
        directory = os.open(self.snapshot("s", "tree"), os.O_RDONLY)
        self.addCleanup(os.close, directory)
        os.stat("version.h", dir_fd=directory)
        os.rmdir(self.snapshot("s"))
        self.fails(errno.ENOENT, os.stat, self.snapshot("s", "tree"))
        # The window has the moment still.
        os.close(os.open("types.h", os.O_RDONLY, dir_fd=directory))
        for options in (["--punch", "--forget"], ["--forget"]):
            self.compact(*options)
            self.fails(errno.ESTALE, os.open, "version.h", os.O_RDONLY, dir_fd=directory)
        self.assertEqual(os.listdir(self.mount), [])

    def test_they_stay_while_all_changes(self):
        """Readers of past trees, beside changes, snapshots and compactions."""
        self.make_tree("tree")
        want = {name: digest(self.path("tree", name))
                for name in os.listdir(self.path("tree"))
                if os.path.isfile(self.path("tree", name))}
        os.mkdir(self.snapshot("s"))
        ended = threading.Event()
        failures = []

        def read_past():
            while not ended.is_set():
                try:
                    for name, value in want.items():
                        path = self.snapshot("s", "tree", name)
                        if digest(path) != value:
                            failures.append(name)
                        if ended.is_set():
                            return
                    run("find", self.snapshot("s"), "-newer", "/etc/hostname")
                except (OSError, AssertionError) as error:
                    failures.append(error)
                    return

        threads = [threading.Thread(target=read_past) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for i in range(12):
                shutil.copytree(SOURCE + "/netfilter", self.path("more%d" % i))
                if i > 1:
                    shutil.rmtree(self.path("more%d" % (i - 2)))
                for name in sorted(want)[i::12]:
                    self.write("tree/" + name, "changed")
                os.mkdir(self.snapshot("t%d" % i))
                if i > 3:
                    os.rmdir(self.snapshot("t%d" % (i - 3)))
                self.compact("--forget", *(["--punch"] if i % 2 else []))
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])
        self.store.umount()
        self.assertIn(b"clean", varve("check", self.store.path).stdout)

    def test_a_handle_is_never_that_of_another_moment(self):
        self.write("f", "one")
        os.mkdir(self.snapshot("a"))
        self.write("f", "two")
        os.mkdir(self.snapshot("b"))
        with contextlib.chdir(self.mount):
            self.read(self.snapshot("a", "f"))
            handle = Handle(self.snapshot("a", "f"))
            self.assertEqual(handle.read(), b"one")
        self.store.remount()
        self.read(self.snapshot("b", "f"))
        with contextlib.chdir(self.mount):
            self.fails(errno.ESTALE, handle.read)

    def test_an_open_directory_shows_what_the_command_made(self):
        directory = os.open(self.snapshots, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        for names in (["a"], ["a", "b"]):
            varve("snapshot", "create", self.mount, names[-1])
            self.assertEqual(sorted(os.listdir(directory)), names)
        varve("snapshot", "delete", self.mount, "a")
        self.assertEqual(os.listdir(directory), ["b"])

    def test_a_read_only_mount_has_them(self):
        self.write("f", "one")
        os.mkdir(self.snapshot("s"))
        self.write("f", "two")
        self.store.umount()
        varve("mount", "-o", "ro", self.store.path, self.mount)
        self.assertEqual(self.read(self.snapshot("s", "f")), "one")
        self.fails(errno.EROFS, os.mkdir, self.snapshot("t"))
        self.fails(errno.EROFS, os.rmdir, self.snapshot("s"))
        self.assertEqual(os.listdir(self.snapshots), ["s"])


if __name__ == "__main__":
    junit.main()

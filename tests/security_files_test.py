#!/usr/bin/env python3
"""What lies beside a store, and trees of extreme shapes.

VARVE_SECURITY_DEPTH sets the number of levels of the deepest directory (10,000
by default).
"""

import errno
import itertools
import json
import os
import pathlib
import re
import stat
import unittest

import junit
from format_writer import forged, put_name
from mounted import MountedStore, run, varve, varve_binary
from posix_kit import USER, in_child
from security_test import SecurityTest

DEPTH = int(os.environ.get("VARVE_SECURITY_DEPTH", "10000"))
# chown, dac_override, dac_read_search, fowner, fsetid, sys_admin, sys_resource.
NEEDED = sum(1 << number for number in (0, 1, 2, 3, 4, 21, 24))
OK, NOT_FOUND, DAMAGE, NOT_A_STORE, WRONG_KIND, EXISTS = 0, 3, 4, 5, 6, 13


class BesideTheStoreTest(SecurityTest):
    def content(self):
        return sorted(os.listdir(self.folder))

    def mode(self, path):
        return stat.S_IMODE(os.lstat(path).st_mode)

    def test_new_stores_are_for_their_owner(self):
        for mask in (0, 0o022, 0o777):
            def by_mount(path):
                varve("mount", path, self.mnt, umask=mask)
                varve("umount", self.mnt)

            for make in (by_mount,
                         lambda path: varve("put", "--create", path, "f", "/etc/hostname",
                                            umask=mask),
                         lambda path: varve("raw", "write", path, "key", "/etc/hostname",
                                            umask=mask)):
                with self.subTest(mask=oct(mask), make=make):
                    path = self.folder / "new"
                    try:
                        make(path)
                        self.assertEqual(oct(0o600), oct(self.mode(path)))
                    finally:
                        path.unlink(missing_ok=True)

    def torn_store(self):
        """A store with bytes behind its end; returns where these begin."""
        self.store.write_bytes(forged([]))
        self.store.chmod(0o640)
        os.chown(self.store, USER, USER)
        size = self.store.stat().st_size
        with open(self.store, "ab") as file:
            file.write(b"half a write")
        return size

    def test_torn_bytes_get_mode_and_owner_of_the_store(self):
        path = self.folder / ("store.varve.torn-%d" % self.torn_store())
        varve("mount", self.store, self.mnt, umask=0o077)
        status = path.stat()
        self.assertEqual((0o640, USER, USER, b"half a write"),
                         (self.mode(path), status.st_uid, status.st_gid, path.read_bytes()))

    def plant(self, path, how):
        """Something at a path that is not Varve's to touch; returns how to look at it."""
        victim = self.folder / "victim"
        victim.write_bytes(b"somebody's")
        if how == "file":
            os.rename(victim, path)
            return path.read_bytes
        (os.symlink if how == "symlink" else os.link)(victim, path)
        return lambda: (victim.read_bytes() if os.path.lexists(path) else b"removed")

    def test_what_is_planted_beside_the_store_stays(self):
        for how, command in itertools.product(("file", "symlink", "link"), ("torn", "compact")):
            with self.subTest(how=how, command=command):
                tail = self.torn_store()
                path = self.folder / ("store.varve." + (
                    "compact" if command == "compact" else "torn-%d" % tail))
                look = self.plant(path, how)
                if command == "torn":
                    varve("mount", self.store, self.mnt)
                    varve("umount", self.mnt)
                    self.assertEqual(b"half a write",
                                     path.with_name(path.name + ".1").read_bytes())
                else:
                    result = varve("compact", self.store, check=False)
                    self.assertIn(result.returncode, (OK, EXISTS), result.stderr)
                self.assertEqual(b"somebody's", look())
                self.assertEqual((0o640, USER), (self.mode(self.store), self.store.stat().st_uid))
                varve("check", self.store)
            for name in self.content():
                if name != "mnt":
                    os.unlink(self.folder / name)

    @unittest.skipUnless(os.geteuid() == 0, "only root has privileges to give up")
    def test_the_daemon_of_root_keeps_few_privileges(self):
        with MountedStore() as store:
            pid = json.loads((store / ".varve/status.json").read_text())["pid"]
            for task in os.listdir("/proc/%d/task" % pid):
                status = pathlib.Path("/proc/%d/task/%s/status" % (pid, task)).read_text()
                for name in ("CapPrm", "CapEff", "CapInh", "CapBnd"):
                    kept = int(re.search(name + r":\s+(\w+)", status).group(1), 16)
                    self.assertEqual(0, kept & ~NEEDED, name)

    def test_failures_leave_nothing(self):
        (self.folder / "junk").write_bytes(b"This is no store. " * 9)
        (self.folder / "damaged").write_bytes(forged([put_name(1, 77, b"a")]))
        before = self.content()
        for status, arguments in (
                (NOT_A_STORE, ("mount", "junk", "mnt")), (WRONG_KIND, ("mount", "mnt", "mnt")),
                (NOT_FOUND, ("mount", "new", "missing")), (WRONG_KIND, ("mount", "new", "junk")),
                (DAMAGE, ("mount", "damaged", "mnt")), (DAMAGE, ("put", "damaged", "f", "junk")),
                (NOT_FOUND, ("put", "--create", "new", "f", "missing")),
                (NOT_A_STORE, ("compact", "junk")), (DAMAGE, ("compact", "damaged"))):
            with self.subTest(arguments):
                result = varve(*arguments, cwd=self.folder, check=False)
                self.assertEqual(status, result.returncode, result.stderr)
                self.assertEqual(before, self.content())


class DeepTest(unittest.TestCase):
    def descend(self, root, name, depth):
        """Makes directories, each in the last one, and a file in the lowest."""
        os.chdir(root)
        for _ in range(depth):
            os.mkdir(name)
            os.chdir(name)
        pathlib.Path("lowest").write_text("deep down")
        os.mkfifo("fifo")

    def look(self, root, name, depth):
        os.chdir(root)
        for _ in range(depth):
            os.chdir(name)
        self.assertEqual("deep down", pathlib.Path("lowest").read_text(encoding="ascii"))

    def remove(self, root, name, depth):
        os.chdir(root)
        for _ in range(depth):
            os.chdir(name)
        os.unlink("lowest")
        os.unlink("fifo")
        for _ in range(depth):
            os.chdir("..")
            os.rmdir(name)

    def test_deep_directories(self):
        for name, depth in (("d", DEPTH), ("n" * 255, DEPTH // 10)):
            with self.subTest(name=name[:3]), MountedStore("compact=never") as store:
                tree = (store.root, name, depth)
                in_child(self.descend, *tree)
                store.kill()
                store.mount()
                in_child(self.look, *tree)
                store.remount()
                run(varve_binary(), "compact", store.root)
                in_child(self.look, *tree)
                run(varve_binary(), "compact", "--punch", store.root)
                store.umount()
                store.check()
                lines = varve("ls", "-R", store.path).stdout.splitlines()
                self.assertIn(b"lowest", lines[-1] + lines[-2])
                varve("compact", store.path)
                store.mount()
                in_child(self.look, *tree)
                in_child(self.remove, *tree)
                self.assertEqual([], os.listdir(store.root))

    def test_chains_of_links(self):
        with MountedStore() as store:
            (store / "end").write_text("end")
            for i in range(100):
                os.symlink("end" if i == 0 else "l%d" % (i - 1), store / ("l%d" % i))
            os.symlink("self", store / "self")
            os.symlink("./" * 2046 + "end", store / "long")
            for _ in range(2):
                self.assertEqual("end", (store / "l39").read_text())
                self.assertEqual("end", (store / "long").read_text())
                for name in ("l40", "l99", "self"):
                    with self.assertRaises(OSError) as caught:
                        os.stat(store / name)
                    self.assertEqual(errno.ELOOP, caught.exception.errno)
                store.remount()
            varve("compact", store.root)
            store.umount()
            store.check()
            for name in ("l99", "self"):
                self.assertLess(0, varve("get", store.path, name, check=False).returncode)


if __name__ == "__main__":
    junit.main()

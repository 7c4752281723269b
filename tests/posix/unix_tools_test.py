#!/usr/bin/env python3
"""Real trees and real tools on a real mount."""

import os
import sqlite3
import threading
import unittest

from tests.kit import junit
from tests.kit.mounted import MountedStore, listing, run, varve, varve_binary

# Trees that every machine which can build this project has.
TREES = [
    path
    for path in ("/usr/include", "/usr/share/doc", "/usr/lib/python3", "/usr/lib/python3.11")
    if os.path.isdir(path)
]
GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "gc.auto=0"]


class TreeTest(unittest.TestCase):
    def assert_same(self, tree, copy):
        run("diff", "-r", "--no-dereference", tree, copy)
        expected, found = listing(tree), listing(copy)
        self.assertEqual(expected.keys(), found.keys())
        for path, line in expected.items():
            self.assertEqual(line, found[path], path)

    def test_copied_trees_are_equal_and_stay_so(self):
        with MountedStore() as store:
            for tree in TREES:
                run("cp", "-a", tree, store / "")
                self.assert_same(tree, store / os.path.basename(tree))
            store.remount()
            inos = {}
            for tree in TREES:
                copy = store / os.path.basename(tree)
                self.assert_same(tree, copy)
                inos[tree] = os.lstat(copy).st_ino
            store.remount()
            for tree in TREES:
                self.assertEqual(inos[tree], os.lstat(store / os.path.basename(tree)).st_ino)
            store.umount()
            store.check()

    def test_tar_in_and_out(self):
        tree = TREES[0]
        with MountedStore() as store:
            archive = store.base / "in.tar"
            parent, name = os.path.split(tree)
            run("tar", "--format=posix", "-C", parent, "-cf", archive, name)
            run("tar", "-C", store / "", "-xpf", archive)
            store.remount()
            copy = store / name
            self.assert_same(tree, copy)
            out = store.base / "out"
            out.mkdir()
            second = store.base / "out.tar"
            run("tar", "--format=posix", "-C", store / "", "-cf", second, name)
            run("tar", "-C", out, "-xpf", second)
            self.assert_same(tree, out / name)

    def test_second_rsync_moves_nothing(self):
        tree = TREES[0]
        with MountedStore() as store:
            run("rsync", "-aH", tree + "/", store / "copy")
            store.remount()
            result = run("rsync", "-aHi", "--stats", tree + "/", store / "copy")
            text = result.stdout.decode()
            self.assertIn("Number of regular files transferred: 0", text)
            self.assert_same(tree, store / "copy")

    def test_git_repository(self):
        with MountedStore() as store:
            repository = store / "repository"
            run("git", "init", "-q", repository)
            run("cp", "-r", TREES[0], repository / "tree")
            run(*GIT, "-C", repository, "add", ".")
            run(*GIT, "-C", repository, "commit", "-q", "-m", "all")
            run(*GIT, "-C", repository, "gc", "-q")
            store.remount()
            run(*GIT, "-C", repository, "fsck", "--full")
            status = run(*GIT, "-C", repository, "status", "--porcelain")
            self.assertEqual(b"", status.stdout)
            store.umount()
            store.check()


class DatabaseTest(unittest.TestCase):
    def load(self, store, mode):
        path = str(store / "data.db")
        setup = sqlite3.connect(path)
        setup.execute("pragma journal_mode = " + mode)
        setup.execute("create table t (worker int, n int, text blob)")
        setup.commit()
        setup.close()

        def work(worker):
            connection = sqlite3.connect(path, timeout=60)
            for n in range(60):
                with connection:
                    connection.execute("begin immediate")
                    connection.execute(
                        "insert into t values (?, ?, randomblob(2000))", (worker, n)
                    )
            connection.close()

        workers = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def verify(self, store):
        connection = sqlite3.connect(str(store / "data.db"))
        self.assertEqual([("ok",)], connection.execute("pragma integrity_check").fetchall())
        self.assertEqual([(180,)], connection.execute("select count(*) from t").fetchall())
        connection.close()

    def test_sqlite_under_load(self):
        for mode in ("wal", "delete"):
            with self.subTest(mode), MountedStore() as store:
                self.load(store, mode)
                self.verify(store)
                store.kill()
                store.mount()
                self.verify(store)
                store.remount()
                self.verify(store)


class FileTest(unittest.TestCase):
    def test_four_gibibytes(self):
        # Each MiB differs; written front to back, so that the file is plain.
        size_mib = 4096 + 1
        block = os.urandom(1 << 20)
        with MountedStore() as store:
            with open(store / "big", "wb", buffering=0) as big:
                for i in range(size_mib):
                    big.write(i.to_bytes(8, "little") + block[8:])
            self.assertLess(store.size(), (size_mib + 16) << 20)
            store.remount()
            with open(store / "big", "rb", buffering=0) as big:
                for i in range(size_mib):
                    self.assertEqual(big.read(1 << 20), i.to_bytes(8, "little") + block[8:])
                self.assertEqual(b"", big.read(1))
            # The same bytes by the other ways, also while mounted.
            for command in (("get",), ("raw", "read")):
                compare = 'set -o pipefail; file="$1"; shift; "$@" | cmp - "$file"'
                reader = [varve_binary(), *command, store.path, "big"]
                run("bash", "-c", compare, "bash", store / "big", *reader)

    def test_ten_thousand_appends(self):
        with MountedStore() as store:
            lines = ["line %d of a log that grows\n" % i for i in range(10000)]
            before = store.size()
            for line in lines:
                with open(store / "log", "a", encoding="ascii") as log:
                    log.write(line)
            growth = store.size() - before
            text = "".join(lines)
            self.assertLess(growth, 100 * len(text))
            print("appended %d bytes, store grew by %d" % (len(text), growth))
            self.assertEqual(text, (store / "log").read_text())
            store.remount()
            self.assertEqual(text, (store / "log").read_text())

    def test_small_and_odd_files(self):
        contents = {
            "empty": b"",
            "nul": b"\0",
            "two nuls": b"\0\0",
            "n" * 255: b"a long name",
            "\u00fc\u4e16": b"unicode",
        }
        with MountedStore() as store:
            for name, content in contents.items():
                (store / name).write_bytes(content)
            with open(store / "sparse", "wb") as sparse:
                sparse.truncate(1 << 40)
                sparse.seek(1 << 39)
                sparse.write(b"middle")
            self.assertLess(store.size(), 1 << 20)
            for _ in range(2):
                for name, content in contents.items():
                    self.assertEqual(content, (store / name).read_bytes())
                self.assertEqual(1 << 40, os.stat(store / "sparse").st_size)
                self.assertLess(os.stat(store / "sparse").st_blocks, 16)
                with open(store / "sparse", "rb") as sparse:
                    sparse.seek((1 << 39) - 3)
                    self.assertEqual(b"\0\0\0middle\0\0\0", sparse.read(12))
                store.remount()

    def test_large_directory(self):
        count = 100000
        with MountedStore() as store:
            folder = store / "many"
            folder.mkdir()
            for i in range(count):
                os.close(os.open(folder / str(i), os.O_CREAT | os.O_WRONLY | os.O_EXCL))
            self.assertEqual(count, len(set(os.listdir(folder))))
            store.remount()
            self.assertEqual({str(i) for i in range(count)}, set(os.listdir(folder)))
            run("rm", "-r", folder)
            self.assertEqual([], os.listdir(store / ""))

    def test_plain_files_read_the_same_without_the_mount(self):
        with MountedStore() as store:
            run("cp", "-r", TREES[0] + "/linux", store / "linux")
            names = sorted(os.listdir(store / "linux"))[:20]
            for name in names:
                path = store / "linux" / name
                if not path.is_file():
                    continue
                content = path.read_bytes()
                key = "linux/" + name
                self.assertEqual(content, varve("get", store.path, key).stdout)
                self.assertEqual(content, varve("raw", "read", store.path, key).stdout)

    def test_space_is_told_truthfully(self):
        with MountedStore() as store:
            before = os.statvfs(store / "")
            (store / "file").write_bytes(os.urandom(8 << 20))
            after = os.statvfs(store / "")
            used = (after.f_blocks - after.f_bfree) * after.f_frsize
            self.assertGreaterEqual(used, 8 << 20)
            self.assertLess(used, 9 << 20)
            host = os.statvfs(store.base)
            free = before.f_bavail * before.f_frsize
            self.assertLess(abs(free - host.f_bavail * host.f_frsize), 1 << 30)


if __name__ == "__main__":
    junit.main()

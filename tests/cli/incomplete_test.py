#!/usr/bin/env python3
"""The `varve` command and stores that are not whole, and files that it must not touch."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

from tests.kit import junit
from tests.kit.mounted import run, varve_binary

OK, NOT_FOUND, EXISTS, CUT_SHORT = 0, 3, 13, 16


class Incomplete(unittest.TestCase):
    def setUp(self):
        base = os.environ.get("TEST_TMPDIR")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="incomplete-", dir=base))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.store = self.folder / "store.varve"
        for i in range(10):
            self.varve("put", "--create", self.store, "f%d" % i, input=b"%d" % i * 5000)

    def varve(self, *arguments, status=OK, **options):
        if "input" in options:
            options["stdin"] = None
        result = run(varve_binary(), *map(os.fsdecode, arguments), check=False, cwd=self.folder,
                     **options)
        self.assertEqual(result.returncode, status, "%s\n%s%s" % (
            arguments, result.stdout[-2000:], result.stderr[-2000:]))
        return result

    def cut(self, share):
        data = self.store.read_bytes()
        self.store.write_bytes(data[:int(len(data) * share)])

    def test_a_compacted_store_that_is_cut_is_told_by_every_command(self):
        self.varve("compact", "--forget", self.store)
        whole = self.store.read_bytes()
        for share in (0.02, 0.5, 0.8):
            self.store.write_bytes(whole)
            self.cut(share)
            cut = self.store.read_bytes()
            result = self.varve("check", self.store, status=CUT_SHORT)
            self.assertIn(b"CUT SHORT", result.stdout)
            self.assertNotIn(b"clean", result.stdout)
            report = json.loads(self.varve("check", "--json", self.store, status=CUT_SHORT).stdout)
            self.assertIs(report["clean"], False)
            self.assertIn("CUT SHORT", report["incomplete"])
            for words in (("info", self.store), ("ls", self.store), ("get", self.store, "f1"),
                          ("rm", self.store, "f1"), ("check", "--repair", self.store)):
                result = self.varve(*words, status=CUT_SHORT)
                self.assertIn(b"CUT SHORT", result.stderr + result.stdout)
            self.assertEqual(self.store.read_bytes(), cut)
            self.assertEqual([path.name for path in self.folder.iterdir()], ["store.varve"])
        # What is left is there by its key.
        self.assertEqual(self.varve("raw", "read", self.store, "f0").stdout, b"0" * 5000)

    def test_a_store_that_is_cut_and_was_never_compacted_is_not_clean(self):
        self.varve("check", self.store)
        self.cut(0.6)
        for _ in range(2):
            result = self.varve("check", self.store, status=CUT_SHORT)
            self.assertIn(b"INCOMPLETE: the store was not closed properly", result.stdout)
            for words in (("ls", self.store), ("get", self.store, "f0")):
                self.assertIn(b"was not closed properly", self.varve(*words).stderr)
            # The second time at the end of an entry.
            tail = int(self.varve("info", "--json", self.store).stdout.split(
                b'"torn_bytes": ')[1].split(b",")[0])
            data = self.store.read_bytes()
            self.store.write_bytes(data[:len(data) - tail])
        # The next use closes it.
        self.varve("put", self.store, "new", input=b"x")
        self.varve("check", self.store)

    def test_a_repair_follows_a_link(self):
        data = bytearray(self.store.read_bytes())
        data[data.index(b"3" * 5000) + 100] ^= 8
        self.store.write_bytes(data)
        link = self.folder / "link"
        link.symlink_to("store.varve")
        self.varve("check", "--repair", link)
        self.assertTrue(link.is_symlink())
        self.varve("check", self.store)
        self.assertEqual((self.folder / "store.varve.damaged").read_bytes(), bytes(data))

    def test_a_raw_compaction_removes_no_file_of_others(self):
        other = self.folder / "store.varve.compact"
        plain = self.folder / "plain"
        self.varve("raw", "write", plain, "k", "v")
        for store, place in ((self.store, other), (plain, self.folder / "plain.compact")):
            place.write_bytes(b"somebody's")
            result = self.varve("raw", "compact", store, status=EXISTS)
            self.assertIn(b"in the way", result.stderr)
            self.assertEqual(place.read_bytes(), b"somebody's")
            place.unlink()
            self.varve("raw", "compact", store)

    def test_a_put_that_is_killed_leaves_no_empty_file(self):
        with subprocess.Popen([varve_binary(), "put", self.store, "new"], stdin=subprocess.PIPE,
                              cwd=self.folder) as put:
            before = self.store.stat().st_size
            put.stdin.write(b"x" * (12 << 20))
            put.stdin.flush()
            # It has come so far that bytes are in the store.
            while self.store.stat().st_size == before and put.poll() is None:
                put.stdin.write(b"x" * (1 << 20))
            put.send_signal(signal.SIGKILL)
        result = self.varve("ls", self.store)
        self.assertNotIn(b"new", result.stdout)
        self.varve("get", self.store, "new", status=NOT_FOUND)


if __name__ == "__main__":
    junit.main()

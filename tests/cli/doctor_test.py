#!/usr/bin/env python3
"""varve doctor: each finding that can be brought about, and nothing personal."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import unittest

from tests.kit import junit
from tests.cli.cli_test import CliTest
from tests.kit.mounted import run, varve, varve_binary

TROUBLE = 17
SECRET = "quite-secret"


class DoctorTest(CliTest):
    def setUp(self):
        super().setUp()
        # Names that must not be in a report.
        self.folder = self.folder / SECRET
        self.folder.mkdir()
        self.store = self.folder / (SECRET + ".varve")
        self.mountpoint = self.folder / (SECRET + "-mount")
        self.mountpoint.mkdir()

    def examine(self, path, *before):
        """The findings by check; that text and JSON agree, and name nothing."""
        command = [*before, varve_binary(), "doctor"]
        result = run(*command, "--json", path, check=False)
        self.assertEqual(result.stderr, b"")
        report = json.loads(result.stdout)
        levels = [finding["level"] for finding in report["findings"]]
        self.assertLessEqual(set(levels), {"ok", "note", "trouble"})
        self.assertEqual(report["healthy"], "trouble" not in levels)
        self.assertEqual(result.returncode, 0 if report["healthy"] else TROUBLE)
        for finding in report["findings"]:
            self.assertEqual("mend" in finding or finding["level"] == "note",
                             finding["level"] != "ok", finding)
        text = run(*command, path, check=False)
        self.assertEqual((text.stderr, text.returncode), (b"", result.returncode))
        for output in (result.stdout.decode(), text.stdout.decode()):
            self.assertNotIn(SECRET, output)
            self.assertNotIn(str(self.folder.parent), output)
            self.assertNotIn(os.uname().nodename, output)
        for finding in report["findings"]:
            self.assertIn(finding["check"], text.stdout.decode())
        return {finding["check"]: finding for finding in report["findings"]}

    def trouble(self, path, check, text, mend=""):
        finding = self.examine(path)[check]
        self.assertEqual(finding["level"], "trouble", finding)
        self.assertIn(text, finding["text"])
        self.assertIn(mend, finding["mend"])

    def make_store(self, content=b"content"):
        run(varve_binary(), "put", "--create", self.store, SECRET, stdin=None, input=content)

    @contextlib.contextmanager
    def mounted(self, *options):
        varve("mount", *options, self.store, self.mountpoint)
        try:
            yield
        finally:
            run("umount", "-l", self.mountpoint, check=False)

    def daemon(self):
        status = json.loads((self.mountpoint / ".varve/status.json").read_text())
        return status["pid"]


class Stores(DoctorTest):
    def test_a_healthy_one(self):
        self.make_store()
        found = self.examine(self.store)
        for check in ("exists", "room", "format", "lock", "tail", "closed", "chain",
                      "checksums", "dead"):
            self.assertEqual(found[check]["level"], "ok", found[check])

    def test_none(self):
        self.trouble(self.store, "exists", "there is no such file", "varve mount STORE DIR")

    def test_no_store(self):
        self.store.write_bytes(b"#!/bin/sh\n" * 1000)
        self.trouble(self.store, "format", "it cannot be opened: STORE", "backup")

    def test_one_that_was_not_closed(self):
        self.make_store(os.urandom(1 << 20))
        with open(self.store, "ab") as file:
            file.write(b"torn")
        found = self.examine(self.store)
        self.assertEqual(found["tail"]["level"], "note")
        self.assertIn("4 bytes of an unfinished write", found["tail"]["text"])
        # And one whose newest commit is missing.
        os.truncate(self.store, self.store.stat().st_size - 100)
        self.trouble(self.store, "closed", "it was not closed properly", "varve mount STORE DIR")

    def test_flipped_bits(self):
        self.make_store(b"content" * 1000)
        data = bytearray(self.store.read_bytes())
        data[data.index(b"content")] ^= 1
        self.store.write_bytes(data)
        self.trouble(self.store, "checksums", "do not match their checksums", "varve check STORE")

    def test_compaction_that_is_due(self):
        self.make_store(os.urandom(20 << 20))
        self.make_store(b"small")
        # It is kept for the past.
        self.assertEqual(self.examine(self.store)["dead"]["level"], "ok")
        varve("history", "policy", self.store, "within=0")
        self.trouble(self.store, "dead", "would reclaim", "varve compact STORE")

    def test_a_writer(self):
        self.make_store()
        writer = subprocess.Popen([varve_binary(), "put", str(self.store), "other"],
                                  stdin=subprocess.PIPE)
        try:
            for _ in range(600):  # until the writer has come
                if b"pid %d" % writer.pid in varve("doctor", self.store, check=False).stdout:
                    break
            found = self.examine(self.store)["lock"]
            self.assertEqual(found["level"], "note")
            self.assertIn("pid %d has it open" % writer.pid, found["text"])
            self.assertNotIn("closed", self.examine(self.store))
            os.kill(writer.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, writer.pid, os.WSTOPPED)
            self.trouble(self.store, "lock", "is stopped", "kill -CONT %d" % writer.pid)
        finally:
            os.kill(writer.pid, signal.SIGCONT)
            writer.communicate()

    @unittest.skipUnless(os.geteuid() == 0, "only root can mount a file system")
    def test_a_disk_that_is_full_and_read_only(self):
        self.make_store()
        disk = self.folder / "disk"
        disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=1m", "none", disk)
        try:
            shutil.copy(self.store, disk / "store")
            self.trouble(disk / "store", "room", "is full", "varve compact --punch STORE")
            run("mount", "-o", "remount,ro", disk)
            self.trouble(disk / "store", "host", "mounted read-only", "remount,rw")
        finally:
            run("umount", "-l", disk)


@unittest.skipUnless(os.geteuid() == 0, "only root changes the system")
class Systems(DoctorTest):
    def with_file(self, content, path, mode, *command):
        """The findings where `path` is another file."""
        self.make_store()
        other = self.folder / "other"
        other.write_bytes(content)
        other.chmod(mode)
        return self.examine(self.store, "unshare", "-m", "sh", "-c",
                            'mount --bind "$0" "$1" && shift && exec "$@"', other, path,
                            *command)

    def test_a_healthy_one(self):
        self.make_store()
        found = self.examine(self.store)
        self.assertEqual(found["fuse-device"]["level"], "ok")
        self.assertEqual(found["fusermount3"]["level"], "ok")
        self.assertIn("Linux " + os.uname().release, found["kernel"]["text"])

    def test_user_allow_other(self):
        found = self.with_file(b"# user_allow_other\n", "/etc/fuse.conf", 0o644)
        self.assertEqual(found["fuse.conf"]["level"], "note")
        self.assertIn("user_allow_other", found["fuse.conf"]["mend"])
        found = self.with_file(b"mount_max = 9\nuser_allow_other\n", "/etc/fuse.conf", 0o644)
        self.assertEqual(found["fuse.conf"]["level"], "ok")

    def test_no_device(self):
        found = self.with_file(b"", "/dev/fuse", 0, "setpriv", "--bounding-set=-all",
                               "--inh-caps=-all")
        self.assertEqual(found["fuse-device"]["level"], "trouble", found["fuse-device"])
        self.assertIn("may not be opened", found["fuse-device"]["text"])

    def test_a_helper_that_is_not_set_user_id(self):
        helper = shutil.which("fusermount3")
        found = self.with_file(pathlib.Path(helper).read_bytes(), helper, 0o755)
        self.assertEqual(found["fusermount3"]["level"], "note")  # as it is root who asks
        self.assertIn("not set-user-ID root", found["fusermount3"]["text"])
        found = self.examine(self.store, "env", "PATH=/nowhere")
        self.assertIn("is missing", found["fusermount3"]["text"])
        self.assertEqual(found["fusermount3"]["mend"], "apt-get install fuse3")


@unittest.skipUnless(os.geteuid() == 0, "only root can mount without fusermount3")
class Mounts(DoctorTest):
    def setUp(self):
        super().setUp()
        self.make_store()

    def test_a_healthy_one(self):
        with self.mounted():
            found = self.examine(self.mountpoint)
            for check in ("mount", "daemon", "version", "read-only", "room", "dead", "errors"):
                self.assertEqual(found[check]["level"], "ok", found[check])
            found = self.examine(self.store)
            self.assertIn("it is mounted, by pid %d" % self.daemon(), found["lock"]["text"])

    def test_none(self):
        self.trouble(self.mountpoint, "mount", "nothing is mounted there", "varve mount STORE DIR")
        self.trouble("/proc", "mount", "something else is mounted there")

    def test_a_dead_one(self):
        with self.mounted():
            os.kill(self.daemon(), signal.SIGKILL)
            self.trouble(self.mountpoint, "daemon", "Transport endpoint is not connected",
                         "varve umount DIR && varve mount STORE DIR")

    def test_one_that_is_stopped(self):
        with self.mounted():
            daemon = self.daemon()
            os.kill(daemon, signal.SIGSTOP)
            try:
                finding = {}
                result = run(varve_binary(), "doctor", "--json", self.mountpoint, check=False)
                for finding in json.loads(result.stdout)["findings"]:
                    if finding["check"] == "daemon":
                        break
                self.assertEqual(finding["mend"], "kill -CONT %d" % daemon)
                self.assertNotIn(SECRET.encode(), result.stdout + result.stderr)
            finally:
                os.kill(daemon, signal.SIGCONT)

    def test_one_that_is_read_only(self):
        with self.mounted("-o", "ro"):
            found = self.examine(self.mountpoint)
            self.assertEqual(found["read-only"]["level"], "note")

    def test_one_whose_disk_is_full(self):
        disk = self.folder / "disk"
        disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=24m", "none", disk)
        self.addCleanup(run, "umount", "-l", disk)
        self.store = disk / "store"
        with self.mounted():
            with self.assertRaises(OSError):
                (self.mountpoint / "big").write_bytes(os.urandom(30 << 20))
            self.trouble(self.mountpoint, "room", "is full", "varve compact --punch DIR")
            errors = self.examine(self.mountpoint)["errors"]
            self.assertEqual(errors["level"], "note")
            self.assertIn("ENOSPC", errors["text"])

    def test_a_store_that_was_deleted_or_moved(self):
        with self.mounted():
            self.store.rename(self.folder / "moved")
            self.trouble(self.mountpoint, "store-file", "moved or replaced", "find the file")
            (self.folder / "moved").unlink()
            self.trouble(self.mountpoint, "store-file", "was deleted", "cp -a DIR/.")


if __name__ == "__main__":
    junit.main()

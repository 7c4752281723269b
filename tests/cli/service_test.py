#!/usr/bin/env python3
"""A mount as a service: what it tells its manager, and the journal."""

import errno
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import unittest

from tests.cli.mount_command_test import MountTest, status_of, wait_until
from tests.kit import junit
from tests.kit.mounted import varve_binary

UNIT = pathlib.Path("tools/packaging/varve@.service").absolute()


def bound_socket(address):
    """A datagram socket there; "@name" is in the abstract namespace."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.settimeout(60)
    receiver.bind("\0" + address[1:] if address.startswith("@") else address)
    return receiver


def fields_of(record):
    """The fields of a record in the journal's native protocol."""
    fields = {}
    while record:
        name, end, rest = record.partition(b"\n")
        assert end
        if b"=" in name:
            name, _, value = name.partition(b"=")
        else:
            (size,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        fields[name.decode()] = value.decode()
        record = rest
    return fields


class Service(MountTest):
    def setUp(self):
        super().setUp()
        self.process = None
        self.address = str(self.folder / "notify")

    def start(self, environment=None, stderr=subprocess.PIPE):
        self.manager = bound_socket(self.address)
        self.addCleanup(self.manager.close)
        variables = {**os.environ, "NOTIFY_SOCKET": self.address, **(environment or {})}
        self.process = subprocess.Popen(
            [varve_binary(), "mount", "-f", str(self.store), str(self.mnt)],
            env=variables, stderr=stderr)
        self.addCleanup(self.end)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def told(self):
        """The next message, as a list of its lines."""
        return self.manager.recv(4096).decode().split("\n")

    def wait_for(self, line):
        """Everything that is told until that line."""
        lines = []
        while line not in lines:
            lines += self.told()
        return lines

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(60), 0)


class ToldToTheManager(Service):
    def life(self):
        self.start()
        before = self.wait_for("READY=1")
        # What READY promises holds at once.
        (self.mnt / "file").write_text("content")
        self.assertEqual(before[0], "STATUS=Opening %s" % self.store)
        self.assertIn("STATUS=%s is mounted at %s" % (self.store, self.mnt), before)
        self.stop()
        self.wait_for("STOPPING=1")
        self.assertEqual(self.told(), ["STATUS=Closing %s" % self.store])

    def test_opening_readiness_and_stopping(self):
        self.life()

    def test_a_socket_in_the_abstract_namespace(self):
        self.address = "@varve-test-%d" % os.getpid()
        self.life()

    def test_unmounting_from_outside_is_stopping(self):
        self.start()
        self.wait_for("READY=1")
        self.varve("umount", self.mnt)
        self.wait_for("STOPPING=1")
        self.assertEqual(self.process.wait(60), 0)

    def test_a_failure_says_why(self):
        self.store.write_bytes(b"this is no store, but a text that somebody wrote")
        self.start()
        self.assertEqual(self.process.wait(60), 5)
        lines = self.wait_for("ERRNO=%d" % errno.EIO)
        self.assertTrue(any("STATUS=" in line and "store" in line for line in lines), lines)
        self.assertNotIn("READY=1", lines)

    def test_a_manager_that_is_gone_is_no_reason_to_fail(self):
        self.start()
        self.wait_for("READY=1")
        self.manager.close()
        self.stop()

    def test_what_is_no_socket_is_warned_of(self):
        self.start(environment={"NOTIFY_SOCKET": "relative"})
        wait_until(self.is_mounted, "the mount")
        self.stop()
        self.assertIn(b"NOTIFY_SOCKET is no Unix socket: relative", self.process.stderr.read())

    def test_a_mount_in_the_background_tells_nothing(self):
        manager = bound_socket(self.address)
        self.addCleanup(manager.close)
        self.varve("mount", self.store, self.mnt, env={**os.environ, "NOTIFY_SOCKET": self.address})
        self.varve("umount", self.mnt)
        manager.setblocking(False)
        self.assertRaises(BlockingIOError, manager.recv, 100)


class Compaction(Service):
    SIZE = 12 << 20

    def test_status_says_how_far_it_is_and_then_that_all_is_as_before(self):
        # The beat of the watchdog is that of STATUS, too.
        self.start(environment={"WATCHDOG_USEC": "150000"})
        self.wait_for("READY=1")
        for name in ("kept", "dead"):
            (self.mnt / name).write_bytes(os.urandom(self.SIZE))
        (self.mnt / "dead").unlink()
        serving = "STATUS=%s is mounted at %s" % (self.store, self.mnt)
        # For about two seconds.
        compaction = subprocess.Popen(
            [varve_binary(), "compact", "--forget", "--limit", str(self.SIZE // 2), str(self.mnt)],
            stdout=subprocess.DEVNULL)
        told = [line for line in self.wait_for(serving) if line.startswith("STATUS=")]
        self.assertEqual(compaction.wait(60), 0)
        percents = []
        for line in told[:-1]:
            match = re.fullmatch(r"STATUS=Compacting, (\d+) %: (.*)", line)
            self.assertEqual("STATUS=" + match.group(2), serving)
            percents.append(int(match.group(1)))
        self.assertGreater(len(percents), 1)
        self.assertEqual(percents, sorted(percents))
        self.assertTrue(0 < percents[-1] <= 100, percents)
        self.stop()
        self.assertNotIn("Compacting", "".join(self.wait_for("STOPPING=1")))


class Watchdog(Service):
    def test_no_pings_to_another_process(self):
        self.start(environment={"WATCHDOG_USEC": "60000", "WATCHDOG_PID": "1"})
        self.wait_for("READY=1")
        self.stop()
        self.assertNotIn("WATCHDOG=1", self.wait_for("STOPPING=1"))

    def test_pings_cease_while_requests_are_not_answered(self):
        # The store lies in another mount, whose daemon can be stopped: whoever
        # answers requests comes to wait for it.
        below = self.folder / "below"
        below.mkdir()
        self.varve("mount", self.folder / "outer.varve", below)
        outer = status_of(below)["pid"]
        self.store = below / "store.varve"
        self.start(environment={"WATCHDOG_USEC": "300000"})
        self.wait_for("READY=1")
        self.wait_for("WATCHDOG=1")
        os.kill(outer, signal.SIGSTOP)
        try:
            self.manager.settimeout(2)
            # Of those that were on their way there are few; then none.
            with self.assertRaises(TimeoutError):
                for _ in range(6):
                    self.told()
        finally:
            os.kill(outer, signal.SIGCONT)
        self.manager.settimeout(60)
        self.wait_for("WATCHDOG=1")
        self.stop()
        self.varve("umount", below)


class InTheJournal(Service):
    def setUp(self):
        super().setUp()
        self.journal = bound_socket(str(self.folder / "journal"))
        self.addCleanup(self.journal.close)

    def start_logging(self, stream=None):
        """With standard error as journald gives it to a service, or as `stream` says."""
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        info = os.fstat(write_end)
        self.start(environment={
            "VARVE_JOURNAL_SOCKET": str(self.folder / "journal"),
            "JOURNAL_STREAM": stream or "%d:%d" % (info.st_dev, info.st_ino),
        }, stderr=write_end)
        os.close(write_end)
        return read_end

    def record(self, text):
        """The next record whose message contains the text."""
        while True:
            fields = fields_of(self.journal.recv(1 << 16))
            if text in fields["MESSAGE"]:
                return fields

    def test_lines_come_with_fields(self):
        log = self.start_logging()
        self.wait_for("READY=1")
        fields = self.record("is mounted at")
        uuid = re.search(r"uuid: (\S+)", (self.mnt / ".varve/status").read_text()).group(1)
        self.assertEqual(fields, {
            "MESSAGE": "%s is mounted at %s" % (self.store, self.mnt),
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "varve",
            "VARVE_STORE": str(self.store),
            "VARVE_UUID": uuid,
        })
        self.stop()
        self.assertEqual(os.read(log, 100), b"")

    def test_a_failure_names_file_errno_and_operation(self):
        content = os.urandom(100000)
        self.make_store()
        self.mount()
        (self.mnt / "sub").mkdir()
        (self.mnt / "sub/victim").write_bytes(content)
        self.varve("umount", self.mnt)
        damaged = bytearray(self.store.read_bytes())
        damaged[damaged.index(content) + 50000] ^= 1
        self.store.write_bytes(damaged)
        self.start_logging()
        self.wait_for("READY=1")
        with self.assertRaises(OSError) as caught:
            (self.mnt / "sub/victim").read_bytes()
        self.assertEqual(caught.exception.errno, errno.EIO)
        fields = self.record("does not match its checksum")
        self.assertEqual(fields["VARVE_FILE"], "/sub/victim")
        self.assertEqual(fields["ERRNO"], str(errno.EIO))
        self.assertEqual(fields["VARVE_OPERATION"], "read")
        self.assertEqual(fields["PRIORITY"], "3")
        self.stop()

    def test_another_standard_error_stays_as_it_is(self):
        log = self.start_logging(stream="1:1")
        self.wait_for("READY=1")
        self.stop()
        self.assertIn(b"varve: %s is mounted at" % str(self.store).encode(), os.read(log, 4096))


class Unit(unittest.TestCase):
    def test_systemd_understands_it(self):
        if shutil.which("systemd-analyze") is None:
            self.skipTest("systemd is not installed")
        result = subprocess.run(["systemd-analyze", "verify", "--man=no", str(UNIT)],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        text = result.stdout.decode()
        ours = [line for line in text.splitlines()
                if "varve" in line and "is not executable" not in line]
        self.assertEqual(ours, [])

    def test_statuses_that_a_restart_does_not_mend_prevent_it(self):
        text = UNIT.read_text()
        self.assertIn("Type=notify\n", text)
        listed = re.search(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE).group(1)
        # Usage, no store, no store at all, wrong kind, no permission, no FUSE,
        # exists, refused, too new.
        self.assertEqual(listed.split(), ["2", "3", "5", "6", "7", "11", "13", "14", "15"])


if __name__ == "__main__":
    junit.main()

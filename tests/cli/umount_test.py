#!/usr/bin/env python3
"""`varve umount` where something is in the way: other mounts, daemons that do not answer.

And what a daemon must leave alone when it ends.
"""

import ctypes
import errno
import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

from tests.kit import junit
from tests.cli.mount_command_test import (
    BUSY, MountTest, OK, READ_ONLY, is_alive, kill, status_of)
from tests.kit.mounted import mounts, run, varve_binary, wait_until


LIBC = ctypes.CDLL(None, use_errno=True)
CUT_SHORT, TROUBLE = 16, 17


class UmountTest(MountTest):
    def in_a_sandbox(self):
        """A process with a mount namespace of its own, which has a copy of each mount."""
        process = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo; exec sleep 1000"],
            stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        process.stdout.readline()
        return process

    def start_umount(self, *options):
        process = subprocess.Popen([varve_binary(), "umount", *options, self.mnt],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def stop(self, pid):
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(lambda: is_alive(pid) and os.kill(pid, signal.SIGCONT))

    def timed_umount(self, *options, status):
        begun = time.monotonic()
        text = self.varve("umount", *options, self.mnt, status=status)
        self.assertLess(time.monotonic() - begun, 30)
        return text

    def get(self, name):
        return run(varve_binary(), "get", self.store, name).stdout

    def all_in_time(self, stopped, *commands):
        """Exit status and standard error of commands that run while a daemon is stopped."""
        processes = [
            subprocess.Popen([varve_binary(), *map(str, command)], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for command in commands]
        results = []
        try:
            for process in processes:
                process.wait(timeout=60)
                results.append((process.returncode, process.stderr.read()))
        finally:
            # What hangs cannot be killed before.
            if len(results) < len(processes):
                os.kill(stopped, signal.SIGCONT)
            for process in processes:
                process.kill()
                process.wait()
                process.stderr.close()
        return results


class Held(UmountTest):
    def test_by_another_mount_namespace(self):
        pid = self.mount()
        (self.mnt / "file").write_text("content")
        sandbox = self.in_a_sandbox()
        umount = self.start_umount()
        text = umount.stderr.readline()
        self.assertIn("unmounted here, but %s stays open (by pid %d)" % (self.store, pid), text)
        name_space = os.readlink("/proc/%d/ns/mnt" % sandbox.pid)
        self.assertIn("%s in the mount namespace %s of pid %d (sleep)"
                      % (self.mnt, name_space, sandbox.pid), text)
        self.assertIsNone(umount.poll())
        sandbox.kill()
        self.assertEqual(umount.wait(timeout=60), OK)
        self.assertFalse(is_alive(pid))
        self.assertEqual(self.get("file"), b"content")

    def test_by_a_bind_mount(self):
        pid = self.mount()
        other = self.folder / "other"
        other.mkdir()
        run("mount", "--bind", self.mnt, other)
        text = self.timed_umount("--timeout", "1", status=BUSY)
        self.assertIn("as long as it is mounted at %s;" % other, text)
        self.assertIn("`kill %d`" % pid, text)
        # As it says.
        self.assertFalse(self.is_mounted())
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "the daemon to end")

    def test_forced(self):
        pid = self.mount()
        self.in_a_sandbox()
        descriptor = os.open(self.mnt / "file", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"still open")
        self.timed_umount("--force", status=OK)
        with self.assertRaises(OSError):
            os.close(descriptor)
        self.assertFalse(is_alive(pid))
        self.assertFalse(self.is_mounted())
        self.assertEqual(self.get("file"), b"still open")
        self.varve("check", self.store)

    def test_lazily(self):
        pid = self.mount()
        sandbox = self.in_a_sandbox()
        self.timed_umount("--lazy", status=OK)
        self.assertTrue(is_alive(pid))
        sandbox.kill()
        wait_until(lambda: not is_alive(pid), "the daemon to end with its last user")


class NotAnswering(UmountTest):
    def test_a_stopped_daemon_is_named_and_the_timeout_kept(self):
        pid = self.mount()
        self.stop(pid)
        text = self.timed_umount("--timeout", "1", status=BUSY)
        self.assertIn("the daemon of %s, pid %d, is stopped" % (self.mnt, pid), text)
        self.assertTrue(self.is_mounted())
        os.kill(pid, signal.SIGCONT)
        self.varve("umount", self.mnt)
        self.assertFalse(is_alive(pid))

    def test_of_whose_files_an_older_process_has_one_open(self):
        # The daemon is looked for in the order of the processes' numbers.
        holder = subprocess.Popen(
            ["sh", "-c", "read _; exec 3>>file; echo changes its attributes >&3; echo; read _"],
            cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(holder.wait)
        pid = self.mount()
        (self.folder / "file").symlink_to(self.mnt / "file")
        holder.stdin.write(b"\n")
        holder.stdin.flush()
        holder.stdout.readline()
        self.stop(pid)
        (umount, doctor) = self.all_in_time(
            pid, ("umount", "--timeout", "1", self.mnt), ("doctor", self.mnt))
        self.assertEqual(umount[0], BUSY)
        self.assertIn("the daemon of %s, pid %d, is stopped" % (self.mnt, pid), umount[1])
        self.assertEqual(doctor[0], TROUBLE)
        os.kill(pid, signal.SIGCONT)
        holder.communicate()

    def test_other_verbs_say_so_as_well(self):
        pid = self.mount()
        (self.mnt / "file").write_text("content")
        self.stop(pid)
        commands = [
            ("info", self.mnt), ("top", "--once", self.mnt), ("trace", self.mnt),
            ("compact", self.mnt), ("compact", self.store), ("snapshot", "list", self.mnt),
            ("history", "usage", self.mnt), ("log", self.mnt),
            ("versions", self.mnt / "file"), ("undelete", self.mnt / "gone" / "file"),
            ("mount", self.store, self.mnt),
            ("mount", "-o", "remount,noatime", self.store, self.mnt),
        ]
        for command, (status, text) in zip(commands, self.all_in_time(pid, *commands)):
            self.assertEqual(status, BUSY, (command, text))
            self.assertIn("pid %d, is stopped (`kill -CONT %d`" % (pid, pid), text)
        os.kill(pid, signal.SIGCONT)
        self.varve("umount", self.mnt)

    def test_whose_store_lies_in_a_mount_that_is_stopped(self):
        below = self.folder / "below"
        below.mkdir()
        self.varve("mount", self.folder / "outer.varve", below)
        outer = status_of(below)["pid"]
        self.store = below / "store.varve"
        inner = self.mount()
        self.stop(outer)
        # The inner one is left at work, and cannot be told whose lock it is.
        self.stop(inner)
        begun = time.monotonic()
        ((status, text), (found, _)) = self.all_in_time(
            outer, ("umount", "--timeout", "3", self.mnt), ("doctor", self.mnt))
        self.assertLess(time.monotonic() - begun, 30)
        self.assertEqual(status, BUSY)
        self.assertIn("the daemon of %s does not answer" % self.mnt, text)
        self.assertEqual(found, TROUBLE)
        for pid in (outer, inner):
            os.kill(pid, signal.SIGCONT)
        self.varve("umount", self.mnt)
        self.varve("umount", below)

    def test_without_a_timeout_it_says_what_it_waits_for(self):
        pid = self.mount()
        self.stop(pid)
        umount = self.start_umount()
        self.assertIn("pid %d, is stopped" % pid, umount.stderr.readline())
        os.kill(pid, signal.SIGCONT)
        self.assertEqual(umount.wait(timeout=60), OK)
        self.assertFalse(self.is_mounted())

    def test_stopped_after_the_answer(self):
        pid = self.mount()
        other = self.folder / "other"
        other.mkdir()
        # So that it does not end while it is being stopped.
        run("mount", "--bind", self.mnt, other)
        umount = self.start_umount("--timeout", "5")
        wait_until(lambda: not self.is_mounted(), "the unmounting")
        self.stop(pid)
        run("umount", "-l", other)
        self.assertEqual(umount.wait(timeout=60), BUSY)
        self.assertIn("pid %d, is stopped" % pid, umount.stderr.read())

    def test_forced(self):
        pid = self.mount()
        (self.mnt / "file").write_text("content")
        self.stop(pid)
        text = self.timed_umount("--force", "--timeout", "3", status=BUSY)
        self.assertIn("pid %d, is stopped" % pid, text)
        self.assertFalse(self.is_mounted())
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: not is_alive(pid), "the daemon to notice")
        self.assertEqual(self.get("file"), b"content")


class OnADiskThatFails(UmountTest):
    """The file system of the store turns read-only, as ext4 does after an error."""

    def setUp(self):
        super().setUp()
        disk, image = self.folder / "disk", self.folder / "image"
        disk.mkdir()
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        run("/sbin/mke2fs", "-q", "-t", "ext4", image)
        run("mount", "-o", "loop,errors=remount-ro", image, disk)
        self.addCleanup(run, "umount", "-l", disk)
        self.store = disk / "store.varve"
        self.disk = disk

    def fail(self):
        device = run("findmnt", "-n", "-o", "SOURCE", self.disk).stdout.decode().strip()
        trigger = pathlib.Path("/sys/fs/ext4", os.path.basename(device), "trigger_fs_error")
        trigger.write_text("by a test")
        with self.assertRaises(OSError):
            (self.disk / "other").touch()

    def test_what_was_changed_and_not_closed_is_told(self):
        pid = self.mount()
        (self.mnt / "file").write_text("content")
        self.fail()
        with self.assertRaises(OSError) as caught:
            (self.mnt / "new").touch()
        self.assertEqual(caught.exception.errno, errno.EROFS)
        self.assertEqual((self.mnt / "file").read_text(), "content")
        report = json.loads(run(varve_binary(), "doctor", "--json", self.mnt, check=False).stdout)
        (host,) = [found for found in report["findings"] if found["check"] == "host"]
        self.assertEqual(host["level"], "trouble")
        self.assertIn("has become read-only", host["text"])
        text = self.varve("umount", self.mnt, status=CUT_SHORT)
        self.assertIn("unmounted, but %s was not closed properly" % self.store, text)
        self.assertFalse(is_alive(pid))
        self.assertFalse(self.is_mounted())
        report = json.loads(run(varve_binary(), "doctor", "--json", self.store, check=False).stdout)
        self.assertIn("host", [found["check"] for found in report["findings"]
                               if found["level"] == "trouble"])

    def test_what_was_closed_before_is_whole(self):
        self.make_store()
        self.mount()
        self.assertEqual((self.mnt / "file").read_text(), "content")
        self.fail()
        # Only mounting and reading has changed nothing.
        self.varve("umount", self.mnt)

    def test_the_daemon_of_a_service_fails(self):
        process = subprocess.Popen([varve_binary(), "mount", "-f", self.store, self.mnt],
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until(self.is_mounted, "the mount")
        (self.mnt / "file").write_text("content")
        self.fail()
        self.varve("umount", "--force", self.mnt, status=CUT_SHORT)
        self.assertEqual(process.wait(60), READ_ONLY)
        self.assertRegex(process.stderr.read(), "closing %s failed: cannot \\w+ %s: Read-only file"
                         % (self.store, self.store))


class Strangers(UmountTest):
    """What others have mounted where a mount of ours was, and is no more."""

    def end_with_another_mount_there(self, hold):
        pid = self.mount()
        hold()
        run("umount", "-l", self.mnt)
        self.assertTrue(is_alive(pid))
        run("mount", "-t", "tmpfs", "stranger", self.mnt)
        (self.mnt / "theirs").touch()
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "the daemon to end")
        self.assertIn((str(self.mnt), "tmpfs"), [mount[:2] for mount in mounts()])
        self.assertTrue((self.mnt / "theirs").exists())
        self.varve("check", self.store)

    def test_after_a_lazy_unmount_of_a_mount_in_use(self):
        def hold():
            descriptor = os.open(self.mnt, os.O_RDONLY)
            self.addCleanup(os.close, descriptor)
        self.end_with_another_mount_there(hold)

    def test_after_an_unmount_while_a_sandbox_has_it(self):
        # The kernel gives the number of the mount to the next one at once.
        self.end_with_another_mount_there(self.in_a_sandbox)

    def test_on_top_of_ours(self):
        pid = self.mount()
        run("mount", "-t", "tmpfs", "stranger", self.mnt)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "the daemon to end")
        self.assertIn((str(self.mnt), "tmpfs"), [mount[:2] for mount in mounts()])


class JustUnmounted(MountTest):
    """umount(8) does not wait until the store is closed; what comes next does."""

    def test_a_writer_waits_until_the_daemon_has_closed_the_store(self):
        keys = self.folder / "keys"
        keys.touch()
        commands = (("put", self.store, "x", "/etc/hostname"), ("rm", self.store, "x"),
                    ("mv", self.store, "file", "file2"), ("mv", self.store, "file2", "file"),
                    ("adopt", self.store, keys), ("raw", "write", self.store, "k", "v"),
                    ("check", "--repair", self.store), ("compact", self.store))
        for command in commands * 2:
            pid = self.mount()
            (self.mnt / "file").write_text("content")
            # Ready to end, and not yet able to. umount(8) would ask it before.
            os.kill(pid, signal.SIGSTOP)
            self.assertEqual(LIBC.umount2(bytes(self.mnt), 0), 0)
            process = subprocess.Popen([varve_binary(), *command], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE)
            try:
                process.wait(timeout=0.3)
            except subprocess.TimeoutExpired:
                pass  # as it should
            os.kill(pid, signal.SIGCONT)
            _, text = process.communicate(timeout=60)
            self.assertEqual(process.returncode, OK, (command, text))
            wait_until(lambda: not is_alive(pid), "the daemon to end")


class Hidden(MountTest):
    """What a mount hides is told."""

    def test_another_store(self):
        self.mount()
        text = self.varve("mount", self.folder / "other.varve", self.mnt)
        self.assertIn("%s is mounted at %s already" % (self.store, self.mnt), text)

    def test_files(self):
        (self.mnt / "file").touch()
        text = self.varve("mount", self.store, self.mnt)
        self.assertIn("%s is not empty" % self.mnt, text)

    def test_nothing_is_said_of_an_empty_directory_nor_of_a_dead_mount(self):
        self.assertEqual(self.varve("mount", self.store, self.mnt), "")
        (self.mnt / "file").touch()
        kill(status_of(self.mnt)["pid"])
        self.assertNotIn("hidden", self.varve("mount", self.store, self.mnt))


if __name__ == "__main__":
    junit.main()

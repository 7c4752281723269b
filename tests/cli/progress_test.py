#!/usr/bin/env python3
"""Progress: what takes longer than a second shows it on a terminal, and nowhere else."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import time
import unittest

from tests.kit import junit
from tests.kit.mounted import MountedStore, run, varve, varve_binary

CLEARED = b"\r\x1b[K"
F_OFD_SETLK = 37
SECONDS = 120
FILES = 1500
BIG = os.urandom(24 << 20)
HUGE = BIG * 8


class Halted:
    """A varve command that is stopped for more than a second, once, in the midst of its work."""

    def __init__(self, pid, halt_when):
        self.pid = pid
        self.halt_when = halt_when
        self.deadline = time.monotonic() + SECONDS

    def has_ended(self):
        """Not collected yet, so that its number stays its own."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def look(self):
        assert time.monotonic() < self.deadline, "it does not end"
        if self.halt_when is None or self.has_ended() or not self.halt_when(self.pid):
            return
        self.halt_when = None
        os.kill(self.pid, signal.SIGSTOP)
        time.sleep(1.2)
        os.kill(self.pid, signal.SIGCONT)


def on_terminal(*command, halt_when=None, on_text=None):
    """Exit status of a varve command, and what its terminal shows.

    `on_text` is called once, when there is any.
    """
    command = [varve_binary()] + [str(word) for word in command]
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    halted, text = Halted(pid, halt_when), b""
    while True:
        halted.look()
        if select.select([fd], [], [], 0.001)[0]:
            try:
                text += os.read(fd, 65536)
            except OSError:
                break
        if text and on_text is not None:
            on_text()
            on_text = None
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def attempts(*command):
    """How often it may be done again.

    On a busy machine a command may be over before anybody has seen what it was to be halted at.
    What changes nothing can be done again.
    """
    return 20 if command[0] == "check" and "--repair" not in command else 0


def in_pipe(*command, halt_when=None):
    """Exit status of a varve command, and its standard error."""
    for _ in range(attempts(*command)):
        status, text, was_halted = in_pipe_once(*command, halt_when=halt_when)
        if was_halted:
            return status, text
    status, text, was_halted = in_pipe_once(*command, halt_when=halt_when)
    assert was_halted, "it was not halted"
    return status, text


def in_pipe_once(*command, halt_when=None):
    command = [varve_binary()] + [str(word) for word in command]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as process:
        halted = Halted(process.pid, halt_when)
        while not halted.has_ended():
            halted.look()
        text = process.stderr.read()
    return process.returncode, text, halted.halt_when is None


def has_threads(count):
    """Whether it works with so many."""
    return lambda pid: len(os.listdir("/proc/%d/task" % pid)) >= count


class NthThread:
    """Whether a thread is alive that is the nth, or a later one, which has been seen."""

    def __init__(self, number):
        self.number = number
        self.seen = set()

    def __call__(self, pid):
        alive = set(os.listdir("/proc/%d/task" % pid)) - {str(pid)}
        self.seen |= alive
        return bool(alive) and len(self.seen) >= self.number


class Progress(unittest.TestCase):
    def setUp(self):
        self.mounted = MountedStore()
        self.mounted.__enter__()
        self.addCleanup(self.mounted.__exit__)
        self.store = self.mounted.path
        self.folder = self.mounted.base

    def fill(self):
        (self.mounted / "tree").mkdir()
        for number in range(FILES):
            (self.mounted / ("tree/f%d" % number)).write_bytes(b"1234" * number)
        (self.mounted / "big").write_bytes(BIG)

    def has_grown(self, path):
        """Whether a file, or the number of names in a directory, has begun to grow."""
        def size():
            if not path.exists():
                return 0
            return len(os.listdir(path)) if path.is_dir() else path.stat().st_size
        before = size()

        def has_grown(_):
            # In bytes, more than opening a store appends.
            return size() > before + (20 if path.is_dir() else 10_000)

        return has_grown

    def shown(self, doing, halt_when, *arguments):
        """The line on the terminal that begins so; it is taken away later."""
        begin = b"\r" + doing
        ended, text = on_terminal(*arguments, halt_when=halt_when)
        for _ in range(attempts(*arguments)):
            if begin in text:
                break
            ended, text = on_terminal(*arguments, halt_when=halt_when)
        self.assertEqual(ended, 0, text)
        self.assertIn(begin, text)
        at = text.index(begin)
        self.assertIn(CLEARED, text[at:])
        return text[at : text.index(b"\x1b[K", at)]

    def silent(self, halt_when, *arguments):
        self.assertEqual(in_pipe(*arguments, halt_when=halt_when), (0, b""))

    def damage(self):
        """Of the small files' content, a byte."""
        with open(self.store, "r+b") as file:
            at = file.read().index(b"1234" * 1000) + 1000
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))

    def test_checking_and_repairing(self):
        self.fill()
        (self.mounted / "huge").write_bytes(HUGE)
        self.mounted.umount()
        # One shows, and others verify.
        self.assertRegex(self.shown(b"checking", has_threads(3), "check", self.store),
                         rb" store.varve: [\d.]+ \w+ of [\d.]+ MiB \(\d+%\), 0:\d\d\Z")
        self.silent(has_threads(2), "check", self.store)
        self.damage()
        damaged = self.folder / "damaged"
        for run_one in (self.silent, lambda *a: self.shown(b"repairing", *a)):
            damaged.write_bytes(self.store.read_bytes())
            run_one(self.has_grown(self.folder / "damaged.repair"), "check", "--repair", damaged)

    def test_trees_into_a_store_out_of_it_and_away(self):
        self.fill()
        self.mounted.umount()
        out = self.folder / "out"
        for verb, grows, *arguments in (("get", out, "tree", out),
                                        ("put", self.store, "again", out),
                                        ("cp", self.store, "tree", "copy"),
                                        ("rm", self.store, "copy")):
            doing = b"removing" if verb == "rm" else b"copying"
            line = self.shown(doing, self.has_grown(grows), verb, "-r", self.store, *arguments)
            self.assertRegex(line, rb": \d+ files?, ")
        pipe = self.folder / "pipe"
        for verb, grows, *arguments in (("get", pipe, "tree", pipe),
                                        ("put", self.store, "pipe", pipe),
                                        ("rm", self.store, "pipe")):
            self.silent(self.has_grown(grows), verb, "-r", self.store, *arguments)

    def test_archives(self):
        self.fill()
        self.mounted.umount()
        for number, (verb, grows) in enumerate((("export", self.folder / "a.tar"),
                                                ("import", self.folder / "b.varve"))):
            archive = "--tar=%s" % (self.folder / "a.tar")
            stores = [self.store, self.store] if verb == "export" else [
                self.folder / "b.varve", self.folder / "c.varve"]
            options = ["--create"] if verb == "import" else []
            line = self.shown(b"copying" if verb == "export" else b"importing",
                              self.has_grown(grows), verb, *options, stores[0], archive)
            self.assertRegex(line, rb": \d+ files?, ")
            grows = self.folder / ("a.tar" if verb == "export" else "c.varve")
            if verb == "export":
                grows.unlink()
            self.silent(self.has_grown(grows), verb, *options, stores[1], archive)

    def shown_while_reading(self, doing, *command):
        """A command that changes nothing shows this line, if it is halted at the right time."""
        texts = []
        # Opening the store has threads, too, and a short one may not be seen.
        for number in 4 * [2, 3, 1, 4, 5, 6]:
            _, text = on_terminal(*command, halt_when=NthThread(number))
            if b"\r" + doing in text:
                self.assertIn(CLEARED, text[text.index(b"\r" + doing):])
                break
            texts.append(text)
        else:
            self.fail((command, texts))
        status, text, was_halted = in_pipe_once(*command, halt_when=lambda _: True)
        self.assertTrue(was_halted)
        self.assertEqual(text, b"", status)

    def test_reading_what_has_happened(self):
        for number in range(3000):
            (self.mounted / ("f%d" % number)).touch()
            if number % 30 == 0:
                (self.mounted / (".varve/snapshots/s%d" % number)).mkdir()
        (self.mounted / "f1").unlink()
        self.mounted.umount()
        reading = b"reading store.varve: 0:0"
        for command in (("log", self.store, "--op", "rename"), ("versions", self.store, "f0"),
                        ("diff", self.store, "s300", "s2700"), ("history", "usage", self.store),
                        ("undelete", "-n", self.store, "f1")):
            self.shown_while_reading(reading, *command)
        self.shown_while_reading(b"restoring in store.varve: 0:0",
                                 "restore", "-n", self.store, "--at", "s300", "/")
        self.shown_while_reading(b"examining store.varve: 0:0", "doctor", self.store)
        keys = self.folder / "keys"
        keys.write_text("".join("absent%d\n" % number for number in range(20000)))
        self.shown_while_reading(b"adopting into store.varve: 0:0", "adopt", self.store, keys)

    def test_compacting(self):
        for number in range(4):
            (self.mounted / ("f%d" % number)).write_bytes(BIG)
        # The rate says how long it takes.
        rate = str(len(BIG) * 2)
        for name in (self.mounted.root, self.store):
            if name == self.store:
                self.mounted.umount()
            ended, text = on_terminal("compact", "--forget", "--limit", rate, name)
            self.assertEqual(ended, 0, text)
            self.assertRegex(text, rb"\rcopying +(\[[#-]+\] +)?\d+%  [\d.]+ MiB of ")
            self.assertIn(CLEARED, text)
            result = varve("compact", "--forget", "--limit", rate, name)
            self.assertEqual(result.stderr, b"")

    def test_opening_and_recovering(self):
        """Somebody else has the lock of the store, until it is seen that it is waited for."""
        (self.mounted / "file").write_bytes(b"content")
        self.mounted.kill()
        run("umount", "-l", self.mounted.root)
        for command in (("mount", self.store, self.mounted.root), ("mkdir", self.store, "new")):
            lock = open(self.store, "r+b")
            # type, whence, start, length, pid
            fcntl.fcntl(lock, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
            ended, text = on_terminal(*command, on_text=lock.close)
            self.assertEqual(ended, 0, text)
            self.assertRegex(text, rb"\A\ropening store.varve: 0:01\x1b\[K")
            self.assertIn(CLEARED, text)
            if command[0] == "mount":
                self.assertEqual((self.mounted / "file").read_bytes(), b"content")
                self.mounted.umount()

    def test_what_is_quick_shows_nothing(self):
        self.mounted.umount()
        for command in (("ls", self.store), ("mount", self.store, self.mounted.root)):
            self.assertEqual(on_terminal(*command), (0, b""))
        varve("umount", self.mounted.root)


if __name__ == "__main__":
    junit.main()

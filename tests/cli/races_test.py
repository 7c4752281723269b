#!/usr/bin/env python3
"""How mounts begin, end and live long: with others, under load, and without a leak.

Environment:

    VARVE_MOUNT_ROUNDS  rounds of mounting and unmounting one store (25 by default)
    VARVE_RACE_ROUNDS   races of a mount with an unmount, in each order (20 by default)
    VARVE_LEAK_ROUNDS   rounds of work for one daemon (20 by default)

The long form takes half an hour:

    VARVE_MOUNT_ROUNDS=1000 VARVE_RACE_ROUNDS=500 VARVE_LEAK_ROUNDS=5000 \\
        bazel test //tests/cli:races_test --test_env=VARVE_MOUNT_ROUNDS \\
        --test_env=VARVE_RACE_ROUNDS --test_env=VARVE_LEAK_ROUNDS --test_timeout=3600
"""

import contextlib
import fcntl
import json
import multiprocessing
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import time
import unittest

from tests.kit import junit
from tests.crash.crash_test import content_of, expected, worker
from tests.kit.linux_calls import drop_caches
from tests.kit.mounted import MountedStore, mounts, run, varve, varve_binary, wait_until

MOUNT_ROUNDS = int(os.environ.get("VARVE_MOUNT_ROUNDS", "25"))
RACE_ROUNDS = int(os.environ.get("VARVE_RACE_ROUNDS", "20"))
LEAK_ROUNDS = int(os.environ.get("VARVE_LEAK_ROUNDS", "20"))

KIB = 1 << 10
MIB = 1 << 20
OK, FAILURE, BUSY, REFUSED = 0, 1, 10, 14
PATIENCE_SECONDS = 60  # for what should take no more than a few
WORKERS = 4
# What the memory of a daemon may grow by in rounds that leave nothing behind: what the allocator
# keeps, and the index, in which each commit has its place until the store is compacted.
MEMORY_ALLOWANCE = 8 * MIB


def mounts_at(directory):
    """The sources of the mounts at a directory."""
    return [source for path, _, source, _ in mounts() if path == str(directory)]


def mounts_with(text):
    """How many mounts there are in whose directory or source a text stands."""
    return sum(str(text) in path or str(text) in source for path, _, source, _ in mounts())


def processes_with(text):
    """The pids of the processes in whose command line a text stands, but for the dead."""
    found = []
    for process in pathlib.Path("/proc").iterdir():
        try:
            if not process.name.isdigit() or int(process.name) == os.getpid():
                continue
            if str(text).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended
    return found


def status_of(directory):
    return json.loads((directory / ".varve/status.json").read_text(encoding="utf-8"))


class Daemon:
    """What the kernel says of a daemon."""

    def __init__(self, pid):
        self.folder = pathlib.Path("/proc/%d" % pid)

    def descriptors(self):
        links = []
        for link in (self.folder / "fd").iterdir():
            links.append(os.readlink(link))
        return sorted(links)

    def memory(self):
        """Bytes of its own: the pages of the store that it maps are the kernel's to drop."""
        status = (self.folder / "status").read_text(encoding="ascii")
        return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) * KIB

    def threads(self):
        return len(list((self.folder / "task").iterdir()))


class RaceTest(unittest.TestCase):
    """A folder with a store and a mountpoint, of which nothing is left at the end."""

    def setUp(self):
        folder = tempfile.mkdtemp(prefix="varve-", dir=os.environ.get("TEST_TMPDIR"))
        self.folder = pathlib.Path(folder).resolve()
        self.store = self.folder / "store.varve"
        self.mnt = self.folder / "mnt"
        self.mnt.mkdir()
        self.addCleanup(self.clean_up)

    def clean_up(self):
        for directory in (self.mnt, self.folder / "other"):
            while mounts_at(directory):
                run("umount", "-l", directory)
        for pid in processes_with(self.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run("rm", "-rf", self.folder)

    def begin(self, *arguments):
        """Starts a command, and does not wait for it."""
        process = subprocess.Popen(
            [varve_binary(), *map(str, arguments)], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def ended(self, process):
        """Exit status and complaint of a command that must not hang."""
        _, text = process.communicate(timeout=PATIENCE_SECONDS)
        if process.returncode != OK:
            self.assertRegex(text.decode(), r"\Avarve: [^\n]+\n\Z")
        return process.returncode, text.decode()

    def serving(self):
        """The daemons that hold the store, by their locks."""
        return processes_with(self.store)


class TwoMountsTest(RaceTest):
    def test_the_second_is_refused_and_names_the_first(self):
        other = self.folder / "other"
        other.mkdir()
        varve("mount", self.store, self.mnt)
        pid = status_of(self.mnt)["pid"]
        (self.mnt / "file").write_text("before")
        for directory, status in ((other, BUSY), (self.mnt, REFUSED)):
            process = self.begin("mount", self.store, directory)
            code, text = self.ended(process)
            self.assertEqual((code, mounts_at(other)), (status, []), text)
            self.assertIn("pid %d" % pid, text)
        self.assertEqual([str(self.store)], mounts_at(self.mnt))
        self.assertEqual([pid], self.serving())
        self.assertEqual("before", (self.mnt / "file").read_text())
        (self.mnt / "file").write_text("after")
        varve("umount", self.mnt)
        varve("check", self.store)
        self.assertEqual(b"after", varve("get", self.store, "file").stdout)
        self.assertEqual(["mnt", "other", "store.varve"], sorted(os.listdir(self.folder)))

    def test_of_many_at_once_one_wins(self):
        directories = [self.mnt, self.folder / "other"] * 2
        directories[1].mkdir()
        for round_number in range(max(1, RACE_ROUNDS // 20)):
            begun = [self.begin("mount", self.store, directory) for directory in directories]
            codes = [self.ended(process)[0] for process in begun]
            self.assertEqual(1, codes.count(OK), codes)
            self.assertLessEqual(set(codes), {OK, BUSY, REFUSED})
            mounted = [directory for directory in directories[:2] if mounts_at(directory)]
            self.assertEqual(1, len(mounted))
            self.assertEqual([str(self.store)], mounts_at(mounted[0]))
            self.assertEqual([status_of(mounted[0])["pid"]], self.serving())
            (mounted[0] / str(round_number)).write_text("kept")
            varve("umount", mounted[0])
        varve("check", self.store)


class MountDuringUmountTest(RaceTest):
    """Whoever comes first, the store is mounted once in the end, or not at all."""

    def race(self, first, second, pause):
        """Begins both commands, and returns what each came to."""
        begun = self.begin(*first)
        time.sleep(pause)  # a different moment each time
        others = self.begin(*second)
        return self.ended(begun), self.ended(others)

    def assert_mounted(self, wanted, case):
        """Either a mount and its daemon, or neither."""
        if not wanted:
            wait_until(lambda: not self.serving(), "the daemon to end")
        self.assertEqual([str(self.store)] * wanted, mounts_at(self.mnt), case)
        self.assertEqual(wanted, len(self.serving()), case)
        if wanted:
            self.assertEqual([status_of(self.mnt)["pid"]], self.serving(), case)

    def run_rounds(self, mounted_before, first, second, judge):
        rng = random.Random(RACE_ROUNDS)
        outcomes = {}
        for round_number in range(RACE_ROUNDS):
            if bool(mounts_at(self.mnt)) != mounted_before:
                varve(*(("mount", self.store) if mounted_before else ("umount",)), self.mnt)
            if mounted_before:
                (self.mnt / "file").write_text(str(round_number))
            results = self.race(first, second, rng.random() * 0.03)
            self.assert_mounted(judge(*results), results)
            codes = results[0][0], results[1][0]
            outcomes[codes] = outcomes.get(codes, 0) + 1
            if mounted_before and mounts_at(self.mnt):
                self.assertEqual(str(round_number), (self.mnt / "file").read_text())
        print("%s, %s: %s" % (first[0], second[0], outcomes))
        if mounts_at(self.mnt):
            varve("umount", self.mnt)
        varve("check", self.store)
        self.assertEqual(["mnt", "store.varve"], sorted(os.listdir(self.folder)))

    def test_mounting_while_it_is_unmounted(self):
        def judge(umount, mount):
            # The other may be looking at the mount in the moment when it is to go.
            self.assertIn(umount[0], (OK, BUSY), umount)
            # It has waited for the store; or it came too early, or waited too long.
            self.assertIn(mount[0], (OK, BUSY, REFUSED), mount)
            return mount[0] == OK or umount[0] == BUSY

        self.run_rounds(True, ("umount", self.mnt), ("mount", self.store, self.mnt), judge)

    def test_unmounting_while_it_is_mounted(self):
        def judge(mount, umount):
            self.assertIn(umount[0], (OK, BUSY, REFUSED), umount)
            # It may be gone before it was usable.
            self.assertIn(mount[0], (OK, FAILURE) if umount[0] == OK else (OK,), mount)
            return umount[0] != OK

        self.run_rounds(False, ("mount", self.store, self.mnt), ("umount", self.mnt), judge)


class SignalTest(RaceTest):
    """A daemon that is told to end while several processes write."""

    def start(self):
        """A daemon of which this process is the parent, and so learns how it ends."""
        process = self.begin("mount", "-f", self.store, self.mnt)
        wait_until(lambda: mounts_at(self.mnt) or process.poll() is not None, "the mount")
        self.assertEqual(process.pid, status_of(self.mnt)["pid"])
        return process

    @contextlib.contextmanager
    def load(self):
        """Processes that log what was acknowledged, until the mount fails them."""
        context = multiprocessing.get_context("fork")
        with contextlib.ExitStack() as stack:
            self.logs = [
                stack.enter_context(open(self.folder / ("log%d" % i), "w+", buffering=1,
                                         encoding="ascii")) for i in range(WORKERS)]
            workers = [context.Process(target=worker, args=(str(self.mnt), log, i))
                       for i, log in enumerate(self.logs)]
            for process in workers:
                process.start()
            try:
                wait_until(lambda: all(os.stat(log.fileno()).st_size > 100 * KIB
                                       for log in self.logs), "the load")
                yield workers
            finally:
                for process in workers:
                    process.join(PATIENCE_SECONDS)
                    self.addCleanup(process.kill)
                    self.assertIsNotNone(process.exitcode, "a worker hangs")

    def verify(self):
        """Everything acknowledged is in the store that was left."""
        varve("check", self.store)
        info = json.loads(varve("info", "--json", self.store).stdout)
        self.assertEqual(([], 0), (info["notes"], info["torn_bytes"]))
        varve("mount", self.store, self.mnt)
        wrong, count = [], 0
        for i in range(WORKERS):
            lines = (self.folder / ("log%d" % i)).read_text(encoding="ascii").splitlines()
            self.assertGreater(len(lines), 10)
            for path, choices in expected(lines).items():
                count += 1
                if not self.is_as_expected(path, choices):
                    wrong.append(path)
        varve("umount", self.mnt)
        print("%d files, %d of them not as acknowledged" % (count, len(wrong)))
        self.assertEqual([], wrong)

    def is_as_expected(self, path, choices):
        """Only the call that was under way leaves a choice: old or new, and no mixture."""
        if isinstance(path, tuple):  # it was being renamed
            _, source, target = path
            before, old_target = choices
            now = content_of(source), content_of(target)
            return now in [(b, t) for b in before for t in old_target] + [
                (None, b) for b in before]
        content = content_of(path)
        if None in choices and "" in choices:  # a new file, not closed by anybody
            return content is None or choices[1].startswith(content)
        return content in choices

    def end_by(self, number):
        process = self.start()
        with self.load():
            begun = time.monotonic()
            process.send_signal(number)
            code, seconds = process.wait(timeout=PATIENCE_SECONDS), time.monotonic() - begun
        print("%s: ended with %d after %.2f s" % (signal.Signals(number).name, code, seconds))
        self.assertEqual(OK, code, process.stderr.read())
        self.assertEqual([], mounts_at(self.mnt))
        self.verify()

    def test_another_namespace_has_a_copy_of_the_mount(self):
        process = self.start()
        # The connection lives until the last copy of the mount is gone, or the daemon.
        with subprocess.Popen(["unshare", "-m", "sh", "-c", "echo; exec cat"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            other.stdout.readline()
            process.send_signal(signal.SIGINT)
            code, text = self.ended(process)
            other.stdin.close()
        self.assertEqual(OK, code)
        self.assertNotIn("failed to unmount", text)
        self.assertEqual([], mounts_at(self.mnt))

    def test_sigterm(self):
        self.end_by(signal.SIGTERM)

    def test_sigint(self):
        self.end_by(signal.SIGINT)

    def test_sighup(self):
        self.end_by(signal.SIGHUP)

    def test_a_file_that_is_being_overwritten_keeps_its_content(self):
        process = self.start()
        (self.mnt / "file").write_text("acknowledged")
        descriptor = os.open(self.mnt / "file", os.O_WRONLY | os.O_TRUNC)
        process.terminate()
        self.assertEqual(OK, process.wait(timeout=PATIENCE_SECONDS))
        with self.assertRaises(OSError):
            os.close(descriptor)
        self.assertEqual(b"acknowledged", varve("get", self.store, "file").stdout)

    def test_lazy_unmounting(self):
        # Who has a directory of it open works on; the daemon ends with the last of them.
        process = self.start()
        with self.load() as workers:
            run("umount", "-l", self.mnt)
            self.assertEqual([], mounts_at(self.mnt))
            # By paths, there is nothing left for the load to work on.
            for worker_process in workers:
                worker_process.join(PATIENCE_SECONDS)
                self.assertIsNotNone(worker_process.exitcode, "a worker hangs")
            self.assertEqual(OK, process.wait(timeout=PATIENCE_SECONDS), process.stderr.read())
        self.assertEqual([], os.listdir(self.mnt))
        self.verify()

    def test_lazy_unmounting_of_what_is_in_use(self):
        process = self.start()
        folder = os.open(self.mnt, os.O_RDONLY | os.O_DIRECTORY)
        try:
            run("umount", "-l", self.mnt)
            file = os.open("late", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
            self.assertEqual(4, os.write(file, b"late"))
            os.close(file)
            self.assertIsNone(process.poll())
        finally:
            os.close(folder)
        self.assertEqual(OK, process.wait(timeout=PATIENCE_SECONDS), process.stderr.read())
        self.assertEqual(b"late", varve("get", self.store, "late").stdout)
        varve("check", self.store)


class RoundsTest(RaceTest):
    def test_mounting_and_unmounting_leaves_nothing(self):
        """Mounts, processes, descriptors and files are after any round what they were."""
        varve("mount", self.store, self.mnt)
        (self.mnt / "file").write_text("content")
        varve("umount", self.mnt)

        def state():
            return (mounts_with(self.folder), self.serving(), sorted(os.listdir(self.folder)),
                    len(os.listdir("/proc/self/fd")))

        before, size = state(), self.store.stat().st_size
        for round_number in range(MOUNT_ROUNDS):
            varve("mount", self.store, self.mnt)
            self.assertEqual(1, len(mounts_at(self.mnt)))
            self.assertEqual("content", (self.mnt / "file").read_text())
            varve("umount", self.mnt)
            self.assertEqual(before, state(), "after %d rounds" % (round_number + 1))
        # That the file was read may have been noted once; beyond that nothing has changed.
        grown = self.store.stat().st_size - size
        print("%d rounds: store grew by %d bytes" % (MOUNT_ROUNDS, grown))
        self.assertLess(grown, 12 * KIB)  # nodes, and their parity
        varve("check", self.store)


class LongLifeTest(unittest.TestCase):
    """One daemon, and rounds of work after which nothing more is there than before."""

    FILES = 40

    def one_round(self, folder, round_number):
        """Opens, closes, makes, lists, names, locks and removes."""
        for i in range(self.FILES):
            path = os.path.join(folder, "f%d" % i)
            with open(path, "wb") as file:
                file.write(b"%d" % round_number * (i + 1) * 10)
                fcntl.flock(file, fcntl.LOCK_EX)
                fcntl.lockf(file, fcntl.LOCK_EX, 10)
            os.setxattr(path, "user.round", b"%d" % round_number * 20)
        self.assertEqual(self.FILES, len(os.listdir(folder)))
        for i in range(self.FILES):
            path = os.path.join(folder, "f%d" % i)
            with open(path, "rb") as file:
                self.assertTrue(file.read().startswith(b"%d" % round_number))
            os.removexattr(path, "user.round")
            os.rename(path, path + "r")
            if i % 2:
                with open(path + "r", "r+b") as file:  # open when it loses its name
                    os.unlink(path + "r")
                    file.write(b"orphan")
            else:
                os.unlink(path + "r")
        os.mkdir(os.path.join(folder, "d"))
        os.symlink("nowhere", os.path.join(folder, "d/s"))
        os.unlink(os.path.join(folder, "d/s"))
        os.rmdir(os.path.join(folder, "d"))
        with contextlib.suppress(FileNotFoundError):
            os.stat(os.path.join(folder, "missing%d" % round_number))

    def settled(self, daemon, wanted):
        """Waits until the kernel has told of the last closes."""
        drop_caches()
        wait_until(lambda: daemon.descriptors() == wanted, "the descriptors to be as before")

    def test_nothing_grows(self):
        # The store does, and compacting it would need memory of another order.
        with MountedStore("compact=never") as store:
            daemon = Daemon(store.pid)
            warm = max(10, LEAK_ROUNDS // 10)
            for round_number in range(warm):
                self.one_round(store.root, round_number)
            drop_caches()
            descriptors, threads = daemon.descriptors(), daemon.threads()
            memory = daemon.memory()
            before = status_of(store.root)
            for round_number in range(warm, warm + LEAK_ROUNDS):
                self.one_round(store.root, round_number)
            self.settled(daemon, descriptors)
            grown = daemon.memory() - memory
            after = status_of(store.root)
            print("%d rounds: memory grew by %d KiB from %d KiB" % (
                LEAK_ROUNDS, grown // KIB, memory // KIB))
            self.assertEqual(before["inodes"], after["inodes"])
            self.assertEqual(threads, daemon.threads())
            self.assertLess(grown, MEMORY_ALLOWANCE)
            store.umount()
            store.check()

    def test_what_the_kernel_forgets_is_forgotten(self):
        """Deleted inodes are kept while the kernel knows them, and no longer."""
        count, ballast, rounds = 400, 60_000, 8
        with MountedStore("compact=never") as store:
            daemon = Daemon(store.pid)
            memory = []
            for _ in range(rounds):
                held = []
                for i in range(count):
                    path = store / ("f%d" % i)
                    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
                    os.setxattr(path, "user.ballast", bytes(ballast))
                    if i % 20 == 0:
                        held.append(descriptor)
                    else:
                        os.close(descriptor)
                for i in range(count):
                    os.unlink(store / ("f%d" % i))
                for descriptor in held:
                    os.close(descriptor)
                drop_caches()
                memory.append(daemon.memory())
            print("memory after each round, in KiB: %s" % [bytes_ // KIB for bytes_ in memory])
            # Were they kept, each round but the first would add the attributes of all. What
            # malloc keeps for the next round is at most those of one, and nobody's promise:
            # it gives back the end of its heap, if nothing there is in use.
            of_one_round = count * ballast
            self.assertGreater((rounds - 1) * of_one_round, 4 * (of_one_round + MEMORY_ALLOWANCE))
            self.assertLess(memory[-1] - memory[0], of_one_round + MEMORY_ALLOWANCE)
            self.assertEqual(1, status_of(store.root)["inodes"])

    def test_a_dead_daemon_leaves_no_descriptor_to_its_successor(self):
        with MountedStore() as store:
            (store / "file").write_text("content")
            first = Daemon(store.pid).descriptors()
            for _ in range(3):
                store.kill()
                store.mount()
                self.assertEqual(len(first), len(Daemon(store.pid).descriptors()))
            self.assertEqual("content", (store / "file").read_text())


if __name__ == "__main__":
    junit.main()

#!/usr/bin/env python3
"""kill -9 of the daemon in the middle of things: what was acknowledged stays.

VARVE_CRASH_ROUNDS sets the number of rounds of each test (3 by default).
"""

import multiprocessing
import os
import random
import subprocess
import time
import unittest

from tests.kit import junit
from tests.kit.mounted import MountedStore, run

ROUNDS = int(os.environ.get("VARVE_CRASH_ROUNDS", "3"))


def worker(root, log, number):
    """Changes files of its own for ever; logs each call that has returned."""
    random.seed(number)
    home = os.path.join(root, "worker%d" % number)
    try:
        os.mkdir(home)
        counter = 0
        while True:
            counter += 1
            path = os.path.join(home, "f%d" % random.randrange(50))
            action = random.randrange(4)
            if action <= 1:
                content = ("%d:" % counter) + random.randbytes(random.randrange(10000)).hex()
                log.write("B %s %s\n" % (path, content))
                with open(path, "w", encoding="ascii") as file:
                    file.write(content)
                log.write("W %s %s\n" % (path, content))
            elif action == 2 and os.path.exists(path):
                target = path + "r%d" % random.randrange(3)
                log.write("BR %s %s\n" % (path, target))
                os.rename(path, target)
                log.write("R %s %s\n" % (path, target))
            elif os.path.exists(path):
                log.write("BU %s -\n" % path)
                os.unlink(path)
                log.write("U %s -\n" % path)
    except OSError:
        pass  # the daemon is gone
    finally:
        log.flush()


def expected(log):
    """What must be there: for each path the contents that it may have.

    None stands for "no such file". Only the call that was under way when the
    daemon died leaves a choice.
    """
    state = {}
    pending = None
    for line in log:
        kind, path, rest = line.rstrip("\n").split(" ", 2)
        if kind.startswith("B"):
            pending = (kind, path, rest)
            continue
        pending = None
        if kind == "W":
            state[path] = [rest]
        elif kind == "R":
            state[rest] = state[path]
            state[path] = [None]
        else:
            state[path] = [None]
    if pending:
        kind, path, rest = pending
        before = state.get(path, [None])
        if kind == "B":
            # A new file may be there and still empty.
            state[path] = before + [rest] + ([""] if before == [None] else [])
        elif kind == "BU":
            state[path] = before + [None]
        else:
            target = state.get(rest, [None])
            state[("either", path, rest)] = [before, target]
            state.pop(path, None)
            state.pop(rest, None)
    return state


def content_of(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return None


class CrashTest(unittest.TestCase):
    def verify(self, state):
        for path, choices in state.items():
            if isinstance(path, tuple):
                _, source, target = path
                now = (content_of(source), content_of(target))
                before, old_target = choices
                self.assertIn(now, [(before[0], old_target[0]), (None, before[0])])
                continue
            self.assertIn(content_of(path), choices, path)

    def test_acknowledged_changes_survive(self):
        context = multiprocessing.get_context("fork")
        for round_number in range(ROUNDS):
            with MountedStore() as store:
                logs = [open(store.base / ("log%d" % i), "w+", buffering=1) for i in range(3)]
                workers = [
                    context.Process(
                        target=worker, args=(str(store.root), log, round_number * 10 + i)
                    )
                    for i, log in enumerate(logs)
                ]
                for process in workers:
                    process.start()
                time.sleep(1.0)  # the load is to last a while before the crash
                store.kill()
                for process in workers:
                    process.join()
                store.mount()
                for log in logs:
                    log.seek(0)
                    lines = log.readlines()
                    self.assertGreater(len(lines), 10)
                    self.verify(expected(lines))
                    log.close()
                store.umount()
                store.check()

    def crash_during(self, command, seconds, prepare=None):
        """Runs a command, kills the daemon under it, mounts again, checks."""
        with MountedStore() as store:
            if prepare:
                prepare(store)
            with subprocess.Popen(
                command(store), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as process:
                time.sleep(seconds)  # somewhere in the middle
                store.kill()
                process.wait()
            store.mount()
            yield store
            store.umount()
            store.check()

    def test_copying_a_tree(self):
        tree = "/usr/include"
        command = lambda store: ["cp", "-a", tree, str(store.root)]
        for store in self.crash_during(command, 1.0):
            # Each file is whole, or was just being written.
            bad = 0
            for folder, _, files in os.walk(store / "include"):
                for name in files:
                    path = os.path.join(folder, name)
                    source = os.path.join(tree, os.path.relpath(path, store / "include"))
                    if os.path.islink(path):
                        continue
                    with open(path, "rb") as a, open(source, "rb") as b:
                        bad += a.read() != b.read()
            self.assertLessEqual(bad, 1)
            run("cp", "-a", tree, store / "")
            run("diff", "-r", "--no-dereference", tree, store / "include")

    def test_rsync(self):
        command = lambda store: ["rsync", "-a", "/usr/include/", str(store / "copy")]
        for store in self.crash_during(command, 1.0):
            # An interrupted rsync leaves its temporary file behind.
            run("rsync", "-a", "--delete", "/usr/include/", store / "copy")
            run("diff", "-r", "--no-dereference", "/usr/include", store / "copy")

    def test_git_commit(self):
        def prepare(store):
            run("git", "init", "-q", store / "r")
            run("cp", "-r", "/usr/include/linux", store / "r")

        command = lambda store: ["git", "-C", str(store / "r"), "add", "."]
        for store in self.crash_during(command, 0.5, prepare):
            lock = store / "r/.git/index.lock"
            if lock.exists():
                lock.unlink()
            run("git", "-C", store / "r", "add", ".")
            run("git", "-C", store / "r", "fsck")

    def test_large_file(self):
        command = lambda store: ["dd", "if=/dev/zero", "of=" + str(store / "big"), "bs=1M"]
        for store in self.crash_during(command, 0.7):
            # It was created; no byte of it was acknowledged by a close.
            self.assertEqual(0, os.stat(store / "big").st_size)
            torn = [p for p in os.listdir(store.base) if ".torn-" in p]
            self.assertLessEqual(len(torn), 1)
            (store / "after").write_text("works")

    def test_overwritten_file_is_old_or_new(self):
        old, new = "old\n" * 50000, "new!\n" * 60000
        for round_number in range(ROUNDS * 3):
            with MountedStore() as store:
                (store / "file").write_text(old)
                (store.base / "new").write_text(new)
                with subprocess.Popen(
                    ["bash", "-c", 'while cat "$1" > "$2"; do :; done', "bash"]
                    + [str(store.base / "new"), str(store / "file")],
                    stderr=subprocess.DEVNULL,
                ) as process:
                    time.sleep(0.002 * (round_number + 1))  # a different moment each time
                    store.kill()
                    process.wait()
                store.mount()
                text = (store / "file").read_text()
                self.assertIn(len(text), (len(old), len(new)))
                self.assertIn(text, (old, new))


if __name__ == "__main__":
    junit.main()

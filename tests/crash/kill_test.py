#!/usr/bin/env python3
"""kill -9 of the daemon, over and over, under processes that log what they were told is done.

Unlike crash_test.py, which crashes known tools, this knows each byte that there
must be afterwards: every step that was acknowledged has happened, and the one
that was under way has happened whole or not at all. The store is the same in
all rounds, so that each begins with what the one before has left. Environment:

    VARVE_CRASH_ROUNDS  how often the daemon is killed (6 by default)
    VARVE_SEED          the seed of what is done; when it is killed is by chance

The long form takes a quarter of an hour:

    VARVE_CRASH_ROUNDS=200 bazel test //tests/crash:kill_test \\
        --test_env=VARVE_CRASH_ROUNDS --test_timeout=7200
"""

import copy
import multiprocessing
import os
import random
import signal
import subprocess
import time
import traceback
import unittest

from tests.kit import junit
from tests.kit.mounted import MountedStore, run, varve, varve_binary, wait_until
from tests.crash.power_cut_kit import Model, Script, difference, seen

ROUNDS = int(os.environ.get("VARVE_CRASH_ROUNDS", "6"))
SEED = int(os.environ.get("VARVE_SEED", random.SystemRandom().randrange(1 << 32)))
PROCESSES = 4
NOTICING_SECONDS = 10  # for a process to meet an error by itself
PATIENCE_SECONDS = 120  # for a process to notice that the daemon is gone


class Log:
    """Lines `kind number time`, each of which is there as soon as it is written.

    Kinds: b for begun, d for done, s for done and durable, e for the end, with
    the reason instead of a time.
    """

    def __init__(self, path):
        self.path = path
        with open(path, "wb"):
            pass

    def opened(self):
        """A function that writes a line."""
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)

        def write(kind, number, text=None):
            text = time.monotonic_ns() if text is None else repr(text)
            os.write(fd, b"%s %d %s\n" % (kind.encode(), number, str(text).encode()))

        return write

    def size(self):
        return os.stat(self.path).st_size

    def read(self):
        with open(self.path, encoding="utf-8") as file:
            lines = [line.rstrip("\n").split(" ", 2) for line in file]
        return [(kind, int(number), text) for kind, number, text in lines]


def counts(lines):
    """How many steps were begun, done, and known to be durable."""
    return tuple(1 + max((number for kind, number, _ in lines if kind in kinds), default=-1)
                 for kinds in ("b", "ds", "s"))


def up_to(moment, lines):
    """What was logged before a moment."""
    return [line for line in lines if line[0] != "e" and int(line[2]) < moment]


def run_script(write, home, model, seed):
    """One process; logs each step."""
    for number, step in enumerate(Script(home, model, seed).steps()):
        write("b", number)
        step.action()
        step.change()
        write("s" if step.durable else "d", number)


class Over(Exception):
    """A process need not go on."""


def until_an_error(log, over, work, *arguments):
    """What a process does; the log then says why it has ended."""
    os.umask(0)
    write = log.opened()

    def write_unless_over(*line):
        write(*line)
        if over.is_set():
            raise Over

    try:
        work(write_unless_over, *arguments)
    except Over:
        write("e", 0)
    except OSError as error:
        write("e", error.errno)
    except BaseException:  # whatever it is, the parent is to hear of it
        write("e", -1, traceback.format_exc())


class Load:
    """The processes with their directories below `root`; `models` say what these hold.

    A model is kept up to date by verify(), so that it can go into the next load.
    """

    def __init__(self, root, logs, models, seed):
        self.context = multiprocessing.get_context("fork")
        self.root = str(root)
        self.logs_folder = logs
        self.models = models
        self.seed = seed
        self.logs = []
        self.processes = []
        self.over = self.context.Event()
        for number, model in enumerate(models):
            self.add("process%d" % number, run_script, self.home(number), copy.deepcopy(model),
                     seed + number)

    def home(self, number):
        return os.path.join(self.root, "process%d" % number)

    def add(self, name, work, *arguments):
        """One more process. `work` gets a function that logs, and the arguments."""
        log = Log(os.path.join(self.logs_folder, name + ".log"))
        self.logs.append(log)
        self.processes.append(
            self.context.Process(
                target=until_an_error, args=(log, self.over, work, *arguments)))
        return log

    def start(self):
        for process in self.processes:
            process.start()

    def size(self):
        """Of the logs: tells how far all of them are. Raises if one has come to its end."""
        self.assert_at_work()
        return sum(log.size() for log in self.logs)

    def assert_at_work(self):
        for process, log in zip(self.processes, self.logs):
            if not process.is_alive():
                raise AssertionError("%s has ended before the crash: exit status %s, %s" % (
                    log.path, process.exitcode, log.read()[-2:]))

    def join(self):
        """Waits until all have noticed that it is over; raises if it was for another reason.

        Those that do not notice are told: what punches, and finds nothing to punch, is not
        disturbed by a dead disk, nor is a process that has come to its directory late, when
        the mount was gone.
        """
        deadline = time.monotonic() + NOTICING_SECONDS
        for process in self.processes:
            process.join(max(0, deadline - time.monotonic()))
        self.over.set()
        for process in self.processes:
            process.join(PATIENCE_SECONDS)
        for process, log in zip(self.processes, self.logs):
            if process.exitcode == -signal.SIGBUS:
                continue  # it has touched a page of a mapping, and there was no daemon
            end = (log.read() or [("", -1, "nothing was logged")])[-1]
            if process.exitcode != 0 or end[0] != "e" or end[1] < 0:
                raise AssertionError("%s: exit status %s, %s" % (log.path, process.exitcode, end))

    def end(self):
        """Ends what is left of it, whatever has happened."""
        for process in self.processes:
            if process.pid is not None:
                process.kill()
                process.join()

    def durable(self, cut):
        """For each process, how many of its steps a power cut at that time must not undo.

        A sync makes durable all that any process was told is done before it began.
        """
        logs = [up_to(cut, log.read()) for log in self.logs[:len(self.models)]]
        newest = 0
        for lines in logs:
            synced = {number for kind, number, _ in lines if kind == "s"}
            newest = max([newest] + [int(when) for kind, number, when in lines
                                     if kind == "b" and number in synced])
        return [max([counts(lines)[2]] + [number + 1 for kind, number, when in lines
                                          if kind in "ds" and int(when) < newest])
                for lines in logs]

    def done(self):
        """For each process, how many of its steps a crash of the daemon must not undo."""
        return [counts(log.read())[1] for log in self.logs[:len(self.models)]]

    def verify(self, least):
        """(problems, how many of the steps begun are not there), the models brought up to date."""
        problems, lost = [], 0
        for number, kept in enumerate(least):
            begun = counts(self.logs[number].read())[0]
            problem, steps = self._verify_one(number, kept, begun)
            problems += [problem] if problem else []
            lost += begun - steps
        return problems, lost

    def _verify_one(self, number, kept, begun):
        """(problem or None, how many steps the directory has seen)"""
        model, found = copy.deepcopy(self.models[number]), seen(self.home(number))
        if kept == 0 and model.seen() == found:
            return None, 0
        nearest = "at the start: " + difference(model.seen(), found) if kept == 0 else ""
        script = Script(self.home(number), model, self.seed + number)
        for taken, step in zip(range(1, begun + 1), script.steps()):
            step.change()
            if taken < kept:
                continue
            if model.seen() == found:
                self.models[number] = model
                return None, taken
            nearest = nearest or "after step %d (%s): %s" % (
                taken, step.what, difference(model.seen(), found))
        return "%s is in none of the states after steps %d to %d; %s" % (
            self.home(number), kept, begun, nearest), 0


def compact_for_ever(write, root, punch, seed):
    """A process that compacts; one that fails with the daemon still there is a mistake."""
    rng = random.Random(seed)
    while True:
        time.sleep(rng.uniform(0, 0.3))  # that the crash finds compactions of all ages
        write("b", 0)
        result = run(varve_binary(), "compact", "--forget", *["--punch"][:punch], root, check=False)
        if result.returncode != 0:
            write("e", result.returncode, result.stdout.decode() + result.stderr.decode())
            return
        write("d", 0)


class KillTest(unittest.TestCase):
    """Rounds on one store: load, kill -9, mount, compare."""

    def crash(self, store, models, number, rng):
        """(steps acknowledged, steps begun that are not there)"""
        load = Load(store.root, store.base, models, SEED + 1000 * number)
        if number % 3 == 2:
            load.add("compaction", compact_for_ever, str(store.root), number % 2, SEED + number)
        enough = int(2 ** rng.uniform(8, 17))
        try:
            load.start()
            wait_until(lambda: load.size() > enough, "the processes have done enough")
            time.sleep(rng.uniform(0, 0.02))  # somewhere in a step
            load.assert_at_work()
            store.kill()
            load.join()
        finally:
            load.end()
        if number % 4 == 3:
            self.crash_while_mounting(store, rng)
        store.mount()
        least = load.done()
        problems, lost = load.verify(least)
        self.assertEqual([], problems, "round %d, VARVE_SEED=%d" % (number, SEED))
        return sum(least), lost

    def crash_while_mounting(self, store, rng):
        """Another crash, which finds the store in the middle of its recovery."""
        with subprocess.Popen([varve_binary(), "mount", "-f", str(store.path), str(store.root)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
            time.sleep(rng.uniform(0, 0.1))
            daemon.kill()

    def test_what_was_acknowledged_is_there(self):
        print("VARVE_SEED=%d" % SEED, flush=True)
        rng = random.Random(SEED)
        models = [Model() for _ in range(PROCESSES)]
        acknowledged = lost = 0
        with MountedStore() as store:
            for number in range(ROUNDS):
                more, undone = self.crash(store, models, number, rng)
                acknowledged, lost = acknowledged + more, lost + undone
                if rng.random() < 0.3:
                    store.check_unclosed()  # as the crash and the mount after it have left it
            store.umount()
            store.check()
            self.assertFalse(store.path.with_name(store.path.name + ".compact").exists())
        print("%d rounds, %d steps acknowledged; of the %d under way %d were not there" % (
            ROUNDS, acknowledged, PROCESSES * ROUNDS, lost), flush=True)
        self.assertGreater(acknowledged, 20 * ROUNDS)


if __name__ == "__main__":
    junit.main()

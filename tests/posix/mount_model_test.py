#!/usr/bin/env python3
"""Random operations on a mount, compared with a model that is in memory.

ModelTest works on a whole tree, with remounts and crashes; FsxTest on single
files, byte by byte. Environment:

    VARVE_MODEL_SECONDS  how long all tests together run (60 by default)
    VARVE_SEED           where to begin; what a failure prints runs again

The long form, for hours, is the same with a larger number:

    VARVE_MODEL_SECONDS=14400 bazel test //tests/posix:mount_model_test \\
        --test_env=VARVE_MODEL_SECONDS --test_timeout=20000

A run is made of rounds, each with a fresh store and a seed of its own, so that
the store does not grow without limit and no failure takes long to reproduce.
Names of cases choose among them (--test_arg=ModelTest, for example).
"""

import contextlib
import faulthandler
import os
import random
import time
import unittest

from tests.kit import junit
from tests.posix.fsx import Fsx
from tests.posix.model_run import ModelRun
from tests.kit.mounted import MountedStore

SECONDS = float(os.environ.get("VARVE_MODEL_SECONDS", "60"))
SEED = os.environ.get("VARVE_SEED")
ROUND_OPERATIONS = 4000


def rounds(seconds):
    """Yields seeds, and when to end, until the time is up; at least one."""
    end = time.monotonic() + seconds
    seed = int(SEED) if SEED else random.SystemRandom().randrange(1 << 32)
    while True:
        print("VARVE_SEED=%d" % seed, flush=True)
        yield seed, end
        seed += 1
        if time.monotonic() > end:
            return


@contextlib.contextmanager
def history(seed, runner):
    """Says how to run a failure again, and what had been done before it."""
    try:
        yield
    except BaseException as error:
        print("VARVE_SEED=%d: %s\n%s" % (seed, error, "\n".join(runner.log)), flush=True)
        raise


def exercise(seconds, make_runner):
    """Runs what `make_runner(store, seed)` makes, round after round."""
    count = 0
    for seed, end in rounds(seconds):
        with MountedStore() as store:
            runner = make_runner(store, seed)
            with history(seed, runner):
                try:
                    while runner.count < ROUND_OPERATIONS and time.monotonic() < end:
                        runner.step()
                    runner.finish()
                finally:
                    runner.release()
            count += runner.count
    print("%d operations" % count)


class ModelTest(unittest.TestCase):
    def test_mount_does_what_the_model_says(self):
        exercise(SECONDS * 0.6, ModelRun)


class FsxTest(unittest.TestCase):
    def exercise(self, seconds, max_size, max_length):
        exercise(seconds, lambda store, seed: Fsx(store, seed, max_size, max_length))

    def test_small_file(self):
        self.exercise(SECONDS * 0.2, 256 << 10, 64 << 10)

    def test_large_file(self):
        self.exercise(SECONDS * 0.2, 16 << 20, 2 << 20)


if __name__ == "__main__":
    faulthandler.enable()
    junit.main()

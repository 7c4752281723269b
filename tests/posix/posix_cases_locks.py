"""Cases about locks: flock, POSIX and open-file-description locks, leases."""

import fcntl
import os
import signal
import time

from tests.posix.posix_kit import Alarm, Step, case, ended, fork, in_child, lock, opened, write

READ, WRITE, UNLOCK = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
SET, SET_WAIT, GET = fcntl.F_SETLK, fcntl.F_SETLKW, fcntl.F_GETLK
OFD_SET, OFD_SET_WAIT, OFD_GET = 37, 38, 36
KINDS = {READ: "read", WRITE: "write", UNLOCK: "none"}


def held(descriptor, command, kind, start=0, size=0, me=None):
    """What F_GETLK says is in the way, without the pid."""
    kind, start, size, pid = lock(descriptor, command, kind, start, size)
    if kind == UNLOCK:
        return "nothing"
    return "%s %d+%d%s" % (KINDS[kind], start, size, " by me" if pid == me else "")


@case
def flock_between_processes(log):
    write("f")

    def try_in_child(label, how):
        def child():
            with opened("f") as mine:
                log.do(label, fcntl.flock, mine, how | fcntl.LOCK_NB)

        in_child(child)

    with opened("f") as file, opened("f") as second:
        fcntl.flock(file, fcntl.LOCK_SH)
        try_in_child("shared with shared", fcntl.LOCK_SH)
        try_in_child("exclusive with shared", fcntl.LOCK_EX)
        log.do("another descriptor of mine", fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_EX)
        try_in_child("shared with exclusive", fcntl.LOCK_SH)
        copy = os.dup(file)
        fcntl.flock(copy, fcntl.LOCK_UN)
        try_in_child("after unlocking a copy", fcntl.LOCK_EX)
        fcntl.flock(file, fcntl.LOCK_EX)
        os.close(file)
        try_in_child("a copy keeps it", fcntl.LOCK_EX)
        os.close(copy)
        try_in_child("after the last close", fcntl.LOCK_EX)
        log.do("odd operation", fcntl.flock, second, 99)
    with opened(".", os.O_RDONLY) as folder:
        log.do("a directory", fcntl.flock, folder, fcntl.LOCK_EX)
    with opened("f", os.O_RDONLY) as reader:
        log.do("exclusive by a reader", fcntl.flock, reader, fcntl.LOCK_EX)


@case
def flock_waits(log):
    write("f")
    ready, done = Step(), Step()

    def child():
        with opened("f") as mine:
            fcntl.flock(mine, fcntl.LOCK_EX)
            ready.reach()
            done.wait()

    pid = fork(child)
    ready.wait()
    with opened("f") as file:
        try:
            with Alarm(0.1):
                fcntl.flock(file, fcntl.LOCK_EX)
            log("waiting", "was not needed")
        except Alarm.Interrupted:
            log("waiting", "interrupted")
        done.reach()
        log.do("waited for the other", fcntl.flock, file, fcntl.LOCK_EX)
    log("ended", ended(pid))


@case
def waiters_can_be_killed(log):
    write("f")
    with opened("f") as file:
        for label, take, wait in (
            (
                "flock",
                lambda: fcntl.flock(file, fcntl.LOCK_EX),
                lambda mine: fcntl.flock(mine, fcntl.LOCK_EX),
            ),
            ("POSIX", lambda: lock(file, SET, WRITE), lambda mine: lock(mine, SET_WAIT, WRITE)),
            (
                "OFD",
                lambda: lock(file, OFD_SET, WRITE),
                lambda mine: lock(mine, OFD_SET_WAIT, WRITE),
            ),
        ):
            take()
            ready = Step()

            def child():
                with opened("f") as mine:
                    ready.reach()
                    wait(mine)

            pid = fork(child)
            ready.wait()
            time.sleep(0.05)  # It is about to wait, and nobody can tell when it does.
            os.kill(pid, signal.SIGKILL)
            log(label, ended(pid))
            fcntl.flock(file, fcntl.LOCK_UN)
            lock(file, SET, UNLOCK)
            lock(file, OFD_SET, UNLOCK)
        log.do("free", fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@case
def posix_locks(log):
    write("f", b"x" * 100)
    me = os.getpid()
    with opened("f") as file:
        lock(file, SET, WRITE, 10, 20)
        lock(file, SET, READ, 50, 10)

        def child(label):
            with opened("f") as mine:
                ranges = ((0, 10), (0, 11), (29, 1), (30, 5), (50, 1), (0, 0), (60, 0))
                for kind in (READ, WRITE):
                    for start, size in ranges:
                        where = "%s, %s %d+%d" % (label, KINDS[kind], start, size)
                        log(where, held(mine, GET, kind, start, size, me))
                        log.do(where + ", set", lock, mine, SET, kind, start, size)
                        lock(mine, SET, UNLOCK)

        in_child(child, "two ranges")
        lock(file, SET, UNLOCK, 15, 5)
        in_child(child, "split")
        lock(file, SET, READ, 0, 100)
        in_child(child, "turned into one")
        log("my own is not in my way", held(file, GET, WRITE))
        os.close(os.open("f", os.O_RDONLY))
        in_child(child, "closing any descriptor drops them")
    with opened("f", os.O_RDONLY) as file:
        log.do("write lock by a reader", lock, file, SET, WRITE)
        log.do("read lock by a reader", lock, file, SET, READ)
    with opened("f", os.O_WRONLY) as file:
        log.do("read lock by a writer", lock, file, SET, READ)
        log.do("negative length", lock, file, SET, WRITE, 10, -5)
        log.do("before the start", lock, file, SET, WRITE, 0, -5)
        log.do("odd type", lock, file, SET, 77)


@case
def posix_locks_wait_and_end(log):
    write("f")
    ready, done = Step(), Step()

    def child():
        mine = os.open("f", os.O_RDWR)
        lock(mine, SET, WRITE, 0, 10)
        ready.reach()
        done.wait()

    pid = fork(child)
    ready.wait()
    with opened("f") as file:
        log("in the way", held(file, GET, WRITE, 0, 0, pid))
        try:
            with Alarm(0.1):
                lock(file, SET_WAIT, WRITE)
            log("waiting", "was not needed")
        except Alarm.Interrupted:
            log("waiting", "interrupted")
        log("another range", lock(file, SET_WAIT, WRITE, 20, 5)[0])
        done.reach()
        log.do("waited until the other ended", lock, file, SET_WAIT, WRITE)
        log("ended", ended(pid))
        pid = fork(lambda: log("not inherited", held(file, GET, WRITE, 0, 0, os.getppid())))
        log("ended too", ended(pid))


@case
def posix_deadlock(log):
    write("f")
    first, second = Step(), Step()

    def child():
        with opened("f") as mine:
            lock(mine, SET, WRITE, 10, 1)
            first.reach()
            second.wait()
            lock(mine, SET_WAIT, WRITE, 0, 1)

    with opened("f") as file:
        lock(file, SET, WRITE, 0, 1)
        pid = fork(child)
        first.wait()
        second.reach()
        time.sleep(0.1)  # The child is about to wait for us.
        log.do("deadlock", lock, file, SET_WAIT, WRITE, 10, 1)
    log("ended", ended(pid))


@case
def open_file_description_locks(log):
    write("f")
    with opened("f") as file, opened("f") as second:
        lock(file, OFD_SET, WRITE, 0, 10)
        log("another description", held(second, OFD_GET, WRITE))
        log.do("conflict", lock, second, OFD_SET, READ, 5, 1)
        log.do("with POSIX locks, too", lock, second, SET, READ, 5, 1)
        log.do("elsewhere", lock, second, OFD_SET, WRITE, 10, 10)

        def child():
            log("inherited", held(file, OFD_GET, WRITE, 0, 10))
            log.do("conflict in a child", lock, file, OFD_SET, WRITE, 10, 1)
            os.close(file)

        in_child(child)
        log("kept after the child", held(second, OFD_GET, WRITE, 0, 10))
        os.close(file)
        log("released", held(second, OFD_GET, WRITE, 0, 10))


@case
def locks_of_many(log):
    write("counter", b"0")

    def child(take, drop):
        for _ in range(25):
            with opened("counter") as file:
                take(file)
                value = int(os.pread(file, 20, 0))
                os.pwrite(file, b"%d" % (value + 1), 0)
                drop(file)

    for label, take, drop in (
        (
            "flock",
            lambda file: fcntl.flock(file, fcntl.LOCK_EX),
            lambda file: fcntl.flock(file, fcntl.LOCK_UN),
        ),
        ("POSIX", lambda file: lock(file, SET_WAIT, WRITE), lambda file: lock(file, SET, UNLOCK)),
        (
            "OFD",
            lambda file: lock(file, OFD_SET_WAIT, WRITE),
            lambda file: lock(file, OFD_SET, UNLOCK),
        ),
    ):
        pids = [fork(child, take, drop) for _ in range(4)]
        log(label, [ended(pid) for pid in pids])
        with opened("counter") as file:
            log(label + ", counted", os.pread(file, 20, 0))


@case
def lock_file_by_exclusive_creation(log):
    def child(result):
        won = 0
        for i in range(100):
            try:
                os.close(os.open("lock%d" % i, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                won += 1
            except FileExistsError:
                pass
        os.write(result, b"%d " % won)

    source, sink = os.pipe()
    pids = [fork(child, sink) for _ in range(3)]
    log("ended", [ended(pid) for pid in pids])
    log("each was won once", sum(int(word) for word in os.read(source, 100).split()))


@case
def leases(log):
    write("f")
    with opened("f", os.O_RDONLY) as file:
        log.do("read lease", fcntl.fcntl, file, fcntl.F_SETLEASE, READ)
        log.value("held", fcntl.fcntl, file, fcntl.F_GETLEASE)
        log.do("given back", fcntl.fcntl, file, fcntl.F_SETLEASE, UNLOCK)
    with opened("f") as file:
        log.do("read lease of a writer", fcntl.fcntl, file, fcntl.F_SETLEASE, READ)
        log.do("write lease", fcntl.fcntl, file, fcntl.F_SETLEASE, WRITE)

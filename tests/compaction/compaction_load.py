"""Processes that work on a mount while it is compacted, each sure of what it reads.

Each has a directory of its own, and knows every byte in it. Readers look at
what others have published: files that come by rename, whole, and say by their
first bytes what the others have to be.

    load = Load(root, seed, seconds)
    load.start()
    ... compactions, until not load.is_running() ...
    load.finish()      # what the processes know at the end; raises what they found
"""

import contextlib
import multiprocessing
import os
import queue
import random
import struct
import time
import traceback

from tests.compaction.compaction_kit import KIB, MIB, content_of, digest
from tests.kit.linux_calls import RENAME_EXCHANGE, renameat2
from tests.kit.mounted import GONE

PATIENCE_SECONDS = 300  # for a process to end after its time
_HEADER = struct.Struct("<QQ")


class Wrong(Exception):
    """The mount has shown something else than it should."""


def published(seed, size):
    return _HEADER.pack(seed, size) + content_of(seed, size)


class Worker:
    """Repeats step() in a directory of its own until its time is up."""

    def __init__(self, root, name, seed):
        self.root = root
        self.home = os.path.join(root, name)
        self.rng = random.Random(seed)
        self.longest = (0.0, "nothing")
        self.count = 0
        os.mkdir(self.home)

    def path(self, name):
        return os.path.join(self.home, name)

    def timed(self, function, *arguments):
        """Calls it, and remembers the call that has taken longest."""
        begin = time.monotonic()
        try:
            return function(*arguments)
        finally:
            self.count += 1
            stall = time.monotonic() - begin
            if stall > self.longest[0]:
                self.longest = (stall, "%s of %s" % (function.__name__, type(self).__name__))

    def expect(self, found, expected, what):
        if found == expected:
            return
        if isinstance(expected, (bytes, bytearray)):
            at = next((i for i, pair in enumerate(zip(found, expected)) if pair[0] != pair[1]),
                      min(len(found), len(expected)))
            raise Wrong("%s: %d bytes, expected %d; the first to differ is at %d: %r, not %r" % (
                what, len(found), len(expected), at, bytes(found[at:at + 16]),
                bytes(expected[at:at + 16])))
        raise Wrong("%s: %r, expected %r" % (what, found, expected))

    def store(self, path, data, flags=os.O_TRUNC):
        fd = self.timed(os.open, path, os.O_CREAT | os.O_WRONLY | flags)
        try:
            for at in range(0, len(data), 256 * KIB):
                self.timed(os.write, fd, data[at:at + 256 * KIB])
        finally:
            self.timed(os.close, fd)

    def load(self, path):
        with self.opened(path) as fd:
            return self.read(fd, 0, self.timed(os.fstat, fd).st_size)

    def read(self, fd, at, size):
        if self.rng.random() < 0.5:
            # What the kernel has of it tells nothing of the store.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        parts = []
        while size > 0:
            part = self.timed(os.pread, fd, min(size, MIB), at)
            if not part:
                break
            parts.append(part)
            at, size = at + len(part), size - len(part)
        return b"".join(parts)

    @contextlib.contextmanager
    def opened(self, path, flags=os.O_RDONLY):
        fd = self.timed(os.open, path, flags)
        try:
            yield fd
        finally:
            self.timed(os.close, fd)

    def step(self):
        raise NotImplementedError

    def end(self):
        """Closes what is open; returns {path below home: (digest, links)}."""
        return {}


class Writer(Worker):
    """Whole and partial rewrites, truncations, removals; publishes, too."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.files = {}
        os.mkdir(self.path("published"))

    def step(self):
        name = "f%d" % self.rng.randrange(30)
        actions = [self.rewrite, self.publish]
        if name in self.files:
            actions += [self.change, self.verify, self.verify, self.truncate, self.remove]
        self.rng.choice(actions)(name)

    def rewrite(self, name):
        data = self.rng.randbytes(int(2 ** self.rng.uniform(0, 18)))
        self.store(self.path(name), data)
        self.files[name] = bytearray(data)

    def change(self, name):
        content = self.files[name]
        with self.opened(self.path(name), os.O_RDWR) as fd:
            for _ in range(self.rng.randrange(1, 4)):
                at = self.rng.randrange(len(content) + 5000)
                data = self.rng.randbytes(self.rng.randrange(1, 20000))
                self.timed(os.pwrite, fd, data, at)
                content.extend(bytes(max(0, at - len(content))))
                content[at:at + len(data)] = data
            if self.rng.random() < 0.3:
                self.timed(os.fsync, fd)
            self.expect(self.read(fd, 0, len(content) + 1), content, name)

    def truncate(self, name):
        content = self.files[name]
        size = self.rng.randrange(len(content) * 3 // 2 + 1)
        self.timed(os.truncate, self.path(name), size)
        del content[size:]
        content.extend(bytes(size - len(content)))

    def remove(self, name):
        self.timed(os.unlink, self.path(name))
        del self.files[name]

    def verify(self, name):
        self.expect(self.load(self.path(name)), self.files[name], self.path(name))

    def publish(self, _):
        target = "published/p%d" % self.rng.randrange(10)
        data = published(self.rng.getrandbits(48), int(2 ** self.rng.uniform(0, 19)))
        self.store(self.path("new"), data)
        self.timed(os.rename, self.path("new"), self.path(target))
        self.files[target] = bytearray(data)

    def end(self):
        for name in self.files:
            self.verify(name)
        return {name: (digest(data), 1) for name, data in self.files.items()}


class Reader(Worker):
    """Reads what the writers publish; some descriptors it keeps for long."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.kept = []

    def step(self):
        if self.kept and self.rng.random() < 0.5:
            return self.read_on(*self.rng.choice(self.kept))
        folder = os.path.join(self.root, self.rng.choice(["writer0", "writer1"]), "published")
        names = self.timed(os.listdir, folder)
        if not names:
            return None
        path = os.path.join(folder, self.rng.choice(names))
        fd = self.timed(os.open, path, os.O_RDONLY)  # never gone: it is only replaced
        data = self.read(fd, 0, 4 * MIB)
        self.expect(data, published(*_HEADER.unpack_from(data)), path)
        self.kept.append((fd, data))
        if len(self.kept) > 20:
            self.timed(os.close, self.kept.pop(self.rng.randrange(20))[0])
        return None

    def read_on(self, fd, data):
        at = self.rng.randrange(len(data))
        size = self.rng.randrange(1, 100000)
        self.expect(self.read(fd, at, size), data[at:at + size], "a file kept open")

    def end(self):
        for fd, data in self.kept:
            self.expect(self.read(fd, 0, len(data) + 1), data, "a file kept open")
            os.close(fd)
        return {}


class Renamer(Worker):
    """Moves files, and directories with files in them, about."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.files = {}  # directory -> name -> content
        for number in range(4):
            folder = "d%d" % number
            os.mkdir(self.path(folder))
            self.files[folder] = {}
            for name in range(10):
                data = self.rng.randbytes(self.rng.randrange(60000))
                self.files[folder]["f%d" % name] = data
                self.store(self.path("%s/f%d" % (folder, name)), data)

    def step(self):
        self.rng.choice([self.move_folder, self.exchange, self.move, self.move, self.verify])()

    def any_file(self):
        folder = self.rng.choice([f for f in self.files if self.files[f]])
        return folder, self.rng.choice(list(self.files[folder]))

    def move_folder(self):
        old, new = self.rng.choice(list(self.files)), "d%d" % self.rng.randrange(1000)
        if new not in self.files:
            self.timed(os.rename, self.path(old), self.path(new))
            self.files[new] = self.files.pop(old)

    def exchange(self):
        (a, x), (b, y) = self.any_file(), self.any_file()
        if (a, x) == (b, y):
            return
        self.timed(renameat2, self.path(a + "/" + x), self.path(b + "/" + y), RENAME_EXCHANGE)
        self.files[a][x], self.files[b][y] = self.files[b][y], self.files[a][x]

    def move(self):
        (a, x), b = self.any_file(), self.rng.choice(list(self.files))
        y = "f%d" % self.rng.randrange(100)
        if (a, x) == (b, y):
            return
        data = self.files[a].pop(x)
        self.timed(os.rename, self.path(a + "/" + x), self.path(b + "/" + y))
        lost = self.files[b].pop(y, None)
        self.files[b][y] = data
        if lost is not None:
            self.files[a][x] = self.rng.randbytes(len(lost))
            self.store(self.path(a + "/" + x), self.files[a][x])
        elif os.path.lexists(self.path(a + "/" + x)):
            raise Wrong("%s/%s is still there after its rename" % (a, x))

    def verify(self):
        folder, name = self.any_file()
        self.expect(self.load(self.path(folder + "/" + name)), self.files[folder][name],
                    folder + "/" + name)
        self.expect(sorted(self.timed(os.listdir, self.path(folder))),
                    sorted(self.files[folder]), "listing of " + folder)

    def end(self):
        return {folder + "/" + name: (digest(data), 1)
                for folder, files in self.files.items() for name, data in files.items()}


class Linker(Worker):
    """Makes and removes hard links, and changes files through any of them."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.names = {}  # name -> number of the file
        self.files = {}  # number -> content
        self.inodes = {}

    def step(self):
        name = "n%d" % self.rng.randrange(60)
        if name not in self.names:
            return self.make(name)
        return self.rng.choice([self.verify, self.verify, self.remove, self.change])(name)

    def make(self, name):
        if self.names and self.rng.random() < 0.7:
            other = self.rng.choice(list(self.names))
            self.timed(os.link, self.path(other), self.path(name))
            self.names[name] = self.names[other]
            return
        number = self.count
        self.files[number] = self.rng.randbytes(self.rng.randrange(50000))
        self.store(self.path(name), self.files[number])
        self.names[name] = number
        self.inodes[number] = os.stat(self.path(name)).st_ino

    def remove(self, name):
        self.timed(os.unlink, self.path(name))
        del self.names[name]

    def change(self, name):
        number = self.names[name]
        self.files[number] = self.rng.randbytes(self.rng.randrange(50000))
        self.store(self.path(name), self.files[number])

    def links(self, number):
        return list(self.names.values()).count(number)

    def verify(self, name):
        number = self.names[name]
        status = self.timed(os.stat, self.path(name))
        self.expect((status.st_ino, status.st_nlink), (self.inodes[number], self.links(number)),
                    "inode number and links of " + name)
        self.expect(self.load(self.path(name)), self.files[number], name)

    def end(self):
        for name in self.names:
            self.verify(name)
        return {name: (digest(self.files[number]), self.links(number))
                for name, number in self.names.items()}


def _work(kind, arguments, seconds, ready, results):
    worker = None
    try:
        worker = kind(*arguments)
        ready.wait()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            worker.step()
        known = worker.end()
        results.put((worker.home, worker.longest, worker.count, known, None))
    except BaseException as error:  # whatever it is, the parent is to hear of it
        text = "%s: %s" % (arguments[1], traceback.format_exc())
        if isinstance(error, OSError) and error.errno in GONE:
            text = "%s: the daemon is gone" % arguments[1]
        results.put((arguments[1], (0.0, ""), 0, {}, text))


class Load:
    """The processes; `kinds` are the classes of workers, each to be run once."""

    def __init__(self, root, seed, seconds, kinds):
        context = multiprocessing.get_context("fork")
        self._results = context.Queue()
        self._ready = context.Barrier(len(kinds) + 1)
        self._end = time.monotonic() + seconds
        self._seconds = seconds
        self.answers = []
        self.processes = []
        names = {}
        for number, kind in enumerate(kinds):
            base = kind.__name__.lower()
            index = names[base] = names.get(base, -1) + 1
            arguments = (str(root), "%s%d" % (base, index), seed + number)
            self.processes.append(context.Process(
                target=_work, args=(kind, arguments, seconds, self._ready, self._results)))

    def start(self):
        """Returns when all of them are at work."""
        for process in self.processes:
            process.start()
        self._ready.wait(PATIENCE_SECONDS)
        self._end = time.monotonic() + self._seconds

    def is_running(self):
        """Until the time is up, or one of them has found something wrong."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.answers.append(self._results.get_nowait())
        return time.monotonic() < self._end and not any(answer[4] for answer in self.answers)

    def finish(self):
        """({path: (digest, links)}, longest stall, operations) when all have ended."""
        deadline = self._end + PATIENCE_SECONDS
        while len(self.answers) < len(self.processes):
            self.answers.append(self._results.get(timeout=max(1, deadline - time.monotonic())))
        for process in self.processes:
            process.join()
        problems = [answer[4] for answer in self.answers if answer[4]]
        if problems:
            raise AssertionError("\n".join(problems))
        known = {os.path.join(home, name): line
                 for home, _, _, files, _ in self.answers for name, line in files.items()}
        return (known, max(answer[1] for answer in self.answers),
                sum(answer[2] for answer in self.answers))

"""More processes for compaction_load.Load: those that hold files for long.

Descriptors, mappings, files without a name, streams, clones: what refers to
the store's bytes by something else than a name.
"""

import os
import stat
import time

from tests.compaction.compaction_kit import KIB, MIB, content_of, digest
from tests.compaction.compaction_load import Worker
from tests.kit.linux_calls import Mapping


class Appender(Worker):
    """Appends to logs that stay open, and reads back what it has appended."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.logs = []
        for number in range(3):
            fd = os.open(self.path("log%d" % number), os.O_CREAT | os.O_RDWR | os.O_APPEND)
            self.logs.append((fd, bytearray()))

    def step(self):
        fd, content = self.rng.choice(self.logs)
        data = self.rng.randbytes(self.rng.choice((80, 500, 9000)))
        self.timed(os.write, fd, data)
        content.extend(data)
        if self.rng.random() < 0.1:
            self.timed(os.fdatasync, fd)
        at = self.rng.randrange(len(content))
        self.expect(self.read(fd, at, 30000), content[at:at + 30000], "log at %d" % at)

    def end(self):
        known = {}
        for number, (fd, content) in enumerate(self.logs):
            self.timed(os.close, fd)
            self.expect(self.load(self.path("log%d" % number)), content, "log")
            known["log%d" % number] = (digest(content), 1)
        return known


class Mapper(Worker):
    """Writes through mappings, and reads through others, which stay."""

    SIZE = MIB

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.files = []
        for number in range(3):
            content = bytearray(self.rng.randbytes(self.SIZE))
            path = self.path("map%d" % number)
            self.store(path, content)
            fd = os.open(path, os.O_RDWR)
            self.files.append((fd, Mapping(fd, self.SIZE), content))
        self.constant = self.rng.randbytes(self.SIZE)
        self.store(self.path("constant"), self.constant)
        fd = os.open(self.path("constant"), os.O_RDONLY)
        self.reading = Mapping(fd, self.SIZE, writable=False)
        os.close(fd)

    def step(self):
        fd, mapping, content = self.rng.choice(self.files)
        at = self.rng.randrange(self.SIZE - 5000)
        data = self.rng.randbytes(self.rng.randrange(1, 5000))
        self.timed(mapping.write, at, data)
        content[at:at + len(data)] = data
        action = self.rng.randrange(12)
        if action == 0:
            self.timed(mapping.sync)
        elif action == 1:
            # What is not dirty has to be read anew.
            self.timed(os.fsync, fd)
            self.timed(os.posix_fadvise, fd, 0, 0, os.POSIX_FADV_DONTNEED)
        at = self.rng.randrange(self.SIZE - 9000)
        self.expect(self.timed(mapping.read, at, 9000), content[at:at + 9000], "mapping")
        self.expect(self.read(fd, at, 9000), content[at:at + 9000], "mapped file")
        self.expect(self.timed(self.reading.read, at, 9000), self.constant[at:at + 9000],
                    "mapping of a closed file")

    def end(self):
        known = {"constant": (digest(self.constant), 1)}
        self.expect(self.reading.read(0, self.SIZE), self.constant, "mapping of a closed file")
        self.reading.close()
        for number, (fd, mapping, content) in enumerate(self.files):
            self.timed(mapping.sync)
            mapping.close()
            self.timed(os.close, fd)
            self.expect(self.load(self.path("map%d" % number)), content, "mapped file")
            known["map%d" % number] = (digest(content), 1)
        return known


class Cloner(Worker):
    """Copies files by copy_file_range(2), which shares their bytes, and alters them."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.files = {}

    def step(self):
        if len(self.files) < 3:
            name = "c%d" % self.count
            self.files[name] = bytearray(self.rng.randbytes(self.rng.randrange(1, 500000)))
            return self.store(self.path(name), self.files[name])
        return self.rng.choice([self.clone, self.clone, self.change, self.verify, self.remove])()

    def any(self):
        return self.rng.choice(list(self.files))

    def clone(self):
        source, target = self.any(), "c%d" % self.rng.randrange(40)
        if source == target:
            return
        content = self.files[source]
        begin = self.rng.choice((0, self.rng.randrange(len(content))))
        length = len(content) - begin
        with self.opened(self.path(source)) as fd:
            with self.opened(self.path(target), os.O_CREAT | os.O_TRUNC | os.O_RDWR) as to:
                done = 0
                while done < length:
                    done += self.timed(os.copy_file_range, fd, to, length - done, begin + done,
                                       done)
        self.files[target] = bytearray(content[begin:])

    def change(self):
        name = self.any()
        content = self.files[name]
        at = self.rng.randrange(len(content))
        data = self.rng.randbytes(self.rng.randrange(1, 10000))
        with self.opened(self.path(name), os.O_WRONLY) as fd:
            self.timed(os.pwrite, fd, data, at)
        content[at:at + len(data)] = data

    def verify(self):
        name = self.any()
        self.expect(self.load(self.path(name)), self.files[name], name)

    def remove(self):
        name = self.any()
        self.timed(os.unlink, self.path(name))
        del self.files[name]

    def end(self):
        return {name: (digest(content), 1) for name, content in self.files.items()}


class Nameless(Worker):
    """Goes on with files that are open and have no name any more, or never had."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.files = []

    def step(self):
        if len(self.files) < 8:
            return self.add()
        number = self.rng.randrange(len(self.files))
        fd, content = self.files[number]
        action = self.rng.randrange(6)
        if action == 0:
            self.timed(os.close, self.files.pop(number)[0])
        elif action <= 2:
            at = self.rng.randrange(len(content) + 1)
            data = self.rng.randbytes(self.rng.randrange(1, 30000))
            self.timed(os.pwrite, fd, data, at)
            content[at:at + len(data)] = data
        else:
            self.verify(fd, content)
        return None

    def add(self):
        content = bytearray(self.rng.randbytes(self.rng.randrange(200000)))
        path = self.path("u%d" % self.count)
        if self.rng.random() < 0.5:
            self.store(path, content)
            fd = self.timed(os.open, path, os.O_RDWR)
        else:
            fd = self.timed(os.open, path, os.O_CREAT | os.O_RDWR)
            self.timed(os.write, fd, content)
        self.timed(os.unlink, path)
        self.files.append((fd, content))

    def verify(self, fd, content):
        self.expect(self.read(fd, 0, len(content) + 1), content, "a file without a name")
        self.expect(os.fstat(fd).st_nlink, 0, "its links")

    def end(self):
        for fd, content in self.files:
            self.verify(fd, content)
            os.close(fd)
        return {}


class Streamer(Worker):
    """Writes large files slowly, front to back, while others go on."""

    PART = 64 * KIB
    PARTS = 200

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.fd = None
        self.written = 0
        self.number = 0
        self.known = {}

    def seed(self, part):
        return self.number * self.PARTS + part

    def step(self):
        if self.fd is None:
            self.fd = self.timed(os.open, self.path("s%d" % (self.number % 3)),
                                 os.O_CREAT | os.O_TRUNC | os.O_RDWR)
            self.written = 0
        data = content_of(self.seed(self.written), self.PART)
        self.timed(os.write, self.fd, data)
        self.written += 1
        part = self.rng.randrange(self.written)
        if self.rng.random() < 0.1:
            self.expect(self.read(self.fd, part * self.PART, self.PART),
                        content_of(self.seed(part), self.PART), "part %d of a stream" % part)
        if self.written == self.PARTS:
            self.close()
        time.sleep(0.01)  # it is to be slow

    def close(self):
        self.timed(os.close, self.fd)
        self.fd = None
        name = "s%d" % (self.number % 3)
        content = b"".join(content_of(self.seed(i), self.PART) for i in range(self.written))
        self.expect(self.load(self.path(name)), content, name)
        self.known[name] = (digest(content), 1)
        self.number += 1

    def end(self):
        if self.fd is not None:
            self.close()
        return self.known


class Clerk(Worker):
    """Modes, times, attributes, symlinks, directories, the order of listings."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.known = {}  # name -> attributes as seen when it was set

    def step(self):
        name = "e%d" % self.rng.randrange(40)
        path = self.path(name)
        if name not in self.known:
            return self.make(name, path)
        if self.rng.random() < 0.15:
            is_directory = stat.S_ISDIR(os.lstat(path).st_mode)
            self.timed(os.rmdir if is_directory else os.unlink, path)
            del self.known[name]
            return None
        self.verify(name)
        if self.rng.random() < 0.5:
            times = (self.rng.getrandbits(60), self.rng.getrandbits(60))
            os.utime(path, ns=times, follow_symlinks=False)
        if not os.path.islink(path):
            self.timed(os.chmod, path, self.rng.choice((0o600, 0o644, 0o755, 0o711)))
            self.timed(os.setxattr, path, "user.x%d" % self.rng.randrange(3),
                       self.rng.randbytes(self.rng.randrange(300)))
        self.known[name] = self.look(path)
        return None

    def make(self, name, path):
        kind = self.rng.randrange(3)
        if kind == 0:
            self.timed(os.mkdir, path)
        elif kind == 1:
            self.timed(os.symlink, "target of " + name, path)
        else:
            self.timed(os.mknod, path)
        self.known[name] = self.look(path)

    def look(self, path):
        status = self.timed(os.lstat, path)
        is_link = os.path.islink(path)
        target = os.readlink(path) if is_link else None
        names = os.listxattr(path, follow_symlinks=False)
        return (status.st_ino, status.st_mode, status.st_nlink, status.st_mtime_ns,
                status.st_ctime_ns, None if is_link else status.st_atime_ns, target,
                sorted((x, os.getxattr(path, x, follow_symlinks=False)) for x in names))

    def verify(self, name):
        self.expect(self.look(self.path(name)), self.known[name], "attributes of " + name)

    def end(self):
        for name in self.known:
            self.verify(name)
        self.expect(sorted(os.listdir(self.home)), sorted(self.known), "listing")
        return {}

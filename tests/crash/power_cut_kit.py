"""What a process does to a directory of its own before a crash, and what it then holds.

A process takes one step after the other. A step is one change that happens
whole or not at all; it ends with the call that acknowledges it. Which steps
there are follows from a seed, and from what was in the directory before. So to
know all the states that a crash may leave, it is enough to know how many steps
were taken:

    for step in Script(home, model, seed).steps():
        step.action()  # when it is done; left out when looking back
        step.change()  # the model is as the directory should be

kill_test.py runs the processes and looks at what is left.
"""

import collections
import os
import random
import stat

from tests.kit.linux_calls import (
    FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, RENAME_EXCHANGE, Mapping, fallocate, renameat2)

KIB = 1 << 10
MIB = 1 << 20
PIECE = 128 * KIB
MOST_NAMES = 60
MOST_BYTES = 20 * MIB  # before another large file is made
_MODES = (0o600, 0o640, 0o644, 0o700, 0o755)

# What is done, the same on a Model and on a directory, and whether it is then durable.
Step = collections.namedtuple("Step", "what change action durable")


class Node:
    def __init__(self, kind, mode, data=b""):
        self.kind = kind
        self.mode = mode
        self.data = data
        self.xattrs = {}


class Model:
    """What one directory holds: a Node for each path in it; "" is itself."""

    def __init__(self):
        self.names = {}

    def paths(self, kind):
        return [path for path, node in self.names.items() if path and node.kind == kind]

    def remove(self, path):
        del self.names[path]

    def rename(self, old, new):
        for path in [p for p in self.names if p == old or p.startswith(old + "/")]:
            self.names[new + path[len(old):]] = self.names.pop(path)

    def exchange(self, one, other):
        self.rename(one, "between")
        self.rename(other, one)
        self.rename("between", other)

    def seen(self):
        links = collections.Counter(id(node) for node in self.names.values())
        return {path: (node.kind, node.mode, None if node.kind == "folder" else links[id(node)],
                       node.data, tuple(sorted(node.xattrs.items())))
                for path, node in self.names.items()}


def _see(path):
    status = os.lstat(path)
    kind, links, data = "folder", None, b""
    if stat.S_ISLNK(status.st_mode):
        kind, links, data = "symlink", status.st_nlink, os.fsencode(os.readlink(path))
    elif stat.S_ISREG(status.st_mode):
        kind, links = "file", status.st_nlink
        with open(path, "rb") as file:
            data = file.read()
    xattrs = tuple(sorted((name, os.getxattr(path, name, follow_symlinks=False))
                          for name in os.listxattr(path, follow_symlinks=False)))
    return kind, stat.S_IMODE(status.st_mode), links, data, xattrs


def seen(home):
    """What is in a directory, in the form of Model.seen()."""
    found = {}
    if not os.path.lexists(home):
        return found
    for folder, folders, files in os.walk(home):
        for name in folders + files + ([""] if folder == home else []):
            path = os.path.join(folder, name) if name else home
            found[os.path.relpath(path, home) if name else ""] = _see(path)
    return found


def difference(model, found):
    """Says in one line what is not as the model has it."""
    path = min(path for path in model.keys() | found.keys() if model.get(path) != found.get(path))

    def short(data):
        return repr(data) if len(data) <= 40 else "%d bytes, %r..." % (len(data), data[:16])

    def told(node):
        if node is None:
            return "nothing"
        xattrs = ["%s: %s" % (name, short(value)) for name, value in node[4]]
        return "%s %o, links %s, %s, %s" % (node[0], node[1], node[2], short(node[3]), xattrs)

    return "%r is %s, not %s" % (path, told(found.get(path)), told(model.get(path)))


def write_all(fd, data):
    for at in range(0, len(data), PIECE):
        piece = data[at:at + PIECE]
        while piece:
            piece = piece[os.write(fd, piece):]


def sync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Script:
    """The steps of one process; `model` is to be changed by each, before the next."""

    OPERATIONS = {
        "create": 14, "overwrite": 10, "append": 6, "append_synced": 6, "patch": 10, "truncate": 4,
        "shrink_and_write": 4, "punch": 3, "clone": 3, "map": 3, "nameless": 3, "mkdir": 5,
        "rmdir": 3, "unlink": 7, "rename": 9, "replace": 5, "exchange": 3, "move_folder": 4,
        "link": 4, "symlink": 4, "chmod": 4, "set_xattr": 4, "remove_xattr": 2, "sync_something": 4,
    }

    def __init__(self, home, model, seed):
        self.home = home
        self.model = model
        self.rng = random.Random(seed)
        # Some hardly ever sync, and rely on others or on the next crash to spare them.
        self.syncs = self.rng.choice((0.02, 0.2, 0.6))

    def at(self, path):
        return os.path.join(self.home, path) if path else self.home

    def steps(self):
        """Without end."""
        names = self.model.names
        if "" not in names:
            yield Step("mkdir of its home", lambda: names.update({"": Node("folder", 0o755)}),
                       lambda: os.mkdir(self.home, 0o755), False)
        kinds, weights = list(self.OPERATIONS), list(self.OPERATIONS.values())
        while True:
            operation = getattr(self, self.rng.choices(kinds, weights)[0])
            yield from operation()
            if self.rng.random() < self.syncs / 3:
                yield from self.sync_something()

    def pick(self, kind):
        paths = self.model.paths(kind)
        return self.rng.choice(paths) if paths else None

    def free(self):
        """A path that is not taken, or None."""
        if len(self.model.names) >= MOST_NAMES:
            return None
        folders = [path for path in self.model.paths("folder") if path.count("/") < 2]
        folder = self.rng.choice(folders + ["", ""])
        path = os.path.join(folder, "n%d" % self.rng.randrange(12))
        return path if path not in self.model.names else None

    def data(self):
        size = sum(len(node.data) for node in self.model.names.values())
        if self.rng.random() < 0.01 and size < MOST_BYTES:
            # Spilled to the store before it is closed.
            return self.rng.randbytes(self.rng.randrange(4 * MIB, 6 * MIB))
        return self.rng.randbytes(int(2 ** self.rng.uniform(0, 17)))

    def finish(self, what, node, data, held, write):
        """The step that writes to a file that is open, and closes it."""
        synced = self.rng.random() < self.syncs

        def action():
            fd = held()
            try:
                write(fd)
                if synced:
                    os.fsync(fd)
            finally:
                os.close(fd)

        return Step(what, lambda: setattr(node, "data", data), action, synced)

    def put(self, path, kind, mode, action, what):
        return Step("%s %s" % (what, path),
                    lambda: self.model.names.update({path: Node(kind, mode)}), action, False)

    def create(self):
        path, mode, data, fds = self.free(), self.rng.choice(_MODES), self.data(), []
        if path is None:
            return
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        yield self.put(path, "file", mode,
                       lambda: fds.append(os.open(self.at(path), flags, mode)), "create")
        yield self.finish("write " + path, self.model.names[path], data, fds.pop,
                          lambda fd: write_all(fd, data))

    def nameless(self):
        path, mode, data = self.free(), self.rng.choice(_MODES), self.data()
        if path is None:
            return

        def action():
            fd = os.open(os.path.dirname(self.at(path)), os.O_TMPFILE | os.O_WRONLY, mode)
            try:
                write_all(fd, data)
                here = os.open("/", os.O_PATH)  # else Python calls link(2), which follows nothing
                try:
                    os.link("/proc/self/fd/%d" % fd, self.at(path), src_dir_fd=here,
                            follow_symlinks=True)
                finally:
                    os.close(here)
            finally:
                os.close(fd)

        yield Step("link a file without name as " + path,
                   lambda: self.model.names.update({path: Node("file", mode, data)}), action, False)

    def open_file(self, flags):
        """(path, node, function that opens it) of some file, or None."""
        path = self.pick("file")
        if path is None:
            return None
        return path, self.model.names[path], lambda: os.open(self.at(path), flags)

    def overwrite(self):
        file = self.open_file(os.O_WRONLY | os.O_TRUNC)
        if file:
            data = self.data()
            yield self.finish("overwrite " + file[0], file[1], data, file[2],
                              lambda fd: write_all(fd, data))

    def append(self):
        file = self.open_file(os.O_WRONLY | os.O_APPEND)
        if file:
            more = self.data()
            yield self.finish("append to " + file[0], file[1], file[1].data + more, file[2],
                              lambda fd: write_all(fd, more))

    def append_synced(self):
        file = self.open_file(os.O_WRONLY | os.O_APPEND | self.rng.choice((os.O_SYNC, os.O_DSYNC)))
        if not file:
            return
        path, node, opened = file
        fds, count = [], self.rng.randrange(1, 6)
        for number in range(count):
            line = self.rng.randbytes(self.rng.randrange(1, 3000))

            def action(line=line, last=number == count - 1):
                if not fds:
                    fds.append(opened())
                write_all(fds[0], line)
                if last:
                    os.close(fds[0])

            yield Step("append synced to " + path,
                       lambda line=line: setattr(node, "data", node.data + line), action, True)

    def patch(self):
        """Several places of a file, a large one if there is any."""
        large = [p for p in self.model.paths("file") if len(self.model.names[p].data) > 60 * KIB]
        path = self.rng.choice(large) if large else self.pick("file")
        if path is None:
            return
        node = self.model.names[path]
        content, patches = bytearray(node.data), []
        for _ in range(self.rng.randrange(1, 5)):
            offset = self.rng.randrange(len(content) + 3000)
            piece = self.rng.randbytes(int(2 ** self.rng.uniform(0, 14)))
            content.extend(bytes(max(0, offset - len(content))))
            content[offset:offset + len(piece)] = piece
            patches.append((offset, piece))

        def write(fd):
            for offset, piece in patches:
                os.pwrite(fd, piece, offset)

        yield self.finish("patch " + path, node, bytes(content),
                          lambda: os.open(self.at(path), os.O_RDWR), write)

    def truncate(self):
        path = self.pick("file")
        if path:
            node = self.model.names[path]
            size = self.rng.randrange(len(node.data) * 3 // 2 + 1)
            data = node.data[:size] + bytes(max(0, size - len(node.data)))
            yield Step("truncate " + path, lambda: setattr(node, "data", data),
                       lambda: os.truncate(self.at(path), size), False)

    def shrink_and_write(self):
        file = self.open_file(os.O_WRONLY)
        if file:
            size, data = self.rng.randrange(len(file[1].data) + 1), self.data()

            def write(fd):
                os.ftruncate(fd, size)
                os.pwrite(fd, data[:PIECE], size)

            yield self.finish("shrink and write " + file[0], file[1],
                              file[1].data[:size] + data[:PIECE], file[2], write)

    def punch(self):
        file = self.open_file(os.O_RDWR)
        if file and file[1].data:
            old = file[1].data
            offset = self.rng.randrange(len(old))
            length = self.rng.randrange(1, len(old) - offset + 1)
            data = old[:offset] + bytes(length) + old[offset + length:]
            mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
            yield self.finish("punch " + file[0], file[1], data, file[2],
                              lambda fd: fallocate(fd, mode, offset, length))

    def clone(self):
        source, path, fds = self.pick("file"), self.free(), []
        if source is None or path is None:
            return
        data = self.model.names[source].data
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        yield self.put(path, "file", 0o644,
                       lambda: fds.append(os.open(self.at(path), flags, 0o644)), "create")

        def write(fd):
            origin, left = os.open(self.at(source), os.O_RDONLY), len(data)
            try:
                while left:
                    count = os.copy_file_range(origin, fd, left)
                    if not count:
                        raise AssertionError("%s: %d bytes are missing" % (source, left))
                    left -= count
            finally:
                os.close(origin)

        yield self.finish("clone %s as %s" % (source, path), self.model.names[path], data,
                          fds.pop, write)

    def map(self):
        """Changes what is mapped, and msync(2)s it."""
        file = self.open_file(os.O_RDWR)
        if not file or not file[1].data:
            return
        old = file[1].data
        offset = self.rng.randrange(len(old))
        piece = self.rng.randbytes(self.rng.randrange(1, min(len(old) - offset, 9000) + 1))

        def write(fd):
            mapping = Mapping(fd, len(old))
            try:
                mapping.write(offset, piece)
                mapping.sync()
            finally:
                mapping.close()

        data = old[:offset] + piece + old[offset + len(piece):]
        step = self.finish("write through a mapping of " + file[0], file[1], data, file[2], write)
        yield step._replace(durable=True)

    def mkdir(self):
        path, mode = self.free(), self.rng.choice((0o700, 0o755))
        if path:
            yield self.put(path, "folder", mode, lambda: os.mkdir(self.at(path), mode), "mkdir")

    def is_empty(self, folder):
        return not any(path.startswith(folder + "/") for path in self.model.names)

    def rmdir(self):
        path = self.pick("folder")
        if path and self.is_empty(path):
            yield Step("rmdir " + path, lambda: self.model.remove(path),
                       lambda: os.rmdir(self.at(path)), False)

    def unlink(self):
        path = self.pick(self.rng.choice(("file", "file", "file", "symlink")))
        if path:
            yield Step("unlink " + path, lambda: self.model.remove(path),
                       lambda: os.unlink(self.at(path)), False)

    def move(self, old, new):
        return Step("rename %s to %s" % (old, new), lambda: self.model.rename(old, new),
                    lambda: os.rename(self.at(old), self.at(new)), False)

    def rename(self):
        old, new = self.pick(self.rng.choice(("file", "file", "symlink"))), self.free()
        if old and new:
            yield self.move(old, new)
            if self.rng.random() < self.syncs:
                what = self.rng.choice((new, os.path.dirname(new)))
                what = what if self.model.names[what].kind != "symlink" else ""
                yield self.synced(what)

    def replace(self):
        old, new = self.pick("file"), self.pick("file")
        if old and self.model.names[old] is not self.model.names[new]:
            yield self.move(old, new)

    def exchange(self):
        one, other = self.pick("file"), self.pick(self.rng.choice(("file", "symlink")))
        if one and other and self.model.names[one] is not self.model.names[other]:
            yield Step("exchange %s and %s" % (one, other),
                       lambda: self.model.exchange(one, other),
                       lambda: renameat2(self.at(one), self.at(other), RENAME_EXCHANGE), False)

    def move_folder(self):
        old, new = self.pick("folder"), self.free()
        if old and new and not new.startswith(old + "/"):
            yield self.move(old, new)

    def link(self):
        old, new = self.pick("file"), self.free()
        if old and new:
            node = self.model.names[old]
            yield Step("link %s as %s" % (old, new),
                       lambda: self.model.names.update({new: node}),
                       lambda: os.link(self.at(old), self.at(new)), False)

    def symlink(self):
        path, target = self.free(), "t" * self.rng.randrange(1, 200)
        if path:
            node = Node("symlink", 0o777, target.encode())
            yield Step("symlink " + path, lambda: self.model.names.update({path: node}),
                       lambda: os.symlink(target, self.at(path)), False)

    def any_path(self):
        return self.pick(self.rng.choice(("file", "folder"))) or ""

    def chmod(self):
        path, mode = self.any_path(), self.rng.choice(_MODES)
        node = self.model.names[path]
        yield Step("chmod " + path, lambda: setattr(node, "mode", mode),
                   lambda: os.chmod(self.at(path), mode), False)

    def set_xattr(self):
        path, name = self.any_path(), "user.x%d" % self.rng.randrange(3)
        value, node = self.rng.randbytes(self.rng.randrange(300)), self.model.names[path]
        yield Step("set an attribute of " + path, lambda: node.xattrs.update({name: value}),
                   lambda: os.setxattr(self.at(path), name, value), False)

    def remove_xattr(self):
        path = self.any_path()
        node = self.model.names[path]
        if node.xattrs:
            name = self.rng.choice(sorted(node.xattrs))
            yield Step("remove an attribute of " + path, lambda: node.xattrs.pop(name),
                       lambda: os.removexattr(self.at(path), name), False)

    def synced(self, path):
        return Step("fsync " + path, lambda: None, lambda: sync(self.at(path)), True)

    def sync_something(self):
        yield self.synced(self.any_path())

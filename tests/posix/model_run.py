"""A random run on a mount and on the model of a file system, side by side."""

import collections
import errno
import os
import random
import stat

from tests.kit import linux_calls
from tests.kit.linux_calls import RENAME_EXCHANGE, RENAME_NOREPLACE
from tests.posix.model_files import FileOperations
from tests.kit.mounted import varve
from tests.posix.posix_model import MAX_XATTR, Model

NAMES = ["a", "b", "c", "d", "e", "f.txt", "g h", "\u00fc\u4e16", "-x", ".hidden", "n" * 255]
XATTRS = ["user.a", "user.b", "user." + "x" * 200, "trusted.t"]
MAX_NODES = 120
MAX_BYTES = 48 << 20
IS_ROOT = os.geteuid() == 0


class Mismatch(AssertionError):
    """The mount has not done what the model says."""


class ModelRun(FileOperations):
    """One store, one model, and one sequence of operations for each seed."""

    WEIGHTS = {
        "open": 12, "tmpfile": 1.5, "name_handle": 1.5, "close": 6, "fsync": 2, "write": 16,
        "stream": 0.5, "read": 8, "ftruncate": 5, "fallocate": 5, "copy_range": 4, "seek": 2,
        "fstat": 2, "change_by_handle": 2, "map": 4, "use_mapped": 5, "unmap": 2,
        "mkdir": 4, "rmdir": 2, "unlink": 5, "rename": 7, "link": 3, "symlink": 3, "mkfifo": 0.5,
        "truncate": 3, "chmod": 2, "chown": 2, "utime": 2, "xattr": 5, "list": 3, "stat": 4,
        "compare": 0.1, "remount": 0.12, "kill": 0.25, "compact": 0.15, "drop_caches": 0.02,
    }
    QUICK = ["mkdir", "unlink", "rename", "link", "chmod", "xattr", "write", "read", "stat"]

    def __init__(self, store, seed):
        self.store = store
        self.rng = random.Random(seed)
        self.model = Model()
        self.handles = []
        self.mapped = []
        self.log = collections.deque(maxlen=60)
        self.count = 0
        self.can_compact = "\n  compact " in varve("--help").stdout.decode()
        self.model.root.ino = os.stat(store.root).st_ino
        os.chmod(store.root, self.model.root.mode)

    # Asking and comparing

    def full(self, path):
        return os.path.join(str(self.store.root), path)

    def note(self, text):
        self.log.append("%d: %s" % (self.count, text.replace("n" * 255, "NNN")))

    @staticmethod
    def same(expected, found, what):
        if expected == found:
            return
        if isinstance(expected, (bytes, bytearray)) and isinstance(found, (bytes, bytearray)):
            at = next((i for i, (a, b) in enumerate(zip(expected, found)) if a != b),
                      min(len(expected), len(found)))
            raise Mismatch("%s: differs at byte %d: expected %r, found %r; sizes %d and %d" % (
                what, at, bytes(expected[at : at + 16]), bytes(found[at : at + 16]),
                len(expected), len(found)))
        raise Mismatch("%s: expected %r, found %r" % (what, expected, found))

    @staticmethod
    def _outcome(call):
        try:
            return "done", call()
        except OSError as error:
            return errno.errorcode.get(error.errno, error.errno), None

    def both(self, text, model, real, compare=True):
        """Does the same to model and mount. Returns what both have returned."""
        self.note(text)
        expected, value = self._outcome(model)
        found, real_value = self._outcome(real)
        self.same(expected, found, text)
        if compare:
            self.same(value, real_value, text)
        return value, real_value

    def same_status(self, node, status, what):
        size = {stat.S_IFDIR: 4096, stat.S_IFLNK: len(os.fsencode(node.target or ""))}.get(
            node.kind, len(node.data))
        for name, expected, found in (
            ("mode", node.kind | node.mode, status.st_mode),
            ("uid", node.uid, status.st_uid),
            ("gid", node.gid, status.st_gid),
            ("nlink", node.nlink, status.st_nlink),
            ("size", size, status.st_size),
            ("inode number", node.ino, status.st_ino),
            ("mtime", node.mtime, status.st_mtime_ns),
            ("atime", node.atime, status.st_atime_ns),
        ):
            if expected is not None and expected != found:
                raise Mismatch("%s: %s: expected %r, found %r" % (what, name, expected, found))

    def same_xattrs(self, node, file):
        """Of a descriptor, or of a path, which is not followed."""
        how = {} if isinstance(file, int) else {"follow_symlinks": False}
        names = os.listxattr(file, **how)
        self.same(sorted(node.xattrs), sorted(names), "attributes of %s" % file)
        for name in names:
            value = os.getxattr(file, name, **how)
            self.same(node.xattrs[name], value, "attribute %s of %s" % (name, file))

    def compare(self, crashed=False):
        """Compares everything that can be seen from outside."""
        seen = {}
        for path, node in list(self.model.all()):
            full = self.full(path)
            if not (crashed and node.is_file and node.base is not None):
                self.same_status(node, os.lstat(full), path)
            node.atime = None
            if node.is_dir:
                self.same(sorted(node.children), sorted(os.listdir(full)), "listing of " + path)
            elif node.is_link:
                self.same(node.target, os.readlink(full), "target of " + path)
            elif node.is_file and node not in seen.values():
                with open(full, "rb", buffering=0) as file:
                    content = file.readall()
                if not (crashed and node.after_crash(content)):
                    self.same(node.data, content, path)
            self.same_status(node, os.lstat(full), path)
            self.same_xattrs(node, full)
            if seen.setdefault(node.ino, node) is not node:
                raise Mismatch("%s: its inode number is another file's" % path)

    # Choosing

    def paths(self, wanted=lambda node: True):
        return [path for path, node in self.model.all() if path and wanted(node)]

    def some_path(self, new=0.1, wanted=lambda node: True):
        """Mostly one that is there; sometimes a new one, or an impossible one."""
        dice = self.rng.random()
        known = self.paths(wanted)
        if known and dice >= new + 0.03:
            return self.rng.choice(known)
        name = self.rng.choice(NAMES + ["n" * 256] if dice < 0.01 else NAMES)
        if dice < new:
            folders = [""] + self.paths(lambda node: node.is_dir)
        else:
            folders = [""] + self.paths() + ["nowhere"]
        folder = self.rng.choice(folders)
        if folder.count("/") > 6:
            folder = ""
        return folder + "/" + name if folder else name

    def some_mode(self):
        """Others than root are to be able to go on."""
        if not IS_ROOT:
            return self.rng.choice((0o700, 0o755, 0o777, 0o711))
        return self.rng.choice(
            (0o600, 0o644, 0o666, 0o755, 0o777, 0o000, 0o4755, 0o2755, 0o2644, 0o6711, 0o1700))

    def some_times(self):
        return tuple(self.rng.randrange(-(1 << 60), 1 << 62) for _ in range(2))

    # Names

    def op_mkdir(self):
        path, mode = self.some_path(new=0.85), self.rng.choice((0o755, 0o700, 0o777))
        node, _ = self.both("mkdir %s %#o" % (path, mode), lambda: self.model.mkdir(path, mode),
                            lambda: os.mkdir(self.full(path), mode), compare=False)
        self._learn(path, node)

    def _learn(self, path, node):
        """A new node: its inode number, which it is to keep."""
        if node is not None:
            node.ino = os.lstat(self.full(path)).st_ino

    def op_rmdir(self):
        path = self.some_path(wanted=lambda node: node.is_dir or self.rng.random() < 0.05)
        self.both("rmdir " + path, lambda: self.model.rmdir(path),
                  lambda: os.rmdir(self.full(path)))

    def op_unlink(self):
        path = self.some_path(wanted=lambda node: not node.is_dir or self.rng.random() < 0.05)
        self.both("unlink " + path, lambda: self.model.unlink(path),
                  lambda: os.unlink(self.full(path)))

    def op_rename(self):
        source, target = self.some_path(new=0.02), self.some_path(new=0.5)
        if self.rng.random() < 0.04:
            target = source + "/" + self.rng.choice(NAMES)
        flags = self.rng.choice((0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE))
        self.both("rename %s %s flags %d" % (source, target, flags),
                  lambda: self.model.rename(source, target, flags),
                  lambda: linux_calls.renameat2(self.full(source), self.full(target), flags))

    def op_link(self):
        source, target = self.some_path(new=0.02), self.some_path(new=0.85)
        self.both("link %s %s" % (source, target), lambda: self.model.link(source, target),
                  lambda: os.link(self.full(source), self.full(target), follow_symlinks=False))

    def op_symlink(self):
        path = self.some_path(new=0.85)
        target = self.some_path(new=0.3)
        if self.rng.random() < 0.3:
            target = target.rsplit("/", 1)[-1]
        node, _ = self.both("symlink %s %s" % (target, path),
                            lambda: self.model.symlink(target, path),
                            lambda: os.symlink(target, self.full(path)), compare=False)
        self._learn(path, node)

    def op_mkfifo(self):
        path = self.some_path(new=0.85)
        node, _ = self.both("mkfifo " + path, lambda: self.model.mkfifo(path, 0o644),
                            lambda: os.mkfifo(self.full(path), 0o644), compare=False)
        self._learn(path, node)

    # Attributes

    def op_truncate(self):
        path = self.some_path(wanted=lambda node: not node.is_dir or self.rng.random() < 0.05)
        size = self.rng.randrange(300000)
        node, _ = self.both("truncate %s size %d" % (path, size),
                            lambda: self.model.truncate(path, size),
                            lambda: os.truncate(self.full(path), size), compare=False)
        if node is not None and any(
                mapped.node is node and mapped.dirty for mapped in self.mapped):
            node.unsure = True

    def op_chmod(self):
        path, mode = self.some_path(), self.some_mode()
        self.both("chmod %s %#o" % (path, mode),
                  lambda: self.model.chmod(self.model.find(path, True), mode),
                  lambda: os.chmod(self.full(path), mode))

    def op_chown(self):
        path = self.some_path()
        uid, gid = (self.rng.randrange(3) * 1000 if IS_ROOT else n
                    for n in (os.geteuid(), os.getegid()))
        self.both("chown %s %d %d" % (path, uid, gid),
                  lambda: self.model.chown(self.model.find(path), uid, gid),
                  lambda: os.chown(self.full(path), uid, gid, follow_symlinks=False))

    def op_utime(self):
        path, times = self.some_path(), self.some_times()
        node, _ = self.both(
            "utimensat %s %r" % (path, times),
            lambda: self.model.utime(self.model.find(path), *times),
            lambda: os.utime(self.full(path), ns=times, follow_symlinks=False), compare=False)
        if node is not None:
            self.forget_mtime(node)

    def op_xattr(self):
        path = self.some_path()
        name = self.rng.choice(XATTRS if IS_ROOT else XATTRS[:3])
        if self.rng.random() < 0.3:
            self.both("removexattr %s %s" % (path, name),
                      lambda: self.model.remove_xattr(self.model.find(path), name),
                      lambda: os.removexattr(self.full(path), name, follow_symlinks=False))
            return
        size = self.rng.choice((0, 1, 20, 20, 300, 5000, 65536, 65537))
        if size > MAX_XATTR and self._outcome(lambda: self.model.find(path))[0] != "done":
            return  # kernels differ in which error comes first
        flags = self.rng.choice((0, 0, os.XATTR_CREATE, os.XATTR_REPLACE))
        value = self.rng.randbytes(size)
        self.both("setxattr %s %s size %d flags %d" % (path, name, size, flags),
                  lambda: self.model.set_xattr(self.model.find(path), name, value, flags),
                  lambda: os.setxattr(self.full(path), name, value, flags, follow_symlinks=False))

    def op_list(self):
        path = self.some_path(wanted=lambda node: node.is_dir)

        def model():
            node = self.model.find(path, True)
            if not node.is_dir:
                raise OSError(errno.ENOTDIR, "")
            node.atime = None
            return sorted(node.children)

        self.both("list " + path, model, lambda: sorted(os.listdir(self.full(path))))

    def op_stat(self):
        path, follow = self.some_path(), self.rng.random() < 0.5
        node, status = self.both("stat %s %s" % (path, follow),
                                 lambda: self.model.find(path, follow),
                                 lambda: os.stat(self.full(path), follow_symlinks=follow),
                                 compare=False)
        if node is not None:
            self.same_status(node, status, path)

    # The mount as a whole

    def op_compare(self):
        self.note("compare")
        self.compare()

    def op_drop_caches(self):
        self.note("drop caches")
        linux_calls.drop_caches()

    def close_all(self):
        for mapped in list(self.mapped):
            self.unmap(mapped)
        for handle in list(self.handles):
            self.close_handle(handle)

    def op_remount(self):
        """Unmounting may not change a thing, times included."""
        self.close_all()
        self.note("remount")
        before = {path: self._times(path) for path in self.paths()}
        self.store.umount()
        varve("check", self.store.path)
        self.store.mount()
        for path, times in before.items():
            self.same(times, self._times(path), "times (mtime, ctime, atime) of " + path)
        for node in {node for _, node in self.model.all()}:
            node.committed()
        self.compare()

    def _times(self, path):
        status = os.lstat(self.full(path))
        return status.st_mtime_ns, status.st_ctime_ns, status.st_atime_ns

    def op_kill(self):
        """A crash; before most of them, all is closed or synced."""
        dice = self.rng.random()
        if dice < 0.3:
            self.close_all()
        elif dice < 0.6:
            for handle in self.handles:
                self.note("fsync fd %d" % handle.fd)
                os.fsync(handle.fd)
                self.commit(handle.node)
        self.note("kill")
        self.store.kill()
        for mapped in self.mapped:
            mapped.node.unsure = mapped.node.unsure or mapped.dirty
            mapped.mapping.close()
        for handle in self.handles:
            try:
                os.close(handle.fd)
            except OSError:
                pass  # there is nobody to answer the close; it is closed all the same
        self.mapped, self.handles = [], []
        self.store.mount()
        self.compare(crashed=True)

    def op_compact(self):
        if not self.can_compact:
            return
        self.note("compact")
        # The new process closes the descriptors that it inherits.
        for handle in self.handles:
            self.maybe_commit(handle.node)
        varve("compact", "--forget", self.store.root)
        self.compare()

    # Running

    def step(self, quick=False):
        self.count += 1
        if quick:
            name = self.rng.choice(self.QUICK)
        else:
            name = self.rng.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))[0]
        getattr(self, "op_" + name)()
        if not quick:
            self._prune()

    def _prune(self):
        """Keeps the tree at a size that can be compared again and again."""
        nodes = list(self.model.all())
        if len(nodes) > MAX_NODES:
            for _ in range(20):
                self.op_unlink()
                self.op_rmdir()
        if sum(len(node.data) for _, node in nodes) > MAX_BYTES:
            path = max(nodes, key=lambda item: len(item[1].data))[0]
            self.both("unlink " + path, lambda: self.model.unlink(path),
                      lambda: os.unlink(self.full(path)))

    def finish(self):
        self.op_compare()
        self.op_remount()
        self.store.umount()
        varve("check", self.store.path)

    def release(self):
        """Lets go of the mount, however the run has ended."""
        for mapped in self.mapped:
            mapped.mapping.close()
        for handle in self.handles:
            try:
                os.close(handle.fd)
            except OSError:
                pass  # after a failure the mount may be gone

"""Random changes to one tree by several processes at once, after fsstress.

They take each other's files away all the time, so that most errors are part of
the game. Which are not is told by EXPECTED.
"""

import errno
import hashlib
import multiprocessing
import os
import random
import time
import traceback

# What an operation on a name may end with when another process changes it too.
EXPECTED = {
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOTEMPTY,
    errno.ELOOP,
    errno.ENODATA,
    errno.EPERM,  # an attribute of a symlink, or a link to a directory
}
# The kernel lets nobody move a directory into itself.
EXPECTED_OF_RENAME = EXPECTED | {errno.EINVAL}


class Churn:
    """What one of the processes does; all that it does follows from its seed."""

    WEIGHTS = {
        "create": 10, "append": 6, "write": 6, "truncate": 4, "read": 6, "mkdir": 5, "rmdir": 3,
        "unlink": 7, "rename": 8, "link": 4, "symlink": 4, "xattr": 4, "chmod": 3, "utime": 2,
        "listing": 3, "fsync": 1,
    }

    def __init__(self, root, seed):
        self.root = root
        self.rng = random.Random(seed)
        self.counts = dict.fromkeys(self.WEIGHTS, 0)

    def path(self):
        depth = self.rng.choice((1, 2, 2, 3, 3, 4))
        names = ["d%d" % self.rng.randrange(3) for _ in range(depth - 1)]
        return os.path.join(self.root, *names, "%s%d" % (
            self.rng.choice("dfffff"), self.rng.randrange(8)))

    def data(self):
        return self.rng.randbytes(int(2 ** self.rng.uniform(0, 18)))

    def do_create(self):
        flags = os.O_CREAT | os.O_WRONLY | self.rng.choice((0, os.O_TRUNC, os.O_EXCL))
        fd = os.open(self.path(), flags, self.rng.choice((0o600, 0o644, 0o755)))
        try:
            os.write(fd, self.data())
        finally:
            os.close(fd)

    def do_append(self):
        with open(self.path(), "ab") as file:
            file.write(self.data())

    def do_write(self):
        fd = os.open(self.path(), os.O_RDWR)
        try:
            size = os.fstat(fd).st_size
            for _ in range(self.rng.randrange(1, 5)):
                os.pwrite(fd, self.data(), self.rng.randrange(min(size, 1 << 20) + 5000))
        finally:
            os.close(fd)

    def do_truncate(self):
        os.truncate(self.path(), self.rng.randrange(200000))

    def do_read(self):
        with open(self.path(), "rb") as file:
            file.read()

    def do_mkdir(self):
        os.mkdir(self.path())

    def do_rmdir(self):
        os.rmdir(self.path())

    def do_unlink(self):
        os.unlink(self.path())

    def do_rename(self):
        os.rename(self.path(), self.path())

    def do_link(self):
        os.link(self.path(), self.path(), follow_symlinks=False)

    def do_symlink(self):
        os.symlink(os.path.basename(self.path()), self.path())

    def do_xattr(self):
        path, name = self.path(), "user.x%d" % self.rng.randrange(4)
        if self.rng.random() < 0.3:
            os.removexattr(path, name, follow_symlinks=False)
        else:
            value = self.rng.randbytes(self.rng.randrange(500))
            os.setxattr(path, name, value, follow_symlinks=False)

    def do_chmod(self):
        os.chmod(self.path(), self.rng.choice((0o600, 0o640, 0o755, 0o700)))

    def do_utime(self):
        os.utime(self.path(), ns=(self.rng.randrange(1 << 60), self.rng.randrange(1 << 60)))

    def do_listing(self):
        for entry in os.scandir(os.path.dirname(self.path())):
            entry.stat(follow_symlinks=False)

    def do_fsync(self):
        fd = os.open(self.path(), os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def step(self):
        name = self.rng.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))[0]
        expected = EXPECTED_OF_RENAME if name == "rename" else EXPECTED
        try:
            getattr(self, "do_" + name)()
            self.counts[name] += 1
        except OSError as error:
            if error.errno not in expected:
                raise


def _work(root, seed, seconds, results):
    churn = Churn(root, seed)
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            churn.step()
        results.put((churn.counts, None))
    except BaseException:  # whatever it is, the parent is to hear of it
        results.put((churn.counts, "seed %d: %s" % (seed, traceback.format_exc())))


def churn_tree(root, seed, processes, seconds):
    """Runs the processes. Returns what succeeded how often, and the failures."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [
        context.Process(target=_work, args=(str(root), seed + i, seconds, results))
        for i in range(processes)
    ]
    for worker in workers:
        worker.start()
    total, failures = {}, []
    for _ in workers:
        counts, failure = results.get(timeout=seconds + 300)
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
        if failure:
            failures.append(failure)
    for worker in workers:
        worker.join()
    return total, failures


def full_listing(root):
    """All that can be seen of a tree: status, target, attributes, content's hash."""
    lines = {}
    for folder, folders, files in os.walk(str(root)):
        for path in [folder] + [os.path.join(folder, name) for name in folders + files]:
            status = os.lstat(path)
            line = [status.st_ino, oct(status.st_mode), status.st_nlink, status.st_uid,
                    status.st_gid, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            if os.path.islink(path):
                line.append(os.readlink(path))
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    line.append(hashlib.sha256(file.read()).hexdigest())
            line += sorted(
                (name, os.getxattr(path, name, follow_symlinks=False))
                for name in os.listxattr(path, follow_symlinks=False)
            )
            lines[os.path.relpath(path, str(root))] = line
    return lines

"""What the workloads work on: a tree, a big file, a repository.

All of it is made once, on tmpfs where that has the room, so that reading it
takes no time from any target. It is taken from what is on every Debian.
"""

import os
import shutil
import stat

import bench_tools
from bench_tools import BenchError, run

SOURCES = ("/usr/include", "/usr/lib", "/usr/share")
LARGEST = 256 << 10
NEEDLE = "a line that nothing else in the tree has: varve 8c1d5f"
KEEP_FREE = 512 << 20  # of a tmpfs, for others


class Sizes:
    """The sizes of all data; `scale` makes them smaller."""

    def __init__(self, scale=1.0, files=None, big_mib=None):
        def scaled(count):
            return max(1, round(count * scale))

        self.files = files or scaled(8000)
        self.big_mib = big_mib or scaled(256)
        self.renames = scaled(2000)
        self.appends = scaled(5000)
        self.reads = scaled(20000)
        self.writes = scaled(2000)
        self.repository_files = scaled(2000)
        self.transactions = scaled(200)
        self.syncs = scaled(200)
        self.writer_files = scaled(1000)

    @property
    def big_bytes(self):
        return self.big_mib << 20


def _candidates(root):
    """Regular files that are not too large and symbolic links, in order."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted(files + links):
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISLNK(status.st_mode) or (
                    stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST
                    and os.access(path, os.R_OK)):
                yield path


def choose_files(count):
    """Takes files from the sources in turn, as long as they have any."""
    walks = [_candidates(root) for root in SOURCES]
    chosen = []
    while walks and len(chosen) < count:
        for walk in list(walks):
            found = next(walk, None)
            if found is None:
                walks.remove(walk)
            elif len(chosen) < count:
                chosen.append(found)
    if len(chosen) < count:
        raise BenchError("%s hold only %d files" % (", ".join(SOURCES), len(chosen)))
    return sorted(chosen)


def _copy(files, tree):
    """Copies the files to where they were, below `tree`."""
    for source in files:
        path = tree + source
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy2(source, path, follow_symlinks=False)
        if not os.path.islink(path):
            os.chmod(path, 0o755 if os.access(source, os.X_OK) else 0o644)


def tree_facts(root):
    """The number of entries of a tree that are not directories, and their bytes."""
    entries = total = 0
    for folder, folders, files in os.walk(root):
        for name in files + folders:
            status = os.lstat(os.path.join(folder, name))
            if not stat.S_ISDIR(status.st_mode):
                entries += 1
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return entries, total


def regular_files(root):
    """The regular files of a tree, in order."""
    found = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                found.append(path)
    return found


class Data:
    """The data, in a folder of its own, which close() removes."""

    def __init__(self, sizes, folder):
        self.sizes = sizes
        self.folder = folder
        self.tar = os.path.join(folder, "tree.tar")
        self.tree = os.path.join(folder, "tree")
        self.big = os.path.join(folder, "big")
        self.repository = os.path.join(folder, "repository.git")
        self.entries = self.tree_bytes = 0
        self.commit = ""

    @staticmethod
    def choose_folder(sizes, work):
        """The place for the data: on tmpfs if everything fits there."""
        needed = 4 * sizes.files * 16384 + sizes.big_bytes + KEEP_FREE
        memory = bench_tools.scratch_directory()
        if memory is not None and shutil.disk_usage(memory).free > needed:
            return memory
        return work

    def make(self):
        self._make_tree()
        with open(self.big, "wb") as big:
            for _ in range(self.sizes.big_mib):
                big.write(os.urandom(1 << 20))
        self._make_repository()

    def _make_tree(self):
        _copy(choose_files(self.sizes.files - 1), self.tree)
        with open(os.path.join(self.tree, "needle"), "w", encoding="ascii") as needle:
            needle.write(NEEDLE + "\n")
        run("tar", "cf", self.tar, "-C", self.folder, "tree")
        self.entries, self.tree_bytes = tree_facts(self.tree)

    def _make_repository(self):
        origin = os.path.join(self.folder, "origin")
        os.mkdir(origin)
        for number, path in enumerate(regular_files(self.tree)[:self.sizes.repository_files]):
            shutil.copyfile(path, os.path.join(origin, self._spread(origin, number, path)))
        git = ("git", "-C", origin, "-c", "user.name=bench", "-c", "user.email=bench@example.org")
        run("git", "init", "-q", "-b", "main", origin)
        run(*git, "-c", "core.autocrlf=false", "add", "-A", "-f")
        run(*git, "commit", "-q", "-m", "Part of a tree")
        self.commit = run(*git, "rev-parse", "HEAD")[0].strip()
        run("git", "clone", "-q", "--bare", origin, self.repository)
        run("git", "-C", self.repository, "gc", "-q")
        shutil.rmtree(origin)

    @staticmethod
    def _spread(origin, number, path):
        """A name below `origin`: a folder for each hundred files."""
        folder = "part%03d" % (number // 100)
        os.makedirs(os.path.join(origin, folder), exist_ok=True)
        return os.path.join(folder, "%04d-%s" % (number, os.path.basename(path)))

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

#!/usr/bin/env python3
"""Varve against ext4: the same system calls, and what they do must be the same.

Each case (posix_cases_*.py) runs on ext4 first and on Varve then, as root and
as an ordinary user, and logs what it sees. The two transcripts must be equal,
and so must what the case leaves behind. What may differ is in
EXPECTED_DIFFERENCES, each with a sentence of docs/semantics.md.

At the end the mount is made anew and must show everything as it was.
"""

import atexit
import difflib
import hashlib
import os
import pathlib
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

from tests.kit import junit
from tests.posix import posix_cases_acls  # pylint: disable=unused-import
from tests.posix import posix_cases_data  # pylint: disable=unused-import
from tests.posix import posix_cases_directories  # pylint: disable=unused-import
from tests.posix import posix_cases_identities  # pylint: disable=unused-import
from tests.posix import posix_cases_linux  # pylint: disable=unused-import
from tests.posix import posix_cases_locks  # pylint: disable=unused-import
from tests.posix import posix_cases_memory  # pylint: disable=unused-import
from tests.posix import posix_cases_modes  # pylint: disable=unused-import
from tests.posix import posix_cases_names  # pylint: disable=unused-import
from tests.posix import posix_cases_open  # pylint: disable=unused-import
from tests.posix import posix_cases_permissions  # pylint: disable=unused-import
from tests.posix import posix_cases_rename  # pylint: disable=unused-import
from tests.posix import posix_cases_space  # pylint: disable=unused-import
from tests.posix import posix_cases_times  # pylint: disable=unused-import
from tests.posix import posix_cases_tools  # pylint: disable=unused-import
from tests.posix import posix_cases_xattrs  # pylint: disable=unused-import
from tests.posix import posix_kit
from tests.kit.mounted import MountedStore, run

DEADLINE_SECONDS = 40
MOUNT_POINT = "/mnt"  # Where cases see the file system; nobody else does.
IMAGE_BYTES = 1 << 30
FIELDS = (
    "st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_rdev", "st_size", "st_blocks",
    "st_blksize", "st_atime_ns", "st_mtime_ns", "st_ctime_ns",
)
BLOCK = 1 << 16  # What is read at once; a multiple of any page.

# (case, label of a line): a sentence of docs/semantics.md that says why.
_RANGES = "Collapsing and inserting ranges fail with EOPNOTSUPP."
_OPENING = "Opening a file for reading only counts as a read, and later reads do not."
_CACHED_TARGET = "Listings and targets that the kernel has cached do not count again."
_CHOWN = ("A chown to -1 and -1 by a user who does not own a set-user-id or set-group-id file "
          "succeeds")
_TRUSTED = "Attributes of `trusted.` are listed only for the user with id 0"
EXPECTED_DIFFERENCES = {
    ("collapse_and_insert", "collapse"): _RANGES,
    ("collapse_and_insert", "insert"): _RANGES,
    ("collapse_and_insert", "content"): _RANGES,
    ("collapse_and_insert", "left f"): _RANGES,
    ("relatime_of_files", "pread, times of f"): _OPENING,
    ("relatime_of_files", "at the end of the file, times of f"): _OPENING,
    ("relatime_of_files", "preadv, times of f"): _OPENING,
    ("atime_by_other_ways", "sendfile, times of f"): _OPENING,
    ("atime_by_other_ways", "splice, times of f"): _OPENING,
    ("relatime_of_symlinks", "old, followed, times of s"): _CACHED_TARGET,
    ("relatime_of_symlinks", "old, readlink, times of s"): _CACHED_TARGET,
    ("chown_clears_setid_bits", "by another"): _CHOWN,
    ("chown_clears_setid_bits", "by another, mode"): _CHOWN,
    ("chown_clears_setid_bits", "left own"): _CHOWN,
    ("what_others_clear", "chown of nothing of 6777 by 3000"): _CHOWN,
    ("what_others_clear", "chown of nothing of 6777 by 3000, mode"): _CHOWN,
    ("what_others_clear", "chown of nothing of 4777 by 3000"): _CHOWN,
    ("what_others_clear", "chown of nothing of 4777 by 3000, mode"): _CHOWN,
    ("what_others_clear", "chown of nothing of 2767 by 3000"): _CHOWN,
    ("what_others_clear", "chown of nothing of 2767 by 3000, mode"): _CHOWN,
    ("single_capabilities", "sys_admin, listed"): _TRUSTED,
}


def scratch():
    """Where the image and the store lie: in memory, where there is enough.

    Otherwise each fsync waits for the disk, and for what others write to it.
    """
    try:
        status = os.statvfs("/dev/shm")
    except OSError:
        return os.environ.get("TEST_TMPDIR")
    enough = status.f_bavail * status.f_frsize >= 2 * IMAGE_BYTES
    return "/dev/shm" if enough else os.environ.get("TEST_TMPDIR")


class Ext4:
    """An empty ext4 in a file, or the host's file system where that cannot be."""

    def __init__(self):
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="ext4-", dir=scratch()))
        self.root = self.base / "mnt"
        self.mounted = False

    def __enter__(self):
        self.root.mkdir()
        image = self.base / "image"
        with open(image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        # With ea_inode, so that attributes of 64 KiB can be compared.
        mkfs = shutil.which("mkfs.ext4", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        run(mkfs or "mkfs.ext4", "-q", "-m", "0", "-I", "256", "-O", "ea_inode", image)
        result = run("mount", "-o", "loop,acl,user_xattr", image, self.root, check=False)
        self.mounted = result.returncode == 0
        if not self.mounted:
            print("no loop device; comparing with the host's file system:", result.stderr)
        return self

    def __exit__(self, *_):
        if self.mounted:
            # This detaches the loop device, too.
            subprocess.run(["umount", str(self.root)], check=False)
            if os.path.ismount(self.root):
                subprocess.run(["umount", "-l", str(self.root)], check=False)
        shutil.rmtree(self.base, ignore_errors=True)


def directory_of(case, user):
    """Where a case runs, below the root of a file system."""
    return os.path.join("user" if user else "root", case.name)


def run_case(case, root, user):
    """Runs a case in a child process; returns its transcript and what went wrong."""
    home = directory_of(case, user)
    directory = root / home
    os.mkdir(directory)
    if user:
        os.chown(directory, posix_kit.USER, posix_kit.USER)
    source, sink = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _run_in_child(case, root, user, sink)
    os.close(sink)
    deadline = time.monotonic() + DEADLINE_SECONDS
    parts = []
    problem = None
    while True:
        if not select.select([source], [], [], max(0, deadline - time.monotonic()))[0]:
            problem = "hung, or left a process behind"
            break
        part = os.read(source, 1 << 16)
        if not part:
            break
        parts.append(part)
    os.close(source)
    try:
        os.killpg(pid, signal.SIGKILL)  # Also what the case has left running.
    except ProcessLookupError:
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if problem is None and status != 0:
        problem = "ended with status %d" % status
    return b"".join(parts).decode("utf-8", "backslashreplace").splitlines(), problem


def _run_in_child(case, root, user, sink):
    status = 71
    try:
        os.setpgid(0, 0)
        # Both file systems at the same place, which an ordinary user can reach.
        posix_kit.private_mount(root, MOUNT_POINT)
        os.chdir(os.path.join(MOUNT_POINT, directory_of(case, user)))
        os.umask(0o022)
        if user:
            posix_kit.become(posix_kit.USER, groups=posix_kit.USER_GROUPS)
        case.function(posix_kit.Log(sink))
        status = 0
    except BaseException:  # pylint: disable=broad-except
        for line in traceback.format_exc().splitlines():
            posix_kit.Log(sink)("problem", line)
    finally:
        os._exit(status)


def content_of(path, status):
    """A hash of a file's bytes, without reading its holes.

    Blocks of zeros do not count: one file system may have holes there, and the
    other zeros.
    """
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        position = 0
        while position < status.st_size:
            try:
                position = file.seek(position, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError:  # There is no more data.
                break
            end = file.seek(position, os.SEEK_HOLE)
            while position <= end and position < status.st_size:
                block = os.pread(file.fileno(), BLOCK, position)
                if block.strip(b"\0"):
                    digest.update(b"%d:" % position + block)
                position += BLOCK
    return digest.hexdigest()[:16]


def attributes_of(path):
    """The extended attributes, ACLs among them, in a fixed order."""
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names)}


def tree(root):
    """Yields (path relative to `root`, path to use now) of everything below.

    The latter is short, however deep the tree is, and valid until the next one.
    """
    for folder, folders, files, descriptor in os.fwalk(root):
        folders.sort()
        for name in sorted(folders + files) + ([""] if folder == str(root) else []):
            path = os.path.relpath(os.path.join(folder, name), root)
            yield path, "/proc/self/fd/%d/%s" % (descriptor, name or ".")


def left_behind(root):
    """Lines for what a case has left, comparable between file systems."""
    for name, path in tree(root):
        status = os.lstat(path)
        words = [posix_kit.describe(status)]
        if stat.S_ISREG(status.st_mode):
            words.append(content_of(path, status))
        if stat.S_ISLNK(status.st_mode):
            words.append(hashlib.sha256(os.readlink(os.fsencode(path))).hexdigest()[:16])
        for attribute, value in attributes_of(path).items():
            words.append("%s=%s" % (attribute, hashlib.sha256(value).hexdigest()[:16]))
        yield "left %s: %s" % (name[-200:], " ".join(words))


class Fixture:
    """The two file systems, mounted as long as the module's tests run."""

    ext4 = None
    store = None


def setUpModule():  # pylint: disable=invalid-name
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can mount ext4, and become somebody else")
    # Whatever ends this process, short of SIGKILL, nothing stays mounted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    Fixture.ext4 = Ext4()
    Fixture.store = MountedStore("allow_other,suid,dev", scratch())
    for which in (Fixture.ext4, Fixture.store):
        atexit.register(which.__exit__)
        which.__enter__()
    for which in (Fixture.ext4, Fixture.store):
        for name in ("root", "user"):
            (which.root / name).mkdir()


class Comparison(unittest.TestCase):
    """What the tests of both identities share; has no tests of its own."""

    user = False

    def compare(self, case):
        transcripts = []
        for which in (Fixture.ext4, Fixture.store):
            lines, problem = run_case(case, which.root, self.user)
            lines += left_behind(which.root / directory_of(case, self.user))
            if problem:
                lines.append("problem: " + problem)
            transcripts.append(lines)
        reference, found = transcripts
        if any(line.startswith("problem: ") for line in reference):
            self.fail("the case itself is wrong:\n" + "\n".join(reference))
        allowed = {label for name, label in EXPECTED_DIFFERENCES if name == case.name}
        differing = set()
        for i, (expected, got) in enumerate(zip(reference, found)):
            label = expected.partition(": ")[0]
            if label in allowed and got.partition(": ")[0] == label and got != expected:
                found[i] = expected
                differing.add(label)
        self.assertEqual(allowed, differing, "no longer differs; remove the exception")
        if reference != found:
            lines = difflib.unified_diff(reference, found, "ext4", "Varve", n=1, lineterm="")
            self.fail("\n".join(lines))


class RootTest(Comparison):
    """Every case, as root."""


class UserTest(Comparison):
    """Every case that does not need root, as an ordinary user."""

    user = True


def _add_tests():
    for case in posix_kit.CASES:
        for group in (RootTest, UserTest):
            if case.root and group.user:
                continue
            # The default binds this round's case.
            setattr(group, "test_" + case.name, lambda self, case=case: self.compare(case))


_add_tests()


class WholeTreeTest(unittest.TestCase):
    """What all cases have left, after mounting anew. It comes last."""

    def everything(self):
        lines = {}
        for name, path in tree(Fixture.store.root):
            status = os.lstat(path)
            fields = {name: getattr(status, name) for name in FIELDS}
            if status.st_atime_ns <= max(status.st_mtime_ns, status.st_ctime_ns):
                fields["st_atime_ns"] = None  # The next read changes it.
            content = target = None
            if stat.S_ISREG(status.st_mode):
                content = content_of(path, status)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(os.fsencode(path))
            fields["birth"] = posix_kit.birth_time(path)
            lines[name] = (fields, content, target, attributes_of(path))
        return lines

    def test_remounting_changes_nothing(self):
        store = Fixture.store
        self.everything()  # The first time, reading changes access times.
        before = self.everything()
        store.remount()
        after = self.everything()
        self.assertEqual(before.keys(), after.keys())
        for path, line in before.items():
            if line[0]["st_atime_ns"] is None:
                after[path][0]["st_atime_ns"] = None
            self.assertEqual(line, after[path], path)
        store.umount()
        store.check()
        store.mount()


class VarveTest(unittest.TestCase):
    """What ext4 has nothing of, or has no room for."""

    def test_status_directory_is_there_and_not_listed(self):
        with MountedStore("allow_other") as store:
            (store / "d").mkdir()
            (store / "f").write_text("f")
            self.assertTrue((store / ".varve/status.json").read_text())
            self.assertEqual(["d", "f"], sorted(os.listdir(store.root)))
            self.assertEqual(3, os.stat(store.root).st_nlink)
            everything = {".", "./d", "./f"}
            for command in (["find", "."], ["du", "-a", "."], ["du", "--inodes", "-a", "."]):
                lines = run(*command, cwd=store.root).stdout.decode().split()
                self.assertEqual(everything, {word for word in lines if word.startswith(".")})
            names = run("sh", "-c", "ls -a; echo .*; echo *", cwd=store.root).stdout.decode()
            self.assertNotIn(".varve", names)
            run("tar", "-C", store.root, "-cf", store.base / "t.tar", ".")
            names = run("tar", "-tf", store.base / "t.tar").stdout.decode()
            self.assertEqual({"./", "./d/", "./f"}, set(names.split()))
            run("cp", "-a", store.root, store.base / "copy")
            run("rsync", "-a", str(store.root) + "/", store.base / "mirror")
            for copy in ("copy", "mirror"):
                self.assertEqual(["d", "f"], sorted(os.listdir(store.base / copy)))
            run("sh", "-c", "rm -rf ./* .[!.]*", cwd=store.root)
            self.assertEqual([], os.listdir(store.root))
            self.assertTrue((store / ".varve/status.json").read_text())

    def test_status_directory_cannot_be_changed(self):
        with MountedStore("allow_other,suid,dev") as store:
            os.chmod(store.root, 0o777)
            (store / "f").write_text("f")
            (store / "d").mkdir()
            status = store / ".varve/status.json"
            for user in (False, True):

                def attempts():
                    os.chdir(store.root)
                    if user:
                        posix_kit.become(posix_kit.USER)
                    self.expect_refused()

                posix_kit.in_child(attempts)
                self.assertTrue(status.read_text())
            self.assertEqual(["d", "f"], sorted(os.listdir(store.root)))
            # Elsewhere the name is free.
            (store / "d/.varve").mkdir()
            self.assertEqual([".varve"], os.listdir(store / "d"))

    def expect_refused(self):
        """Each of these must fail, whoever tries."""
        exchange = posix_kit.RENAME_EXCHANGE
        for function, *arguments in (
            (posix_kit.write, ".varve"), (os.mkdir, ".varve"), (os.symlink, "x", ".varve"),
            (os.link, "f", ".varve"), (os.mkfifo, ".varve"), (os.rename, "f", ".varve"),
            (os.rename, "d", ".varve"), (os.rename, ".varve", "x"), (os.rename, ".varve", "d"),
            (posix_kit.renameat2, ".varve", "d", exchange), (os.rmdir, ".varve"),
            (posix_kit.renameat2, "d", ".varve", exchange), (os.unlink, ".varve"),
            (os.unlink, ".varve/status.json"), (posix_kit.write, ".varve/new"),
            (os.mkdir, ".varve/new"), (os.link, ".varve/status.json", "x"),
            (os.rename, ".varve/status.json", "x"), (os.rename, "f", ".varve/f"),
            (os.link, "f", ".varve/f"), (posix_kit.write, ".varve/status.json", b"x"),
            (os.truncate, ".varve/status.json", 0), (os.setxattr, ".varve", "user.a", b"1"),
        ):
            with self.assertRaises(OSError, msg="%s %s" % (function.__name__, arguments)):
                function(*arguments)

    def test_many_large_attributes(self):
        with MountedStore() as store:
            # One inode may have 256 KiB of them, names included.
            values = {"user.%d" % i: os.urandom(1 << 16) for i in range(3)}
            (store / "f").write_text("f")
            (store / "d").mkdir()
            for path in (store / "f", store / "d"):
                for name, value in values.items():
                    os.setxattr(path, name, value)
            for _ in range(2):
                for path in (store / "f", store / "d"):
                    self.assertEqual(values, attributes_of(path))
                store.remount()

    def test_access_times_last(self):
        with MountedStore() as store:
            path = store / "f"
            path.write_text("text")
            os.utime(path, ns=(1, 2))
            path.read_text()
            read_at = os.stat(path).st_atime_ns
            store.remount()
            self.assertEqual(read_at, os.stat(path).st_atime_ns)


class DocumentTest(unittest.TestCase):
    """The table of expected differences against the document."""

    def test_differences_are_documented(self):
        here = os.path.dirname(os.path.realpath(__file__))
        path = os.path.join(here, "..", "..", "docs", "semantics.md")
        with open(path, encoding="utf-8") as document:
            text = re.sub(r"[*\s]+", " ", document.read())
        for key, reason in EXPECTED_DIFFERENCES.items():
            self.assertIn(reason, text, key)

    def test_differences_name_cases(self):
        names = {case.name for case in posix_kit.CASES}
        self.assertEqual(set(), {name for name, _ in EXPECTED_DIFFERENCES} - names)


if __name__ == "__main__":
    junit.main()

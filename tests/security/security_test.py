#!/usr/bin/env python3
"""Stores from strangers, and users of a shared mount.

What lies beside a store, and trees of extreme shapes, are in
security_files_test.py. What a limit is about is said where its number stands.
"""

import contextlib
import errno
import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import stat
import subprocess
import tempfile
import unittest

from tests.kit import junit
from tests.compaction.compact_command_test import CANCEL, RECLAIM, call, is_running, start
from tests.format.format_reader import IDENTITY_KEY, align64
from tests.format.format_writer import (
    BYSTANDER, FOLDER, MAX_U64, StoreWriter, allowed, extents, file_with, forged,
    identity_payload, names, put_inode, put_name, set_content, sizes, trees, whole)
from tests.kit.mounted import INCOMPLETE, MountedStore, mounts, run, varve, varve_binary, wait_until
from tests.posix.posix_kit import USER, Step, become, ended, fork, in_child
from tests.kit.tree_churn import full_listing
from tests.format.xxh3 import xxh3_64

OK, FAILURE, DAMAGE, NOT_A_STORE, NO_PERMISSION = 0, 1, 4, 5, 7
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# What reading a store of some KiB may need, in processor time and memory. The kernel ends who
# needs far more; sanitizers need address space for themselves.
CPU_SECONDS = 20
MEMORY = 128 * MIB
SANITIZED = b"__sanitizer" in pathlib.Path(varve_binary()).read_bytes()
# What a user may make the daemon keep in memory: 64 MiB of what is dirty, and more than as much
# again for what belongs to open files.
MEMORY_FOR_USERS = 160 * MIB
XATTRS_OF_A_FILE = 2 * MIB

# The one name of eight bytes whose hash is that of the identity's key.
NAME_LIKE_THE_IDENTITY = b"\xf1\r\xe1'\x8f\xae\xe1\x96"


def limit():
    """For a process between fork and exec."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    if not SANITIZED:
        resource.setrlimit(resource.RLIMIT_DATA, (GIB, GIB))


def spent(*arguments):
    """How a command ends under limits: exit status, output, most memory."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([varve_binary(), *map(str, arguments)], preexec_fn=limit,
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        found = []

        def has_ended():
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            found[:] = [status, usage] if pid else []
            return pid != 0

        try:
            wait_until(has_ended, " ".join(map(str, arguments)))
        except AssertionError:
            process.kill()
            raise
        process.returncode = os.waitstatus_to_exitcode(found[0])
        output.seek(0)
        text = output.read().decode(errors="replace")
    return process.returncode, text, found[1].ru_maxrss * KIB


def memory_of(pid, field):
    text = pathlib.Path("/proc/%d/status" % pid).read_text(encoding="ascii")
    return int(re.search(field + r":\s+(\d+) kB", text).group(1)) * KIB


def options_of(directory):
    return next((set(options) for path, _, _, options in mounts() if path == str(directory)), None)


def visit(root):
    """Looks at all that a backup would; returns paths, and numbers of errors."""
    seen, failures = [], []
    for top, folders, files in os.walk(os.fsencode(root), onerror=failures.append):
        for path in (os.path.join(top, name) for name in folders + files):
            seen.append(os.path.relpath(path, os.fsencode(root)))
            try:
                status = os.lstat(path)
                os.listxattr(path, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    with open(path, "rb", buffering=0) as file:
                        file.read(64 * KIB)
                        file.seek(max(0, status.st_size - 4096))
                        file.read(4096)
                elif stat.S_ISLNK(status.st_mode):
                    os.readlink(path)
            except OSError as error:
                failures.append(error)
        if len(seen) > 10000:
            raise AssertionError("a tree without an end")
    return seen, {failure.errno for failure in failures}


class SecurityTest(unittest.TestCase):
    """A folder that everybody gets to, of which nothing is left in the end."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="varve-", dir="/tmp")).resolve()
        self.folder.chmod(0o755)
        self.store = self.folder / "store.varve"
        self.mnt = self.folder / "mnt"
        self.mnt.mkdir()
        self.addCleanup(self.clean_up)

    def clean_up(self):
        while options_of(self.mnt) is not None:
            run("umount", "-l", self.mnt)
        shutil.rmtree(self.folder)


class StrangersStoreTest(SecurityTest):
    def check(self, statuses):
        status, text, memory = spent("check", self.store)
        self.assertIn(status, statuses, text)
        self.assertLess(memory, MEMORY)

    def visit_mount(self):
        """Mounts under limits, if that works, and looks at everything. Returns whether."""
        status, text, memory = spent("mount", self.store, self.mnt)
        self.assertLess(memory, MEMORY)
        if status != OK:
            self.assertIn(status, (DAMAGE, NOT_A_STORE), text)
            self.assertRegex(text, r"\Avarve: [^\n]+\n\Z")
            self.assertIsNone(options_of(self.mnt))
            return False
        pid = json.loads((self.mnt / ".varve/status.json").read_text())["pid"]
        seen, failures = visit(self.mnt)
        visit(self.mnt / ".varve/unnamed")
        self.assertLessEqual(failures, {errno.EIO})
        # Each name is below the mount, and once.
        for path in seen:
            self.assertFalse(path.startswith(b"/") or b".." in path.split(b"/"), path)
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual(BYSTANDER, (self.mnt / "bystander").read_bytes())
        try:
            (self.mnt / "new").write_text("new")
        except OSError as error:  # no number is left for it
            self.assertIn(error.errno, (errno.ENOSPC, errno.EIO, errno.EOVERFLOW))
        self.assertLess(memory_of(pid, "VmHWM"), MEMORY)
        varve("umount", self.mnt)
        return True

    def examine(self, label, data, statuses):
        with self.subTest(label):
            self.store.write_bytes(data)
            outside = sorted(os.listdir(self.folder))
            try:
                self.check(statuses)
                for command in (("ls", "-lR", self.store), ("get", self.store, "bystander"),
                                ("info", self.store)):
                    self.assertIn(spent(*command)[0], (OK, DAMAGE), command)
                mounted = self.visit_mount()
                if not mounted:
                    self.assertEqual(data, self.store.read_bytes())
                self.assertIn(spent("compact", self.store)[0], (OK, FAILURE, DAMAGE))
                self.assertEqual(outside, sorted(os.listdir(self.folder)))
            finally:
                while options_of(self.mnt) is not None:
                    run("umount", "-l", self.mnt)
                for name in set(os.listdir(self.folder)) - set(outside):
                    os.unlink(self.folder / name)

    def test_what_the_writer_makes_is_a_store(self):
        # Else the cases below would say nothing.
        self.store.write_bytes(forged(file_with(9, 1, b"f", b"content")))
        varve("check", self.store)
        self.assertEqual(b"content", varve("get", self.store, "f").stdout)
        self.assertEqual(b"an entry" * 8, varve("get", self.store, "entry").stdout)
        self.assertTrue(self.visit_mount())

    def test_names(self):
        for label, changes in names():
            self.examine(label, forged(changes), (DAMAGE,))

    def test_trees(self):
        for label, changes in trees():
            self.examine(label, forged(changes), (DAMAGE,))

    def test_extents(self):
        for label, changes in extents():
            self.examine(label, forged(changes), (DAMAGE,))

    def test_sizes(self):
        for label, changes in sizes():
            self.examine(label, forged(changes), (DAMAGE,))

    def test_what_is_allowed_and_absurd(self):
        for label, changes, header in allowed():
            for clean in (True, False):
                self.examine("%s, %s" % (label, "clean" if clean else "unclean"),
                             forged(changes, header, clean),
                             (OK if clean else INCOMPLETE, DAMAGE))

    def test_sequence_numbers(self):
        for sequence in (0, 1, 4, MAX_U64):
            self.examine("sequence %d" % sequence, forged([], {"sequence": sequence}, clean=False),
                         (DAMAGE,))


def program_and_device():
    """A store with a set-user-id program that says who it is, and two device nodes."""
    writer = StoreWriter()
    program = pathlib.Path(shutil.which("id")).read_bytes()
    place = writer.plain(b"id", program)
    null = os.makedev(1, 3)
    writer.commit(
        put_inode(1, FOLDER), put_inode(2, 0o104755, size=place.size), put_name(1, 2, b"id"),
        set_content(2, whole(place)), put_inode(3, 0o020666, rdev=null), put_name(1, 3, b"null"),
        put_inode(4, 0o060666, rdev=os.makedev(7, 0)), put_name(1, 4, b"disk"))
    writer.close()
    return writer.data


class PrivilegesTest(SecurityTest):
    def effective_user(self):
        user = ["setpriv", "--reuid=%d" % USER, "--regid=%d" % USER, "--clear-groups"]
        return int(run(*user, self.mnt / "id", "-u").stdout)

    def test_neither_set_user_id_nor_devices_if_asked_to(self):
        self.store.write_bytes(program_and_device())
        varve("mount", "-o", "allow_other,nosuid,nodev", self.store, self.mnt)
        self.assertLessEqual({"nosuid", "nodev"}, options_of(self.mnt))
        self.assertEqual(0o104755, (self.mnt / "id").stat().st_mode)
        self.assertEqual(USER, self.effective_user())
        for name, flags in itertools.product(("null", "disk"), (os.O_RDONLY, os.O_WRONLY)):
            with self.assertRaises(PermissionError) as caught:
                os.open(self.mnt / name, flags)
            self.assertEqual(errno.EACCES, caught.exception.errno)

    def test_root_gets_both(self):
        self.store.write_bytes(program_and_device())
        varve("mount", "-o", "allow_other", self.store, self.mnt)
        self.assertEqual(set(), {"nosuid", "nodev"} & options_of(self.mnt))
        self.assertEqual(0, self.effective_user())
        self.assertEqual(3, (self.mnt / "null").write_bytes(b"abc"))
        self.assertEqual(b"", (self.mnt / "null").read_bytes())

    def test_a_user_cannot(self):
        binary = self.folder / "varve"
        shutil.copy(varve_binary(), binary)
        binary.chmod(0o755)
        self.store.write_bytes(program_and_device())
        for path in (self.store, self.mnt):
            os.chown(path, USER, USER)
        for option in ("suid", "dev"):
            result = run("setpriv", "--reuid=%d" % USER, "--clear-groups", binary, "mount", "-o",
                         option, self.store, self.mnt, check=False)
            self.assertEqual(NO_PERMISSION, result.returncode)
            self.assertIn(("%s is for root" % option).encode(), result.stderr)
            self.assertIsNone(options_of(self.mnt))


class SharedMountTest(unittest.TestCase):
    """What a user may do in a mount of root's that lets others in."""

    def setUp(self):
        self.store = self.enterContext(MountedStore("allow_other,compact=never", "/tmp"))
        self.store.base.chmod(0o755)
        self.store.root.chmod(0o1777)
        (self.store / "victim").write_text("root's")

    def user(self, function, *arguments):
        """Runs a function as a user in the root of the mount; it must not fail."""
        in_child(self._become_and, function, *arguments)

    def _become_and(self, function, *arguments):
        os.chdir(self.store.root)
        become(USER)
        function(*arguments)

    @contextlib.contextmanager
    def holding(self, function):
        """A user who does something, and has all open still that it has opened."""
        done, leave = Step(), Step()

        def work():
            try:
                function()
            finally:
                done.reach()
            leave.wait()

        child = fork(self._become_and, work)
        try:
            done.wait()
            yield
        finally:
            leave.reach()
            self.assertEqual(0, ended(child))

    def fails(self, number, function, *arguments):
        with self.assertRaises(OSError) as caught:
            function(*arguments)
        self.assertEqual(number, caught.exception.errno)

    def assert_memory_is_bounded(self):
        """The daemon's own: the pages of the store that it maps can be dropped."""
        memory = memory_of(self.store.pid, "RssAnon")
        print("memory of the daemon: %d KiB" % (memory // KIB), flush=True)
        self.assertLess(memory, MEMORY_FOR_USERS)

    def assert_same_after_crash_and_remount(self):
        before = full_listing(self.store.root)
        for _ in range(2):  # what is left of the first crash must do no harm either
            self.store.kill()
            self.store.mount()
            self.assertEqual(before, full_listing(self.store.root))
            self.store.remount()
            self.assertEqual(before, full_listing(self.store.root))
        self.store.umount()
        self.store.check()
        self.store.mount()

    def test_files_that_look_like_stores(self):
        other = StoreWriter(secret=b"x" * 16)
        other.commit(*file_with(2, 1, b"forged", b"x", mode=0o104755))
        other.tombstone(xxh3_64(b"victim"))
        other.close()
        contents = {
            b"store": bytes(other.data), b"commit": record_of(other), b"store.varve": b"VRC1",
            b"identity": identity_payload(), b"%016x" % xxh3_64(b"victim"): b"hexadecimal",
            b"varve": identity_payload(), b"tombstone": b"\0" + other.data[-20:]}

        def write():
            for name, content in contents.items():
                pathlib.Path(os.fsdecode(name)).write_bytes(content)
            os.mkdir("sub")
            pathlib.Path("sub/.varve").write_bytes(identity_payload())

        self.user(write)
        self.assert_same_after_crash_and_remount()

    def test_a_name_whose_hash_is_that_of_the_identity(self):
        self.assertEqual(xxh3_64(IDENTITY_KEY), xxh3_64(NAME_LIKE_THE_IDENTITY))
        name = os.fsdecode(NAME_LIKE_THE_IDENTITY)
        for write in (lambda: pathlib.Path(name).write_bytes(identity_payload()),
                      lambda: os.unlink(name),
                      lambda: pathlib.Path("n").write_bytes(identity_payload()),
                      lambda: os.rename("n", name),
                      lambda: os.rename(name, "n")):
            self.user(write)
            self.assert_same_after_crash_and_remount()

    def test_a_file_not_closed_that_goes_on_with_the_store(self):
        """Its bytes come to lie at the tail, and say what an entry there would say."""
        self.user(lambda: os.close(os.open("file", os.O_CREAT | os.O_WRONLY)))
        before = full_listing(self.store.root)
        begin = self.store.size()
        other = StoreWriter(secret=b"x" * 16, begin=begin)
        other.commit(*file_with(2, 1, b"forged", b"x", mode=0o104755))
        other.tombstone(xxh3_64(b"victim"))
        other.plain(b"victim", b"forged")
        other.close()
        forgery = bytes(other.data[align64(begin) - begin:])

        def write():
            file = os.open("file", os.O_WRONLY)
            os.write(file, forgery)
            for _ in range(20):
                os.write(file, bytes(MIB))

        with self.holding(write):
            self.assertEqual(forgery, self.store.path.read_bytes()[align64(begin):][:len(forgery)])
            self.store.kill()
        self.store.mount()
        self.assertEqual(before, full_listing(self.store.root))
        self.assert_same_after_crash_and_remount()

    def test_entries_without_a_name_are_not_for_everybody(self):
        self.store.umount()
        varve("raw", "write", self.store.path, "some key", "/etc/hostname")
        self.store.mount()
        (name,) = os.listdir(self.store / ".varve/unnamed")

        def look():
            self.fails(errno.EACCES, os.listdir, ".varve/unnamed")
            self.fails(errno.EACCES, os.open, ".varve/unnamed/" + name, os.O_RDONLY)
            self.fails(errno.EACCES, os.rename, ".varve/unnamed/" + name, "mine")

        self.user(look)

    def test_everybody_may_read_the_status(self):
        def look():
            for path in (".varve/status", ".varve/status.json"):
                self.assertIn("store_bytes", pathlib.Path(path).read_text(encoding="utf-8"))
                self.fails(errno.EACCES, os.open, path, os.O_WRONLY)

        self.user(look)

    def test_compaction_is_not_for_everybody(self):
        (self.store / "large").write_bytes(os.urandom(8 * MIB))
        mine = os.open(self.store.root, os.O_RDONLY)
        self.addCleanup(os.close, mine)
        start(mine, rate=MIB)
        self.assertTrue(is_running(mine))

        def try_it():
            descriptor = os.open(".", os.O_RDONLY)
            for function, *arguments in ((start, descriptor), (call, descriptor, CANCEL),
                                         (call, descriptor, RECLAIM)):
                self.fails(errno.EPERM, function, *arguments)

        self.user(try_it)
        self.assertTrue(is_running(mine))
        leftover = self.store.path.with_name("store.varve.compact")
        self.assertEqual(0o600, stat.S_IMODE(leftover.stat().st_mode))
        call(mine, CANCEL)

    def test_many_files_that_are_dirty(self):
        def write():
            for i in range(300):  # of which each would be allowed
                os.pwrite(os.open("f%d" % i, os.O_CREAT | os.O_WRONLY), bytes(MIB), 4096)

        with self.holding(write):
            self.assert_memory_is_bounded()

    def test_many_open_files(self):
        """As many as the user may have, or the daemon; then closed, as if nothing had been."""
        count = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

        def write():
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
            with self.assertRaises(OSError) as caught:
                for i in range(count):
                    descriptor = os.open("f%d" % (i % 2000), os.O_CREAT | os.O_RDWR)
                    if i < 2000:
                        os.write(descriptor, b"x")
            self.assertIn(caught.exception.errno, (errno.EMFILE, errno.ENFILE))
            os.stat("victim")

        with self.holding(write):
            self.assert_memory_is_bounded()
            self.assertEqual("root's", (self.store / "victim").read_text())
        (self.store / "after").write_text("after")

    def test_many_attributes(self):
        def fill(target, prefix, value):
            """Bytes of names and values until there is no room; at most 100,000 attributes."""
            total = 0
            with self.assertRaises(OSError) as caught:
                for i in range(100_000):
                    os.setxattr(target, "user.%s%d" % (prefix, i), value)
                    total += len(value) + len("user.%s%d" % (prefix, i))
            self.assertEqual(errno.ENOSPC, caught.exception.errno)
            self.assertLessEqual(total, XATTRS_OF_A_FILE)
            return total

        def write():
            for name, value in (("small", b"x"), ("middle", bytes(1000)), ("large", bytes(65536))):
                file = os.open(name, os.O_CREAT | os.O_WRONLY)
                self.assertGreater(fill(name, "a", value), 32 * KIB)
                os.removexattr(name, "user.a0")
                os.setxattr(name, "user.a0", value)
                os.unlink(name)  # and the same for a file without a name
                os.removexattr(file, "user.a0")
                fill(file, "b", value)
            file = os.open("grows", os.O_CREAT | os.O_WRONLY)
            for i in range(100):
                os.setxattr(file, "user.a%d" % i, b"")
            with self.assertRaises(OSError) as caught:
                for i in range(100):
                    os.setxattr(file, "user.a%d" % i, bytes(65536))
            self.assertEqual(errno.ENOSPC, caught.exception.errno)

        with self.holding(write):
            self.assert_memory_is_bounded()


def record_of(writer):
    """The payload of the last entry that a writer has made."""
    tail = len(writer.data)
    begin = int.from_bytes(writer.data[tail - 12:tail - 4], "little")
    return bytes(writer.data[align64(begin):tail - 20])


if __name__ == "__main__":
    junit.main()

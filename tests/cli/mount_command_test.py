#!/usr/bin/env python3
"""`varve mount` and `varve umount`: what is refused, and how a mount begins and ends."""

import ctypes
import fcntl
import json
import os
import pathlib
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import unittest

from tests.kit import junit
from tests.kit.mounted import mounts, run, varve_binary, wait_until

OK, FAILURE, USAGE, NOT_FOUND, NOT_A_STORE, WRONG_KIND, NO_PERMISSION = 0, 1, 2, 3, 5, 6, 7
READ_ONLY, BUSY, NO_FUSE, REFUSED = 9, 10, 11, 14
NOBODY = 65534

MOUNT_HELPER = pathlib.Path("tools/mount.varve").absolute()


def status_of(directory):
    return json.loads((directory / ".varve/status.json").read_text(encoding="utf-8"))


def is_alive(pid):
    """Whether the process runs; nobody may have collected one that has ended."""
    try:
        text = pathlib.Path("/proc/%d/stat" % pid).read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the daemon to die")


class MountTest(unittest.TestCase):
    def setUp(self):
        # In /tmp, where others get to; the folder of the test may be closed to them.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="varve-mount-", dir="/tmp")).resolve()
        self.folder.chmod(0o755)
        self.store = self.folder / "store.varve"
        self.mnt = self.folder / "mnt"
        self.mnt.mkdir()
        self.addCleanup(self.clean_up)

    def clean_up(self):
        for directory, *_ in list(mounts()):
            if directory.startswith(str(self.folder) + "/"):
                subprocess.run(["umount", "-l", directory], check=False)
        mine = str(self.folder).encode()
        for process in pathlib.Path("/proc").iterdir():
            try:
                if mine in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
                    os.kill(int(process.name), signal.SIGKILL)
            except (FileNotFoundError, NotADirectoryError, ProcessLookupError, ValueError):
                pass  # no process, or one that has just ended
        shutil.rmtree(self.folder, ignore_errors=True)

    def varve(self, *arguments, status=OK, **options):
        options.setdefault("cwd", self.folder)
        result = run(varve_binary(), *arguments, check=False, **options)
        text = result.stderr.decode(errors="replace")
        self.assertEqual(result.returncode, status, "varve %s\n%s" % (arguments, text))
        return text

    def refused(self, *arguments, status, **options):
        """The one sentence of a command that fails."""
        text = self.varve(*arguments, status=status, **options)
        self.assertRegex(text, r"\Avarve: [^\n]+\n\Z")
        return text

    def as_nobody(self, *command, status=OK):
        """Runs a command as a user who may use FUSE, in a mount namespace of its own."""
        binary = self.folder / "varve"
        if not binary.exists():
            shutil.copy(varve_binary(), binary)
            binary.chmod(0o755)
        device = self.folder / "fuse"
        if not device.exists():
            os.mknod(device, stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
            device.chmod(0o666)
        user = ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups"]
        result = run("unshare", "-m", "sh", "-c", 'mount --bind fuse /dev/fuse && exec "$@"',
                     "sh", *user, *command, check=False, cwd=self.folder)
        text = result.stderr.decode()
        self.assertEqual(result.returncode, status, text)
        return result.stdout.decode() if status == OK else text

    def mount(self, *options, directory=None):
        self.varve("mount", *options, self.store, directory or self.mnt)
        return status_of(directory or self.mnt)["pid"]

    def is_mounted(self, directory=None):
        return any(mount[0] == str(directory or self.mnt) for mount in mounts())

    def make_store(self):
        self.mount()
        (self.mnt / "file").write_text("content")
        self.varve("umount", self.mnt)


class Refused(MountTest):
    def test_unknown_options(self):
        self.assertIn("--bogus", self.refused("mount", "--bogus", "s", "mnt", status=USAGE))
        for option in ("bogus", "ro,bogus", "threads=0", "fsname=x"):
            text = self.refused("mount", "-o", option, "s", "mnt", status=USAGE)
            self.assertIn(option.split(",")[-1], text)
        self.assertFalse((self.folder / "s").exists())

    def test_options_that_the_kernel_refuses(self):
        text = self.refused("mount", "-o", "context=none", self.store, self.mnt, status=USAGE)
        self.assertIn("the kernel refuses the options", text)
        self.assertFalse(self.is_mounted())

    def test_a_missing_mountpoint(self):
        text = self.refused("mount", "s", "nomnt", status=NOT_FOUND)
        self.assertIn("the mountpoint nomnt does not exist", text)
        self.assertFalse((self.folder / "s").exists())

    def test_a_mountpoint_that_is_a_file(self):
        (self.folder / "file").touch()
        text = self.refused("mount", "s", "file", status=WRONG_KIND)
        self.assertIn("file is not a directory", text)

    def test_a_store_in_a_directory_that_does_not_exist(self):
        self.assertIn("directory of the store",
                      self.refused("mount", "--create", "no/s", "mnt", status=NOT_FOUND))

    def test_no_store_and_none_to_be_made(self):
        for options in (("-o", "nocreate"), ("-o", "ro")):
            text = self.refused("mount", *options, "s", "mnt", status=NOT_FOUND)
            self.assertIn("there is no store s", text)
        self.refused("mount", "--create", "-o", "ro", "s", "mnt", status=USAGE)

    def test_a_directory_given_as_store(self):
        self.assertIn("mnt is a directory", self.refused("mount", "mnt", "mnt", status=WRONG_KIND))

    def test_a_file_that_is_no_store(self):
        junk = b"The quick brown fox jumps over the lazy dog. " * 9
        (self.folder / "junk").write_bytes(junk)
        for foreground in ((), ("-f",)):
            text = self.refused("mount", *foreground, "junk", "mnt", status=NOT_A_STORE)
            self.assertIn("is not a store", text)
        self.assertEqual((self.folder / "junk").read_bytes(), junk)
        self.assertFalse(self.is_mounted())

    def test_a_store_inside_its_own_mountpoint(self):
        (self.mnt / "sub").mkdir()
        (self.folder / "link").symlink_to("mnt/sub")
        for store in ("mnt/s", "mnt/sub/s", "link/s"):
            text = self.refused("mount", store, "mnt", status=REFUSED)
            self.assertIn("lies inside the mountpoint", text)
        self.refused("mount", "s", ".", status=REFUSED)

    def test_no_permission(self):
        self.make_store()
        self.store.chmod(0o600)
        mine = self.folder / "mine"
        mine.mkdir()
        os.chown(mine, NOBODY, NOBODY)
        self.assertIn("Permission denied", self.as_nobody(
            "./varve", "mount", self.store, mine, status=NO_PERMISSION))
        self.assertIn("directory of your own", self.as_nobody(
            "./varve", "mount", mine / "s", self.mnt, status=NO_PERMISSION))
        self.assertIn("user_allow_other", self.as_nobody(
            "./varve", "mount", "-o", "allow_other", mine / "s", mine, status=NO_PERMISSION))
        self.assertIn("suid is for root", self.as_nobody(
            "./varve", "mount", "-o", "suid", mine / "s", mine, status=NO_PERMISSION))

    def test_a_read_only_disk(self):
        self.make_store()
        disk = self.folder / "disk"
        disk.mkdir()
        run("mount", "-t", "tmpfs", "tmpfs", disk)
        shutil.copy(self.store, disk / "s")
        run("mount", "-o", "remount,ro", disk)
        text = self.refused("mount", disk / "s", self.mnt, status=READ_ONLY)
        self.assertIn("read-only file system", text)
        self.refused("mount", disk / "new", self.mnt, status=READ_ONLY)
        self.varve("mount", "-o", "ro", disk / "s", self.mnt)
        self.assertEqual((self.mnt / "file").read_text(), "content")
        self.varve("umount", self.mnt)

    def test_a_system_without_fuse(self):
        # In a mount namespace of its own, whose /dev holds nothing.
        result = run("unshare", "-m", "sh", "-c",
                     'mount -t tmpfs none /dev && exec "$@" 2>&1', "sh",
                     varve_binary(), "mount", self.store, self.mnt, check=False)
        self.assertEqual(result.returncode, NO_FUSE, result.stdout)
        self.assertIn(b"there is no /dev/fuse", result.stdout)

    def test_umount_of_what_is_no_mount(self):
        self.refused("umount", "nomnt", status=NOT_FOUND)
        self.assertIn("no store is mounted at", self.refused("umount", "mnt", status=REFUSED))
        self.assertIn("mounted there is", self.refused("umount", "/proc", status=REFUSED))



# In the folder where varve is. At the end nothing is mounted, and the store has been closed.
USER_SESSION = """
./varve mount "$1" "$2"
stat -f -c %T "$2" > /dev/null
grep -F " $2 " /proc/self/mountinfo | sed 's/.* - //; s/ .*//'
echo content > "$2"/file
./varve umount "$2"
! grep -F " $2 " /proc/self/mountinfo
./varve get "$1" file
./varve put "$1" again /etc/hostname
./varve ls "$1"
"""


class Mounted(MountTest):
    def test_it_is_usable_when_the_command_returns_and_closed_when_umount_does(self):
        for round_number in range(5):
            pid = self.mount()
            (self.mnt / ("file%d" % round_number)).write_text("content")
            self.varve("umount", self.mnt)
            self.assertFalse(is_alive(pid))
            self.assertFalse(self.is_mounted())
            # Closed: nobody holds the lock, and nothing is left to be recovered.
            self.varve("put", self.store, "put%d" % round_number, "/etc/hostname")
            info = json.loads(run(varve_binary(), "info", "--json", self.store).stdout)
            self.assertEqual((info["notes"], info["torn_bytes"]), ([], 0))
        self.assertEqual(len(list(self.mnt.iterdir())), 0)

    def test_the_kernel_shows_type_source_and_options(self):
        self.mount("-o", "nosuid,nodev")
        shown = [mount for mount in mounts() if mount[0] == str(self.mnt)]
        self.assertEqual(len(shown), 1)
        _, kind, source, options = shown[0]
        self.assertEqual((kind, source), ("fuse.varve", str(self.store)))
        self.assertLessEqual({"nosuid", "nodev", "rw"}, set(options))

    def test_status_tells_about_the_daemon(self):
        self.mount()
        status = status_of(self.mnt)
        self.assertEqual(status["store"], str(self.store))
        self.assertRegex(status["version"], r"^\d+\.\d+\.\d+$")
        self.assertRegex(status["started"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
        text = run(varve_binary(), "info", "--json", self.mnt).stdout
        self.assertEqual(json.loads(text)["pid"], status["pid"])
        self.assertIn(b"store_bytes: ", run(varve_binary(), "info", self.mnt).stdout)

    def test_strange_names_of_store_and_mountpoint(self):
        for name in ('a b,c\\d"e', "tab\tnew\nline", "ключ#%", "caf\udce9"):
            store, directory = self.folder / (name + ".store"), self.folder / name
            directory.mkdir()
            self.varve("mount", store, directory)
            (directory / "file").write_text(ascii(name))
            self.assertIn("pid", status_of(directory))
            self.varve("umount", directory)
            result = run(varve_binary(), "get", store, "file")
            self.assertEqual(result.stdout.decode(), ascii(name))

    def test_the_daemon_keeps_nothing_of_its_parent(self):
        with open(self.folder / "lock", "w", encoding="ascii") as lock:
            os.set_inheritable(lock.fileno(), True)
            run(varve_binary(), "mount", "store.varve", "mnt", cwd=self.folder,
                pass_fds=[lock.fileno()])
        pid = status_of(self.mnt)["pid"]
        process = pathlib.Path("/proc/%d" % pid)
        self.assertEqual(os.readlink(process / "cwd"), "/")
        self.assertEqual(os.getsid(pid), pid)
        opened = [os.readlink(link) for link in (process / "fd").iterdir()]
        self.assertNotIn(str(self.folder / "lock"), opened)
        for number in range(3):
            self.assertEqual(os.readlink(process / "fd" / str(number)), "/dev/null")

    def test_what_is_read_beside_the_mount_is_the_same(self):
        self.mount()
        content = os.urandom(300_000)
        (self.mnt / "d").mkdir()
        (self.mnt / "d/file").write_bytes(content)
        self.assertEqual(run(varve_binary(), "get", self.store, "d/file").stdout, content)
        self.assertEqual(run(varve_binary(), "raw", "read", self.store, "d/file").stdout, content)
        self.assertEqual(run(varve_binary(), "ls", self.store, "d").stdout, b"file\n")
        self.varve("check", self.store)

    def test_writing_beside_the_mount_is_refused(self):
        pid = self.mount()
        for command in (("put", self.store, "x", "/etc/hostname"), ("rm", self.store, "x"),
                        ("mv", self.store, "x", "y"), ("adopt", self.store, "/dev/null"),
                        ("raw", "write", self.store, "k", "v"), ("raw", "compact", self.store)):
            text = self.refused(*command, status=BUSY)
            self.assertIn("pid %d" % pid, text)
            self.assertIn("mounted at %s" % self.mnt, text)

    def test_read_only(self):
        self.make_store()
        before = self.store.read_bytes()
        self.mount("-o", "ro")
        self.assertEqual((self.mnt / "file").read_text(), "content")
        with self.assertRaisesRegex(OSError, "Read-only"):
            (self.mnt / "new").touch()
        self.varve("umount", self.mnt)
        self.assertEqual(self.store.read_bytes(), before)

    def test_options_reach_the_kernel(self):
        self.mount("-o", "noexec,noatime", "-o", "allow_other,threads=2,x-gvfs-show,_netdev")
        shown = [mount for mount in mounts() if mount[0] == str(self.mnt)][0]
        self.assertLessEqual({"noexec", "noatime"}, set(shown[3]))
        tasks = os.listdir("/proc/%d/task" % status_of(self.mnt)["pid"])
        # The main thread, two that serve, and those that sync, scrub and tell the kernel.
        self.assertLessEqual(len(tasks), 6)

    def test_each_option_that_is_passed_on_mounts(self):
        for option in ("allow_other", "allow_root", "nosuid", "suid", "nodev", "dev", "noexec",
                       "exec", "sync", "async", "dirsync", "noatime", "max_read=0",
                       "max_read=8192", "auto_unmount"):
            with self.subTest(option=option):
                self.mount("-o", option)
                (self.mnt / "file").write_bytes(bytes(100000))
                self.assertEqual((self.mnt / "file").stat().st_size, 100000)
                self.varve("umount", self.mnt)

    def test_reads_are_no_larger_than_asked_for(self):
        text = os.urandom(100000)
        self.mount("-o", "max_read=8192")
        (self.mnt / "file").write_bytes(text)
        self.varve("umount", self.mnt)
        self.mount("-o", "max_read=8192")
        lines = pathlib.Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        [options] = [line.split()[3] for line in lines if line.split()[1] == str(self.mnt)]
        self.assertIn("max_read=8192", options.split(","))
        self.assertEqual((self.mnt / "file").read_bytes(), text)

    def test_df_with_files_as_long_as_can_be(self):
        self.mount()
        for name in ("a", "b", "c"):
            with open(self.mnt / name, "wb") as file:
                file.truncate(2 ** 63 - 1)
        space = os.statvfs(self.mnt)
        self.assertLess(space.f_blocks - space.f_bfree, 100)

    def test_other_users_are_let_in_on_request(self):
        for options, allowed in (((), False), (("-o", "allow_other"), True)):
            self.mount(*options)
            result = run("ls", self.mnt, check=False, user=NOBODY, group=NOBODY, extra_groups=[])
            self.assertEqual(result.returncode == 0, allowed)
            self.varve("umount", self.mnt)

    def test_a_user_mounts_and_unmounts(self):
        os.chown(self.folder, NOBODY, NOBODY)
        os.chown(self.mnt, NOBODY, NOBODY)
        output = self.as_nobody("sh", "-euc", USER_SESSION, "sh", self.store, self.mnt)
        self.assertEqual(output, "fuse.varve\ncontent\nagain\nfile\n")
        self.assertEqual(self.store.stat().st_uid, NOBODY)


class InTheWay(MountTest):
    def test_the_same_mount_twice(self):
        pid = self.mount()
        begun = time.monotonic()
        text = self.refused("mount", self.store, self.mnt, status=REFUSED)
        self.assertIn("already mounted at %s by pid %d" % (self.mnt, pid), text)
        self.assertLess(time.monotonic() - begun, 3)

    def test_a_store_that_stays_in_use_is_waited_for_then_its_holder_is_named(self):
        pid = self.mount()
        second = self.folder / "second"
        second.mkdir()
        begun, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        text = self.refused("mount", "-f", self.store, second, status=BUSY)
        self.assertGreater(time.monotonic() - begun, 3)
        # It looks through /proc once, at the end.
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.assertLess(now.ru_stime + now.ru_utime - used.ru_stime - used.ru_utime, 0.2)
        self.assertIn("pid %d" % pid, text)
        self.assertFalse(self.is_mounted(second))

    def test_a_store_that_is_being_closed_is_waited_for(self):
        # A lock that goes away a second later, as that of a daemon which is closing.
        self.make_store()
        with open(self.store, "r+b") as file:
            f_ofd_setlk = 37
            lock = bytes(LockRequest(l_type=fcntl.F_WRLCK))
            fcntl.fcntl(file, f_ofd_setlk, lock)
            process = subprocess.Popen([varve_binary(), "mount", self.store, self.mnt])
            time.sleep(1)
            self.assertIsNone(process.poll())
        self.assertEqual(process.wait(timeout=60), OK)
        self.assertEqual((self.mnt / "file").read_text(), "content")

    def test_a_dead_mount_is_cleared(self):
        for attempt in range(3):
            pid = self.mount()
            (self.mnt / ("file%d" % attempt)).write_text("content")
            kill(pid)
        self.mount()
        self.assertEqual(len(list(self.mnt.iterdir())), 3)
        self.assertEqual(sum(mount[0] == str(self.mnt) for mount in mounts()), 1)

    def test_a_dead_mount_is_left_while_its_store_is_in_use(self):
        kill(self.mount())
        second = self.folder / "second"
        second.mkdir()
        pid = self.mount(directory=second)
        text = self.refused("mount", self.folder / "other", self.mnt, status=BUSY)
        self.assertIn("dead mount", text)
        self.assertIn("pid %d" % pid, text)
        self.assertTrue(self.is_mounted())
        self.varve("umount", self.mnt)
        self.assertFalse(self.is_mounted())
        self.assertTrue(is_alive(pid))

    def test_a_dead_mount_of_another_program_is_left(self):
        self.make_store()
        pid = self.mount()
        # The same mount under another type: the daemon's word is not taken for it.
        self.varve("umount", self.mnt)
        self.assertFalse(is_alive(pid))
        script = self.folder / "other.py"
        script.write_text(OTHER_FUSE_PROGRAM)
        run("python3", script, self.mnt)
        self.assertTrue(self.is_mounted())
        text = self.refused("mount", self.store, self.mnt, status=REFUSED)
        self.assertIn("dead mount of fuse", text)
        self.assertTrue(self.is_mounted())

    def test_umount_clears_a_dead_mount(self):
        kill(self.mount())
        self.varve("umount", self.mnt)
        self.assertFalse(self.is_mounted())

    def test_umount_by_a_link_and_by_a_relative_path(self):
        (self.folder / "link").symlink_to("mnt")
        self.mount()
        self.varve("umount", "link")
        self.mount()
        self.varve("umount", "./mnt/")
        kill(self.mount())
        self.varve("umount", "link/")
        self.assertFalse(self.is_mounted())


class LockRequest(ctypes.Structure):
    _fields_ = [("l_type", ctypes.c_short), ("l_whence", ctypes.c_short),
                ("l_start", ctypes.c_int64), ("l_len", ctypes.c_int64), ("l_pid", ctypes.c_int)]


# Mounts without libfuse, and goes: what is left is a dead mount.
OTHER_FUSE_PROGRAM = """
import ctypes, os, sys
fd = os.open("/dev/fuse", os.O_RDWR)
options = "fd=%d,rootmode=40000,user_id=0,group_id=0" % fd
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"other", sys.argv[1].encode(), b"fuse.other", 0, options.encode()) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
"""


class Ending(MountTest):
    def start(self):
        """A daemon in the foreground, and the file that it logs to."""
        log = self.folder / "log"
        with open(log, "wb") as file:
            process = subprocess.Popen([varve_binary(), "mount", "-f", self.store, self.mnt],
                                       stderr=file)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_until(lambda: b"is mounted at" in log.read_bytes(), "the mount")
        return process, log

    def test_signals_unmount_and_close(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number):
                process, log = self.start()
                (self.mnt / "file").write_text(str(number))
                process.send_signal(number)
                self.assertEqual(process.wait(timeout=60), OK)
                self.assertFalse(self.is_mounted())
                self.assertIn("is unmounted and closed", log.read_text())
                result = run(varve_binary(), "get", self.store, "file")
                self.assertEqual(result.stdout.decode(), str(number))

    def test_a_signal_ends_a_mount_that_is_in_use(self):
        process, _ = self.start()
        descriptor = os.open(self.mnt / "file", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"written")
        process.terminate()
        self.assertEqual(process.wait(timeout=60), OK)
        self.assertFalse(self.is_mounted())
        with self.assertRaises(OSError):
            os.close(descriptor)
        # Nobody has closed the file, but its daemon went in peace.
        self.assertEqual(run(varve_binary(), "get", self.store, "file").stdout, b"written")
        self.varve("check", self.store)

    def test_the_foreground_ends_with_the_mount(self):
        process, log = self.start()
        self.varve("umount", self.mnt)
        self.assertEqual(process.wait(timeout=60), OK)
        self.assertIn("is unmounted and closed", log.read_text())

    def test_a_recovered_store_is_told(self):
        self.make_store()
        with open(self.store, "ab") as file:
            file.write(b"half a write")
        text = self.varve("mount", self.store, self.mnt)
        self.assertIn("12 bytes of an unfinished write, moved to", text)
        self.assertEqual(len(list(self.folder.glob("store.varve.torn-*"))), 1)

    def test_the_end_of_an_impatient_parent_ends_the_mount(self):
        # The store is locked, so that the daemon is still waiting when its parent dies.
        self.make_store()
        with open(self.store, "r+b") as file:
            fcntl.fcntl(file, 37, bytes(LockRequest(l_type=fcntl.F_WRLCK)))
            process = subprocess.Popen([varve_binary(), "mount", self.store, self.mnt])
            time.sleep(0.5)
            process.kill()
            process.wait()

        def daemons():
            return [name for name in os.listdir("/proc") if name.isdigit() and is_alive(int(name))
                    and str(self.store) in read_command_line(name)]

        wait_until(lambda: not daemons(), "the daemon to give up")
        self.assertFalse(self.is_mounted())

    def test_umount_of_a_busy_mount(self):
        pid = self.mount()
        with open(self.mnt / "file", "w", encoding="ascii") as file:
            file.write("still open")
            text = self.refused("umount", self.mnt, status=BUSY)
            self.assertIn("--lazy", text)
            self.assertTrue(self.is_mounted())
            self.varve("umount", "--lazy", self.mnt)
            self.assertFalse(self.is_mounted())
            self.assertTrue(is_alive(pid))
        wait_until(lambda: not is_alive(pid), "the daemon to end with its last user")
        self.assertEqual(run(varve_binary(), "get", self.store, "file").stdout, b"still open")

    def test_umount_waits_no_longer_than_asked(self):
        pid = self.mount()
        # A daemon that does not get to close its store.
        descriptor = os.pidfd_open(pid)
        self.addCleanup(os.close, descriptor)
        process = subprocess.Popen([varve_binary(), "umount", "--timeout", "1", self.mnt],
                                   stderr=subprocess.PIPE)
        wait_until(lambda: not self.is_mounted() or process.poll() is not None, "the unmounting")
        try:
            os.kill(pid, signal.SIGSTOP)
            _, text = process.communicate(timeout=60)
        except ProcessLookupError:
            self.skipTest("the daemon was faster")
        finally:
            if is_alive(pid):
                os.kill(pid, signal.SIGCONT)
        self.assertIn(process.returncode, (OK, BUSY), text)
        if process.returncode == BUSY:
            self.assertIn(b"pid %d" % pid, text)


def read_command_line(pid):
    try:
        return pathlib.Path("/proc/%s/cmdline" % pid).read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


class MountHelper(MountTest):
    def helper(self, *arguments, check=True):
        folder = self.folder / "bin"
        if not folder.exists():
            folder.mkdir()
            (folder / "varve").symlink_to(varve_binary())
            shutil.copy(MOUNT_HELPER, folder / "mount.varve")
        return run(folder / "mount.varve", *arguments, check=check)

    def test_it_mounts_as_mount_8_calls_it(self):
        self.helper(self.store, self.mnt, "-n", "-s", "-o", "rw,noatime,_netdev", "-t", "varve")
        self.assertTrue(self.is_mounted())
        self.varve("umount", self.mnt)

    def test_pretending_mounts_nothing(self):
        result = self.helper(self.store, self.mnt, "-fv", "-o", "rw")
        self.assertIn(str(self.store).encode(), result.stderr)
        self.assertFalse(self.is_mounted())
        self.assertFalse(self.store.exists())

    def test_failures_are_those_of_the_command(self):
        result = self.helper(self.store, self.folder / "nomnt", check=False)
        self.assertEqual(result.returncode, NOT_FOUND)
        self.assertIn(b"varve: the mountpoint", result.stderr)
        self.assertEqual(self.helper("one", check=False).returncode, USAGE)
        self.assertEqual(self.helper("a", "b", "-x", check=False).returncode, USAGE)


if __name__ == "__main__":
    junit.main()

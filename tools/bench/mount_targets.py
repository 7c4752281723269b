"""The file systems that are compared, each in a folder of its own.

    target = TARGETS["bindfs"](folder, programs, data)
    target.start()
    ...                  # use target.root
    target.remount()     # the kernel forgets what it has cached of it
    target.stop()        # whatever happened before
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time

from bench_tools import BenchError, end_group, mount_type, run, wait_until

UNMOUNT_SECONDS = 600  # a store or an image may have much to write yet


class Host:
    """A plain directory of the file system that the work directory is in."""

    name = "host"

    def __init__(self, folder, programs, data):
        self.folder = folder
        self.programs = programs
        self.data = data
        self.root = os.path.join(folder, "root")

    def start(self):
        os.makedirs(self.root)

    def remount(self):
        """There is nothing to unmount; root drops cached names and attributes instead."""
        os.sync()
        with contextlib.suppress(OSError):
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
                file.write("2\n")

    def stop(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Mounted(Host):
    """A mount at `root`, served by a process that stays in the foreground."""

    def __init__(self, folder, programs, data):
        super().__init__(folder, programs, data)
        self.process = None
        self.log = os.path.join(folder, "log")

    def prepare(self):
        """Makes everything that must exist before the first mount."""

    def command(self):
        raise NotImplementedError

    def start(self):
        super().start()
        self.prepare()
        self.mount()

    def mount(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in self.command()], start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        self.wait_for_mount()

    def wait_for_mount(self):
        wait_until(
            lambda: mount_type(self.root) or self.process.poll() is not None,
            self.name + " is mounted")
        if self.process.poll() is not None:
            raise BenchError("%s ended: %s" % (self.name, self.read_log()))

    def read_log(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read().strip()[-2000:]

    def unmount_once(self):
        if os.geteuid() == 0:
            run("umount", self.root)
        else:
            run("fusermount3", "-u", self.root)

    def unmount(self):
        """Unmounts; a process that is just ending may keep the mount busy for a moment."""
        deadline = time.monotonic() + 5
        while True:
            try:
                return self.unmount_once()
            except BenchError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def wait_for_end(self):
        """After an unmount: everything is written once the process has ended."""
        status = self.process.wait(timeout=UNMOUNT_SECONDS)
        self.process = None
        if status != 0:
            raise BenchError(
                "%s: exit status %d: %s" % (self.name, status, self.read_log()))

    def remount(self):
        self.unmount()
        self.wait_for_end()
        self.mount()

    def stop(self):
        try:
            if mount_type(self.root) is not None:
                self.unmount()
                if self.process is not None:
                    self.wait_for_end()
        finally:
            self._end_by_force()
            super().stop()

    def _end_by_force(self):
        if mount_type(self.root) is not None:
            subprocess.run(
                ["fusermount3", "-uz", self.root], check=False, stdin=subprocess.DEVNULL)
        if self.process is not None:
            end_group(self.process)
            self.process = None


class Varve(Mounted):
    name = "varve"

    def command(self):
        return [self.programs["varve"], "mount", "-f", *self.programs.get("varve-options", []),
                os.path.join(self.folder, "store"), self.root]

    def unmount_once(self):
        run(self.programs["varve"], "umount", self.root)


class Bindfs(Mounted):
    """A directory of the host, seen through FUSE."""

    name = "bindfs"

    def prepare(self):
        os.mkdir(os.path.join(self.folder, "behind"))

    def command(self):
        return ["bindfs", "-f", os.path.join(self.folder, "behind"), self.root]


class Fuse2fs(Mounted):
    """ext4 in one file, as Varve's tree is in one, served by FUSE."""

    name = "fuse2fs"

    def prepare(self):
        image = os.path.join(self.folder, "image")
        # Each file of the trees takes a block more; it is a sparse file.
        size = (1 << 30) + 4 * (self.data.sizes.big_bytes + self.data.tree_bytes
                                + 4096 * self.data.entries)
        with open(image, "wb") as file:
            file.truncate(size)
        run("mkfs.ext4", "-q", "-F", image)

    def command(self):
        return ["fuse2fs", "-f", os.path.join(self.folder, "image"), self.root]


class Floor(Mounted):
    """Does nothing but answer, so its times are the kernel's share."""

    name = "floor"

    def command(self):
        return [self.programs["floor"], "--keep", self.root]

    def wait_for_end(self):
        """It keeps its files while it lives."""

    def remount(self):
        self.unmount()
        os.kill(self.process.pid, signal.SIGHUP)
        self.wait_for_mount()


TARGETS = {target.name: target for target in (Host, Varve, Bindfs, Fuse2fs, Floor)}

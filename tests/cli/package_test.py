#!/usr/bin/env python3
"""The Debian packages: what is in them, and the life of one in a bare Debian 12.

They hold the command as the other tests have it. With VARVE_TEST_PACKAGES, a
folder that tools/package has filled, it is the packages in there, built for
release, that are put to the test: see docs/packaging.md.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time
import unittest

from tests.kit import junit
from tests.kit.mounted import run, varve_binary, wait_until

RELEASED = os.environ.get("VARVE_TEST_PACKAGES")
# What comes and goes with every package: lists, logs and caches of apt, dpkg and ldconfig.
HOUSEKEEPING = re.compile(
    r"/var/(lib|cache)/(apt|dpkg|ldconfig|debconf)/|/var/log/|/etc/ld\.so\.cache|/run/"
)


def build_deb(binary, folder, *options):
    """Makes packages of a binary; the paths of them."""
    files = "tools/packaging/files.tar"
    made = run("tools/packaging/build_deb", *options, binary, files, folder)
    return [pathlib.Path(line) for line in made.stdout.decode().splitlines()]


def lintian(*packages):
    run("lintian", "--allow-root", "--fail-on", "error,warning", *packages)


def control_field(package, field):
    return run("dpkg-deb", "--field", package, field).stdout.decode().strip()


def main_package(folder, *options):
    """The package that is put to the test."""
    if RELEASED:
        (package,) = pathlib.Path(RELEASED).glob("varve_*.deb")
        return package
    (package,) = build_deb(varve_binary(), folder, "--without-symbols", *options)
    return package


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR")))
        self.addCleanup(shutil.rmtree, self.folder)


class PackageTest(Folder):
    def stand_in(self):
        """A program with debug symbols, as the command of the tests has none."""
        source = self.folder / "stand_in.c"
        source.write_text("int main(void) { return 0; }\n")
        program = self.folder / "stand_in"
        run("gcc", "-g", "-O2", "-Wl,--build-id", "-o", program, source)
        return program

    def test_lintian_finds_nothing(self):
        lintian(main_package(self.folder))

    def test_the_same_input_gives_the_same_bytes(self):
        program = self.stand_in()
        first = build_deb(program, self.folder / "first")
        # Folders that are listed in another order, under another umask, later.
        before = os.umask(0o077)
        try:
            second = build_deb(program, self.folder / "second" / "below")
        finally:
            os.umask(before)
        self.assertEqual([path.name for path in first], [path.name for path in second])
        for one, other in zip(first, second):
            self.assertEqual(one.read_bytes(), other.read_bytes(), one.name)

    def test_debug_symbols_are_found_by_build_id(self):
        program = self.stand_in()
        main, symbols = build_deb(program, self.folder)
        lintian(main, symbols)
        for package in (main, symbols):
            run("dpkg-deb", "--extract", package, self.folder / "root")
        notes = run("readelf", "--notes", self.folder / "root/usr/bin/varve").stdout.decode()
        build_id = re.search(r"Build ID: (\w+)", notes).group(1)
        self.assertEqual(control_field(symbols, "Build-Ids"), build_id)
        self.assertEqual(
            control_field(symbols, "Depends"),
            "varve (= %s)" % control_field(main, "Version"),
        )
        detached = "usr/lib/debug/.build-id/%s/%s.debug" % (build_id[:2], build_id[2:])
        sections = run("readelf", "--sections", "--wide", self.folder / "root" / detached)
        self.assertIn(b".debug_line", sections.stdout)
        sections = run("readelf", "--sections", "--wide", self.folder / "root/usr/bin/varve")
        self.assertNotIn(b".debug_", sections.stdout)

    def test_a_binary_without_symbols_is_refused(self):
        program = self.stand_in()
        run("strip", program)
        files = "tools/packaging/files.tar"
        refused = run("tools/packaging/build_deb", program, files, self.folder, check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn(b"no debug symbols", refused.stderr)

    def test_it_runs_nothing_when_installed_or_removed(self):
        # So nothing can start a daemon, or restart a mount.
        package = main_package(self.folder)
        run("dpkg-deb", "--control", package, self.folder / "control")
        self.assertEqual(
            sorted(os.listdir(self.folder / "control")), ["control", "md5sums"]
        )

    def test_units_are_valid(self):
        root = self.folder / "root"
        run("dpkg-deb", "--extract", main_package(self.folder), root)
        # What the units name has to be where they say, in this namespace.
        for place in ("/usr/bin", "/usr/share/man"):
            layers = "lowerdir=%s%s:%s" % (root, place, place)
            run("mount", "-t", "overlay", "overlay", "-o", layers, place)
            self.addCleanup(run, "umount", "--lazy", place)
        for unit in (
            root / "lib/systemd/system/varve@.service",
            root / "usr/share/doc/varve/examples/mnt-photos.mount",
        ):
            verified = run("systemd-analyze", "verify", unit)
            self.assertEqual(verified.stdout + verified.stderr, b"", unit)


class BareDebian:
    """A Debian 12 with nothing but the packages that every one has, and apt."""

    def __init__(self, folder):
        self.root = folder / "root"
        # In memory: dpkg syncs each file.
        run("mount", "-t", "tmpfs", "none", folder)
        suite, mirror = self._source()
        run(
            "mmdebstrap", "--variant=minbase", "--components=main",
            "--skip=cleanup/apt/lists", '--aptopt=Acquire::Languages "none"',
            suite, self.root, mirror,
            env=dict(os.environ, TMPDIR=str(folder)),
        )
        run("mount", "-t", "proc", "proc", self.root / "proc")
        run("mknod", "--mode=666", self.root / "dev/fuse", "c", "10", "229")

    @staticmethod
    def _source():
        """The suite and the mirror from which this machine has its own packages."""
        with open("/etc/os-release", encoding="utf-8") as lines:
            suite = re.search(r"VERSION_CODENAME=(\w+)", lines.read()).group(1)
        sources = run(
            "apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)",
            "Created-By: Packages", "Component: main",
        ).stdout.decode()
        return suite, dict(line.split() for line in sources.splitlines())[suite]

    def __truediv__(self, path):
        return self.root / path

    def run(self, *command, **options):
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C",
        }
        return run("chroot", self.root, *command, env=environment, **options)

    def apt(self, *arguments):
        return self.run("apt-get", "-y", "-o", "DPkg::Options::=--force-unsafe-io", *arguments)

    def bring(self, package):
        """Where apt in there finds a package from out here."""
        shutil.copy(package, self.root / "root")
        return "/root/" + package.name

    def files(self):
        listed = self.run("find", "/", "-xdev").stdout.decode().splitlines()
        return {path for path in listed if not HOUSEKEEPING.match(path)}


class LifeTest(Folder):
    """From installing to purging, in one case, as each step needs those before."""

    def status(self, mountpoint):
        text = (self.debian / mountpoint / ".varve/status.json").read_text()
        return json.loads(text)

    def daemon(self, mountpoint):
        """What tells one process from all others."""
        pid = self.status(mountpoint)["pid"]
        started = pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()[19]
        return pid, started

    def umount(self, mountpoint):
        """umount(8) does not wait for the daemon; a reboot would."""
        pid = self.status(mountpoint)["pid"]
        self.debian.run("umount", "/" + mountpoint)
        wait_until(lambda: not os.path.exists("/proc/%d" % pid), "the daemon ends")

    def revised(self, package):
        run("dpkg-deb", "--extract", package, self.folder / "first")
        binary = self.folder / "first/usr/bin/varve"
        (second,) = build_deb(binary, self.folder, "--without-symbols", "--revision", "99")
        return second

    def install(self, package):
        """The two commands with which a user begins, and what they take."""
        begun = time.monotonic()
        self.debian.apt("install", package)
        installed = time.monotonic()
        self.debian.run("varve", "mount", "/srv/first.varve", "/mnt")
        mounted = time.monotonic()
        dpkg = self.time_of_dpkg(package)
        print("apt install %.1f s, of which dpkg with varve alone %.1f s; varve mount %.2f s; "
              "from a bare Debian to the first mount %.1f s" % (
                  installed - begun, dpkg, mounted - installed, mounted - begun))
        # What depends on Varve, and not on mirrors and networks.
        self.assertLess(dpkg + mounted - installed, 2)
        # What a user waits for from a bare Debian to the first mount.
        self.assertLess(mounted - begun, 30)
        self.debian.run("varve", "umount", "/mnt")

    def time_of_dpkg(self, package):
        begun = time.monotonic()
        self.debian.run("dpkg", "--force-unsafe-io", "-i", package)
        return time.monotonic() - begun

    def mount_by_fstab(self):
        shutil.copy(self.debian / "usr/share/doc/varve/examples/fstab", self.debian / "etc/fstab")
        for name in ("photos", "notes"):
            (self.debian / "mnt" / name).mkdir()
        self.debian.run("mount", "/mnt/notes")
        (self.debian / "mnt/notes/a").write_text("noted")
        self.umount("mnt/notes")

    def mount_as_at_boot(self):
        self.debian.run("mount", "--all")
        self.assertFalse(os.path.exists(self.debian / "mnt/notes/.varve"), "noauto")
        self.debian.run("mount", "/mnt/notes")
        self.assertEqual((self.debian / "mnt/notes/a").read_text(), "noted")
        (self.debian / "mnt/photos/p").write_bytes(b"picture" * 100000)

    def expect_as_before(self, daemons):
        self.assertEqual([self.daemon("mnt/notes"), self.daemon("mnt/photos")], daemons)
        self.assertEqual((self.debian / "mnt/notes/a").read_text(), "noted")
        content = (self.debian / "mnt/photos/p").read_bytes()
        self.assertEqual(hashlib.sha256(content).digest(),
                         hashlib.sha256(b"picture" * 100000).digest())
        (self.debian / "mnt/notes/b").write_text("written")
        self.assertEqual((self.debian / "mnt/notes/b").read_text(), "written")

    def test_installed_upgraded_removed_and_purged(self):
        self.debian = BareDebian(self.folder)
        self.addCleanup(run, "umount", "--lazy", "--recursive", self.folder)
        built = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        package = main_package(built)
        second = self.revised(package)
        first, second = self.debian.bring(package), self.debian.bring(second)
        before = self.debian.files()

        self.install(first)
        self.mount_by_fstab()
        self.mount_as_at_boot()
        daemons = [self.daemon("mnt/notes"), self.daemon("mnt/photos")]

        self.debian.apt("install", second)
        installed = self.debian.run("dpkg-query", "-W", "-f", "${Version}", "varve")
        self.assertRegex(installed.stdout.decode(), "-99$")
        self.expect_as_before(daemons)

        self.debian.apt("remove", "varve")
        self.assertFalse((self.debian / "usr/bin/varve").exists())
        self.expect_as_before(daemons)
        self.umount("mnt/notes")
        self.umount("mnt/photos")

        # dpkg has forgotten what had no configuration to leave behind.
        self.debian.run("dpkg", "-i", second)
        self.debian.apt("purge", "--autoremove", "varve")
        self.assertEqual(
            sorted(self.debian.files() - before - {"/etc/fstab"}),
            ["/mnt/notes", "/mnt/photos",
             "/srv/first.varve", "/srv/notes.varve", "/srv/photos.varve"],
        )
        for store in ("first", "notes", "photos"):
            run(varve_binary(), "check", self.debian / ("srv/%s.varve" % store))


if __name__ == "__main__":
    # Its mounts are nobody else's.
    if os.environ.get("VARVE_TEST_UNSHARED") is None:
        os.environ["VARVE_TEST_UNSHARED"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    junit.main()

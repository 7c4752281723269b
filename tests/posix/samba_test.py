#!/usr/bin/env python3
"""Past moments through Samba's shadow_copy2, as Windows' "Previous Versions"
asks for them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

from tests.kit import junit
from tests.kit.mounted import MountedStore, run, wait_until

MODULE = "/usr/lib/%s-linux-gnu/samba/vfs/shadow_copy2.so" % os.uname().machine
CONFIGURATION = """
[global]
  server role = standalone server
  map to guest = bad user
  guest account = root
  private dir = {state}
  lock directory = {state}
  state directory = {state}
  cache directory = {state}
  pid directory = {state}
  ncalrpc dir = {state}/ncalrpc
  log file = {state}/log
  smb ports = {port}
  interfaces = 127.0.0.1
  bind interfaces only = yes
  disable spoolss = yes
  load printers = no
[share]
  path = {path}
  guest ok = yes
  read only = no
  vfs objects = shadow_copy2
  shadow:snapdir = .varve/gmt
  shadow:sort = desc
  shadow:fixinodes = yes
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@unittest.skipUnless(shutil.which("smbd") and shutil.which("smbclient") and os.path.exists(MODULE),
                     "needs samba, samba-vfs-modules and smbclient")
class SambaTest(unittest.TestCase):
    def setUp(self):
        self.store = MountedStore("allow_other")
        self.enterContext(self.store)
        state = self.store.base / "samba"
        state.mkdir()
        self.port = free_port()
        configuration = state / "smb.conf"
        configuration.write_text(CONFIGURATION.format(
            state=state, port=self.port, path=self.store.root))
        self.server = subprocess.Popen(
            ["smbd", "--foreground", "--no-process-group", "-s", str(configuration),
             "--debug-stdout"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True)
        self.addCleanup(self.stop)
        wait_until(lambda: self.ask("ls").returncode == 0, "smbd does not answer")

    def stop(self):
        # With those that serve connections.
        os.killpg(self.server.pid, signal.SIGTERM)
        self.server.wait()

    def ask(self, commands, check=False):
        result = run("smbclient", "-s", "/dev/null", "-p", str(self.port), "-N",
                     "//127.0.0.1/share", "-c", commands, check=check)
        result.text = (result.stdout + result.stderr).decode()
        return result

    def get(self, path):
        out = self.store.base / "got"
        out.unlink(missing_ok=True)
        result = self.ask('get "%s" "%s"' % (path, out))
        self.assertEqual(result.returncode, 0, result.text)
        return out.read_text()

    def test_it_offers_previous_versions(self):
        (self.store / "folder").mkdir()
        (self.store / "folder/file").write_text("one")
        (self.store / "folder/other").write_text("gone later")
        (self.store / ".varve/snapshots/s").mkdir()
        # The names of moments count seconds.
        second = int(time.time())
        wait_until(lambda: int(time.time()) > second, "the clock stands still")
        (self.store / "folder/file").write_text("second")
        (self.store / "folder/other").unlink()
        listed = re.findall(r"@GMT-[0-9.-]+", self.ask("allinfo folder/file").text)
        self.assertTrue(listed)
        self.assertEqual(self.get("folder/file"), "second")
        self.assertEqual(self.get("%s/folder/file" % listed[0]), "one")
        self.assertEqual(self.get("%s/folder/other" % listed[0]), "gone later")
        names = self.ask("ls %s/folder/*" % listed[0]).text
        self.assertRegex(names, r"(?s)file .*other ")
        # Any second can be asked for, and nothing can be written there.
        self.assertNotEqual(self.ask("get @GMT-1990.01.01-00.00.00/folder/file /dev/null")
                            .returncode, 0)
        self.assertIn("NT_STATUS_", self.ask("rm %s/folder/file" % listed[0]).text)
        self.assertEqual(self.get("%s/folder/file" % listed[0]), "one")


if __name__ == "__main__":
    junit.main()

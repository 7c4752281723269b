#!/usr/bin/env python3
"""Looking into a mount that runs: metrics, `varve top` and `varve trace`."""

import errno
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from tests.cli.mount_command_test import (
    NO_PERMISSION, NOBODY, REFUSED, USAGE, MountTest, wait_until)
from tests.kit import junit
from tests.kit.mounted import run, varve_binary, wait_until

DOCUMENT = pathlib.Path("docs/metrics.md").absolute()
DASHBOARD = pathlib.Path("docs/grafana.json").absolute()

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')


def queries():
    """The expressions of all panels of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def find_promtool(add_cleanup):
    """Its path: where it is installed, or from Debian's package; empty if there is none."""
    if installed := shutil.which("promtool"):
        return installed
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return ""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="varve-promtool-", dir="/tmp"))
    add_cleanup(shutil.rmtree, folder)
    # Without a mirror the timeouts of apt would add up to minutes.
    apt = ["apt-get", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=20",
           "-o", "APT::Sandbox::User=root", "download", "prometheus"]
    try:
        subprocess.run(apt, cwd=folder, check=True, timeout=120,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return ""
    (package,) = folder.glob("prometheus_*.deb")
    run("dpkg", "-x", package, folder / "root")
    return str(folder / "root/usr/bin/promtool")


class Metrics:
    """What the text format says, each of its rules held."""

    def __init__(self, text):
        self.types = {}
        self.labels = {}
        self.samples = {}
        helped = set()
        assert text.endswith("\n")
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
                assert name not in helped, name
                helped.add(name)
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name in helped and kind in ("counter", "gauge", "histogram"), line
                assert kind != "counter" or name.endswith("_total"), line
                self.types[name] = kind
            else:
                self.add(line)

    def add(self, line):
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        family = name
        if name not in self.types:
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            assert self.types[family] == "histogram", line
        # Samples stand with their metric.
        assert family == list(self.types)[-1], line
        pairs = tuple(LABEL.findall(labels or ""))
        assert (name, pairs) not in self.samples, line
        self.samples[name, pairs] = float(value)
        self.labels.setdefault(family, set()).update(key for key, _ in pairs if key != "le")

    def __call__(self, name, **labels):
        return self.samples.get((name, tuple(labels.items())), 0)

    def histograms(self):
        """Name and labels of each, with its buckets."""
        found = {}
        for (name, pairs), value in self.samples.items():
            if name.endswith("_bucket"):
                rest = tuple(pair for pair in pairs if pair[0] != "le")
                bound = float(dict(pairs)["le"])
                found.setdefault((name.removesuffix("_bucket"), rest), []).append((bound, value))
        return found


class MonitorTest(MountTest):
    def metrics(self):
        return Metrics((self.mnt / ".varve/metrics").read_text())

    def start(self, *arguments, **options):
        options.setdefault("stdout", subprocess.PIPE)
        process = subprocess.Popen(
            [varve_binary(), *map(str, arguments)], stderr=subprocess.PIPE, text=True, **options)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


class OfAMount(MonitorTest):
    promtool_path = None  # unknown

    def test_figures_follow_what_happens(self):
        self.mount("-o", "compact=never")
        before = self.metrics()
        (self.mnt / "file").write_bytes(b"x" * 300000)
        descriptor = os.open(self.mnt / "file", os.O_RDWR)
        os.fsync(descriptor)
        opened = self.metrics()
        os.close(descriptor)
        with self.assertRaises(OSError) as caught:
            os.setxattr(self.mnt, "user.a", b"")
            os.setxattr(self.mnt, "user.a", b"", os.XATTR_CREATE)
        self.assertEqual(caught.exception.errno, errno.EEXIST)
        # Not what the kernel has kept.
        subprocess.run(["umount", self.mnt], check=True)
        wait_until(lambda: not self.is_mounted(), "unmounting")
        after = opened
        self.assertEqual(after("varve_requests_total", op="create"), 1)
        self.assertGreaterEqual(after("varve_requests_total", op="write"), 1)
        self.assertEqual(after("varve_written_bytes_total"), 300000)
        self.assertEqual(before("varve_written_bytes_total"), 0)
        self.assertGreaterEqual(after("varve_store_appended_bytes_total"), 300000)
        self.assertGreaterEqual(after("varve_store_sync_duration_seconds_count"), 1)
        self.assertGreaterEqual(after("varve_open_files"), 1)
        self.assertEqual(after("varve_store_bytes"), after("varve_store_durable_bytes"))
        self.assertEqual(after("varve_inodes"), before("varve_inodes") + 1)
        self.assertGreater(after("varve_memory_bytes", kind="anonymous"), 100000)
        # This very request is one, and what the kernel asks for by itself may be another.
        self.assertGreaterEqual(after("varve_requests_in_progress"), 1)

    def test_reads_and_errors(self):
        self.make_store()
        self.mount()
        (self.mnt / "file").read_bytes()
        self.assertRaises(OSError, os.getxattr, self.mnt / "file", "user.none")
        # A request is counted once its answer is on its way.
        wait_until(lambda: self.metrics()("varve_request_errors_total", errno="ENODATA") == 1 and
                   self.metrics()("varve_read_bytes_total") > 0, "the requests to be counted")
        now = self.metrics()
        self.assertEqual(now("varve_read_bytes_total"), len("content"))
        self.assertEqual(now("varve_request_errors_total", errno="ENODATA"), 1)

    def test_what_is_dead_and_compacted(self):
        self.mount("-o", "compact=never")
        (self.mnt / "file").write_bytes(os.urandom(3 << 20))
        (self.mnt / "file").unlink()
        # The kernel says only a moment later that nobody has the file any more.
        wait_until(lambda: self.metrics()("varve_store_history_bytes") > 3 << 20,
                   "the bytes of a deleted file to be kept for the past")
        self.assertLess(self.metrics()("varve_store_dead_bytes"), 1 << 20)
        self.varve("history", "policy", self.mnt, "within=0")
        wait_until(lambda: self.metrics()("varve_store_dead_bytes") > 3 << 20,
                   "the bytes of a deleted file to be dead")
        self.varve("compact", "--forget", self.mnt)
        now = self.metrics()
        self.assertLess(now("varve_store_dead_bytes"), 1 << 20)
        self.assertGreater(now("varve_compaction_reclaimed_bytes"), 2 << 20)
        self.assertEqual(now("varve_compaction_running"), 0)

    def test_histograms_add_up(self):
        self.mount()
        for i in range(50):
            (self.mnt / str(i)).write_text("x")

        def created():
            return self.metrics()("varve_request_duration_seconds_count", op="create")

        # A request is counted once its caller has the answer.
        wait_until(lambda: created() == 50, "all to be counted")
        now = self.metrics()
        for (name, labels), buckets in now.histograms().items():
            counts = [count for _, count in buckets]
            self.assertEqual(buckets, sorted(buckets), name)
            self.assertEqual(counts, sorted(counts), name)
            self.assertEqual(buckets[-1][0], float("inf"))
            self.assertEqual(buckets[-1][1], now(name + "_count", **dict(labels)))
        self.assertGreater(now("varve_request_duration_seconds_sum", op="create"), 0)

    def promtool(self, *arguments, text=b""):
        """What it says; its exit status has to be 0."""
        if OfAMount.promtool_path is None:
            OfAMount.promtool_path = find_promtool(self.addClassCleanup)
        if not OfAMount.promtool_path:
            self.skipTest("prometheus is not installed, and apt-get cannot download it")
        result = subprocess.run([OfAMount.promtool_path, *map(str, arguments)], input=text,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(result.returncode, 0, result.stdout.decode())
        return result.stdout.decode()

    def test_promtool_has_nothing_to_say(self):
        self.mount()
        (self.mnt / "file").write_text("x")
        self.assertRaises(OSError, os.getxattr, self.mnt / "file", "user.none")
        text = (self.mnt / ".varve/metrics").read_bytes()
        self.assertEqual(self.promtool("check", "metrics", text=text), "")

    def test_promtool_understands_the_dashboard(self):
        # As Grafana fills them in. JSON is YAML.
        variables = {"$job": "varve", "$instance": ".+", "$__rate_interval": "1m"}
        rules = []
        for query in queries():
            for name, value in variables.items():
                query = query.replace(name, value)
            self.assertNotIn("$", query)
            rules.append({"record": "panel:query:%d" % len(rules), "expr": query})
        file = self.folder / "rules.yml"
        file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        self.assertIn("%d rules found" % len(rules), self.promtool("check", "rules", file))
        rules[0]["expr"] += ")"
        file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        with self.assertRaisesRegex(AssertionError, "could not parse expression"):
            self.promtool("check", "rules", file)

    def test_the_document_lists_what_there_is(self):
        self.mount()
        (self.mnt / "file").write_text("x")
        self.assertRaises(OSError, os.getxattr, self.mnt / "file", "user.none")
        now = self.metrics()
        rows = re.findall(
            r"^\| `([a-z_]+)` \| (\w+) \| (.*?) \|", DOCUMENT.read_text(), re.MULTILINE)
        documented = {
            name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
        self.assertEqual(documented, {
            name: (kind, now.labels.get(name, set())) for name, kind in now.types.items()})

    def test_the_dashboard_asks_for_what_there_is(self):
        self.mount()
        now = self.metrics()
        known = set(now.types) | {
            name + suffix for name, kind in now.types.items() if kind == "histogram"
            for suffix in ("_bucket", "_sum", "_count")}
        text = DASHBOARD.read_text()
        asked_for = set(re.findall(r"\b(?:varve|process)_[a-z_]+", " ".join(queries())))
        self.assertGreater(len(asked_for), 20)
        self.assertEqual(asked_for - known, set())
        self.assertEqual(set(re.findall(r"label_values\((\w+)", text)), {"varve_build_info"})


class OnASocket(MonitorTest):
    def setUp(self):
        super().setUp()
        self.socket = self.folder / "metrics.sock"

    def get(self, target="/metrics"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket))
            client.sendall(b"GET %s HTTP/1.1\r\nHost: varve\r\n\r\n" % target.encode())
            with client.makefile("rb") as answer:
                head, _, body = answer.read().partition(b"\r\n\r\n")
        return head.decode(), body.decode()

    def test_the_same_figures(self):
        self.mount("-o", "metrics=%s" % self.socket)
        head, body = self.get()
        self.assertIn("200 OK", head)
        self.assertIn("Content-Type: text/plain; version=0.0.4", head)
        self.assertEqual(set(Metrics(body).types), set(self.metrics().types))
        self.varve("umount", self.mnt)
        self.assertFalse(self.socket.exists())

    def test_a_dead_daemon_is_in_nobodys_way(self):
        pid = self.mount("-o", "metrics=%s" % self.socket)
        os.kill(pid, signal.SIGKILL)
        self.mount("-o", "metrics=%s" % self.socket)
        self.assertIn("200 OK", self.get()[0])

    def test_what_is_in_use_is_refused(self):
        self.mount("-o", "metrics=%s" % self.socket)
        other = self.folder / "other"
        other.mkdir()
        text = self.refused("mount", "-o", "metrics=%s" % self.socket,
                            self.folder / "other.varve", other, status=13)
        self.assertIn("in use", text)
        self.socket.with_suffix(".txt").write_text("mine")
        self.refused("mount", "-o", "metrics=%s" % self.socket.with_suffix(".txt"),
                     self.folder / "other.varve", other, status=13)
        self.assertEqual(self.socket.with_suffix(".txt").read_text(), "mine")
        self.assertIn("200 OK", self.get()[0])

    def test_a_path_has_to_be_absolute(self):
        self.refused("mount", "-o", "metrics=m.sock", self.store, self.mnt, status=USAGE)

    def test_strangers_may_read_figures_and_no_trace(self):
        self.mount("-o", "metrics=%s" % self.socket)
        self.socket.chmod(0o666)
        program = (
            "import socket, sys\n"
            "s = socket.socket(socket.AF_UNIX)\n"
            "s.connect(sys.argv[1])\n"
            "s.sendall(b'GET %s HTTP/1.0\\r\\n\\r\\n' % sys.argv[2].encode())\n"
            "print(s.makefile().read())\n")
        as_nobody = ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups"]
        for target, status in (("/metrics", " 200 "), ("/trace", " 403 ")):
            answer = run(*as_nobody, "python3", "-c", program, self.socket, target, cwd="/")
            self.assertIn(status, answer.stdout.decode().splitlines()[0])


class Top(MonitorTest):
    def test_json_has_rates(self):
        self.mount()
        top = self.start("top", "--json", "--interval", "0.2", self.mnt)
        seen = {}
        for i in range(100):
            (self.mnt / str(i)).write_text("x" * 1000)
            if select.select([top.stdout], [], [], 0)[0]:
                seen = json.loads(top.stdout.readline())
            if seen.get("operations", {}).get("create"):
                break
        while not seen.get("operations", {}).get("create"):
            (self.mnt / "again").write_text("x")
            (self.mnt / "again").unlink()
            if select.select([top.stdout], [], [], 0)[0]:
                seen = json.loads(top.stdout.readline())
        self.assertGreater(seen["operations"]["create"]["per_second"], 0)
        self.assertGreater(seen["requests"]["p99_seconds"], 0)
        self.assertGreater(seen["store_bytes"], 0)
        # It ends with the mount.
        self.varve("umount", self.mnt)
        self.assertEqual(top.wait(60), 0)

    def test_text_fits_80_columns(self):
        self.mount()
        text = run(varve_binary(), "top", "--once", "--interval", "0.1", self.mnt).stdout.decode()
        for line in text.splitlines()[1:]:
            self.assertLessEqual(len(line), 80)
        self.assertIn("per second", text)

    def test_what_is_no_mount_is_refused(self):
        self.refused("top", self.mnt, status=REFUSED)

    def test_the_terminal_is_as_it_was(self):
        self.mount()
        leader, terminal = pty.openpty()
        self.addCleanup(os.close, leader)
        top = self.start("top", "--interval", "0.1", self.mnt, stdin=terminal, stdout=terminal,
                         start_new_session=True)
        os.close(terminal)
        shown = b""
        while b"per second" not in shown:
            shown += os.read(leader, 4096)
        self.assertTrue(shown.startswith(b"\x1b[?1049h\x1b[?25l"), shown)
        top.send_signal(signal.SIGINT)
        self.assertEqual(top.wait(60), 0)
        try:
            while True:
                shown += os.read(leader, 4096)
        except OSError:
            pass  # nobody has the terminal any more
        self.assertTrue(shown.endswith(b"\x1b[?25h\x1b[?1049l"), shown[-100:])


class Trace(MonitorTest):
    def trace(self, *arguments):
        process = self.start("trace", *arguments, self.mnt)
        # It is there once it is told of something.
        return process

    def lines_until(self, process, path, touch):
        """What is traced until something happens to `path`."""
        lines = []
        while not any(line.get("path") == path for line in lines):
            touch()
            while select.select([process.stdout], [], [], 0.05)[0]:
                line = process.stdout.readline()
                self.assertTrue(line, process.stderr.read() if not line else "")
                lines.append(json.loads(line))
                if lines[-1].get("path") == path:
                    break
        return lines

    def started(self, *arguments):
        process = self.trace("--json", *arguments)
        self.lines_until(process, "/started", lambda: (self.mnt / "started").exists() or
                         (self.mnt / "started").touch() or (self.mnt / "started").unlink())
        return process

    def rest(self, process):
        """What is traced until the mount ends."""
        self.varve("umount", self.mnt)
        lines = [json.loads(line) for line in process.stdout]
        self.assertEqual(process.wait(60), 0)
        return [line for line in lines if line["path"] != "/started"]

    def test_who_did_what_to_which_file(self):
        self.mount()
        process = self.started()
        (self.mnt / "a").write_text("four")
        os.mkdir(self.mnt / "sub")
        os.rename(self.mnt / "a", self.mnt / "sub/b\n")
        os.link(self.mnt / "sub/b\n", self.mnt / "c")
        os.symlink("somewhere", self.mnt / "link")
        self.assertRaises(OSError, os.getxattr, self.mnt / "c", "user.none")
        os.unlink(self.mnt / "c")
        lines = self.rest(process)
        told = [(line["op"], line["path"], line.get("target"), line["result"]) for line in lines]
        for expected in (
            ("create", "/a", None, "OK"),
            ("write", "/a", None, "OK"),
            ("mkdir", "/sub", None, "OK"),
            ("rename", "/a", "/sub/b\n", "OK"),
            ("link", "/sub/b\n", "/c", "OK"),
            ("symlink", "/link", "somewhere", "OK"),
            ("unlink", "/c", None, "OK"),
        ):
            self.assertIn(expected, told)
        self.assertIn("ENODATA", [line["result"] for line in lines if line["op"] == "getxattr"])
        create = next(line for line in lines if line["op"] == "create")
        self.assertEqual(create["pid"], os.getpid())
        self.assertEqual(create["command"], pathlib.Path("/proc/self/comm").read_text().strip())
        self.assertGreater(create["seconds"], 0)
        self.assertEqual(next(line["bytes"] for line in lines if line["op"] == "write"), 4)
        # Who looks at the mount through .varve is not looked at.
        self.assertNotIn("/.varve", [line["path"] for line in lines])

    def test_only_what_was_asked_for(self):
        self.mount()
        process = self.started("--op", "unlink", "--op", "mkdir", "--op", "create")
        other = self.trace("--json", "--pid", "1")
        slow = self.trace("--json", "--slower-than", "1h")
        os.mkdir(self.mnt / "sub")
        os.rmdir(self.mnt / "sub")
        run("sh", "-c", "mkdir sub2", cwd=self.mnt)
        lines = self.rest(process)
        self.assertEqual([(line["op"], line["path"]) for line in lines],
                         [("mkdir", "/sub"), ("mkdir", "/sub2")])
        for process in (other, slow):
            self.assertEqual(process.stdout.read(), "")

    def test_text_has_a_line_each_and_ends_with_a_signal(self):
        self.mount()
        process = self.trace("--op", "mkdir")
        number = 0
        while not select.select([process.stdout], [], [], 0.02)[0]:
            os.mkdir(self.mnt / str(number))
            number += 1
        line = process.stdout.readline()
        self.assertRegex(
            line, r"\A\d\d:\d\d:\d\d\.\d{6} +%d \S+ +mkdir +OK +\d+\.\d{3} ms  /\d+\n\Z"
            % os.getpid())
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(60), 0)
        os.mkdir(self.mnt / "after")

    def test_the_mount_is_not_kept_busy(self):
        self.mount()
        process = self.started()
        run("umount", self.mnt)
        self.assertEqual(process.wait(60), 0)

    def test_who_does_not_read_holds_up_nobody(self):
        self.mount()
        process = self.started()
        process.send_signal(signal.SIGSTOP)
        for _ in range(12000):
            os.mkdir(self.mnt / "d")
            os.rmdir(self.mnt / "d")
        process.send_signal(signal.SIGCONT)
        unmounting = self.start("umount", self.mnt)
        lines = [json.loads(line) for line in process.stdout]
        self.assertEqual(process.wait(60), 0)
        lost = sum(line.get("lost", 0) for line in lines)
        self.assertGreater(lost, 0)
        self.assertEqual(unmounting.wait(60), 0)
        told = sum(line.get("op") in ("mkdir", "rmdir") for line in lines)
        self.assertLess(told, 24000)

    def test_others_may_not_look(self):
        self.mount("-o", "allow_other")
        (self.mnt / "x").write_text("x")
        binary = self.folder / "varve"
        shutil.copy(varve_binary(), binary)
        binary.chmod(0o755)
        result = run("setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups",
                     binary, "trace", self.mnt, check=False, cwd="/")
        self.assertEqual(result.returncode, NO_PERMISSION, result.stderr)
        self.assertEqual((self.mnt / ".varve/trace").stat().st_mode & 0o777, 0o400)

    def test_bad_arguments_are_told(self):
        self.mount()
        for arguments in (("--op", "a&b"), ("--slower-than", "10"), ("--pid", "x")):
            self.refused("trace", *arguments, self.mnt, status=USAGE)
        self.varve("umount", self.mnt)
        self.refused("trace", self.mnt, status=REFUSED)

    def test_tools_at_work(self):
        if shutil.which("git") is None:
            self.skipTest("git is not installed")
        self.mount()
        process = self.started("--op", "rename", "--op", "create")
        work = self.mnt / "work"
        work.mkdir()
        (work / "file").write_text("content")
        run("git", "init", "-q", cwd=work)
        run("git", "add", "file", cwd=work)
        run("tar", "-cf", self.folder / "all.tar", "work", cwd=self.mnt)
        renames = self.rest(process)
        self.assertIn(("git", "/work/.git/index.lock", "/work/.git/index"), [
            (line["command"], line["path"], line.get("target")) for line in renames])


if __name__ == "__main__":
    junit.main()

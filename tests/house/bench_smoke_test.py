#!/usr/bin/env python3
"""The benchmarks of mounts, in small: that they measure, report and clean up."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from tests.kit import io_uring
from tests.kit import junit
from tests.kit.mounted import varve_binary, wait_until

BENCH = os.path.join(os.getcwd(), "tools", "bench")
TARGETS = ["host", "varve", "floor"]

sys.path.insert(0, BENCH)

import mount_report  # noqa: E402
from mount_workloads import BY_NAME, WORKLOADS  # noqa: E402


def mounts_below(folder):
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        return [line.split()[4] for line in mounts if line.split()[4].startswith(str(folder))]


class BenchRun(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR")))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.work = self.folder / "work"
        self.work.mkdir()
        self.json = self.folder / "results.json"
        self.output = self.progress = ""

    def start(self, *arguments, varve=None):
        return subprocess.Popen(
            [sys.executable, os.path.join(BENCH, "mount_bench.py"), "--no-sync",
             "--targets", ",".join(TARGETS), "--scale", "0.01", "--files", "60",
             "--big-mib", "1", "--rounds", "1", "--dir", str(self.work),
             "--varve", varve or varve_binary(),
             "--floor-program", os.path.join(BENCH, "floor"), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def run_bench(self, *arguments, **options):
        process = self.start("--json", str(self.json), *arguments, **options)
        self.output, self.progress = process.communicate(timeout=300)
        return process.returncode

    def expect_nothing_left(self):
        self.assertEqual(mounts_below(self.work), [])
        self.assertEqual(os.listdir(self.work), [])

    def test_measures_every_workload_on_every_target(self):
        self.assertEqual(self.run_bench(), 0, self.progress)
        results = json.loads(self.json.read_text())
        self.assertEqual(results["failures"], [])
        self.assertEqual(results["targets"], TARGETS)
        self.assertEqual(list(results["samples"]), list(BY_NAME))
        for name, samples in results["samples"].items():
            self.assertEqual(sorted(samples), sorted(TARGETS), name)
            for target, seconds in samples.items():
                self.assertEqual(len(seconds), 1, (name, target))
                self.assertGreater(seconds[0], 0, (name, target))
                self.assertEqual(results["medians"][name][target], seconds[0])
        self.assertGreater(results["geometric_means"]["varve/host"], 0)
        self.assertEqual(results["facts"]["settings"]["files"], 60)
        lines = self.output.splitlines()
        self.assertEqual(len(lines), len(WORKLOADS) + 2)
        for workload, line in zip(WORKLOADS, lines[1:]):
            self.assertTrue(line.startswith(workload.title), line)
        self.expect_nothing_left()

    def test_runs_what_a_workload_needs_without_reporting_it(self):
        self.assertEqual(self.run_bench("--workloads", "rm,rename"), 0)
        results = json.loads(self.json.read_text())
        self.assertEqual(list(results["samples"]), ["rename", "rm"])

    @unittest.skipUnless(io_uring.is_there(), "the kernel has no FUSE over io_uring")
    def test_has_the_kernel_offer_io_uring(self):
        for offered in (False, True):
            with io_uring.offered(offered):
                self.assertEqual(self.run_bench("--io-uring", "--workloads", "untar"), 0)
                facts = json.loads(self.json.read_text())["facts"]
                self.assertTrue(facts["io_uring_offered"])
                self.assertEqual(self.run_bench("--workloads", "untar"), 0)
                facts = json.loads(self.json.read_text())["facts"]
                self.assertEqual(facts["io_uring_offered"], offered)

    def test_reports_a_file_system_that_fails(self):
        self.assertEqual(self.run_bench("--workloads", "untar,rm", varve="/bin/false"), 1)
        failures = json.loads(self.json.read_text())["failures"]
        self.assertEqual([failure["target"] for failure in failures], ["varve"])
        self.assertIn("FAILED: mount on varve", self.output)
        self.expect_nothing_left()

    def test_reports_work_that_was_not_done(self):
        tools = self.folder / "tools"
        tools.mkdir()
        for name in ("cp", "find"):
            (tools / name).symlink_to("/bin/true")
        path = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", path)
        os.environ["PATH"] = "%s:%s" % (tools, path)
        self.assertEqual(self.run_bench("--workloads", "cp,rename,find-again,rm"), 1)
        results = json.loads(self.json.read_text())
        failed = {(failure["workload"], failure["target"]) for failure in results["failures"]}
        self.assertEqual(failed, {
            (name, target) for name in ("cp", "rename", "find-again") for target in TARGETS})
        self.assertIsNone(results["medians"]["cp"]["varve"])
        self.assertGreater(results["medians"]["rm"]["varve"], 0)

    def test_unmounts_when_it_is_ended(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            process = self.start("--rounds", "1000", "--targets", "floor,varve")
            wait_until(lambda: mounts_below(self.work), "something is mounted")
            process.send_signal(number)
            process.communicate(timeout=300)
            self.assertEqual(process.returncode, 128 + number)
            self.expect_nothing_left()


class ScaleRun(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR")))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.work = self.folder / "work"
        self.work.mkdir()

    def run_bench(self, *arguments):
        return subprocess.run(
            [sys.executable, os.path.join(BENCH, "scale_bench.py"), "--dir", str(self.work),
             "--files", "1000", "--file-gib", "1", "--store-gib", "1", "--rounds", "1",
             "--snapshots", "20",
             *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=300, check=False)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_measures_every_part_with_a_mount(self):
        results = self.folder / "results.json"
        done = self.run_bench("--parts", "names,file,store", "--varve", varve_binary(),
                              "--json", str(results))
        self.assertEqual(done.returncode, 0, done.stdout)
        rows = json.loads(results.read_text())
        for what, part in (("1000 files", 1), ("killed after", 2), ("a file of 1 GiB", 2),
                           ("a store of 1 GiB", 5)):
            self.assertEqual(
                sum(row["what"].strip().startswith(what) for row in rows), part, rows)
        for row in rows:
            self.assertGreater(row["value"], 0, row)
        self.assertEqual(mounts_below(self.work), [])
        self.assertEqual(os.listdir(self.work), [])

    def run_tree(self, *arguments):
        return self.run_bench("--parts", "tree", "--changes", "1000", "--dir", str(self.work),
                              *arguments)

    def test_measures_a_tree_without_a_mount(self):
        results = self.folder / "results.json"
        done = self.run_tree("--files", "10000", "--json", str(results),
                             "--tree-bench", os.path.join(BENCH, "tree_bench"))
        self.assertEqual(done.returncode, 0, done.stdout)
        rows = json.loads(results.read_text())
        names = [row["what"].strip() for row in rows]
        for what in ("10000 files in a tree: made at", "an empty store: opened in",
                     "opened in, beyond an empty store",
                     "killed after 1000 changes: opened in, beyond a clean one",
                     "removing a thousand more, against the first thousand", "listing all",
                     "written by them for each byte of the log, changes at random",
                     "making a snapshot, after 100 changes each",
                     "opening a snapshot", "comparing two neighbours",
                     "a compaction that keeps 20 of them", "removing all",
                     "a file of 1024 MiB: read for the first time, against the next"):
            self.assertIn(what, names)
        waits = [row for row in rows if "histogram" in row]
        # Beside checkpoints, both kinds of compaction, counting, and punching among clones.
        self.assertEqual(len(waits), 5)
        for row in waits:
            self.assertEqual(sum(count for _, count in row["histogram"]), row["operations"])
        for row in rows:
            # Of two times that hardly differ, either may be the longer one; no image of the
            # index may have been due; and a part that nobody waited for tells of no wait.
            if not re.search("beyond|images|tells of", row["what"]):
                self.assertGreater(row["value"], 0, row)
        self.assertEqual(os.listdir(self.work), [])

    def test_says_where_a_tree_cannot_be_measured(self):
        done = self.run_tree("--tree-bench", "/bin/false")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("tools/bench/scale: /bin/false make", done.stdout)
        self.assertEqual(os.listdir(self.work), [])

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_says_what_cannot_be_run(self):
        done = self.run_bench("--parts", "names", "--varve", "/bin/false")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("tools/bench/scale: varve ended", done.stdout)
        self.assertEqual(os.listdir(self.work), [])


class Verdict(unittest.TestCase):
    def check(self, **seconds):
        """Of results in which each workload takes each target so long."""
        results = mount_report.Results(WORKLOADS, list(seconds))
        for workload in WORKLOADS:
            for target, time in seconds.items():
                results.add(workload, target, time)
        lines, are_reached = mount_report.check(results)
        return lines.splitlines(), are_reached

    def test_is_reached_when_all_targets_are(self):
        lines, are_reached = self.check(host=1.0, varve=1.05, bindfs=3.2, fuse2fs=8.5)
        self.assertTrue(are_reached, lines)

    def test_is_missed_when_one_target_is(self):
        lines, are_reached = self.check(host=1.0, varve=1.05, bindfs=3.0, fuse2fs=8.5)
        self.assertFalse(are_reached)
        self.assertEqual([line for line in lines if line.startswith("missed")], [
            "missed   geometric mean of bindfs/varve, at least 3: 2.86"])

    def test_is_reached_near_the_floor(self):
        lines, are_reached = self.check(host=0.1, varve=1.0, bindfs=0.9, fuse2fs=2.0, floor=0.8)
        self.assertTrue(are_reached, lines)
        self.assertIn(
            "reached  rename: varve/host, at most 3: 10.00; missed, but varve/floor is 1.25",
            lines)

    def test_is_missed_by_what_was_not_measured(self):
        lines, are_reached = self.check(host=1.0, varve=1.05, bindfs=3.2)
        self.assertFalse(are_reached)
        self.assertIn("missed   geometric mean of fuse2fs/varve, at least 8: not measured", lines)


if __name__ == "__main__":
    junit.main()

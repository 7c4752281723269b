#!/usr/bin/env python3
"""Tests tools/count_tests.py, on whose last line CI relies."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

from tests.kit import junit

SCRIPT = os.path.join("tools", "count_tests.py")

THREE_CASES = """<testsuites><testsuite>
  <testcase name="a" classname="S"/>
  <testcase name="b" classname="S"><failure message="no"/></testcase>
  <testcase name="c" classname="S" result="skipped"><skipped/></testcase>
  <testcase name="DISABLED_d" classname="S" status="notrun"/>
</testsuite></testsuites>"""
ONE_CASE = '<testsuites><testsuite><testcase name="a"/></testsuite></testsuites>'


class CountTests(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="count tests ")
        self.addCleanup(self.folder.cleanup)
        self.events = []

    def add_result(self, label, status, xml=None, attempt=1):
        outputs = []
        if xml is not None:
            path = os.path.join(self.folder.name, "%d.xml" % len(self.events))
            with open(path, "w", encoding="utf-8") as file:
                file.write(xml)
            uri = "file://" + path.replace(" ", "%20")
            outputs.append({"name": "test.xml", "uri": uri})
        identity = {"label": label, "run": 1, "shard": 1, "attempt": attempt}
        self.events.append({
            "id": {"testResult": identity},
            "testResult": {"status": status, "testActionOutput": outputs},
        })

    def add_unbuilt(self, label, kind):
        self.events.append({
            "id": {"targetConfigured": {"label": label}},
            "configured": {"targetKind": kind},
        })
        self.events.append({"id": {"targetCompleted": {"label": label}}, "completed": {}})

    def count(self, bazel_exit_code):
        """Returns the last line and the exit code."""
        path = os.path.join(self.folder.name, "events")
        with open(path, "w", encoding="utf-8") as file:
            for event in self.events:
                file.write(json.dumps(event) + "\n")
        done = subprocess.run(
            [sys.executable, SCRIPT, path, str(bazel_exit_code)],
            stdout=subprocess.PIPE, text=True, check=False,
        )
        return done.stdout.splitlines()[-1], done.returncode

    def test_counts_cases_not_targets(self):
        self.add_result("//a:a_test", "FAILED", THREE_CASES)
        self.add_result("//a:b_test", "PASSED", ONE_CASE)
        self.assertEqual(self.count(3), ("2 passed, 1 failed, 1 skipped", 1))

    def test_success_exits_with_zero(self):
        self.add_result("//a:a_test", "PASSED", ONE_CASE)
        self.assertEqual(self.count(0), ("1 passed, 0 failed", 0))

    def test_a_test_without_report_is_one_case(self):
        self.add_result("//a:a_test", "PASSED")
        self.add_result("//a:b_test", "TIMEOUT")
        self.assertEqual(self.count(3), ("1 passed, 1 failed", 1))

    def test_a_crash_after_the_last_case_is_a_failure(self):
        self.add_result("//a:a_test", "FAILED", ONE_CASE)
        self.assertEqual(self.count(3), ("1 passed, 1 failed", 1))

    def test_only_the_last_attempt_counts(self):
        self.add_result("//a:a_test", "FAILED", THREE_CASES, attempt=1)
        self.add_result("//a:a_test", "PASSED", ONE_CASE, attempt=2)
        self.assertEqual(self.count(0), ("1 passed, 0 failed", 0))

    def test_each_test_that_does_not_build_is_a_failure(self):
        self.add_unbuilt("//a:a_test", "cc_test rule")
        self.add_unbuilt("//a:b_test", "sh_test rule")
        self.add_unbuilt("//a:library", "cc_library rule")
        self.assertEqual(self.count(1), ("0 passed, 2 failed", 1))

    def test_a_failed_build_is_a_failure_even_if_all_tests_pass(self):
        self.add_result("//a:a_test", "PASSED", ONE_CASE)
        self.add_unbuilt("//a:library", "cc_library rule")
        self.assertEqual(self.count(1), ("1 passed, 1 failed", 1))

    def test_no_test_is_no_success(self):
        self.assertEqual(self.count(4), ("0 passed, 0 failed", 1))


if __name__ == "__main__":
    junit.main()

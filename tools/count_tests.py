#!/usr/bin/env python3
"""Counts the test cases of one `bazel test` run; a helper of tools/test.

usage: count_tests.py EVENTS EXIT_CODE

EVENTS is what bazel's --build_event_json_file wrote, EXIT_CODE what bazel
returned. Only results that the run itself reports are read, so that files which
an earlier run left behind do not count; results from Bazel's cache do.

Prints the cases that failed, then as the last line `N passed, N failed`, and
`, N skipped` where some were. Exits with 0 if tests ran and all passed.
"""

import json
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

NO_TESTS_FOUND = 4  # What bazel returns then.


class Counts:
    """Passed, failed and skipped cases, and the names of the failed ones."""

    def __init__(self):
        self.passed = 0
        self.skipped = 0
        self.failures = []

    def add_case(self, label, case):
        name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
        if case.find("failure") is not None or case.find("error") is not None:
            self.failures.append("%s %s" % (label, name))
        elif case.find("skipped") is not None or case.get("result") == "skipped":
            self.skipped += 1
        elif case.get("status") != "notrun":  # A disabled case of GoogleTest.
            self.passed += 1

    def line(self):
        text = "%d passed, %d failed" % (self.passed, len(self.failures))
        return text + (", %d skipped" % self.skipped if self.skipped else "")


def read_events(path):
    """The events in the file; a run that was cut short may leave half a line."""
    events = []
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                events.append(json.loads(line))
    except (OSError, ValueError):
        pass
    return events


def last_results(events):
    """Test results by target, run and shard, each from the last attempt."""
    results = {}
    for event in events:
        key = event.get("id", {}).get("testResult")
        if key and "testResult" in event:
            place = (key["label"], key.get("run", 0), key.get("shard", 0))
            attempt = key.get("attempt", 0)
            if place not in results or results[place][0] <= attempt:
                results[place] = (attempt, event["testResult"])
    return {place: result for place, (_, result) in results.items()}


def test_cases(result):
    """The cases that a test reported, or none if it left no readable report."""
    for output in result.get("testActionOutput", []):
        if output.get("name") == "test.xml":
            path = urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
            try:
                return list(ElementTree.parse(path).iter("testcase"))
            except (OSError, ElementTree.ParseError):
                return []
    return []


def unbuilt_tests(events):
    """Labels of the test targets that could not be built."""
    tests = set()
    unbuilt = set()
    for event in events:
        identity = event.get("id", {})
        if event.get("configured", {}).get("targetKind", "").endswith("_test rule"):
            tests.add(identity["targetConfigured"]["label"])
        if "targetCompleted" in identity and not event.get("completed", {}).get("success"):
            unbuilt.add(identity["targetCompleted"]["label"])
    return sorted(tests & unbuilt)


def count(events):
    counts = Counts()
    for (label, _, _), result in sorted(last_results(events).items()):
        cases = test_cases(result)
        failures_before = len(counts.failures)
        for case in cases:
            counts.add_case(label, case)
        passed = result.get("status") in ("PASSED", "FLAKY")
        if passed and not cases:
            counts.passed += 1
        elif not passed and len(counts.failures) == failures_before:
            # It crashed, timed out, or failed after its last case.
            counts.failures.append("%s (%s)" % (label, result.get("status", "no status")))
    for label in unbuilt_tests(events):
        counts.failures.append("%s (not built)" % label)
    return counts


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    exit_code = int(sys.argv[2])
    counts = count(read_events(sys.argv[1]))
    if exit_code not in (0, NO_TESTS_FOUND) and not counts.failures:
        counts.failures.append("bazel test (exit code %d, see above)" % exit_code)
    for failure in counts.failures:
        print("FAILED: " + failure)
    if not counts.passed and not counts.failures:
        print("No test was run.")
    print(counts.line())
    sys.exit(0 if counts.passed and not counts.failures else 1)


if __name__ == "__main__":
    main()

"""Runs unittest cases under Bazel and reports each one as a test case.

A test file ends with

    if __name__ == "__main__":
        junit.main()

and gets one <testcase> per test method in $XML_OUTPUT_FILE, which is where
Bazel looks for it and tools/test counts it. With the argument --io-uring, the
kernel offers FUSE over io_uring meanwhile, and each MountedStore uses it; where
there is no such thing, all cases are skipped.
"""

import contextlib
import os
import sys
import time
import unittest
import xml.etree.ElementTree as ElementTree

from tests.kit import io_uring


class _Result(unittest.TextTestResult):
    """Remembers for each case how it ended and how long it took."""

    def __init__(self, *args):
        super().__init__(*args)
        self.cases = {}  # test id -> [test, seconds, kind, message]
        self._begun = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.cases[test.id()] = [test, 0.0, "passed", ""]
        self._begun = time.monotonic()

    def stopTest(self, test):
        self.cases[test.id()][1] = time.monotonic() - self._begun
        super().stopTest(test)

    def _end(self, test, kind, message):
        # A fixture of a class or module that fails has never been started.
        case = self.cases.setdefault(test.id(), [test, 0.0, kind, ""])
        case[2] = kind
        case[3] += message

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._end(test, "failure", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        super().addError(test, err)
        self._end(test, "error", self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._end(test, "skipped", reason)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._end(test, "failure", self._exc_info_to_string(err, subtest))

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._end(test, "failure", "unexpected success")


def _printable(text):
    """Drops what XML 1.0 cannot hold."""
    return "".join(c for c in text if c in "\n\t" or (c >= " " and c not in "\ufffe\uffff"))


def _write_xml(path, cases):
    suite = ElementTree.Element("testsuite", name=os.path.basename(sys.argv[0]))
    for test, seconds, kind, message in cases:
        group, _, name = test.id().rpartition(".")
        case = ElementTree.SubElement(
            suite, "testcase", classname=group, name=name, time="%.3f" % seconds
        )
        if kind != "passed":
            ElementTree.SubElement(case, kind).text = _printable(message)
    kinds = [case[2] for case in cases]
    suite.set("tests", str(len(kinds)))
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(kinds.count(kind)))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _by_io_uring(suite):
    """What to run the suite in, so that its mounts use io_uring; and the suite."""
    if "--io-uring" not in sys.argv[1:]:
        return contextlib.nullcontext(), suite
    if io_uring.is_there():
        io_uring.mount_options = "io_uring"
        return io_uring.offered(), suite

    @unittest.skip("the kernel has no FUSE over io_uring, or not for us")
    class ByIoUring(unittest.TestCase):
        def test_all_cases(self):
            pass

    return contextlib.nullcontext(), unittest.TestSuite([ByIoUring("test_all_cases")])


def main():
    """Runs the cases of the calling script, or those whose names are given."""
    loader = unittest.TestLoader()
    module = sys.modules["__main__"]
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if wanted:
        suite = loader.loadTestsFromNames(wanted, module)
    else:
        suite = loader.loadTestsFromModule(module)
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=_Result)
    context, suite = _by_io_uring(suite)
    with context:
        result = runner.run(suite)
    path = os.environ.get("XML_OUTPUT_FILE")
    if path:
        _write_xml(path, list(result.cases.values()))
    if not result.cases:
        sys.exit("no test case was found")
    sys.exit(0 if result.wasSuccessful() else 1)

#!/usr/bin/env python3
"""House rules, as tests: one case per rule, over every file of the tree."""

import os
import re
import shutil
import subprocess
import unittest

from tests.kit import junit

CPP = (".cc", ".h")
TEXT = CPP + (".bazel", ".bzl", ".md", ".py", ".sh")
TOP_LEVEL = {
    "BUILD.bazel", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "WORKSPACE",
    "docs", "engine", "fs", "tests", "tools",
    "dist",  # From tools/package; git ignores it.
}
MAX_COLUMNS = 100
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
# Spelled in parts, for this file is searched as well.
LEFTOVER_MARKS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
SLEEP = re.compile(r"sleep_for|sleep_until|\busleep\s*\(|\bnanosleep\s*\(|SleepFor|[^_\w]sleep\(\d")
# Files whose code may sleep, and whose functions nobody ships.
TEST_CODE = re.compile(r"(^tests/)|_(test|fuzz|benchmark)\.cc$|(^|_)test(ing)?_\w*\.(cc|h)$")


def find_root():
    """The source tree, to which WORKSPACE among the test's data points."""
    for start in (os.getcwd(), os.path.dirname(os.path.abspath(__file__))):
        while start != "/":
            marker = os.path.join(start, "WORKSPACE")
            if os.path.exists(marker):
                return os.path.dirname(os.path.realpath(marker))
            start = os.path.dirname(start)
    raise AssertionError("no WORKSPACE above this test")


def is_bazel_link(path):
    return os.path.islink(path) and os.path.basename(path).startswith("bazel-")


def is_script(path):
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


ROOT = find_root()


def list_files():
    """Paths of all ordinary files, relative to the root, without test data."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        relative = os.path.relpath(folder, ROOT)
        folders[:] = sorted(
            name for name in folders
            if name not in ("testdata", "__pycache__")
            and not (relative == "." and name.startswith(".") and name != ".ci")
            and not os.path.islink(os.path.join(folder, name))
        )
        for name in sorted(files):
            path = os.path.normpath(os.path.join(relative, name))
            if not os.path.islink(os.path.join(ROOT, path)):
                found.append(path)
    return found


FILES = list_files()
CPP_FILES = [path for path in FILES if path.endswith(CPP)]
SCRIPTS = [path for path in FILES if is_script(os.path.join(ROOT, path))]
TEXT_FILES = [path for path in FILES if path.endswith(TEXT) or path in SCRIPTS]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def lines_of(paths):
    for path in paths:
        for number, line in enumerate(read(path).splitlines(), 1):
            yield path, number, line


_TOKEN = re.compile(
    r'R"(?P<mark>[^()\s]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])+\''
    r"|//[^\n]*|/\*.*?\*/|^[ \t]*#(?:\\\n|[^\n])*",
    re.DOTALL | re.MULTILINE,
)

# What opens a type or namespace; parentheses may follow the colon, in a base.
_TYPE_HEAD = re.compile(
    r"\s*(template\s*<.*>\s*)?(inline\s+)?(namespace|class|struct|enum|union)\b"
    r"[^(]*((?<!:):(?!:).*)?$",
    re.DOTALL,
)
_ACCESS = ("public", "protected", "private")


def blank(source):
    """`source` without comments, literals and directives; lines stay in place."""
    return _TOKEN.sub(lambda match: "\n" * match.group().count("\n"), source)


def functions(source):
    """Yields (first line, last line) of each outermost function, roughly.

    A brace opens a function if what stands before it has a parameter list and
    declares no type or namespace, and no function is open around it.
    """
    text = blank(source)
    stack = []  # For each open brace, the line of its function's head or None.
    head = ""
    head_line = line = 1
    for character in text:
        if character == "\n":
            line += 1
        if character == "{":
            inside = any(first is not None for first in stack)
            is_function = "(" in head and not _TYPE_HEAD.match(head) and not inside
            stack.append(head_line if is_function else None)
        elif character == "}" and stack:
            first = stack.pop()
            if first is not None:
                yield first, line
        if character in "{};" or (character == ":" and head.strip() in _ACCESS):
            head = ""
        else:
            if not head.strip():
                head_line = line
            head += character


class FunctionCounter(unittest.TestCase):
    def test_sees_functions_and_methods_but_not_types(self):
        source = (
            "namespace n {\n"
            "class A final : public B<int(char)> {\n"
            "  int a() const { return 1; }\n"
            "  struct C {\n  };\n"
            "};\n"
            "// f() {\n"
            "int f(\n    struct stat* s) {\n"
            "  if (*s == '{') {\n    return \"}\"[0];\n  }\n"
            "}\n"
            "}\n"
        )
        self.assertEqual(list(functions(source)), [(3, 3), (8, 13)])


class HouseRules(unittest.TestCase):
    def expect_none(self, offences, advice):
        offences = list(offences)
        if offences:
            self.fail("%s\n  %s" % (advice, "\n  ".join(offences)))

    def test_top_level_holds_only_what_belongs_there(self):
        self.expect_none(
            (
                name for name in sorted(os.listdir(ROOT))
                if name not in TOP_LEVEL
                and not name.startswith(".")
                and not is_bazel_link(os.path.join(ROOT, name))
            ),
            "entries that are not expected at the top level:",
        )

    def test_cpp_is_formatted(self):
        tool = shutil.which("clang-format")
        self.assertIsNotNone(tool, "clang-format is missing: run tools/setup --test")
        self.expect_none(
            (
                path for path in CPP_FILES
                if subprocess.run(
                    [tool, "--dry-run", "-Werror", path],
                    cwd=ROOT, stderr=subprocess.DEVNULL, check=False,
                ).returncode
            ),
            "run `clang-format -i` on:",
        )

    def test_lines_are_short(self):
        paths = [path for path in TEXT_FILES if not path.endswith(".md")]
        self.expect_none(
            (
                "%s:%d: %d columns" % (path, number, len(line))
                for path, number, line in lines_of(paths)
                if len(line) > MAX_COLUMNS and "://" not in line
            ),
            "lines beyond %d columns:" % MAX_COLUMNS,
        )

    def test_lines_have_no_trailing_space(self):
        self.expect_none(
            (
                "%s:%d" % (path, number)
                for path, number, line in lines_of(TEXT_FILES)
                if line != line.rstrip()
            ),
            "white space at the end of lines:",
        )

    def test_files_end_with_one_newline(self):
        self.expect_none(
            (
                path for path in TEXT_FILES
                if not read(path).endswith("\n") or read(path).endswith("\n\n")
            ),
            "files that do not end with exactly one newline:",
        )

    def test_cpp_has_no_tabs(self):
        self.expect_none(
            (
                "%s:%d" % (path, number)
                for path, number, line in lines_of(CPP_FILES)
                if "\t" in line
            ),
            "tabs:",
        )

    def test_files_are_short(self):
        self.expect_none(
            (
                "%s: %d lines" % (path, read(path).count("\n"))
                for path in CPP_FILES
                if read(path).count("\n") > MAX_FILE_LINES
            ),
            "C++ files beyond %d lines:" % MAX_FILE_LINES,
        )

    def test_functions_are_short(self):
        self.expect_none(
            (
                "%s:%d: %d lines" % (path, first, last - first + 1)
                for path in CPP_FILES
                for first, last in functions(read(path))
                if last - first + 1 > MAX_FUNCTION_LINES
            ),
            "functions beyond %d lines:" % MAX_FUNCTION_LINES,
        )

    def test_no_marks_are_left_over(self):
        self.expect_none(
            (
                "%s:%d: %s" % (path, number, line.strip())
                for path, number, line in lines_of(TEXT_FILES)
                if LEFTOVER_MARKS.search(line)
            ),
            "marks of unfinished work; finish it, or write down why it stays open:",
        )

    def test_headers_have_guards_named_after_their_path(self):
        offences = []
        for path in CPP_FILES:
            guard = "VARVE_" + re.sub(r"\W", "_", path).upper() + "_"
            wanted = r"^#ifndef %s\n#define %s$.*^#endif  // %s\n\Z" % (guard, guard, guard)
            if path.endswith(".h") and not re.search(wanted, read(path), re.DOTALL | re.MULTILINE):
                offences.append("%s: %s" % (path, guard))
        self.expect_none(offences, "headers without the guard:")

    def test_sleeps_have_a_reason(self):
        offences = []
        before = ""
        for path, number, line in lines_of(CPP_FILES):
            reasoned = "// sleep:" in line or "// sleep:" in before
            before = line
            if SLEEP.search(line) and not reasoned and not TEST_CODE.search(path):
                offences.append("%s:%d: %s" % (path, number, line.strip()))
        self.expect_none(offences, "sleeps without `// sleep: <reason>` beside them:")

    def test_every_source_is_built(self):
        offences = []
        for path in CPP_FILES:
            folder, name = os.path.split(path)
            build = os.path.join(folder, "BUILD.bazel")
            if build not in FILES or '"%s"' % name not in read(build):
                offences.append(path)
        self.expect_none(offences, "sources that their folder's BUILD.bazel does not name:")

    def test_scripts_are_executable_and_strict(self):
        offences = []
        for path in SCRIPTS:
            if not os.access(os.path.join(ROOT, path), os.X_OK):
                offences.append(path + ": not executable")
            if "bash" in read(path).split("\n", 1)[0]:
                if "\nset -euo pipefail\n" not in read(path):
                    offences.append(path + ": no `set -euo pipefail`")
                if subprocess.run(["bash", "-n", path], cwd=ROOT, check=False).returncode:
                    offences.append(path + ": does not parse")
        self.expect_none(offences, "scripts:")


if __name__ == "__main__":
    junit.main()

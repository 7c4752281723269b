#!/usr/bin/env python3
"""Each message has a row in docs/troubleshooting.md, and none is stale.

A message is known by the longest piece of literal text in the call that makes
it: of LogInfo() and its kind, of notes, reports and statuses that a mount logs,
and of the statuses with which mounting, unmounting and compacting fail. Some of
these get their text from a function whose name begins with Why, or from one that
is written where something is waited for.
"""

import pathlib
import re
import unittest

from tests.kit import junit

ROOT = pathlib.Path(__file__).resolve().parents[2]
CALL = re.compile(r"\bLog(?:Info|Warning|Error)\(")
NOTE = re.compile(r"\b(?:notes_?\.push_back|Report)\(")
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
# What differs, in the literals of absl::StrFormat().
FORMATTED = re.compile(r"%\d*[dsx]")
# A word in capitals stands for what differs.
PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b")
# What a mount puts in front of a report.
OPERATION = re.compile(r"^(?:read|io_uring): ")
# The row of what requests say, whose text is the status alone.
WITHOUT_TEXT = "OPERATION: REASON"
STATUS = re.compile(r"\b(?:ExitError|ErrorWithNumber|ErrorWithCode|DeadlineExceededError)\(")
FAILURE = re.compile(r"\b(?:Damage|Unavailable|InvalidArgument|System)Error\(")
HIDDEN = re.compile(r"\breturn \{(?=absl::StrCat\()")
# Of a wait, what it says when it takes long; of a function, what it returns.
WAIT = re.compile(r"\b(?:Run|WaitFor)\(")
WHY = re.compile(r"^std::string (?:\w+::)?Why\w+\([^;{]*\{$", re.MULTILINE)
TEXT = re.compile(r"\babsl::StrCat\(")
# Where the log is written, and where notes and statuses that a mount logs are
# made. (The notes of tools/ are printed by `varve check`.)
LOG = (
    ("tools/varve/*.cc", CALL), ("fs/log/*.cc", NOTE), ("fs/volume/*.cc", NOTE),
    ("tools/varve/mountpoint.cc", HIDDEN), ("tools/varve/service_manager.cc", FAILURE),
    ("fs/log/node_segments.cc", FAILURE), ("fs/content/content_reader.cc", FAILURE),
    ("fs/fuse/open_file.cc", FAILURE), ("fs/fuse/rings.cc", FAILURE),
)
# What makes the statuses of mount, umount and compact, and of opening a store.
STATUSES = tuple(("tools/varve/%s.cc" % name, STATUS) for name in (
    "compact_command", "compaction_target", "daemonize", "mount_answer", "mount_command",
    "mount_option_rows", "mount_options", "mountinfo", "mountpoint", "open_store", "remount",
    "serve", "umount_command", "unmount"))
SECTIONS = {
    "## Messages of the log": LOG,
    "## Messages of mounting, unmounting and compacting": STATUSES,
}


def sources(patterns):
    for pattern, call in patterns:
        paths = sorted(ROOT.glob(pattern))
        assert paths, "there is no " + pattern
        for path in paths:
            if not path.name.endswith("_test.cc"):
                yield path, call, path.read_text(encoding="utf-8")


def argument(text, begin, brackets="()"):
    """From behind an opening parenthesis to the closing one; none in a literal."""
    plain = LITERAL.sub(lambda match: "_" * len(match.group()), text[begin:])
    depth = 1
    for at, character in enumerate(plain):
        depth += {brackets[0]: 1, brackets[1]: -1}.get(character, 0)
        if depth == 0:
            return text[begin : begin + at]
    raise AssertionError("a call without an end")


def joined(code):
    """Adjacent literals as the compiler joins them."""
    return re.sub(r'"\s*\n\s*"', "", code)


def unquoted(text):
    """Without the marks for code, which messages have in them and documents around them."""
    return text.replace("`", "")


def longest_piece(code):
    """The longest literal, by which a message is known."""
    pieces = [unquoted(piece).strip(" ;:,.") for literal in LITERAL.findall(joined(code))
              for piece in FORMATTED.split(literal)]
    return max(pieces, key=len, default="")


def calls(text, pattern):
    """The arguments of each call."""
    for call in pattern.finditer(text):
        brackets = "{}" if call.group().endswith("{") else "()"
        yield argument(text, call.end(), brackets)


def outermost(code, pattern):
    """The arguments of each call that lies in no other one."""
    while (call := pattern.search(code)) is not None:
        found = argument(code, call.end())
        yield found
        code = code[call.end() + len(found):]


def reasons(text):
    """The texts that say what is waited for, as code."""
    for code in [*calls(text, WHY), *calls(text, WAIT)]:
        yield from outermost(code, TEXT)


def messages(patterns):
    """Of each call with literal text: where it is, and the longest piece."""
    for path, pattern, text in sources(patterns):
        found = list(calls(text, pattern))
        if pattern is STATUS:
            found += reasons(text)
        for code in found:
            message = longest_piece(code)
            if len(message) >= 5:
                yield path, message


def rows(section):
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    table = text[text.index(section + "\n") :].partition("\n## ")[0]
    return [unquoted(row) for row in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)]


class Messages(unittest.TestCase):
    def test_each_message_has_a_row(self):
        for section, patterns in SECTIONS.items():
            known = rows(section)
            found = list(messages(patterns))
            self.assertGreater(len(found), 7)
            for path, message in found:
                self.assertTrue(
                    any(message in row for row in known), "%s: no row for: %s" % (path, message)
                )

    def test_rows_have_the_exit_status_of_their_message(self):
        header = (ROOT / "tools/varve/exit_status.h").read_text(encoding="utf-8")
        numbers = dict(re.findall(r"^  (k\w+) = (\d+),", header, re.MULTILINE))
        document = unquoted((ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8"))
        compared = 0
        for path, pattern, text in sources(STATUSES):
            for call in pattern.finditer(text):
                code = argument(text, call.end())
                message = longest_piece(code)
                wanted = {numbers[name] for name in re.findall(r"ExitStatus::(k\w+)", code)}
                if len(message) < 5 or not wanted:
                    continue
                listed = [set(row.split("|")[2].replace(" ", "").split(","))
                          for row in document.splitlines()
                          if row.startswith("| ") and message in row.split("|")[1]]
                self.assertIn(wanted, listed, "%s: %s" % (path, message))
                compared += 1
        self.assertGreater(compared, 30)

    def test_no_row_is_stale(self):
        # The verb's own part of a message may be made in the engine.
        everything = "".join(
            unquoted(joined(text))
            for patterns in [*SECTIONS.values(), (("engine/io/*.cc", STATUS),)]
            for *_, text in sources(patterns)
        )
        for row in sum(map(rows, SECTIONS), []):
            if row == WITHOUT_TEXT:
                continue
            for piece in PLACEHOLDER.split(OPERATION.sub("", row)):
                piece = piece.strip(" ;:,.")
                self.assertTrue(piece in everything, "nothing says: %s (%s)" % (row, piece))


if __name__ == "__main__":
    junit.main()

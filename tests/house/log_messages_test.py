#!/usr/bin/env python3
"""Each message of the log has a row in docs/troubleshooting.md, and none is stale.

A message is known by the longest piece of literal text in the call that makes
it: of LogInfo() and its kind, and of notes and reports that a mount logs.
"""

import pathlib
import re
import unittest

from tests.kit import junit

ROOT = pathlib.Path(__file__).resolve().parents[2]
CALL = re.compile(r"\bLog(?:Info|Warning|Error)\(")
NOTE = re.compile(r"\b(?:notes_?\.push_back|Report)\(")
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
# A word in capitals stands for what differs.
PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b")
# The row of what requests say, whose text is the status alone.
WITHOUT_TEXT = "OPERATION: REASON"
# Where the log is written, and where notes that a mount logs are made. (Those of
# tools/ are printed by `varve check`.)
FOLDERS = {"tools/varve": CALL, "fs/log": NOTE, "fs/volume": NOTE}


def sources():
    for folder, call in FOLDERS.items():
        for path in sorted((ROOT / folder).glob("*.cc")):
            if not path.name.endswith("_test.cc"):
                yield path, call, path.read_text(encoding="utf-8")


def argument(text, begin):
    """From behind an opening parenthesis to the closing one; none in a literal."""
    plain = LITERAL.sub(lambda match: "_" * len(match.group()), text[begin:])
    depth = 1
    for at, character in enumerate(plain):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return text[begin : begin + at]
    raise AssertionError("a call without an end")


def joined(code):
    """Adjacent literals as the compiler joins them."""
    return re.sub(r'"\s*\n\s*"', "", code)


def messages():
    """Of each call with literal text: where it is, and the longest piece."""
    for path, pattern, text in sources():
        for call in pattern.finditer(text):
            code = argument(text, call.end())
            pieces = [piece.strip(" ;:,") for piece in LITERAL.findall(joined(code))]
            longest = max(pieces, key=len, default="")
            if len(longest) >= 5:
                yield path, longest


def rows():
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    table = text[text.index("## Messages of the log") :]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


class LogMessages(unittest.TestCase):
    def test_each_message_of_the_log_has_a_row(self):
        known = rows()
        found = list(messages())
        self.assertGreater(len(found), 7)
        for path, message in found:
            self.assertTrue(
                any(message in row for row in known), "%s: no row for: %s" % (path, message)
            )

    def test_no_row_is_stale(self):
        everything = "".join(joined(text) for *_, text in sources())
        for row in rows():
            if row == WITHOUT_TEXT:
                continue
            for piece in PLACEHOLDER.split(row):
                piece = piece.strip(" ;:,")
                self.assertTrue(piece in everything, "nothing says: " + row)


if __name__ == "__main__":
    junit.main()

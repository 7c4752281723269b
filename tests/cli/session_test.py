#!/usr/bin/env python3
"""The session that the README shows is what really happens."""

import os
import pathlib
import re
import sys
import tempfile
import unittest

from tests.kit import junit
from tests.kit.mounted import run, varve_binary


def picture_without_figures(path):
    """How many entries and bytes there are is the format's business."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return re.sub(r"\d+ (entries|live|bytes)", r"N \1", text)


class Session(unittest.TestCase):
    def test_the_picture_is_of_this_version(self):
        with tempfile.TemporaryDirectory() as folder:
            made = pathlib.Path(folder, "session.svg")
            run("tools/record_session.py", varve_binary(), made)
            self.assertEqual(picture_without_figures(made),
                             picture_without_figures("docs/session.svg"),
                             "run tools/record_session.py again")

    def test_the_same_session_gives_the_same_picture(self):
        with tempfile.TemporaryDirectory() as folder:
            pictures = [pathlib.Path(folder, name) for name in ("first.svg", "second.svg")]
            for picture in pictures:
                run("tools/record_session.py", varve_binary(), picture)
            self.assertEqual(pictures[0].read_bytes(), pictures[1].read_bytes())

    def test_the_readme_shows_it(self):
        readme = pathlib.Path("README.md").read_text(encoding="utf-8")
        self.assertIn("(docs/session.svg)", readme)


if __name__ == "__main__":
    # Its mounts are nobody else's, who might keep one when it is to be closed.
    if os.environ.get("VARVE_TEST_UNSHARED") is None:
        os.environ["VARVE_TEST_UNSHARED"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    junit.main()

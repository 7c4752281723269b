#!/usr/bin/env python3
"""Runs the session that the README shows, and draws what a terminal shows of it.

    tools/record_session.py VARVE SVG

runs the commands below with VARVE, the command, in a home of their own, and
writes the picture SVG. The same version gives the same picture, byte for byte;
//tests/cli:session_test compares.
"""

import html
import os
import pathlib
import pty
import subprocess
import sys
import tempfile

SESSION = (
    "varve mount photos.varve photos",
    "cp -r holiday photos",
    'echo "Sicily, 2023" > photos/holiday/notes.txt',
    "varve umount photos",
    "varve ls photos.varve holiday",
    "varve get photos.varve holiday/notes.txt",
    "varve check photos.varve",
)
COLUMNS = 72
CHARACTER, LINE = 8.4, 21  # in pixels, at 14 pixels for the font
MARGIN, TITLE = 20, 38

HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-labelledby="title">
  <title id="title">A session: a store is mounted, filled, unmounted, read and checked</title>
  <!-- Made by tools/record_session.py, which runs the session. -->
  <style>
    .typed {{ fill: #e6edf3; font-weight: 600 }}
    .prompt {{ fill: #7ee787 }}
    .shown {{ fill: #adbac7 }}
  </style>
  <rect width="{width}" height="{height}" rx="8" fill="#1c2128"/>
  <g fill="#444c56"><circle cx="20" cy="18" r="5"/><circle cx="38" cy="18" r="5"/>\
<circle cx="56" cy="18" r="5"/></g>
  <g font-family="ui-monospace, 'DejaVu Sans Mono', monospace" font-size="14" xml:space="preserve">
"""
TAIL = "  </g>\n</svg>\n"


def make_home(home):
    """Makes the files that exist before the session begins."""
    (home / "holiday").mkdir()
    (home / "photos").mkdir()
    for name, size in (("beach.jpg", 300_000), ("etna.jpg", 500_000)):
        (home / "holiday" / name).write_bytes(bytes(range(250)) * (size // 250))


def run(command, home, binaries):
    """The text that a terminal shows for a command."""
    controller, terminal = pty.openpty()
    environment = {
        "HOME": str(home), "PATH": "%s:%s" % (binaries, os.environ["PATH"]),
        "LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "dumb",
    }
    with subprocess.Popen(["bash", "-c", command], cwd=home, env=environment, stdin=terminal,
                          stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        output = b""
        while True:
            try:
                some = os.read(controller, 4096)
            except OSError:  # nobody has the terminal any more
                break
            output += some
    os.close(controller)
    if process.returncode != 0:
        sys.exit("%s: exit status %d\n%s" % (
            command, process.returncode, output.decode(errors="replace")))
    return output.decode().splitlines()


def record(binary):
    """Lines, each with its class: typed or shown."""
    with tempfile.TemporaryDirectory(prefix="session-") as folder:
        home, binaries = pathlib.Path(folder, "home"), pathlib.Path(folder, "bin")
        home.mkdir()
        binaries.mkdir()
        (binaries / "varve").symlink_to(pathlib.Path(binary).resolve())
        make_home(home)
        try:
            for command in SESSION:
                yield "typed", command
                for line in run(command, home, binaries):
                    yield "shown", line
        finally:
            if os.path.ismount(home / "photos"):
                subprocess.run([binary, "umount", "--force", str(home / "photos")], check=True)


def draw(lines):
    width = round(2 * MARGIN + COLUMNS * CHARACTER)
    text, y = "", TITLE + 14
    for number, (kind, line) in enumerate(lines):
        # Room before each command but the first.
        y += (LINE + 6 if kind == "typed" else LINE) if number else 0
        assert len(line) <= COLUMNS, line
        line = html.escape(line, quote=False)
        if kind == "typed":
            line = '<tspan class="prompt">$</tspan> ' + line
        text += '    <text class="%s" x="%d" y="%d">%s</text>\n' % (kind, MARGIN, y, line)
    return HEAD.format(width=width, height=y + MARGIN) + text + TAIL


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    binary, picture = sys.argv[1:]
    pathlib.Path(picture).write_text(draw(list(record(binary))), encoding="utf-8")


if __name__ == "__main__":
    main()

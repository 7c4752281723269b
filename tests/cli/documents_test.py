#!/usr/bin/env python3
"""Manual pages and completions: that they are whole, and that shells and man
take them."""

import itertools
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import tempfile
import time
import unittest

from tests.kit import junit
from tests.kit.mounted import run, varve_binary

DOCUMENTS = pathlib.Path("tools/varve").absolute()  # among the runfiles
HELPER = DOCUMENTS / "man/mount.varve.8"
PAGES = sorted((DOCUMENTS / "man").glob("*.1"))
COMPLETIONS = DOCUMENTS / "completions"
README = pathlib.Path("README.md").absolute()
CONCEPTS = [pathlib.Path("docs/man/varve.%d" % section).absolute() for section in (5, 7)]


def commands(*verb):
    """The commands that --help lists."""
    text = run(varve_binary(), *verb, "--help").stdout.decode()
    listed = text.partition("\nSubcommands:\n")[2].partition("\n\n")[0]
    return [re.split(r"[ ,]", line.strip())[0] for line in listed.splitlines()
            if re.match(r"  \w", line)]


def options(*verb):
    """The options that --help lists."""
    text = run(varve_binary(), *verb, "--help").stdout.decode()
    listed = text.partition("\nOptions:\n")[2].partition("\n\n")[0]
    heads = [line.split()[0] for line in listed.splitlines() if line.startswith("  -")]
    return [name for head in heads for name in head.split(",")]


def mount_options():
    """What `varve mount --help` lists for -o: names, and what it says of them."""
    text = run(varve_binary(), "mount", "--help").stdout.decode()
    text = text.partition("\nOptions for -o, separated by commas:\n")[2]
    listed = {}
    for line in itertools.takewhile(lambda line: line.startswith("  "), text.splitlines()):
        if line.startswith("   "):
            listed[names] += " " + line.strip()
        else:  # long names have the line to themselves
            names, _, phrase = line.strip().partition("  ")
            listed[names] = phrase
    return {names: phrase.strip() for names, phrase in listed.items()}


def shown(page):
    """The page as man shows it, in lines as long as may be."""
    text = run("man", "-E", "UTF-8", "-l", page,
               env={**os.environ, "MANWIDTH": "400", "MANPAGER": "cat"}).stdout.decode()
    return re.sub(r".\x08", "", text)


class Manual(unittest.TestCase):
    def test_each_verb_has_a_page_and_each_page_a_verb(self):
        self.assertEqual([page.name for page in PAGES],
                         sorted(["varve.1"] + ["varve-%s.1" % verb for verb in commands()]))

    def test_pages_have_no_warnings(self):
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
        for page in [*PAGES, HELPER]:
            with self.subTest(page.name):
                result = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page,
                             env=environment)
                self.assertEqual(result.stderr, b"")
                result = run("groff", "-ww", "-t", "-man", "-Tutf8", "-z", page)
                self.assertEqual(result.stderr + result.stdout, b"")

    def test_pages_say_what_help_says(self):
        for verb in commands():
            with self.subTest(verb):
                text = shown(DOCUMENTS / "man" / ("varve-%s.1" % verb))
                for option in options(verb):
                    self.assertRegex(text, r"(?<![\w-])%s(?![\w-])" % re.escape(option))
                example = run(varve_binary(), verb, "--help").stdout.decode()
                example = example.partition("Example:\n")[2].splitlines()[0].strip()
                self.assertIn(example, text)

    def test_the_page_of_the_mount_helper_says_what_help_says(self):
        text = " ".join(shown(HELPER).split())
        listed = mount_options()
        self.assertIn("poll=MICROSECONDS", listed)
        for names, phrase in listed.items():
            self.assertIn(" %s %s." % (names, phrase[0].upper() + phrase[1:]), text)

    def test_the_page_of_all_lists_verbs_and_exit_statuses(self):
        text = (DOCUMENTS / "man/varve.1").read_text(encoding="utf-8")
        for verb in commands():
            self.assertIn("\\fBvarve\\-%s\\fR(1)" % verb, text)
        for line in run(varve_binary(), "--help").stdout.decode().splitlines():
            number = re.match(r" +(\d+)  \S", line)
            if number:
                self.assertRegex(text, r"(?m)^%s\t" % number.group(1))


class Readme(unittest.TestCase):
    def test_its_table_has_each_verb(self):
        section = README.read_text(encoding="utf-8").partition("\n## Commands\n")[2]
        table = re.findall(r"^\| (`varve .*?`.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
        # `varve check STORE`, or one verb after the other: `varve ls`, `get`, `put`.
        listed = {re.sub(r"^varve ", "", name).split()[0]
                  for row in table for name in re.findall(r"`([^`]+)`", row)}
        self.assertEqual(set(commands()) - {"help"} - listed, set())


class Concepts(unittest.TestCase):
    def test_pages_that_are_named_exist(self):
        for page in CONCEPTS:
            text = re.sub(r"\\-", "-", page.read_text(encoding="utf-8"))
            named = set(re.findall(r"^\.BR varve-(\w+) \(1\)", text, re.MULTILINE))
            self.assertEqual(named - set(commands()), set(), page)
        self.assertIn(".SS History, moments and policies\n", CONCEPTS[1].read_text())

    def test_they_have_no_warnings(self):
        for page in CONCEPTS:
            result = run("groff", "-ww", "-t", "-man", "-Tutf8", "-z", page)
            self.assertEqual(result.stderr + result.stdout, b"")


class CompletionTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="documents-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        (self.bin / "varve").symlink_to(varve_binary())
        self.store = self.folder / "s.varve"
        source = self.folder / "source"
        (source / "folder/within").mkdir(parents=True)
        (source / "folder/two words").touch()
        (source / "folder/$(touch owned)").touch()
        (source / ".hidden").touch()
        (source / "alone").touch()
        run(varve_binary(), "put", "-r", "--create", self.store, "/", str(source) + "/.")
        shutil.rmtree(source)
        self.environment = {**os.environ, "PATH": "%s:%s" % (self.bin, os.environ["PATH"]),
                            "HOME": str(self.folder), "LC_ALL": "C.UTF-8", "TERM": "dumb"}

    # What is typed, and what has to be among the completions. `None`: nothing is.
    CASES = (
        ("varve um", ["umount"]),
        ("varve ", ["mount", "ls", "raw"]),
        ("varve raw m", ["metadata", "move"]),
        ("varve umount --ti", ["--timeout"]),
        ("varve raw read --buf", ["--buffer-size"]),
        ("varve --ver", ["--version"]),
        ("varve help chec", ["check"]),
        ("varve ls s.v", ["s.varve"]),
        ("varve ls s.varve fo", ["folder/"]),
        ("varve ls -l s.varve folder/w", ["folder/within/"]),
        ("varve get s.varve al", ["alone"]),
        ("varve rm -f -- s.varve alone .h", [".hidden"]),
        ("varve mkdir -m 700 s.varve folder/w", ["folder/within/"]),
        ("varve raw read -b 5 s.varve al", ["alone"]),
        ("varve cp s.varve alone fol", ["folder/"]),
        ("varve unmount --l", ["--lazy"]),
        ("varve info s.varve al", None),
        ("varve ls absent al", None),
    )

    def check(self, cases, complete):
        for line, expected in cases:
            with self.subTest(line):
                found = complete(line)
                if expected is None:
                    self.assertEqual(found, [])
                else:
                    self.assertEqual([word for word in expected if word not in found], [], found)
        found = complete("varve get s.varve folder/t")
        self.assertEqual([re.sub(r"\\", "", word) for word in found], ["folder/two words"])
        complete("varve get s.varve folder/$")
        complete("varve get s.varve folder/")
        self.assertFalse((self.folder / "owned").exists())


class Bash(CompletionTest):
    SCRIPT = r"""
        . /usr/share/bash-completion/bash_completion
        . "$1"
        COMP_LINE=$2 COMP_POINT=${#2}
        read -ra COMP_WORDS <<<"$2"
        [[ $2 == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _varve
        ((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"
        true
    """

    def complete(self, line):
        result = run("bash", "-c", self.SCRIPT, "bash", COMPLETIONS / "varve.bash", line,
                     cwd=self.folder, env=self.environment)
        self.assertEqual(result.stderr, b"")
        return result.stdout.decode().splitlines()

    def test_completions(self):
        self.check(self.CASES, self.complete)

    def test_it_is_found_by_bash_completion(self):
        folder = self.folder / "share/bash-completion/completions"
        folder.mkdir(parents=True)
        shutil.copy(COMPLETIONS / "varve.bash", folder / "varve")
        text = run("bash", "-c", ". /usr/share/bash-completion/bash_completion\n"
                   "__load_completion varve\ncomplete -p varve", cwd=self.folder,
                   env={**self.environment, "BASH_COMPLETION_USER_DIR": str(folder.parent)}).stdout
        self.assertEqual(text, b"complete -F _varve varve\n")


class Fish(CompletionTest):
    def test_completions(self):
        def complete(line):
            result = run("fish", "--no-config", "-c",
                         "source $argv[1]; complete -C $argv[2]", COMPLETIONS / "varve.fish", line,
                         cwd=self.folder, env=self.environment)
            self.assertEqual(result.stderr, b"")
            return [word.partition("\t")[0] for word in result.stdout.decode().splitlines()]

        self.check(self.CASES, complete)


class Zsh(CompletionTest):
    # What is typed, with a tab behind it, is what has to be on the line then.
    SETUP = r"""
        PS1= PS2=
        unsetopt zle_bracketed_paste prompt_cr prompt_sp beep
        setopt no_always_last_prompt no_auto_list
        fpath=(%(completions)s $fpath)
        autoload -Uz compinit && compinit -u -D
        tell() { print -r -- "$BUFFER" >> %(found)s; BUFFER= }
        zle -N tell
        bindkey '^E' tell
        bindkey '^I' expand-or-complete
        print -r -- ready >> %(found)s
    """

    def setUp(self):
        super().setUp()
        self.found = self.folder / "found"
        setup = self.folder / "setup.zsh"
        setup.write_text(self.SETUP % {"completions": COMPLETIONS, "found": self.found})
        pid, self.fd = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execvpe("zsh", ["zsh", "-f", "-i"], self.environment)
        self.addCleanup(self.end, pid)
        self.said = b""
        self.type("source ./setup.zsh\n")
        self.assertEqual(self.answer(), "ready")

    def end(self, pid):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(self.fd)

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def answer(self):
        """The next line that zsh tells."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.02)[0]:
                self.said += os.read(self.fd, 65536)
            if self.found.exists() and self.found.read_text().endswith("\n"):
                text = self.found.read_text()
                self.found.unlink()
                return text[:-1]
        raise AssertionError("zsh does not answer: %r" % self.said)

    def test_completions(self):
        def complete(line):
            self.type(line + "\t\x05")
            text = self.answer()
            if text == line:
                return []
            return [re.split(r"(?<!\\) ", text.strip())[-1]]

        self.check([case for case in self.CASES if case[1] is None or len(case[1]) == 1], complete)


if __name__ == "__main__":
    junit.main()

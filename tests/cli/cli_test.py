#!/usr/bin/env python3
"""The `varve` command without mounting: what it prints, does and ends with."""

import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import tempfile
import unittest

from tests.kit import junit
from tests.kit.mounted import run, varve_binary

OK, FAILURE, USAGE, NOT_FOUND, DAMAGE, NOT_A_STORE = 0, 1, 2, 3, 4, 5
WRONG_KIND, NO_PERMISSION, NOT_CHECKED, BUSY = 6, 7, 8, 10
NO_SPACE, EXISTS, REFUSED = 12, 13, 14

COMMANDS = ("mount", "umount", "info", "ls", "get", "put", "cp", "mkdir", "rm", "mv", "check",
            "doctor", "compact", "adopt", "export", "import", "raw", "version", "help")
RAW_COMMANDS = ("read", "write", "copy", "move", "rename", "delete", "info", "metadata", "compact")
GOLDEN = pathlib.Path("tests/format/golden").absolute()  # among the runfiles


def manifests():
    for path in sorted(GOLDEN.glob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def key_of(item):
    """The bytes of a key in a manifest."""
    return bytes.fromhex(item["key_hex"]) if "key_hex" in item else item["key"].encode()


def can_be_argument(key):
    return b"\0" not in key


def pattern(seed, size):
    """The manifests' pseudo-random bytes (tests/format/golden/README.md)."""
    mask = (1 << 64) - 1
    words = []
    for _ in range((size + 7) // 8):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        word = seed
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        words.append((word ^ (word >> 31)).to_bytes(8, "little"))
    return b"".join(words)[:size]


def payload_of(recipe):
    kind, _, rest = recipe.partition(":")
    if kind == "text":
        return rest.encode()
    if kind == "zeros":
        return bytes(int(rest))
    first, _, second = rest.partition(":")
    return bytes([int(first, 16)]) * int(second) if kind == "fill" else pattern(
        int(first), int(second)
    )


class CliTest(unittest.TestCase):
    def setUp(self):
        base = os.environ.get("TEST_TMPDIR")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cli-", dir=base))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.store = self.folder / "store.varve"

    def varve(self, *arguments, status=OK, **options):
        """Runs the command, which has to end with the status given."""
        words = [os.fsdecode(argument) for argument in arguments]
        result = run(varve_binary(), *words, check=False, cwd=self.folder, **options)
        self.assertEqual(
            result.returncode, status,
            "varve %s\n%s%s" % (arguments, result.stdout[-2000:], result.stderr[-2000:]),
        )
        if status not in (OK, DAMAGE):
            self.assert_one_sentence(result)
        return result

    def assert_one_sentence(self, result):
        text = result.stderr.decode(errors="replace")
        self.assertRegex(text, r"\Avarve: [^\n]+\n\Z")

    def output(self, *arguments, **options):
        return self.varve(*arguments, **options).stdout

    def message(self, *arguments, **options):
        return self.varve(*arguments, **options).stderr.decode()

    def file(self, name, content=b"x"):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def put(self, path, content):
        """Puts bytes into the store, which is made if there is none."""
        self.varve("put", "-p", "--create", self.store, path, self.file("source", content))


class Usage(CliTest):
    def test_every_command_has_help_with_an_example(self):
        for command in [(name,) for name in COMMANDS] + [("raw", name) for name in RAW_COMMANDS]:
            text = self.output(*command, "--help").decode()
            example = "Example:\n  varve " + " ".join(command)
            self.assertIn(example, text)

    def test_help_lists_commands_and_exit_statuses(self):
        text = self.output("--help").decode()
        for command in COMMANDS:
            self.assertRegex(text, r"\n  %s[, ]" % command)
        for number in (*range(17), 130):
            self.assertRegex(text, r"\n +%d  [\w`]" % number)

    def test_version(self):
        self.assertRegex(self.output("--version").decode(), r"\Avarve \d+\.\d+\.\d+\n\Z")

    def test_what_is_not_understood_is_named(self):
        for arguments, named in (
            (("frobnicate",), "unknown command: frobnicate (see varve --help)"),
            (("raw", "frobnicate"), "unknown command: frobnicate (see varve raw --help)"),
            (("frobnicate", "--help"), "unknown command: frobnicate (see varve --help)"),
            (("raw", "frobnicate", "--help"), "frobnicate (see varve raw --help)"),
            (("compact", "--limit", "50X", "s"), "--limit needs bytes per second"),
            (("compact", "--limit", "1M", "--punch", "s"), "excludes"),
            ((), "a command is missing"),
            (("raw",), "a command is missing"),
            (("ls", "--frobnicate", "s"), "--frobnicate (see varve ls --help)"),
            (("get", "s"), "PATH is required"),
            (("mount", "s"), "DIR is required"),
            (("info", "a", "b"), "b (see varve info --help)"),
            (("umount", "--timeout", "-1", "d"), "--timeout"),
        ):
            with self.subTest(arguments):
                self.assertIn(named, self.message(*arguments, status=USAGE))

    def test_names_of_commands_are_good_names_for_files(self):
        self.put("ls", b"1")
        self.put("raw", b"2")
        self.assertEqual(self.output("get", self.store, "ls"), b"1")
        self.assertEqual(self.output("get", self.store, "raw"), b"2")

    def test_output_that_cannot_be_written_is_a_failure(self):
        self.put("a", b"content")
        with open("/dev/full", "wb") as full:
            for arguments in (("get", self.store, "a"), ("ls", self.store), ("info", self.store)):
                result = run("sh", "-c", 'exec "$@" > /dev/full', "sh", varve_binary(), *arguments,
                             check=False, stdin=full)
                self.assertEqual(result.returncode, NO_SPACE, arguments)


class StoreErrors(CliTest):
    READERS = (("info",), ("ls",), ("get", "x"), ("raw", "info"), ("raw", "read", "x"),
               ("raw", "metadata", "x"))
    WRITERS = (("compact",), ("put", "x"), ("rm", "x"), ("mv", "x", "y"), ("adopt", "/dev/null"),
               ("raw", "rename", "x", "y"), ("raw", "delete", "x"), ("raw", "compact"),
               ("raw", "move", "x", "other"))

    def expect(self, commands, store, status, text):
        for command in commands:
            words = 2 if command[0] == "raw" else 1
            with self.subTest(command):
                arguments = command[:words] + (store,) + command[words:]
                self.assertIn(text, self.message(*arguments, status=status))

    def test_a_store_that_does_not_exist(self):
        self.expect(self.READERS + self.WRITERS, "absent", NOT_FOUND, "there is no store absent")
        self.assertFalse((self.folder / "absent").exists())

    def test_a_directory(self):
        self.expect(self.READERS[1:] + self.WRITERS, ".", WRONG_KIND, "is a directory")
        self.assertIn("no store is mounted at .", self.message("info", ".", status=REFUSED))

    def test_a_file_that_is_no_store(self):
        junk = self.file("junk", b"The quick brown fox jumps over the lazy dog. " * 5)
        before = junk.read_bytes()
        self.expect(self.READERS + self.WRITERS, "junk", NOT_A_STORE, "is not a store")
        self.assertEqual(junk.read_bytes(), before)

    def test_a_fifo(self):
        os.mkfifo(self.folder / "fifo")
        self.expect(self.READERS + self.WRITERS, "fifo", WRONG_KIND, "not a regular file")

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_a_store_of_somebody_else(self):
        self.put("x", b"1")
        # Where somebody else gets to: the folder of the test may be closed to others.
        folder = pathlib.Path(tempfile.mkdtemp(prefix="varve-cli-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, folder)
        folder.chmod(0o755)
        binary, store = folder / "varve", folder / "store.varve"
        shutil.copy(varve_binary(), binary)
        binary.chmod(0o755)
        shutil.copy(self.store, store)
        store.chmod(0o600)
        for arguments in (("ls", store), ("put", store, "y"), ("check", store)):
            result = run(binary, *arguments, check=False, user=65534, group=65534,
                         extra_groups=[])
            self.assertEqual(result.returncode,
                             NOT_CHECKED if arguments[0] == "check" else NO_PERMISSION)
            self.assertIn(b"Permission denied", result.stderr)
            self.assert_one_sentence(result)

    def test_an_empty_file_is_an_empty_store(self):
        self.file("empty", b"")
        self.assertEqual(self.output("ls", "empty"), b"")
        self.assertEqual((self.folder / "empty").stat().st_size, 0)
        self.varve("check", "empty")


class Files(CliTest):
    def test_put_then_get_gives_the_same_bytes(self):
        for size in (0, 1, 63, 64, 4096, 65537, 5_000_000):
            content = pattern(size, size)
            self.put("f%d" % size, content)
            self.assertEqual(self.output("get", self.store, "f%d" % size), content)
            self.varve("get", self.store, "f%d" % size, "out")
            self.assertEqual((self.folder / "out").read_bytes(), content)
        self.varve("check", self.store)

    def test_a_single_nul_is_kept(self):
        self.put("nul", b"\0")
        self.assertEqual(self.output("get", self.store, "nul"), b"\0")

    def test_put_reads_standard_input(self):
        result = run("sh", "-c", 'printf piped | "$@"', "sh", varve_binary(), "put", "--create",
                     self.store, "a")
        self.assertEqual(result.stdout, b"")
        self.assertEqual(self.output("get", self.store, "a"), b"piped")

    def test_put_replaces_the_content_and_keeps_the_mode(self):
        first = self.file("first", b"old")
        first.chmod(0o751)
        self.varve("put", "--create", self.store, "a", first)
        self.put("a", b"new and longer")
        self.assertEqual(self.output("get", self.store, "a"), b"new and longer")
        self.assertTrue(self.output("ls", "-l", self.store).startswith(b"-rwxr-x--x"))

    def test_put_into_a_directory_uses_the_name_of_the_file(self):
        self.put("d/x", b"1")
        self.varve("put", self.store, "d", self.file("named", b"2"))
        self.assertEqual(self.output("get", self.store, "d/named"), b"2")

    def test_put_without_parents_needs_the_directory(self):
        self.put("a", b"1")
        self.assertIn('cannot write "no/b"', self.message(
            "put", self.store, "no/b", self.file("f"), status=NOT_FOUND))
        self.assertIn("Not a directory", self.message(
            "put", self.store, "a/b", self.file("f"), status=WRONG_KIND))

    def test_put_makes_a_store_only_if_asked_to(self):
        self.varve("put", self.store, "a", self.file("f"), status=NOT_FOUND)
        self.varve("put", "--create", self.store, "a", self.file("f"))

    def test_put_that_fails_leaves_the_old_content(self):
        self.put("a", b"old content")
        self.varve("put", self.store, "a", self.folder, status=WRONG_KIND)
        limit = self.store.stat().st_size + (6 << 20)

        def limit_file_size():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        big = self.file("big", pattern(3, 1 << 20) * 32)
        ignoring = ["sh", "-c", 'trap "" XFSZ; exec "$@"', "sh"]
        for path in ("a", "new"):
            result = run(*ignoring, varve_binary(), "put", self.store, path, big, check=False,
                         preexec_fn=limit_file_size)
            self.assertEqual(result.returncode, NO_SPACE, result.stderr)
            self.assertIn(b'cannot write "%s"' % path.encode(), result.stderr)
        self.assertEqual(self.output("get", self.store, "a"), b"old content")
        self.assertEqual(self.output("ls", self.store), b"a\n")
        self.varve("check", self.store)

    def test_get_of_what_is_no_file(self):
        self.put("d/a", b"1")
        self.assertIn('cannot read "d"', self.message("get", self.store, "d", status=WRONG_KIND))
        self.assertIn('cannot read "x"', self.message("get", self.store, "x", status=NOT_FOUND))
        self.varve("get", self.store, "d/a/b", status=WRONG_KIND)

    def test_paths_may_have_slashes_and_dots(self):
        self.put("d/a", b"1")
        for path in ("/d/a", "d//a", "./d/./a", "d/../d/a", "../d/a"):
            self.assertEqual(self.output("get", self.store, path), b"1", path)

    def test_ls_sorts_names_and_recurses(self):
        for path in ("b", "d/y", "d/x", "a"):
            self.put(path, b"12")
        self.assertEqual(self.output("ls", self.store), b"a\nb\nd\n")
        self.assertEqual(self.output("ls", self.store, "d"), b"x\ny\n")
        self.assertEqual(self.output("ls", self.store, "d/x"), b"d/x\n")
        self.assertEqual(self.output("ls", "-R", self.store), b".:\na\nb\nd\n\n./d:\nx\ny\n")
        self.assertRegex(
            self.output("ls", "-l", self.store, "b").decode(),
            r"\A-rw-r--r-- +1 +\d+ +\d+ +2 \d{4}-\d\d-\d\d \d\d:\d\d b\n\Z",
        )
        self.varve("ls", self.store, "x", status=NOT_FOUND)

    def test_mv_renames_and_moves_into_directories(self):
        self.put("a", b"1")
        self.put("d/x", b"2")
        self.varve("mv", self.store, "a", "b")
        self.assertEqual(self.output("get", self.store, "b"), b"1")
        self.varve("mv", self.store, "b", "d")
        self.assertEqual(self.output("get", self.store, "d/b"), b"1")
        self.varve("mv", self.store, "d", "e")
        self.assertEqual(self.output("ls", "-R", self.store), b".:\ne\n\n./e:\nb\nx\n")
        self.assertIn("into itself", self.message("mv", self.store, "e", "e/f", status=FAILURE))
        self.varve("mv", self.store, "nope", "f", status=NOT_FOUND)
        self.varve("mv", "-T", self.store, "e/b", "e", status=WRONG_KIND)

    def test_rm_removes_files_and_trees(self):
        for path in ("a", "b", "d/e/f", "d/g"):
            self.put(path, b"1")
        self.varve("rm", self.store, "a")
        self.assertIn("use -r", self.message("rm", self.store, "d", status=WRONG_KIND))
        # The failure is told, and the rest is done nevertheless.
        self.assertIn('"nope"', self.message("rm", self.store, "nope", "b", status=NOT_FOUND))
        self.assertEqual(self.output("ls", self.store), b"d\n")
        self.varve("rm", "-r", self.store, "d")
        self.assertEqual(self.output("ls", self.store), b"")
        self.varve("rm", "-r", self.store, "/", status=FAILURE)

    def test_names_are_bytes(self):
        names = [b"-r", b"[a,b]", b"{}", b"%%", b"a b", b"two\nlines", b"\xff\xfe", b"\\", b"*",
                 b"[", b"x]", "ключ".encode()]
        for name in names:
            self.varve("put", "--create", self.store, self.file("f", name).name, "f")
            self.varve("mv", self.store, "--", "f", name)
            self.assertEqual(self.output("get", self.store, "--", name), name)
        self.assertEqual(self.output("ls", self.store), b"".join(n + b"\n" for n in sorted(names)))
        self.varve("rm", self.store, "--", *names)
        self.assertEqual(self.output("ls", self.store), b"")

    def test_info_tells_numbers_as_lines_and_as_json(self):
        self.put("d/a", b"12345")
        info = json.loads(self.output("info", "--json", self.store))
        self.assertEqual(info["store"], str(self.store))
        self.assertEqual(info["mounted_at"], [])
        self.assertEqual(info["store_bytes"], self.store.stat().st_size)
        self.assertEqual((info["inodes"], info["names"], info["live_bytes"]), (3, 2, 5))
        self.assertIs(info["has_tree"], True)
        lines = self.output("info", self.store).decode().splitlines()
        self.assertIn("uuid: " + info["uuid"], lines)


class RawOnGoldenStores(CliTest):
    def test_every_value_is_read(self):
        for manifest in manifests():
            store = GOLDEN / manifest["store"]
            with self.subTest(manifest["store"]):
                for entry in manifest["live"]:
                    if not can_be_argument(key_of(entry)):
                        continue
                    value = self.output("raw", "read", store, "--", key_of(entry))
                    self.assertEqual(len(value), entry["payload_length"])
                    self.assertEqual(hashlib.sha256(value).hexdigest(), entry["payload_sha256"])

    def test_info_counts_live_keys(self):
        for manifest in manifests():
            text = self.output("raw", "info", GOLDEN / manifest["store"]).decode()
            self.assertIn("live entries: %d\n" % manifest["live_keys"], text, manifest["store"])
            self.assertIn("size: %d bytes\n" % manifest["file_length"], text)

    def test_metadata_says_where_an_entry_lies(self):
        manifest = json.loads((GOLDEN / "path_keys.json").read_text(encoding="utf-8"))
        for entry in manifest["live"]:
            text = self.output("raw", "metadata", GOLDEN / "path_keys.store", entry["key"]).decode()
            for line in (
                "key hash: " + entry["key_hash"],
                "payload offset: %d" % entry["payload_start"],
                "payload size: %d bytes" % entry["payload_length"],
                "metadata offset: %d" % entry["metadata_offset"],
                "previous tail: %d" % entry["prev_offset"],
                "checksum: %s (valid)" % entry["crc32"],
            ):
                self.assertIn(line + "\n", text)

    def replay(self, operation):
        kind = operation["op"]
        if kind in ("write", "stream"):
            key, value = key_of(operation), payload_of(operation["payload"])
            if kind == "write" and can_be_argument(value):
                self.varve("raw", "write", self.store, "--", key, value)
            else:
                with open(self.file("value", value), "rb") as piped:
                    self.varve("raw", "write", self.store, "--", key, stdin=piped)
        elif kind == "batch":
            for entry in operation["entries"]:
                self.replay({"op": "write", **entry})
        elif kind == "delete":
            for key in operation["keys"]:
                self.varve("raw", "delete", self.store, "--", key_of(key))
        elif kind == "rename":
            self.varve("raw", "rename", self.store, "--", key_of(operation["from"]),
                       key_of(operation["to"]))
        else:
            self.assertEqual(kind, "reopen")

    def test_the_same_calls_make_the_same_bytes(self):
        # Left out: a NUL in a key, the second tombstone that the original writes for a key which
        # is deleted already, and its compaction, which writes the newest entry first.
        left_out = ("odd_keys.store", "delete_after_reopen.store", "after_compact.store",
                    "empty.store", "key_lengths.store")
        for manifest in manifests():
            if manifest["store"] in left_out:
                continue
            with self.subTest(manifest["store"]):
                self.store = self.folder / manifest["store"]
                if "starts_from" in manifest:
                    shutil.copy(GOLDEN / manifest["starts_from"], self.store)
                    self.store.chmod(0o600)
                for operation in manifest["operations"]:
                    self.replay(operation)
                self.assertEqual(self.store.read_bytes(),
                                 (GOLDEN / manifest["store"]).read_bytes())

    def test_compaction_keeps_every_live_value(self):
        manifest = json.loads((GOLDEN / "before_compact.json").read_text(encoding="utf-8"))
        shutil.copy(GOLDEN / manifest["store"], self.store)
        self.store.chmod(0o600)
        self.varve("raw", "compact", self.store)
        self.assertLess(self.store.stat().st_size, manifest["file_length"])
        text = self.output("raw", "info", self.store).decode()
        self.assertIn("live entries: %d\n" % manifest["live_keys"], text)
        self.assertIn("compaction would save: 0 bytes\n", text)
        for entry in manifest["live"]:
            value = self.output("raw", "read", self.store, entry["key"])
            self.assertEqual(hashlib.sha256(value).hexdigest(), entry["payload_sha256"])

    def test_checks_as_clean(self):
        for manifest in manifests():
            text = self.output("check", GOLDEN / manifest["store"]).decode()
            self.assertIn("clean; %d entries" % manifest["entries_in_chain"], text)


class Raw(CliTest):
    def test_copy_and_move_make_the_target(self):
        self.varve("raw", "write", "a", "k", "value")
        self.varve("raw", "copy", "a", "k", "b")
        self.varve("raw", "move", "a", "k", "c")
        self.assertEqual(self.output("raw", "read", "b", "k"), b"value")
        self.assertEqual(self.output("raw", "read", "c", "k"), b"value")
        self.assertIn('a has no key "k"', self.message("raw", "read", "a", "k", status=NOT_FOUND))

    def test_copy_of_a_missing_key_makes_no_target(self):
        self.varve("raw", "write", "a", "k", "value")
        for command in ("copy", "move"):
            self.varve("raw", command, "a", "nope", "b", status=NOT_FOUND)
            self.assertFalse((self.folder / "b").exists())
            self.varve("raw", command, "a", "k", "./a", status=USAGE)

    def test_missing_keys(self):
        self.varve("raw", "write", "a", "k", "value")
        for command in (("read",), ("metadata",)):
            self.varve("raw", command[0], "a", "nope", status=NOT_FOUND)
        self.varve("raw", "rename", "a", "nope", "x", status=NOT_FOUND)
        size = (self.folder / "a").stat().st_size
        self.varve("raw", "delete", "a", "nope")
        self.assertEqual((self.folder / "a").stat().st_size, size)

    def test_values_that_an_entry_cannot_have(self):
        self.varve("raw", "write", "a", "k", "", status=USAGE)
        self.varve("raw", "write", "a", "k", stdin=open(self.file("n", b"\0"), "rb"), status=USAGE)

    def test_read_in_small_pieces(self):
        self.varve("raw", "write", "a", "k", "0123456789")
        self.assertEqual(self.output("raw", "read", "-b", "3", "a", "k"), b"0123456789")
        self.assertEqual(self.output("raw", "read", "--buffer-size", "1K", "a", "k"), b"0123456789")
        self.varve("raw", "read", "-b", "0", "a", "k", status=USAGE)
        self.varve("raw", "read", "-b", "many", "a", "k", status=USAGE)

    def test_a_damaged_value_is_not_printed(self):
        self.varve("raw", "write", "a", "k", "0123456789")
        self.varve("raw", "write", "a", "l", "other")
        with open(self.folder / "a", "r+b") as file:
            file.seek(3)
            file.write(b"X")
        result = self.varve("raw", "read", "a", "k", status=DAMAGE)
        self.assertEqual(result.stdout, b"")
        self.assert_one_sentence(result)
        self.assertIn(b"NOT VALID", self.varve("raw", "metadata", "a", "k", status=DAMAGE).stdout)


class RawUnderATree(CliTest):
    def test_a_file_has_its_path_as_key(self):
        self.put("d/a", b"content")
        self.assertEqual(self.output("raw", "read", self.store, "d/a"), b"content")

    def test_what_is_written_by_key_becomes_the_content(self):
        self.put("d/a", b"content")
        self.varve("raw", "write", self.store, "d/a", "changed")
        self.assertEqual(self.output("get", self.store, "d/a"), b"changed")
        self.varve("raw", "delete", self.store, "d/a")
        self.assertEqual(self.output("ls", self.store, "d"), b"")
        self.varve("check", self.store)

    def test_writing_by_key_after_a_crash_does_not_count_as_unfinished(self):
        self.put("a", b"content")
        whole = self.store.read_bytes()
        # Without its last commit the store looks like one whose daemon was killed.
        tail = int.from_bytes(whole[-12:-4], "little")
        self.store.write_bytes(whole[:tail])
        self.varve("raw", "write", self.store, "a", "changed")
        self.assertEqual(self.output("get", self.store, "a"), b"changed")

    def test_compaction_keeps_the_tree(self):
        contents = {"a": b"1" * 100, "d/b": pattern(1, 200_000), "d/e/c": b""}
        for path, content in contents.items():
            self.put(path, b"old")
            self.put(path, content)
        self.put("gone", b"x" * 10_000)
        self.varve("rm", self.store, "gone")
        self.varve("raw", "write", self.store, "a", "foreign")
        contents["a"] = b"foreign"
        size = self.store.stat().st_size
        self.varve("raw", "compact", self.store)
        self.assertLess(self.store.stat().st_size, size)
        self.varve("check", self.store)
        for path, content in contents.items():
            self.assertEqual(self.output("get", self.store, path), content)
        # And it can still be changed.
        self.put("d/f", b"after")
        self.assertEqual(self.output("ls", self.store, "d"), b"b\ne\nf\n")
        self.varve("check", self.store)
        # And compacted again.
        self.varve("compact", self.store)
        self.varve("history", "usage", self.store)
        self.varve("check", self.store)

    def test_compaction_that_would_lose_content_is_refused(self):
        big = pattern(2, 200_000)
        self.put("big", big)
        # Too large to be copied: the old key is deleted, and the file keeps the bytes.
        self.varve("mv", self.store, "big", "renamed")
        message = self.message("raw", "compact", self.store, status=REFUSED)
        self.assertIn('"renamed"', message)
        self.assertEqual(self.output("get", self.store, "renamed"), big)
        self.varve("check", self.store)


class Adopt(CliTest):
    def setUp(self):
        super().setUp()
        shutil.copy(GOLDEN / "path_keys.store", self.store)
        self.store.chmod(0o600)
        manifest = json.loads((GOLDEN / "path_keys.json").read_text(encoding="utf-8"))
        self.live = {entry["key"]: payload_of(entry["payload"]) for entry in manifest["live"]}

    def test_entries_get_their_names(self):
        keys = ["docs/readme.txt", "a/b/c.bin", "naïve/ключ/文件"]
        self.assertEqual(self.output("ls", self.store), b"")
        listed = self.file("keys", "\n".join(keys + ["never/written"]).encode())
        self.assertEqual(
            self.output("adopt", self.store, listed),
            b"3 of 4 keys adopted; 1 have no unnamed entry\n",
        )
        for key in keys:
            self.assertEqual(self.output("get", self.store, key), self.live[key])
        self.varve("check", self.store)
        # They have their names now.
        self.assertIn(b"0 of 4 keys", self.output("adopt", self.store, listed))

    def test_keys_that_cannot_be_paths_are_told_and_left(self):
        keys = "".join(key + "\n" for key in self.live)
        result = self.varve("adopt", self.store, self.file("keys", keys.encode()), status=EXISTS)
        self.assertRegex(result.stdout.decode(), r"\A3 of 9 keys adopted; .* 6 failed\n\Z")
        self.assertIn(b'cannot adopt "a": ', result.stderr)  # "a/b/c.bin" made it a directory
        keys = self.file("keys", b"../up\n")
        self.assertIn("cannot be a path", self.message("adopt", self.store, keys, status=USAGE))
        self.assertEqual(self.output("raw", "read", self.store, "../up"), self.live["../up"])

    def test_keys_may_end_with_nul_and_come_from_standard_input(self):
        with open(self.file("keys", b"docs/readme.txt\0a\0"), "rb") as keys:
            self.assertIn(b"2 of 2 keys", self.output("adopt", "-0", self.store, "-", stdin=keys))
        self.assertEqual(self.output("get", self.store, "a"), self.live["a"])

    def test_a_keys_file_that_is_missing(self):
        self.assertIn("cannot open nokeys",
                      self.message("adopt", self.store, "nokeys", status=NOT_FOUND))


class Check(CliTest):
    def setUp(self):
        super().setUp()
        self.contents = {"d/a": b"first file " * 20, "d/b": pattern(9, 100_000), "c": b"last"}
        for path, content in self.contents.items():
            self.put(path, content)

    def damage(self, offset):
        with open(self.store, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 0x10]))

    def records(self):
        """Where the tree's records are, but for the last: it vouches for those before it.

        All of them have to go for the tree to be unreadable.
        """
        data = self.store.read_bytes()
        return [at for at in range(0, len(data), 64) if data[at:at + 4] == b"VRC1"][:-1]

    def place_of(self, path):
        text = self.output("raw", "metadata", self.store, path).decode()
        return {name: int(value) for name, value in re.findall(r"^([\w ]+): (\d+)\b", text, re.M)
                if name != "key hash"}

    def test_a_sound_store_is_clean(self):
        result = self.varve("check", self.store)
        self.assertIn(b": clean; ", result.stdout)
        self.assertIn(b"3 files", result.stdout)
        report = json.loads(self.output("check", "--json", self.store))
        self.assertIs(report["clean"], True)
        self.assertEqual((report["problems"], report["files"]), ([], 3))

    def test_a_damaged_file_is_named_with_its_offset(self):
        offset = self.place_of("d/b")["payload offset"]
        self.damage(offset + 5000)
        result = self.varve("check", self.store, status=DAMAGE)
        lines = result.stdout.decode().splitlines()
        self.assertEqual(len(lines), 2)
        self.assertIn('file "d/b"', lines[0])
        self.assertIn("offset %d" % offset, lines[0])
        self.assertIn("1 problem;", lines[1])
        report = json.loads(self.varve("check", "--json", self.store, status=DAMAGE).stdout)
        self.assertIs(report["clean"], False)
        self.assertEqual(report["problems"][0]["files"], ["d/b"])
        self.assertEqual(report["problems"][0]["offset"], offset)
        # The damaged bytes are served to nobody; all others are.
        failed = self.varve("get", self.store, "d/b", status=DAMAGE)
        self.assertEqual(failed.stdout, b"")
        self.assertIn(b'"d/b"', failed.stderr)
        self.assertEqual(self.output("get", self.store, "d/a"), self.contents["d/a"])

    def test_every_name_of_damaged_content_is_told(self):
        # Content that lies in an entry whose key has been deleted: no live entry, yet needed.
        self.varve("mv", self.store, "d/b", "e")
        entries = json.loads(self.output("info", "--json", self.store))["entries"]
        offset = self.store.read_bytes().find(self.contents["d/b"])
        self.assertGreater(offset, 0)
        self.damage(offset + 7)
        result = self.varve("check", self.store, status=DAMAGE)
        self.assertIn(b'file "e"', result.stdout)
        self.assertGreater(entries, 0)

    def test_a_damaged_link_is_found(self):
        place = self.place_of("d/b")
        self.damage(place["metadata offset"] + 9)  # in the offset of the entry before
        result = self.varve("check", self.store, status=DAMAGE)
        self.assertIn(b"problem", result.stdout)

    def test_a_tree_that_cannot_be_read_is_told(self):
        records = self.records()
        for record in records:
            self.damage(record + 7)  # in its time
            self.damage(record + 9)  # more than can be mended
        failed = self.varve("ls", self.store, status=DAMAGE)
        self.assertIn(b"checkpoint", failed.stderr)
        result = self.varve("check", self.store, status=DAMAGE)
        self.assertIn(b"tree: the tree cannot be read: ", result.stdout)
        self.assertRegex(result.stdout, rb"\b1\d problems;")

    def test_a_tree_without_its_checkpoint_is_read_from_its_commits(self):
        listing = self.varve("ls", "-R", self.store).stdout
        # The last entry says that the store was closed; the one before is the checkpoint.
        end = int.from_bytes(self.store.read_bytes()[-12:-4], "little") - 20
        self.damage(end - 1)
        self.damage(end - 15)
        result = self.varve("ls", "-R", self.store)
        self.assertEqual(result.stdout, listing)
        result = self.varve("check", self.store, status=DAMAGE)
        self.assertIn(b"1 problem;", result.stdout)
        self.varve("check", "--repair", self.store)
        self.varve("check", self.store)
        self.assertEqual(self.varve("ls", "-R", self.store).stdout, listing)

    def test_a_repaired_store_is_sound_and_the_damaged_one_is_kept(self):
        listing = self.varve("ls", "-R", self.store).stdout
        for record in self.records():
            self.damage(record + 7)
        damaged = self.store.read_bytes()
        # One bit of a record is put right for those who read, and told.
        self.assertEqual(self.varve("ls", "-R", self.store).stdout, listing)
        result = self.varve("check", self.store, status=DAMAGE)
        self.assertIn(b"a bit of the record", result.stdout)
        self.assertEqual(self.store.read_bytes(), damaged)
        self.varve("check", "--repair", self.store)
        self.varve("check", self.store)
        self.assertEqual(self.varve("ls", "-R", self.store).stdout, listing)
        kept = self.store.with_name(self.store.name + ".damaged")
        self.assertEqual(kept.read_bytes(), damaged)

    def test_a_sound_store_is_not_repaired(self):
        before = self.store.read_bytes()
        self.varve("check", "--repair", self.store)
        self.assertEqual(self.store.read_bytes(), before)

    def test_what_cannot_be_checked_is_no_damage(self):
        self.assertIn("there is no store", self.message("check", "absent", status=NOT_CHECKED))
        self.varve("check", ".", status=NOT_CHECKED)
        self.varve("check", self.file("junk", b"junk" * 100), status=NOT_CHECKED)

    def test_checking_changes_nothing(self):
        before = self.store.read_bytes()
        self.varve("check", self.store)
        self.varve("info", self.store)
        self.varve("ls", "-R", self.store)
        self.varve("get", self.store, "c")
        self.assertEqual(self.store.read_bytes(), before)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()),
                         ["source", "store.varve"])


if __name__ == "__main__":
    junit.main()

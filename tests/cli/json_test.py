#!/usr/bin/env python3
"""What verbs print with --json is what the schemas in docs/json say, and nothing else."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import unittest

from tests.kit import junit
from tests.kit.mounted import MountedStore, run, varve, varve_binary

SCHEMAS = pathlib.Path("docs/json").absolute()
PAGES = pathlib.Path("tools/varve/man").absolute()
CONTENT = b"what can be found in the store, to be damaged"
DAMAGE = 4
# Checks lines of a schema and an object in each; Debian's Python has the module, and
# the first one in the path may be another.
VALIDATE = """
import json, sys
import jsonschema
for line in sys.stdin:
    schema, value = json.loads(line)
    jsonschema.Draft202012Validator.check_schema(schema)
    for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
        sys.exit(str(error))
"""


def help_of(*command):
    return run(varve_binary(), *command, "--help").stdout.decode()


def commands_with_json():
    """Those whose --help has --json, as tuples of words."""

    def below(*words):
        listed = help_of(*words).partition("\nSubcommands:\n")[2].partition("\n\n")[0]
        for line in listed.splitlines():
            if line.startswith("  ") and line[2] != " ":
                command = words + (line.split()[0].split(",")[0],)
                yield command
                yield from below(*command)

    return [command for command in below() if "\n  --json" in help_of(*command)]


def schema_of(command):
    return SCHEMAS / ("%s.schema.json" % "-".join(command))


def closed(schema):
    """The same, but that what is not named is not allowed."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: closed(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        result.setdefault("additionalProperties", False)
    return result


class Json(unittest.TestCase):
    def setUp(self):
        self.mounted = MountedStore()
        self.mounted.__enter__()
        self.addCleanup(self.mounted.__exit__)
        self.store, self.root = self.mounted.path, self.mounted.root

    def expect_valid(self, command, values):
        self.assertTrue(values, command)
        schema = closed(json.loads(schema_of(command).read_text(encoding="utf-8")))
        lines = "".join(json.dumps([schema, value]) + "\n" for value in values)
        result = subprocess.run(["/usr/bin/python3", "-c", VALIDATE], input=lines.encode(),
                                capture_output=True, timeout=600, check=False)
        self.assertEqual(result.returncode, 0, "%s: %s\n%s" % (
            " ".join(command), result.stderr.decode(), values))

    def object(self, *command, status=(0,)):
        """The object that a command prints, which has to be as its schema says."""
        words = 2 if command[0] in ("raw", "snapshot", "history") else 1
        result = varve(*command[:words], "--json", *command[words:], check=False)
        self.assertIn(result.returncode, status, result.stderr)
        if command[0] in ("log", "versions", "diff") or command[:2] == ("history", "purge"):
            values = [json.loads(line) for line in result.stdout.splitlines()]
            self.expect_valid(command[:words], values)
            return values
        value = json.loads(result.stdout)
        self.expect_valid(command[:words], [value])
        return value

    def fill(self):
        (self.mounted / "file").write_bytes(CONTENT)
        (self.mounted / "folder").mkdir()
        os.symlink(b"\xff", self.mounted / "link")
        (self.mounted.root / os.fsdecode(b"not \xff text")).touch()
        os.mknod(self.mounted / "device", 0o644 | 0o020000, os.makedev(1, 3))
        os.mkfifo(self.mounted / "fifo")

    def damage(self, at):
        with open(self.store, "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))

    def test_each_command_has_a_schema_that_its_manual_names(self):
        commands = commands_with_json()
        self.assertIn(("raw", "metadata"), commands)
        self.assertEqual({schema_of(command) for command in commands}, set(SCHEMAS.iterdir()))
        for command in commands:
            page = (PAGES / ("varve-%s.1" % command[0])).read_text(encoding="utf-8")
            name = "/usr/share/doc/varve/json/" + schema_of(command).name
            self.assertIn(name, page.replace("\\-", "-"))
            title = json.loads(schema_of(command).read_text(encoding="utf-8"))["title"]
            self.assertEqual(title, "varve %s --json" % " ".join(command))

    def test_each_command_is_tested_here(self):
        here = pathlib.Path(__file__).read_text(encoding="utf-8")
        for command in commands_with_json():
            words = ", ".join('"%s"' % word for word in command)
            self.assertTrue('self.object(%s' % words in here or '.lines(%s' % words in here, words)

    def test_what_is_not_in_a_schema_is_found(self):
        with self.assertRaises(AssertionError):
            self.expect_valid(("raw", "info"), [{"store": "s"}])
        info = self.object("raw", "info", self.store)
        with self.assertRaises(AssertionError):
            self.expect_valid(("raw", "info"), [{**info, "new": 1}])

    def test_doctor(self):
        self.fill()
        # 17 if there is something to mend on the host, which is not ours to know.
        for what in (self.root, self.store):
            report = self.object("doctor", what, status=(0, 17))
            self.assertTrue(report["findings"])

    def test_of_a_mount(self):
        self.fill()
        self.assertEqual(self.object("info", self.root)["store"], str(self.store))
        self.assertEqual(self.object("compact", self.root)["result"], "done")
        self.assertEqual(self.object("compact", "--dry-run", self.root)["kind"], "copy")
        self.assertEqual(self.object("info", self.store)["mounted_at"], [str(self.root)])

    def lines(self, *command, until):
        """The lines of one that goes on, until one of them is it."""
        process = subprocess.Popen([varve_binary(), *map(str, command), "--json"],
                                   stdout=subprocess.PIPE)
        values = []
        try:
            for line in process.stdout:
                values.append(json.loads(line))
                if until(values[-1]):
                    break
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.close()
            process.wait()
        self.expect_valid(command[:1], values)
        return values

    def test_of_what_goes_on(self):
        reader, writer = os.pipe()
        busy = subprocess.Popen(
            [sys.executable, "-c",
             "import os, select, sys\n"
             "at = sys.argv[1]\n"
             "while not select.select([0], [], [], 0.01)[0]:\n"
             "    open(at + '/a', 'w').write('text')\n"
             "    os.rename(at + '/a', at + '/b')\n"
             "    open(at + '/b').read()\n"
             "    os.unlink(at + '/b')\n",
             str(self.root)], stdin=reader)
        os.close(reader)
        try:
            shown = self.lines("top", self.root, "--interval", "0.2",
                               until=lambda value: "rename" in value["operations"])
            self.assertGreater(shown[-1]["requests"]["per_second"], 0)
            traced = self.lines("trace", self.root, until=lambda value: value["op"] == "rename")
            self.assertEqual((traced[-1]["path"], traced[-1]["target"]), ("/a", "/b"))
        finally:
            os.close(writer)
            busy.wait()

    def test_of_a_store(self):
        self.fill()
        self.mounted.umount()
        self.assertTrue(self.object("info", self.store)["has_tree"])
        self.assertEqual(len(self.object("ls", self.store)), 6)
        self.assertEqual(self.object("compact", "--punch", self.store)["kind"], "punch")
        self.assertIsNone(self.object("compact", "--dry-run", self.store)["mounted_at"])
        self.assertTrue(self.object("check", self.store)["clean"])
        self.object("raw", "info", self.store)
        place = self.object("raw", "metadata", self.store, "file")
        self.assertTrue(place["valid"])
        self.damage(place["payload_offset"])
        found = self.object("check", self.store, status=(DAMAGE,))
        self.assertEqual(found["problems"][0]["files"], ["file"])
        self.assertIsNone(found["repair"])
        place = self.object("raw", "metadata", self.store, "file", status=(DAMAGE,))
        self.assertFalse(place["valid"])
        repaired = self.object("check", "--repair", self.store)
        self.assertEqual(repaired["problems"], found["problems"])
        self.assertEqual(repaired["repair"]["kept"], str(self.store) + ".damaged")
        self.assertTrue(self.object("check", self.store)["clean"])

    def test_of_the_past(self):
        self.fill()
        varve("snapshot", "create", self.root, "s")
        (self.mounted / "file").write_bytes(b"more")
        os.rename(self.mounted / "folder", self.mounted / "moved")
        (self.mounted / "fifo").unlink()
        self.assertEqual(self.object("snapshot", "list", self.root)[0]["name"], "s")
        self.assertEqual(self.object("history", "policy", self.root), {"policy": "within=1d"})
        usage = self.object("history", "usage", self.root)
        self.assertEqual([snapshot["name"] for snapshot in usage["snapshots"]], ["s"])
        self.assertGreater(usage["allocated_bytes"], usage["live_bytes"])
        plan = self.object("history", "plan", self.root)
        self.assertEqual(plan["policy"], "within=1d")
        for snapshot in plan["snapshots"]:
            self.assertIn("named", snapshot["kept_by"])
        log = self.object("log", self.root)
        self.assertEqual([line["operation"] for line in log[:3]], ["delete", "rename", "write"])
        sizes = [version["size"] for version in self.object("versions", self.mounted / "file")]
        self.assertEqual(sizes, [4, len(CONTENT), 0])
        changes = {(line["change"], line["path"]) for line in self.object("diff", self.root, "s")}
        self.assertEqual(changes, {("M", "file"), ("R", "moved"), ("-", "fifo")})
        restored = self.object("restore", self.root, "file", "--at", "s")
        self.assertEqual((restored["replaced"], restored["bytes"]), (1, len(CONTENT)))
        self.assertEqual(self.object("undelete", self.root, "fifo")["made"], 1)
        purged = self.object("history", "purge", self.root, "moved")[0]
        self.assertEqual((purged["snapshots"], purged["window"], purged["present"]),
                         ([], True, True))
        self.assertEqual(self.object("log", self.root)[0]["operation"], "purge")

    def test_of_another_programs_store(self):
        old = self.mounted.base / "old"
        for key in ("a", "b/c"):
            varve("raw", "write", old, key, "value")
        keys = self.mounted.base / "keys"
        keys.write_text("a\nb/c\nnone\n", encoding="utf-8")
        self.assertEqual(self.object("info", old)["has_tree"], False)
        self.assertEqual(self.object("check", old)["has_tree"], False)
        self.assertEqual(self.object("adopt", old, keys), {
            "store": str(old), "keys": 3, "adopted": 2, "absent": 1, "failed": 0})

    def test_of_the_installation(self):
        self.object("version")


if __name__ == "__main__":
    junit.main()

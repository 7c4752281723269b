#!/usr/bin/env python3
"""Arrows between folders point down only, as the includes of the sources show.

The tables below are what docs/architecture.md draws. A folder may use itself,
the folders that its row names, and whatever those may use. Tests, fuzzers and
their kits may also use the test kits of any layer, and whole stores.
"""

import os
import re
import unittest

from tests.kit import junit

# folder -> what it may use. Each row may only name rows above it.
ENGINE = {
    "engine/base": [],
    "engine/io": ["engine/base"],
    "engine/entry": ["engine/io"],
    "engine/index": ["engine/entry"],
    "engine/mend": ["engine/entry"],
    "engine/recovery": ["engine/index", "engine/mend"],
    "engine/store": ["engine/recovery"],
}
FS = {
    "fs/base": [],
    "fs/format": ["fs/base"],
    "fs/btree": ["fs/format"],
    "fs/tree": ["fs/btree"],
    "fs/log": ["fs/tree"],
    "fs/content": ["fs/log"],
    "fs/history": ["fs/log"],
    "fs/compaction": ["fs/content", "fs/history"],
    "fs/mend": ["fs/log"],
    "fs/volume": ["fs/compaction", "fs/mend"],
    "fs/repair": ["fs/volume"],
    "fs/ioctl": ["fs/base", "fs/compaction"],
    "fs/transport": [],
    "fs/monitor": [],
    "fs/fuse": ["fs/volume", "fs/ioctl", "fs/transport", "fs/monitor"],
}
LAYERS = {**ENGINE, **FS}

# What is public of the engine: headers that every folder of fs/ may include.
ENGINE_PUBLIC = {
    "engine/base/descriptor.h",
    "engine/base/read_sections.h",
    "engine/base/start_thread.h",
    "engine/base/status.h",
    "engine/base/zeros.h",
    "engine/entry/block_sums.h",
    "engine/entry/byte_source.h",
    "engine/entry/entry.h",
    "engine/entry/layout.h",
    "engine/io/bus_guard.h",
    "engine/io/file.h",
    "engine/io/forwarding_file.h",
    "engine/io/io_util.h",
    "engine/io/resolved_path.h",
    "engine/mend/link_mend.h",
    "engine/mend/mend.h",
    "engine/mend/mended_file.h",
    "engine/store/store.h",
}
# Tests of parts of the engine look at them in a whole store.
TESTS_MAY_USE = {"engine/store/store.h"}
TEST_CODE = re.compile(
    r"_(test|fuzz|benchmark)\.cc?$|(^|/)(test_util|\w+_test_util|store_test_fixture|fault_file"
    r"|model_\w+|crash_disk|fuzz_store|fuzz_script|item_script|memory_nodes)\.(cc|h)$"
)
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)
HAS_FUSE = {"fs/fuse"}
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


def reachable(layers):
    """folder -> all folders that it may use, itself included."""
    result = {}
    for folder, below in layers.items():
        result[folder] = {folder}.union(*(result[one] for one in below))
    return result


MAY_USE = reachable(LAYERS)


def offence(path, included):
    """Why the source at `path` may not include `included`, or None."""
    folder = os.path.dirname(path)
    target = os.path.dirname(included)
    if TEST_CODE.search(path):
        if folder.startswith("engine/") and not target.startswith("engine/"):
            return "tests of the engine know nothing above it"
        if TEST_CODE.search(included) or included in TESTS_MAY_USE:
            return None
        if folder.startswith("fs/") and target.startswith("engine/"):
            return None
        return None if target in MAY_USE[folder] else "tests of %s may not use %s" % (
            folder, target)
    if TEST_CODE.search(included):
        return "shipped code uses a test kit"
    if folder.startswith("fs/") and target.startswith("engine/"):
        return None if included in ENGINE_PUBLIC else "not public of the engine"
    if target not in MAY_USE[folder]:
        return "%s may not use %s" % (folder, target)
    return None


def sources():
    for top in ("engine", "fs"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in sorted(names):
                if name.endswith((".cc", ".h", ".c")):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def ours(path):
    return path.startswith(("engine/", "fs/", "tools/", "tests/"))


class LayersTest(unittest.TestCase):
    def test_every_folder_has_a_row(self):
        folders = {os.path.dirname(path) for path in sources()}
        self.assertEqual(folders, set(LAYERS))

    def test_includes_point_down(self):
        offences = []
        for path in sources():
            with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                text = file.read()
            for included in INCLUDE.findall(text):
                if ours(included):
                    why = offence(path, included)
                    if why:
                        offences.append("%s includes %s: %s" % (path, included, why))
                elif included.startswith("fuse") and os.path.dirname(path) not in HAS_FUSE:
                    offences.append("%s includes %s: only fs/fuse knows libfuse" % (path, included))
        if offences:
            self.fail("includes against the arrows:\n  " + "\n  ".join(offences))

    def test_an_include_upwards_is_seen(self):
        for path, included in (
            ("fs/tree/tree.h", "fs/log/commit.h"),
            ("fs/base/error.cc", "fs/volume/volume.h"),
            ("fs/transport/request_loop.cc", "fs/volume/volume.h"),
            ("fs/ioctl/ioctl_structs.h", "fs/volume/volume.h"),
            ("fs/volume/volume_files.cc", "engine/recovery/recovery.h"),
            ("fs/volume/volume_files.cc", "engine/store/store_impl.h"),
            ("engine/io/file.h", "engine/store/store.h"),
            ("engine/store/store.cc", "fs/base/error.h"),
            ("fs/volume/volume_files.cc", "fs/volume/volume_test_util.h"),
            ("fs/tree/live_tree_test.cc", "fs/volume/volume.h"),
            ("engine/io/file_test.cc", "engine/index/index.h"),
        ):
            self.assertIsNotNone(offence(path, included), (path, included))
        self.assertIsNone(offence("fs/volume/volume_files.cc", "engine/store/store.h"))
        self.assertIsNone(offence("fs/log/commit.h", "fs/base/error.h"))


if __name__ == "__main__":
    junit.main()

"""What the number of files costs a tree, measured through Volume, without a mount.

Each step is a process of its own (tools/bench/tree_bench.cc), so that the memory
that it is seen to take is that of one session.
"""

import json
import os
import statistics

from bench_tools import BenchError, run

THOUSAND = 1000
MIB = 1 << 20
OPENINGS = 5
LARGE_MIB = 1024
# Of the step that is compared with a store of a thousand files.
COMPARED = ("creating", "finding", "reading", "removing")


class Tree:
    """A store, and the program that works on it."""

    def __init__(self, program, path, files):
        self.program = program
        self.path = path
        self.files = files

    def step(self, command, *arguments):
        output, _ = run(self.program, command, self.path, *arguments, "--files", self.files)
        return json.loads(output)

    def open(self, was_clean):
        figures = self.step("open")
        if figures["was_clean"] != was_clean or figures["inodes"] < self.files:
            raise BenchError("%s is not the store that was left: %s" % (self.path, figures))
        return figures


def opened(tree):
    """Figures of a store that was closed: the median time, the most memory."""
    all_figures = [tree.open(was_clean=True) for _ in range(OPENINGS)]
    return (statistics.median(figures["seconds"] for figures in all_figures),
            max(figures["anonymous"] for figures in all_figures))


def opened_after_kill(tree, changes):
    all_figures = []
    for _ in range(OPENINGS):
        tree.step("die", "--changes", changes)
        all_figures.append(tree.open(was_clean=False))
    return (statistics.median(figures["seconds"] for figures in all_figures),
            max(figures["anonymous"] for figures in all_figures))


def report_making(report, tree):
    made = tree.step("make")
    report.add("%d files in a tree: made at" % tree.files, made["all"] * 1e6, "µs each")
    report.add("  the first thousand", made["first_thousand"] / THOUSAND * 1e6, "µs each")
    report.add("  the last thousand", made["last_thousand"] / THOUSAND * 1e6, "µs each")
    report.add("  the last thousand, against the first",
               made["last_thousand"] / made["first_thousand"], "times", 1.3)
    report.add("  memory in the session that made them, at most", made["peak_anonymous"] / MIB,
               "MiB", 256)
    report.add("  closed in", made["close"], "s")
    report.add("  length of the store", made["store_bytes"] / tree.files, "B each")


def report_opening(report, empty, tree, changes):
    base, base_memory = opened(empty)
    seconds, memory = opened(tree)
    report.add("  an empty store: opened in", base * 1e3, "ms")
    report.add("  memory after that", base_memory / MIB, "MiB")
    report.add("  opened in, beyond an empty store", (seconds - base) * 1e3, "ms", 20)
    report.add("  memory after that", memory / MIB, "MiB", 64)
    killed, memory = opened_after_kill(tree, changes)
    report.add("  killed after %d changes: opened in, beyond a clean one" % changes,
               (killed - seconds) * 1e3, "ms", 300)
    report.add("  memory after that", memory / MIB, "MiB", 64)


def report_comparison(report, few, many, rounds):
    times = many.step("compare", few.path, "--rounds", rounds)

    def add(text, what, at_most=None):
        ratios = [many / few for few, many in zip(times[what]["few"], times[what]["many"])]
        report.add(text % what, statistics.median(ratios), "times", at_most,
                   seconds=times[what])

    for what in COMPARED:
        add("  %s a thousand more, against the first thousand", what, 1.3)
    add("  %s by its path, against the first thousand", "finding any")


def report_listing(report, tree):
    listed = tree.step("list")
    if listed["entries"] < tree.files:
        raise BenchError("%d entries were listed" % listed["entries"])
    report.add("  listing all", listed["each"] * 1e6, "µs each")
    report.add("  memory after that", listed["anonymous"] / MIB, "MiB", 256)
    report.add("  memory with a reference of the kernel to each, at most",
               listed["anonymous_with_references"] / MIB, "MiB", 256)


def report_waits(report, text, figures):
    report.add(text + ": longest wait of a client", figures["longest"] * 1e3, "ms", 50,
               operations=figures["operations"], histogram=figures["histogram"])
    report.add("  99 of 100 operations take less than", figures["p99"] * 1e3, "ms")
    for bound, count in figures["histogram"]:
        print("      up to %8d µs: %d" % (bound, count))
    report.add("  memory meanwhile, at most", figures["peak_anonymous"] / MIB, "MiB", 256)


def report_checkpoints(report, tree):
    figures = tree.step("checkpoint")
    report_waits(report, "  beside %d checkpoints" % figures["checkpoints"], figures)
    log = figures["log_bytes"]
    report.add("  written by them for each byte of the log, changes at random",
               figures["checkpoint_bytes"] / log, "B", 3)
    report.add("  images of the index, for each byte of the log",
               figures["index_image_bytes"] / log, "B")


def report_compaction(report, tree):
    figures = tree.step("compact")
    report_waits(report, "  beside a compaction", figures)
    report.add("  it took", figures["seconds"], "s")
    report.add("  longest wait that it tells of", figures["told_longest"] * 1e3, "ms", 50)


def report_punching(report, tree, text):
    figures = tree.step("punch", "--rounds", 2)
    report_waits(report, "  beside punching" + text, figures)
    report.add("  it took", figures["seconds"], "s")
    report.add("  longest wait that it tells of", figures["told_longest"] * 1e3, "ms", 50)


def report_clones(report, tree):
    tree.step("clone", "--changes", max(1, tree.files // 10))
    figures = tree.step("count", "--rounds", 3)
    report_waits(report, "  beside counting live bytes, one file in ten a clone", figures)
    report.add("  it took", figures["seconds"], "s")
    report_punching(report, tree, ", one file in ten a clone")


def report_past(report, tree, snapshots):
    """As many snapshots, each of a tree in which a hundred files have changed since the last."""
    steps = ("--rounds", snapshots, "--changes", 100)
    made = tree.step("snapshot", *steps)
    report.add("  making a snapshot, after 100 changes each", made["first"] * 1e3, "ms", 5)
    report.add("    behind %d others" % (snapshots * 9 // 10), made["last"] * 1e3, "ms", 5)
    report.add("    the store grows by, changes included", made["grown_each"] / 1024, "KiB", 64)
    report.add("    memory meanwhile, at most", made["peak_anonymous"] / MIB, "MiB", 256)
    seen = tree.step("past", *steps)
    report.add("  opening a snapshot", seen["opening"] * 1e3, "ms", 20)
    report.add("    the slowest of all", seen["opening_longest"] * 1e3, "ms")
    report.add("  comparing two neighbours", seen["comparing"] * 1e3, "ms", 50)
    report.add("  listing one, against the present", seen["list_past"] / seen["list_present"],
               "times", 1.2)
    report.add("  memory for looking at them, at most", seen["peak_anonymous"] / MIB, "MiB", 256)
    report.add("  a compaction that keeps %d of them" % snapshots,
               tree.step("compact")["seconds"], "s")


def report_large(report, program, path, rounds):
    """A file whose blocks are compared with their checksums when they are first read."""
    times = Tree(program, path, 0).step("large", "--mib", LARGE_MIB, "--rounds", rounds)
    os.unlink(path)
    for text, first, again, at_most in (
            ("a file of %d MiB: read for the first time, against the next" % LARGE_MIB,
             "first", "again", 1.3),
            ("  4 KiB in a block not read before, against one that was",
             "random first", "random again", None)):
        ratios = [one / other for one, other in zip(times[first], times[again])]
        report.add(text, statistics.median(ratios), "times", at_most,
                   seconds={what: times[what] for what in (first, again)})


def report_removing(report, tree):
    removed = tree.step("remove")
    if removed["removed"] < tree.files:
        raise BenchError("%d entries were removed" % removed["removed"])
    report.add("  removing all", removed["each"] * 1e6, "µs each")
    report.add("  memory meanwhile, at most", removed["peak_anonymous"] / MIB, "MiB", 256)


def measure(report, arguments, paths):
    """All of it, with two stores at `paths`."""
    few_path, many_path = paths
    program = arguments.tree_bench
    empty = Tree(program, few_path + ".empty", 0)
    empty.step("make")
    few = Tree(program, few_path, THOUSAND)
    few.step("make")
    tree = Tree(program, many_path, arguments.files)
    report_making(report, tree)
    report_opening(report, empty, tree, arguments.changes)
    report_comparison(report, few, tree, arguments.rounds)
    report_listing(report, tree)
    report_checkpoints(report, tree)
    report_compaction(report, tree)
    report_punching(report, tree, "")
    report_clones(report, tree)
    report_past(report, tree, arguments.snapshots)
    report_removing(report, tree)
    report_large(report, program, many_path + ".large", arguments.rounds)

#!/usr/bin/env python3
"""Times everyday work on Varve and on other file systems; see tools/bench/mount.

Each round runs the whole chain of workloads on each target, made anew; the
order of the targets rotates. Before each workload everything is synced, which
is not timed, so that nobody pays for what was written before.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

import mount_report
from bench_tools import BenchError, file_system_of, io_uring_offered, is_io_uring_offered
from mount_data import Data, Sizes
from mount_targets import TARGETS
from mount_workloads import BY_NAME, WORKLOADS, Bench, with_needs

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEFAULT_TARGETS = "host,varve,bindfs,fuse2fs"
SEED = 20240229
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="tools/bench/mount", description=__doc__.split("\n\n")[0].split(";")[0] + ".",
        epilog="Workloads: %s." % ", ".join(BY_NAME))
    parser.add_argument("--targets", default=DEFAULT_TARGETS, metavar="A,B",
                        help="of %s; by default %s" % (", ".join(TARGETS), DEFAULT_TARGETS))
    parser.add_argument("--floor", action="store_true",
                        help="also a FUSE file system that does nothing but answer")
    parser.add_argument("--io-uring", action="store_true",
                        help="Varve's requests come through io_uring, which the kernel is "
                        "made to offer")
    parser.add_argument("--workloads", metavar="A,B", help="these only; by default all")
    parser.add_argument("--rounds", type=int, default=3, help="by default 3")
    parser.add_argument("--scale", type=float, default=1.0,
                        help="makes all data and counts smaller: 0.1")
    parser.add_argument("--files", type=int, help="in the tree; by default 8000")
    parser.add_argument("--big-mib", type=int, help="of the big file; by default 256")
    parser.add_argument("--dir", metavar="DIR",
                        help="where to work; its file system is the host's (by default "
                        "a temporary directory)")
    parser.add_argument("--json", metavar="FILE", help="writes all samples and figures there")
    parser.add_argument("--plot", metavar="FILE", help="draws a chart: .svg or .png")
    parser.add_argument("--check", action="store_true",
                        help="compares with the targets, and fails if one is missed")
    parser.add_argument("--no-sync", action="store_true",
                        help="no sync between workloads: for trials, not for figures")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    parser.add_argument("--varve", metavar="PROGRAM", help="instead of the one that was built",
                        default=os.path.join(ROOT, "bazel-bin/tools/varve/varve"))
    parser.add_argument("--floor-program", metavar="PROGRAM", help="likewise",
                        default=os.path.join(ROOT, "bazel-bin/tools/bench/floor"))
    arguments = parser.parse_args()
    arguments.targets = _names(parser, arguments.targets, TARGETS)
    if arguments.floor and "floor" not in arguments.targets:
        arguments.targets.append("floor")
    arguments.workloads = _names(parser, arguments.workloads or ",".join(BY_NAME), BY_NAME)
    if arguments.plot and not arguments.plot.endswith((".svg", ".png")):
        parser.error("--plot draws .svg or .png")
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    for path in (arguments.json, arguments.plot, arguments.dir and arguments.dir + "/"):
        folder = os.path.dirname(path or "") or "."
        if not os.path.isdir(folder):
            parser.error("there is no directory %s" % folder)
    return arguments


def _names(parser, text, known):
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in known:
            parser.error("%r is none of %s" % (name, ", ".join(known)))
    return names


def check_programs(arguments):
    """Fails at the start, and not after an hour."""
    programs = {"varve": os.path.abspath(arguments.varve),
                "varve-options": ["-o", "io_uring"] if arguments.io_uring else [],
                "floor": os.path.abspath(arguments.floor_program)}
    needed = ["tar", "grep", "find", "rsync", "git", "fusermount3"]
    needed += [programs[name] for name in ("varve", "floor") if name in arguments.targets]
    needed += ["bindfs"] if "bindfs" in arguments.targets else []
    needed += ["fuse2fs", "mkfs.ext4"] if "fuse2fs" in arguments.targets else []
    needed += ["gnuplot"] if arguments.plot else []
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        raise BenchError("missing: %s (tools/bench/install installs what is compared with, and "
                         "tools/bench/mount builds the rest)" % ", ".join(missing))
    return programs


# ---- Facts of the machine ---------------------------------------------------


def _first_line(*command):
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None


def _processor():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def machine_facts(programs, targets, work):
    versions = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "fuse2fs": _first_line("dpkg-query", "-W", "-f", "${Version}", "fuse2fs"),
        "bindfs": _first_line("bindfs", "--version"),
    }
    for tool in ("tar", "grep", "find", "rsync", "git", "cp"):
        versions[tool] = _first_line(tool, "--version")
    if "varve" in targets:
        versions["varve"] = _first_line(programs["varve"], "--version")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "host_file_system": file_system_of(work),
        "load_average": os.getloadavg(),
        "is_root": os.geteuid() == 0,
        "io_uring_offered": is_io_uring_offered(),
        "versions": versions,
    }


# ---- Running ----------------------------------------------------------------


class Runner:
    def __init__(self, arguments, programs, data, work):
        self.arguments = arguments
        self.programs = programs
        self.data = data
        self.work = work
        self.chain = with_needs(arguments.workloads)
        measured = [each for each in WORKLOADS if each.name in arguments.workloads]
        self.results = mount_report.Results(measured, arguments.targets)

    def progress(self, text):
        if not self.arguments.quiet:
            print(text, file=sys.stderr, flush=True)

    def run(self):
        targets = self.arguments.targets
        for number in range(self.arguments.rounds):
            first = number % len(targets)
            for name in targets[first:] + targets[:first]:
                self.run_chain(name, number + 1)
        return self.results

    def run_chain(self, name, round_number):
        folder = os.path.join(self.work, "%s-%d" % (name, round_number))
        os.mkdir(folder)
        target = TARGETS[name](folder, self.programs, self.data)
        done = set()
        try:
            target.start()
            bench = Bench(target, self.data, SEED + round_number)
            for workload in self.chain:
                self.run_one(workload, bench, round_number, done)
        except (BenchError, OSError, subprocess.SubprocessError) as error:
            self.fail("mount", name, round_number, error)
        finally:
            try:
                target.stop()
            except (BenchError, OSError, subprocess.SubprocessError) as error:
                self.fail("unmount", name, round_number, error)

    def run_one(self, workload, bench, round_number, done):
        target = bench.target.name
        lacking = [need for need in workload.needs if need not in done]
        if lacking:
            error = "needs %s, which failed" % ", ".join(lacking)
            return self.fail(workload.name, target, round_number, error)
        try:
            seconds = self.time(workload, bench)
        except (BenchError, OSError, sqlite3.Error, subprocess.SubprocessError) as error:
            return self.fail(workload.name, target, round_number, error)
        finally:
            workload.finish()
        done.add(workload.name)
        if workload in self.results.workloads:
            self.results.add(workload, target, seconds)
            self.progress("round %d  %-8s %-13s %9.4f s" % (
                round_number, target, workload.name, seconds))
        return None

    def time(self, workload, bench):
        workload.prepare(bench)
        if not self.arguments.no_sync:
            os.sync()
        begun = time.monotonic()
        workload.run(bench)
        seconds = time.monotonic() - begun
        workload.check(bench)
        return seconds

    def fail(self, workload, target, round_number, error):
        text = str(error) or type(error).__name__
        self.progress("round %d  %-8s %-13s FAILED: %s" % (round_number, target, workload, text))
        self.results.fail(workload, target, round_number, text)


def measure(arguments, programs):
    """Runs everything in folders that it removes afterwards; returns results and facts."""
    sizes = Sizes(arguments.scale, arguments.files, arguments.big_mib)
    with contextlib.ExitStack() as stack:
        if arguments.io_uring:
            stack.enter_context(io_uring_offered())
        work = tempfile.mkdtemp(prefix="mount-bench-", dir=arguments.dir)
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        facts = machine_facts(programs, arguments.targets, work)
        data = Data(sizes, tempfile.mkdtemp(
            prefix="mount-bench-", dir=Data.choose_folder(sizes, work)))
        stack.callback(data.close)
        data.make()
        facts["settings"] = dict(
            vars(sizes), tree_bytes=data.tree_bytes, rounds=arguments.rounds,
            synced=not arguments.no_sync, data_file_system=file_system_of(data.folder))
        return Runner(arguments, programs, data, work).run(), facts


def report(results, facts, arguments):
    """Prints and writes everything that was asked for; returns whether all targets are met."""
    is_well = not results.failures
    print(mount_report.table(results))
    if results.failures:
        print(mount_report.failure_lines(results))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(dict(results.to_json(), facts=facts), file, indent=1)
            file.write("\n")
    if arguments.check:
        lines, are_reached = mount_report.check(results)
        print(lines)
        is_well = is_well and are_reached
    if arguments.plot:
        mount_report.plot(results, arguments.plot)
    return is_well


def end(number, _frame):
    """Ends by an exception, so that every `finally` runs, and runs to its end."""
    for ignored in ENDING_SIGNALS:
        signal.signal(ignored, signal.SIG_IGN)
    sys.exit(128 + number)


def main():
    arguments = parse_arguments()
    for number in ENDING_SIGNALS:
        signal.signal(number, end)
    try:
        results, facts = measure(arguments, check_programs(arguments))
        sys.exit(0 if report(results, facts, arguments) else 1)
    except BenchError as error:
        sys.exit("tools/bench/mount: %s" % error)


if __name__ == "__main__":
    main()

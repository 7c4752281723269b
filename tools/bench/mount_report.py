"""Turns samples into ratios, a table, a verdict and a chart."""

import math
import statistics

from bench_tools import BenchError, run_pipeline

# A ratio is the time of A divided by that of B: times faster, or times slower.
FASTER_THAN = ("bindfs", "fuse2fs")
SLOWER_THAN = ("host", "floor")

# The targets that --check holds Varve to.
LEAST_MEAN = {"bindfs": 3.0, "fuse2fs": 8.0}
MOST_OF_HOST = {
    "find-again": 1.5, "tar-again": 1.5, "read-again": 1.1, "read-first": 2.0,
    "read-random": 1.2, "untar": 6.0, "cp": 6.0, "rm": 6.0, "rename": 3.0, "write-1m": 3.0,
}
# This close to a file system that does nothing, there is nothing left to gain.
AT_THE_FLOOR = 1.25


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(value) for value in values)) if values else None


class Results:
    """Samples in seconds by workload and target, and the failures."""

    def __init__(self, workloads, targets):
        self.workloads = workloads  # the measured ones, in order
        self.targets = targets  # names, in order
        self.samples = {workload.name: {} for workload in workloads}
        self.failures = []

    def add(self, workload, target, seconds):
        self.samples[workload.name].setdefault(target, []).append(seconds)

    def fail(self, workload, target, round_number, error):
        self.failures.append({
            "workload": workload, "target": target, "round": round_number, "error": error})

    def has_failed(self, workload, target):
        return any(failure["workload"] == workload and failure["target"] == target
                   for failure in self.failures)

    def median(self, workload, target):
        """None where the workload was not measured, or failed in any round."""
        samples = self.samples.get(workload, {}).get(target)
        if not samples or self.has_failed(workload, target):
            return None
        return statistics.median(samples)

    def ratio(self, workload, above, below):
        upper, lower = self.median(workload, above), self.median(workload, below)
        return upper / lower if upper and lower else None

    def ratios(self, above, below):
        """The ratios by workload, where both times are known."""
        found = {name: self.ratio(name, above, below) for name in self.samples}
        return {name: ratio for name, ratio in found.items() if ratio}

    def pairs(self):
        """The pairs of targets whose ratios are reported."""
        pairs = [(other, "varve") for other in FASTER_THAN]
        pairs += [("varve", other) for other in SLOWER_THAN]
        return [pair for pair in pairs if set(pair) <= set(self.targets)]

    def to_json(self):
        return {
            "workloads": [
                {"name": workload.name, "title": workload.title} for workload in self.workloads],
            "targets": self.targets,
            "samples": self.samples,
            "medians": {
                name: {target: self.median(name, target) for target in self.targets}
                for name in self.samples},
            "ratios": {"/".join(pair): self.ratios(*pair) for pair in self.pairs()},
            "geometric_means": {
                "/".join(pair): geometric_mean(list(self.ratios(*pair).values()))
                for pair in self.pairs()},
            "failures": self.failures,
        }


# ---- The table --------------------------------------------------------------


def _seconds(results, workload, target):
    median = results.median(workload, target)
    if median is None:
        return "failed" if results.has_failed(workload, target) else "-"
    return "%.4f" % median if median < 1 else "%.2f" % median


def _ratio(value):
    return "-" if value is None else "%.2f" % value


def table(results):
    """Median seconds of each target, then ratios; geometric means at the end."""
    pairs = results.pairs()
    rows = [["seconds (median)"] + results.targets + ["/".join(pair) for pair in pairs]]
    for workload in results.workloads:
        rows.append(
            [workload.title]
            + [_seconds(results, workload.name, target) for target in results.targets]
            + [_ratio(results.ratio(workload.name, *pair)) for pair in pairs])
    means = [geometric_mean(list(results.ratios(*pair).values())) for pair in pairs]
    rows.append(["geometric mean"] + [""] * len(results.targets) + [_ratio(x) for x in means])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def failure_lines(results):
    return "\n".join(
        "FAILED: %(workload)s on %(target)s, round %(round)d: %(error)s" % failure
        for failure in results.failures)


# ---- The verdict ------------------------------------------------------------


def _verdict(what, value, is_reached, to_floor):
    """One line, and whether the target counts as reached."""
    if value is None:
        return "missed   %s: not measured" % what, False
    line = "%s: %.2f" % (what, value)
    if is_reached:
        return "reached  " + line, True
    if to_floor is not None and to_floor <= AT_THE_FLOOR:
        return "reached  %s; missed, but varve/floor is %.2f" % (line, to_floor), True
    if to_floor is not None:
        line += "; varve/floor is %.2f" % to_floor
    return "missed   " + line, False


def check(results):
    """Holds the results against the targets: lines to print, and whether all are reached."""
    floor = results.ratios("varve", "floor")
    verdicts = []
    for other, least in LEAST_MEAN.items():
        ratios = results.ratios(other, "varve")
        mean = geometric_mean(list(ratios.values()))
        to_floor = geometric_mean([floor[name] for name in ratios if name in floor])
        verdicts.append(_verdict(
            "geometric mean of %s/varve, at least %g" % (other, least),
            mean, mean is not None and mean >= least, to_floor))
    for other in LEAST_MEAN:
        for workload in results.samples if other in results.targets else ():
            ratio = results.ratio(workload, other, "varve")
            verdicts.append(_verdict(
                "%s: %s/varve, at least 1" % (workload, other),
                ratio, ratio is not None and ratio >= 1, floor.get(workload)))
    for workload, most in MOST_OF_HOST.items():
        if workload in results.samples:
            ratio = results.ratio(workload, "varve", "host")
            verdicts.append(_verdict(
                "%s: varve/host, at most %g" % (workload, most),
                ratio, ratio is not None and ratio <= most, floor.get(workload)))
    reached = sum(is_reached for _, is_reached in verdicts)
    lines = [line for line, _ in verdicts]
    lines.append("%d of %d targets reached" % (reached, len(verdicts)))
    return "\n".join(lines), reached == len(verdicts)


# ---- The chart --------------------------------------------------------------

# A bar goes from 1, which is Varve's time, to the ratio.
_SCRIPT = """
set terminal %(terminal)s
set output "%(output)s"
set logscale x 10
set xrange [%(low)g:%(high)g]
set yrange [%(count)d - 0.4:-0.6]
set ytics (%(labels)s) scale 0
set grid xtics linetype 1 linewidth 0.5 linecolor rgb "#d0d0d0"
set xtics format "%%g"
set xtics add (%(more)s)
set xlabel "time of each, divided by that of Varve (right of 1: Varve is faster)"
set arrow from 1, graph 0 to 1, graph 1 nohead linecolor rgb "#303030" linewidth 1.5 front
set key outside top center horizontal samplen 1.5
set border 3
set tics nomirror
set style fill solid 1.0 noborder
%(data)s
plot %(plots)s
"""
_TICS = (0.02, 0.05, 0.2, 0.5, 2, 5, 20, 50, 200, 500)  # beside the powers of ten
_SERIES = (("bindfs", "#4878a8"), ("fuse2fs", "#e0a030"), ("host", "#80b070"))


def plot(results, path):
    """Draws a bar for each workload and each other file system."""
    series = [(name, color) for name, color in _SERIES if results.ratios(name, "varve")]
    if not series:
        raise BenchError("nothing to plot: Varve and another target have to be measured")
    height = 0.8 / len(series)
    data, plots, values = [], [], [1.0]
    for number, (name, color) in enumerate(series):
        data.append("$%s << END" % name)
        for row, workload in enumerate(results.workloads):
            ratio = results.ratio(workload.name, name, "varve")
            if ratio:
                top = row - 0.4 + number * height
                bounds = (min(1, ratio), max(1, ratio), top, top + 0.9 * height)
                data.append("%g %g %g %g %g %g" % ((ratio, top) + bounds))
                values.append(ratio)
        data.append("END")
        plots.append('$%s with boxxyerror linecolor rgb "%s" title "%s"' % (name, color, name))
    labels = ", ".join(
        '"%s" %d' % (workload.title, row) for row, workload in enumerate(results.workloads))
    height_px = 120 + 34 * len(results.workloads)
    kind = ("pngcairo" if path.endswith(".png") else "svg") + \
        ' size 900,%d font "sans,11" background "white"' % height_px
    script = _SCRIPT % {
        "terminal": kind, "output": path.replace('"', ""), "count": len(results.workloads),
        "low": min(values) / 1.3, "high": max(values) * 1.3, "labels": labels,
        "more": ", ".join('"%g" %g' % (tic, tic) for tic in _TICS),
        "data": "\n".join(data), "plots": ", ".join(plots),
    }
    run_pipeline('gnuplot <<<"$1"', script)

"""Two runs of scripts/bench beside each other, row by row, by `loadgen compare`.

The way to compare kernels natively: run, boot the other, run, compare.
"""

import glob
import json
import math
import os
import re
import subprocess
import sys

from suite.bench.record import Run
from suite.bench.tables import rows_of
from suite.machine import ROOT, CannotRun, near
from suite.report import middle

ALPHA = 0.05


def find(name):
    """The runs of a side: a folder's, or all that have this label."""
    if os.path.isdir(name):
        return [Run.open(name)]
    pattern = os.path.join(ROOT, "results", "*", f"*-{glob.escape(name)}", "run.json")
    found = [Run.open(os.path.dirname(path)) for path in sorted(glob.glob(pattern))]
    found = [run for run in found if run.facts["label"] == name]
    if not found:
        raise CannotRun(f"there is no folder {name}, and no run below results/ has this label")
    return found


def documents(runs):
    """The documents of each row that has some, of all runs of a side, run by run."""
    found = {}
    for run in runs:
        run.must_have_documents()
        for case in run.plan.cases:
            for row in rows_of(run, case)[0]:
                paths = [run.document(case.name, *row.way, number) for number in sorted(row.rounds)]
                paths = [path for path in paths if os.path.exists(path)]
                if paths:
                    found.setdefault((case.name, *row.way), []).append(paths)
    return found


BEFORE = {"delivery_ratio": "reach", "ratio": "share", "scheduling_delay": "lag"}


def place_of(metric):
    """Where a metric of `loadgen compare` stands in a document."""
    numbers = {"server-cpu": "cost.server_cpu_ns_per_message", "rate": "outcome.rate_per_s",
               "generator-cpu": "cost.generator_cpu_ns_per_message", "achieved": "outcome.achieved",
               "delivery-ratio": "outcome.delivery_ratio.ratio", "reach": "outcome.delivery_ratio.ratio",
               "errors": "outcome.errors_total"}
    if metric in numbers:
        return numbers[metric].split(".")
    found = re.match(r"([a-z-]+)\.(.*)", metric)
    series, name = found.groups() if found else ("latency", metric)
    group = "outcome"
    if series in ("scheduling-delay", "lag"):
        group, series = "trust", "scheduling_delay"
    return [group, series, f"{name.replace('.', '_')}_ns"]


def value_of(path, metric):
    """A metric of a document; None if it was not measured, or is not written there."""
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    for key in place_of(metric):
        # In the form before this one some keys had other names.
        value = value.get(key, value.get(BEFORE.get(key, key))) if isinstance(value, dict) else None
    return value


def runs_overlap(before, after, metric):
    """Whether runs of the same side differ as much as the sides: the medians of whole runs overlap."""
    medians = []
    for side in (before, after):
        values = [[value_of(path, metric) for path in paths] for paths in side]
        if any(value is None for run in values for value in run):
            raise CannotRun(f"whether runs of one side differ as much in {metric} cannot be told: not every document "
                            "has it; take server-cpu, rate, mean, max, or a percentile that loadgen prints")
        medians.append([middle(run) for run in values])
    base, new = medians
    return min(base) <= max(new) and min(new) <= max(base)


def compare_row(base, new, options):
    """What loadgen says of one row: its document, its exit code, and why it would not compare."""
    command = [options.program("loadgen"), "compare", "--format", "json"]
    for name in options.metric or ["server-cpu"]:
        command += ["--metric", name]
    for name in options.allow_diff:
        command += ["--allow-diff", name]
    base, new = ([path for paths in side for path in paths] for side in (base, new))
    done = subprocess.run([*command, *base, "--", *new], capture_output=True, text=True, check=False)
    try:
        said = done.stderr.strip().splitlines() or [f"loadgen compare ended with {done.returncode}"]
        return json.loads(done.stdout), done.returncode, said[0] if done.returncode not in (0, 1) else None
    except ValueError:
        raise CannotRun(f"loadgen compare: {done.stderr.strip() or said[0]}") from None


def shown(value, unit):
    """A value of a metric as people read it."""
    if unit == "ns":
        for scale, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
            if value >= scale:
                return f"{value / scale:.3g} {name}"
        return f"{value:.0f} ns"
    if unit == "1/s":
        return f"{value:,.0f}/s"
    return f"{value * 100:.2f} %" if unit == "share" else f"{value:.0f}"


def change(metric, overlap):
    """What loadgen says of it, and whether the runs bear it out."""
    if overlap and metric["verdict"] in ("worse", "better"):
        return f"~ (p={metric['p_adjusted']:.3f}, but runs of one side differ as much)"
    if metric["verdict"] == "not enough runs":
        return "not enough runs"
    if metric["ratio"] is None:
        verdict = "~" if metric["verdict"] == "nothing shown" else metric["verdict"]
        return f"{verdict} (p={metric['p_adjusted']:.3f})"
    low, high = (metric["ratio_interval"][end] - 1 for end in ("low", "high"))
    by = f"{(metric['ratio'] - 1) * 100:+.1f} % [{low * 100:+.1f} to {high * 100:+.1f}]"
    return f"{by} {metric['verdict']}"


def line_of(run, side):
    """What a side is."""
    facts = run.facts
    label = f" ({facts['label']})" if facts["label"] else ""
    return (f"- **{side}**{label}: Linux {facts['kernel']}, commit {facts['commit']}, {facts['utc']}, "
            f"{near(run.folder)}")


class Comparison:
    """Rows of two sides beside each other, and what has to be said of them."""

    def __init__(self, before, after, options):
        self.before, self.after, self.options = before, after, options
        self.both = [row for row in before if row in after]
        self.lines: list[str] = []
        self.differences: dict[str, tuple] = {}
        self.notes: dict[str, int] = {}
        self.refusals: list[str] = []
        self.codes: set[int] = set()
        for row in self.both:
            self.add(row)

    def add(self, row):
        """One row, by loadgen."""
        document, code, refusal = compare_row(self.before[row], self.after[row], self.options)
        for difference in document["differences"]:
            known = difference["standing"], difference["base"], difference["new"]
            self.differences.setdefault(difference["name"], known)
        for warning in document["warnings"]:
            kind = re.sub(r"\d+ of the \d+", "some of the", warning)
            self.notes[kind] = self.notes.get(kind, 0) + 1
        if refusal:
            self.codes.add(code)
            self.refusals.append(f"{' '.join(row)}: {refusal}")
        for metric in document["metrics"]:
            self.add_metric(row, metric, code == 1 and metric["metric"] in document["regressions"])

    def add_metric(self, row, metric, worse):
        """One line; what runs of the same side differ as much in is no change."""
        unit, overlap = metric["unit"], False
        if metric["verdict"] in ("worse", "better"):
            overlap = runs_overlap(self.before[row], self.after[row], metric["metric"])
        if worse and not overlap:
            self.codes.add(1)
        self.lines.append(f"| {' | '.join(row)} | {metric['metric']} | {shown(metric['base']['median'], unit)} "
                          f"| {shown(metric['new']['median'], unit)} | {change(metric, overlap)} |")

    def tell(self, runs):
        """Prints it; `runs` is how many runs each side has."""
        tell_differences(self.differences)
        print("| workload | driver | dialect | metric | base | new | change |\n|---|---|---|---|---|---|---|")
        print("\n".join(self.lines))
        told = sum(1 for line in self.lines if line.rstrip(" |").endswith(("worse", "better")))
        print(f"\n{told} of {len(self.lines)} lines show a change: Mann-Whitney U over all windows, p < 0.05 within a "
              "line, so one in twenty would by chance, and the medians of whole runs do not overlap. `~`: "
              "nothing shown. Medians of the windows; brackets: bootstrap interval of the change.")
        tell_chance(*runs)
        for warning, count in self.notes.items():
            print(f"\nNote, {count} of {len(self.both)} rows: {warning}.")
        for side, rows, other in (("base", self.before, self.after), ("new", self.after, self.before)):
            alone = [" ".join(row) for row in rows if row not in other]
            if alone:
                print(f"\nOnly in {side}: {'; '.join(alone)}.")

    def code(self):
        """1 if something is worse; 3, and why, if it is not comparable."""
        if 3 in self.codes:
            refused = [name for name, (standing, *_) in self.differences.items() if standing == "refused"]
            why = (f"they differ in {', '.join(refused)}; measure under the same conditions, or --allow-diff NAME"
                   if refused else "; ".join(self.refusals))
            print(f"bench: not comparable: {why}", file=sys.stderr)
            return 3
        return 1 if 1 in self.codes else 0


def compare(options):
    """Prints the comparison as Markdown; 1 if something is worse, 3 if it is not comparable."""
    base, new = (find(name) for name in options.compare)
    print("\n".join([*(line_of(run, "base") for run in base), *(line_of(run, "new") for run in new), ""]))
    found = Comparison(documents(base), documents(new), options)
    if not found.both:
        raise CannotRun("the two runs have no row in common")
    found.tell((len(base), len(new)))
    return found.code()


def tell_chance(base, new):
    """How often the medians of so many runs do not overlap, though nothing differs; if that is often."""
    chance = 2 / math.comb(base + new, base)
    if chance > ALPHA:
        print(f"\nNote: with {base} and {new} runs, the medians of runs do not overlap by chance in "
              f"{min(chance, 1):.0%} of the lines, if the machine drifts between them; with four a side, in turn, "
              "in 3 %.")


def tell_differences(differences):
    """What the machines and settings have not in common."""
    if not differences:
        return
    print("| different | base | new | |\n|---|---|---|---|")
    for name, (standing, before, after) in differences.items():
        print(f"| {name} | {short(before)} | {short(after)} | {standing} |")
    print()


def short(values):
    """Values in a cell."""
    text = ", ".join(values).replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= 80 else text[:77] + "..."

"""Two runs of scripts/bench beside each other, row by row, by `loadgen compare`.

Not a program of its own. The way to compare kernels natively: run, boot the other, run, compare.
"""

import glob
import json
import math
import os
import re
import statistics
import subprocess
import sys

from bench_machine import CannotRun
from bench_record import Run
from bench_report import rows_of
from interleaved import ROOT

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
        for case in run.plan.cases:
            for row in rows_of(run, case)[0]:
                paths = [run.document(case.name, *row.way, number) for number in sorted(row.rounds)]
                paths = [path for path in paths if os.path.exists(path)]
                if paths:
                    found.setdefault((case.name, *row.way), []).append(paths)
    return found


def place_of(metric):
    """Where a metric of `loadgen compare` stands in a document."""
    numbers = {"server-cpu": "cost.server_cpu_ns_per_message", "rate": "outcome.rate_per_s",
               "generator-cpu": "cost.generator_cpu_ns_per_message", "achieved": "outcome.achieved",
               "reach": "outcome.reach.share", "errors": "outcome.errors_total"}
    if metric in numbers:
        return numbers[metric].split(".")
    series, name = re.match(r"(?:([a-z]+)\.)?(.*)", metric).groups("latency")
    return ["trust" if series == "lag" else "outcome", series, f"{name.replace('.', '_')}_ns"]


def value_of(path, metric):
    """A metric of a document; None if it was not measured, or is not written there."""
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    for key in place_of(metric):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def runs_overlap(before, after, metric):
    """Whether runs of the same side differ as much as the sides: the medians of whole runs overlap."""
    medians = []
    for side in (before, after):
        values = [[value_of(path, metric) for path in paths] for paths in side]
        if any(value is None for run in values for value in run):
            raise CannotRun(f"whether runs of one side differ as much in {metric} cannot be told: not every document "
                            "has it; take server-cpu, rate, mean, max, or a percentile that loadgen prints")
        medians.append([statistics.median(run) for run in values])
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
        said = done.stderr.strip() or f"it ended with {done.returncode}"
        raise CannotRun(f"loadgen compare: {said}") from None


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


def near(folder):
    """A folder as it is seen from here, if it is below."""
    relative = os.path.relpath(folder)
    return folder if relative.startswith("..") else relative


def compare(options):
    """Prints the comparison as Markdown; 1 if something is worse, 3 if it is not comparable."""
    base, new = (find(name) for name in options.compare)
    print("\n".join([*(line_of(run, "base") for run in base), *(line_of(run, "new") for run in new), ""]))
    before, after = documents(base), documents(new)
    both = [row for row in before if row in after]
    if not both:
        raise CannotRun("the two runs have no row in common")
    text, differences, codes, notes, refusals = [], {}, [], {}, []
    for row in both:
        document, code, refusal = compare_row(before[row], after[row], options)
        for difference in document["differences"]:
            name = difference["name"]
            differences.setdefault(name, (difference["standing"], difference["base"], difference["new"]))
        for warning in document["warnings"]:
            kind = re.sub(r"\d+ of the \d+", "some of the", warning)
            notes[kind] = notes.get(kind, 0) + 1
        if refusal:
            codes.append(code)
            refusals.append(f"{' '.join(row)}: {refusal}")
        for metric in document["metrics"]:
            unit, overlap = metric["unit"], False
            if metric["verdict"] in ("worse", "better"):
                overlap = runs_overlap(before[row], after[row], metric["metric"])
            if code == 1 and metric["metric"] in document["regressions"] and not overlap:
                codes.append(1)
            text.append(f"| {' | '.join(row)} | {metric['metric']} | {shown(metric['base']['median'], unit)} "
                        f"| {shown(metric['new']['median'], unit)} | {change(metric, overlap)} |")
    tell_differences(differences)
    print("| workload | driver | dialect | metric | base | new | change |\n|---|---|---|---|---|---|---|")
    print("\n".join(text))
    told = sum(1 for line in text if line.rstrip(" |").endswith(("worse", "better")))
    print(f"\n{told} of {len(text)} lines show a change: Mann-Whitney U over all windows, p < 0.05 within a "
          "line, so one in twenty would by chance, and the medians of whole runs do not overlap. `~`: "
          "nothing shown. Medians of the windows; brackets: bootstrap interval of the change.")
    chance = 2 / math.comb(len(base) + len(new), len(base))
    if chance > ALPHA:
        print(f"\nNote: with {len(base)} and {len(new)} runs, the medians of runs do not overlap by chance in "
              f"{min(chance, 1):.0%} of the lines, if the machine drifts between them; with four a side, in turn, "
              "in 3 %.")
    for warning, count in notes.items():
        print(f"\nNote, {count} of {len(both)} rows: {warning}.")
    for side, rows, other in (("base", before, after), ("new", after, before)):
        alone = [" ".join(row) for row in rows if row not in other]
        if alone:
            print(f"\nOnly in {side}: {'; '.join(alone)}.")
    if 3 in codes:
        refused = [name for name, (standing, *_) in differences.items() if standing == "refused"]
        why = (f"they differ in {', '.join(refused)}; measure under the same conditions, or --allow-diff NAME"
               if refused else "; ".join(refusals))
        print(f"bench: not comparable: {why}", file=sys.stderr)
        return 3
    return 1 if 1 in codes else 0


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

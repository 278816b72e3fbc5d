"""What scripts/peers makes of its windows: a summary of each workload, and one table of all.

Everything is worked out from raw.csv, plan.json and env.txt, so that it can be
again; what an older version did not write is not known.
"""

import json
import os
import shlex

from suite.report import counted, heading, limiter, middle, most, of, plain, ratios, spread, time_each
from suite.report import line as line_of

# What limits a window, as raw.csv and the tables call it.
SIDES = ("server", "client")
# Of the plot, whatever draws it.
TITLE = "Cost of each server, times the engine's"


def read_plan(folder):
    """What plan.json says was measured; nothing without one."""
    try:
        with open(os.path.join(folder, "plan.json"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def read_facts(folder):
    """What env.txt says of command, commit, kernel and CPU: all there were, if a run was resumed."""
    facts = {"command": [], "commit": [], "kernel": [], "cpu": []}
    try:
        with open(os.path.join(folder, "env.txt"), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        key, _, value = line.partition(": ")
        if key in facts and value.strip() not in facts[key]:
            facts[key].append(value.strip())
    return facts


def reference(row):
    """The server that a row's is compared with: the engine in the same dialect."""
    return "engine-hybi-02" if row.get("dialect") == "hybi-02" else "engine"


class Line:
    """One server in one workload: its windows in rounds in which the engine's was good, too."""

    def __init__(self, server, rows, kept):
        self.server = server
        self.rounds = []
        own = [row for row in rows if row["server"] == server]
        for row in own:
            other = kept.get((reference(row), row["round"]))
            if row["kept"] and other is not None:
                self.rounds.append((row, other))
        windows = [row for row in own if row["round"]]
        self.failures = [row["failure"] for row in windows if row.get("failure")]
        # Versions that did not write why they dropped a window did so for steal only.
        self.disturbed = [row.get("disturbed") or "steal" for row in windows
                          if not row["kept"] and not row.get("failure")]
        # A row without a round says that it takes no part, from then on.
        ended = [row["failure"] for row in own if not row["round"] and row.get("failure")]
        self.reason = ended[0] if ended else "no window was good"
        self.given_up = bool(ended and windows)
        self.is_reference = server in ("engine", "engine-hybi-02")

    def values(self, key):
        """Of all rounds that have it."""
        return of([row for row, _ in self.rounds], key)

    def median(self, key):
        """None without a value."""
        return middle(self.values(key))

    def ratios(self, key):
        """To the engine's of the same round."""
        return ratios(self.rounds, key)

    def limiter(self):
        """What most of its windows were limited by."""
        found = [limiter(row.get("server_busy"), row.get("client_busy"), SIDES) for row, _ in self.rounds]
        return most([limit for limit in found if limit], "")

    def absent(self):
        """Why it has no figure, in two words."""
        if self.given_up:
            return "given up"
        return "no figure" if self.rounds else "left out"

    def troubles(self, name):
        """What its figures are without."""
        text = []
        if self.given_up:
            text.append(f"- {name} was given up after {counted(len(self.rounds), 'good round')}: "
                        f"{self.reason}")
        elif not self.rounds:
            text.append(f"- {name} is left out: {self.reason}")
        if self.failures:
            text.append(f"- {name}: {counted(len(self.failures), 'window')} failed, the first: "
                        f"{self.failures[0]}")
        return text


def lines_of(rows, workload):
    """The lines of a workload, the engine's first."""
    rows = [row for row in rows if row["workload"] == workload]
    kept = {(row["server"], row["round"]): row for row in rows if row["kept"]}
    lines = [Line(server, rows, kept) for server in dict.fromkeys(row["server"] for row in rows)]
    return sorted(lines, key=lambda line: not line.is_reference)


def driven_by(load, dialects, plan):
    """The commands of loadgen that made the windows; scripts/peers itself holds idle connections."""
    if load is None:
        return "scripts/peers holds the connections, without loadgen."
    cpus = ["--cpus", str(plan["cpus"][1])] if "cpus" in plan else []
    length = ["-d", f"{round(plan['seconds'] * 1000)}ms"] if "seconds" in plan else []
    commands = [shlex.join(["loadgen", load[0], "ws://ADDRESS/", *load[1:], "--dialect", dialect, *cpus,
                            *length, "--warmup", "300ms", "--json", "--quiet", "--pid", "PID"])
                for dialect in dialects]
    return "\n".join(["```text", *commands, "```"])


def summary(rows, workload, about, plan):
    """One workload as Markdown; `about` knows what it is."""
    lines, versions = lines_of(rows, workload), plan.get("servers", {})
    dialects = dict.fromkeys(row.get("dialect") or "rfc6455" for row in rows
                             if row["workload"] == workload)
    what = "bytes per connection" if about.figure == "bytes_each" else "server CPU ns each"
    text = [f"### {workload}: {about.about}", "",
            driven_by(about.command, sorted(dialects, reverse=True), plan), "",
            f"| server | {what}: median (min to max) | times the engine's | per second "
            "| times the engine's | p50 us | p99 us | server busy | client busy | limited by "
            "| rounds |", "|---|---|---|---|---|---|---|---|---|---|---|"]
    notes = []
    for line in lines:
        name = f"{line.server} {versions.get(line.server) or ''}".strip()
        notes += line.troubles(name)
        if line.rounds:
            text.append(summary_row(line, name, about.figure))
    notes += disturbances(lines)
    if notes:
        text += ["", *notes]
    return "\n".join(text) + "\n"


def summary_row(line, name, figure):
    """One server's figures."""
    ratios = rates = ""
    if not line.is_reference:
        ratios = spread(line.ratios(figure), ".2f")
        rates = plain(middle(line.ratios("per_second")), ".2f")
    mark = " (given up)" if line.given_up else ""
    return (f"| {name}{mark} | {spread(line.values(figure), ',.0f')} | {ratios} "
            f"| {plain(line.median('per_second'), ',.0f')} | {rates} "
            f"| {plain(line.median('p50_ns'), ',.0f', 1e3)} "
            f"| {plain(line.median('p99_ns'), ',.0f', 1e3)} "
            f"| {plain(line.median('server_busy'), '.2f')} "
            f"| {plain(line.median('client_busy'), '.2f')} | {line.limiter()} "
            f"| {len(line.rounds)} |")


def disturbances(lines):
    """How many windows of a workload were good but for what else the machine did."""
    causes = [cause for line in lines for cause in line.disturbed]
    stolen = causes.count("steal")
    found = [f"{counted(number_of, 'window')} {cause}" for number_of, cause in (
        (stolen, "for steal"), (len(causes) - stolen, "disturbed by other work")) if number_of]
    return [f"- not counted, of all servers: {', '.join(found)}; raw.csv has them"] if found else []


def head(facts, plan):
    """What was run, and where."""
    def known(key):
        return "; ".join(facts[key]) or "not known"

    kernel = known("kernel") if facts["kernel"] else plan.get("kernel", "not known")
    commands = facts["command"] or ["scripts/peers, with options that are not known"]
    return "\n".join(["# The engine beside other servers", "", "```text", *commands, "```", "",
                      f"Commit: {known('commit')}  ", f"Kernel: {kernel}  ", f"CPU: {known('cpu')}", "",
                      f"![{TITLE}](plot.svg)", ""])


def absolute(value, figure):
    """The engine's own figure, with its unit."""
    if value is None:
        return ""
    if figure == "bytes_each":
        return f"{value:,.0f} B"
    return time_each(value)


def present_in(rows, workloads):
    """The workloads of which there is anything."""
    return [name for name in workloads if any(row["workload"] == name for row in rows)]


def table(rows, workloads):
    """All workloads in one table: the engine's figure, and how many times it the others take."""
    present = present_in(rows, workloads)
    by_server = {}
    for name in present:
        for line in lines_of(rows, name):
            by_server.setdefault(line.server, {})[name] = line
    # The engine first, then the cheapest, by how they do where most of them are compared.
    order = sorted(by_server, key=lambda server: rank(server, by_server[server], workloads))
    text = heading(["server", *(workloads[name].short for name in present)])
    for server in order:
        cells = [cell(by_server[server].get(name), workloads[name].figure) for name in present]
        text.append(line_of([server, *cells]))
    engine = by_server.get("engine", {})
    limits = [engine[name].limiter() if name in engine else "" for name in present]
    text.append(line_of(["limited by", *(limit or "–" for limit in limits)]))
    return "\n".join(text) + "\n"


def cell(line, figure):
    """A line in the table of all; what is below the engine stands out."""
    if line is None or (not line.rounds and not line.given_up):
        return "–"
    if line.given_up:
        return "given up"
    if line.is_reference:
        return absolute(line.median(figure), figure) or "–"
    ratio = middle(line.ratios(figure))
    if ratio is None:
        return "–"
    return f"**{times(ratio)}**" if ratio < 1 else times(ratio)


def times(ratio):
    """Three digits."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def rank(server, lines, workloads):
    """Where a server stands in the table."""
    group = 0 if server.startswith("engine") else 2 if server.startswith("bare-") else 1
    if server in ("engine", "engine-hybi-02"):
        return group, 0.0, server
    ratios = [middle(line.ratios(workloads[name].figure)) for name, line in lines.items()
              if workloads[name].figure == "ns_each"]
    ratios = [ratio for ratio in ratios if ratio is not None]
    return group, middle(ratios) or float("inf"), server


def summaries(rows, workloads, plan, facts):
    """summary.md: all workloads, with what was run where."""
    return "\n".join([head(facts, plan), *(summary(rows, name, workloads[name], plan)
                                           for name in present_in(rows, workloads))])

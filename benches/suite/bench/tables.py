"""What scripts/bench makes of its windows: summary.md, table.md and report.html.

All of it is worked out from run.json, raw.csv and the documents, so that it
can be again: scripts/bench --report DIR.
"""

import itertools
import math
import os
import shlex
import subprocess

from suite import machine
from suite.bench import matrix
from suite.report import NONE, heading, interval, line, middle, most, of, plain, ratios, time_each, within


class Row:
    """One driver in one dialect: its good windows by round."""

    def __init__(self, rows, way):
        self.way = way
        own = [row for row in rows if (row["driver"], row["dialect"]) == way]
        self.rounds = {row["round"]: row for row in own if row["kept"]}
        self.failed = [row["failure"] for row in own if row["round"] and row.get("failure")]
        given_up = [row["failure"] for row in own if not row["round"] and row.get("failure")]
        self.given_up = given_up[0] if given_up else None
        self.reason = self.given_up or (self.failed or ["no window was good"])[0]
        self.disturbed = sum(1 for row in own if row["round"] and not row["kept"] and not row.get("failure"))

    def troubles(self):
        """What its figures are without."""
        name, text = " ".join(self.way), []
        if self.failed:
            text.append(f"{name}: {len(self.failed)} windows failed and are not counted, the first: "
                        f"{self.failed[0]}")
        if self.given_up:
            text.append(f"{name} was given up after {len(self.rounds)} good windows: {self.given_up}")
        return text

    def values(self, key):
        """Of all good windows that have it."""
        return of(self.rounds.values(), key)

    def middle(self, key, form=",.0f", scale=1.0):
        """The median as text."""
        return plain(middle(self.values(key)), form, scale, NONE)

    def limiter(self):
        """Who limited most of the windows."""
        return most(self.values("limited_by"))

    def representative(self):
        """The round whose cost is the median one, the lower of two."""
        by_cost = sorted(self.rounds, key=lambda number: (self.rounds[number]["ns_each"] or 0, number))
        return by_cost[(len(by_cost) - 1) // 2] if by_cost else None


def rows_of(run, case):
    """The rows of a workload in the order of the plan, and those that were left out."""
    rows = [row for row in run.rows if row["workload"] == case.name]
    present = {(row["driver"], row["dialect"]): None for row in rows}
    order = {name: position for position, name in enumerate(run.facts["drivers"])}
    known = {name: position for position, name in enumerate(case.dialects)}
    ways = sorted(present, key=lambda way: (order.get(way[0], 99), known.get(way[1], 99)))
    found = [Row(rows, way) for way in ways]
    return [row for row in found if row.rounds], [row for row in found if not row.rounds]


def over(one, other, key="ns_each"):
    """How many times as much one row has as the other, in windows of the same round."""
    return ratios([(row, other.rounds[number]) for number, row in one.rounds.items() if number in other.rounds], key)


def pairs(found):
    """What is set against what: drivers in the same dialect, dialects on the same driver."""
    for one, two in itertools.combinations(found, 2):
        if one.way[1] == two.way[1]:
            yield f"{one.way[0]} ÷ {two.way[0]}, {one.way[1]}", one, two
    for two, one in itertools.combinations(found, 2):
        if one.way[0] == two.way[0]:
            yield f"{one.way[1]} ÷ {two.way[1]}, {one.way[0]}", one, two


def titled(case):
    """A workload's name, and what it is."""
    return f"{case.name}: {case.about}" if case.about else case.name


def summary(run, case, options):
    """One workload as Markdown."""
    found, missing = rows_of(run, case)
    if run.plan.mode == "soak":
        return soaked(run, case, found + missing, options)
    text = [f"### {titled(case)}", ""]
    if found:
        text += ["| driver | dialect | server CPU ns each: median [interval] | ÷ epoll | per second "
                 "| system calls each | p50 us | p99 us | p99.9 us | server busy | generator busy "
                 "| limited by | rounds |", "|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    epoll = {row.way[1]: row for row in found if row.way[0] == "epoll"}
    for row in found:
        base = epoll.get(row.way[1])
        times = over(row, base) if base and base is not row else []
        text.append(
            f"| {row.way[0]} | {row.way[1]} | {within(row.values('ns_each'), ',.0f')} "
            f"| {plain(middle(times), '.3f')} | {row.middle('per_second')} "
            f"| {row.middle('calls_each', '.3f')} | {row.middle('p50_ns', scale=1e3)} "
            f"| {row.middle('p99_ns', scale=1e3)} | {row.middle('p999_ns', scale=1e3)} "
            f"| {row.middle('server_busy', '.2f')} | {row.middle('client_busy', '.2f')} "
            f"| {row.limiter()} | {len(row.rounds)} |")
    lines = [f"- {name}: {within(over(one, two), '.3f')}" for name, one, two in pairs(found)
             if over(one, two)]
    lines += [f"- {' '.join(row.way)} is left out: {row.reason}" for row in missing]
    lines += [f"- {trouble}" for row in found for trouble in row.troubles()]
    disturbed = sum(row.disturbed for row in found)
    if disturbed:
        lines.append(f"- {disturbed} windows were disturbed by other work and measured again (raw.csv has them)")
    if lines:
        text += ["", *lines]
    if found:
        text += ["", *commands(run, case, found[0].way, options)]
    return "\n".join(text) + "\n"


def soaked(run, case, rows, options):
    """One workload of a soak as Markdown."""
    text = [f"### {titled(case)}", "",
            "| driver | dialect | per second | p50 us: median [interval] | p99 us | p99.9 us | generator busy "
            "| limited by | segments | failed |", "|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        times = [within([value / 1e3 for value in row.values(key)], ",.0f")
                 for key in ("p50_ns", "p99_ns", "p999_ns")]
        text.append(f"| {' | '.join(row.way)} | {row.middle('per_second')} | {' | '.join(times)} "
                    f"| {row.middle('client_busy', '.2f')} | {row.limiter()} | {len(row.rounds)} "
                    f"| {len(row.failed)} |")
    if rows:
        text += ["", *commands(run, case, rows[0].way, options)]
    return "\n".join(text) + "\n"


def commands(run, case, way, options):
    """How to get one of the rows again by hand."""
    driver, dialect = way
    secure = ["--listen-tls", "127.0.0.1:0", "--tls-cert", "cert.pem", "--tls-key", "key.pem"]
    server = matrix.command_of(case, driver, run.facts["server_cpus"], options, secure if dialect == "wss" else [])
    scheme = "wss" if dialect == "wss" else "ws"
    load = matrix.load_of(case, f"{scheme}://ADDRESS/", dialect, run, options)
    load = [part for part in load if part not in ("--commit", run.facts["commit"])]
    pid = [] if run.plan.mode == "soak" else ["--pid", "PID"]
    said = [["engine", *server[1:]], ["loadgen", *load[1:], *pid]]
    return ["```text", *(shlex.join(part) for part in said), "```"]


def title(run):
    """What is measured, and where."""
    facts = run.facts
    label = f", {facts['label']}" if facts["label"] else ""
    return [f"# {facts['profile']}{label}: {facts['utc']}, commit {facts['commit']}", "",
            f"Linux {facts['kernel']}; engine on CPU {machine.show(facts['server_cpus'])}, loadgen on CPU "
            f"{machine.show(facts['generator_cpus'])}; loopback.  ",
            f"Command: `{facts['command']}`", ""]


def where(run):
    """Where its documents are."""
    if run.facts.get("documents"):
        return (f"Every document is in `bench/{run.facts['documents']}/runs/` of cargo's target folder until that is "
                "cleaned, or with `--keep` in `runs/` here")
    return "Every document was left in `runs/`, which is not kept in git"


def head(run):
    """The same, and how to read it."""
    plan = run.plan
    done = [] if run.facts["finished"] else ["**It is not complete.**", ""]
    if plan.mode == "soak":
        return [*title(run), *done]
    counts = [len(row.rounds) for case in plan.cases for row in rows_of(run, case)[0]]
    least = min(counts, default=0)
    sure = interval(list(range(least)))[2] * 100 if least else 0
    return [*title(run), *done,
            f"Windows of {plan.seconds:g} s after {plan.warmup:g} s of the same load, interleaved in changing "
            "order; a figure is the median of its windows, a ratio that of windows of the same round.",
            f"Brackets: an interval that holds the true median with at least {math.floor(sure * 10) / 10:g} % "
            f"({least} rounds), whatever the distribution.",
            "Limited by: who kept the windows from being faster, as loadgen tells; `schedule`: the fixed rate; "
            "`neither`: both wait to be woken. Where it is not the server, a rate says nothing of it; its cost "
            "does.",
            where(run) + "; any two runs: "
            "`loadgen compare A/runs/WORKLOAD/DRIVER-DIALECT.* -- "
            "B/runs/WORKLOAD/DRIVER-DIALECT.*`, or all of them: `scripts/bench --compare A B`.", ""]


def table(run):
    """All workloads in one table, for docs/figures.md."""
    drivers = [name for name in run.facts["drivers"]
               if any(row["kept"] and row["driver"] == name for row in run.rows)]
    others = [name for name in drivers if name != "epoll" and "epoll" in drivers]
    titles = ["workload", *(f"{name}" for name in drivers[:1]), *(f"{name} ÷ epoll" for name in others),
              "dialects", *(f"system calls, {name}" for name in drivers), "limited by"]
    text = heading(titles)
    for case in run.plan.cases:
        found, _ = rows_of(run, case)
        if not found:
            continue
        by_way = {row.way: row for row in found}
        main = "rfc6455" if "rfc6455" in case.dialects else case.dialects[0]
        first = by_way.get((drivers[0], main))
        cells = [titled(case), cost(first)]
        cells += [middle_ratio(by_way.get((name, main)), by_way.get(("epoll", main))) for name in others]
        second = next((name for name in reversed(case.dialects) if name != main), None)
        # The newer one over the older, and TLS over what is without.
        up, down = (main, second) if second == "hybi-02" else (second, main)
        ratio = middle_ratio(by_way.get((drivers[0], up)), by_way.get((drivers[0], down)))
        cells.append("" if second is None else f"{up} ÷ {down} {ratio}")
        cells += [by_way[name, main].middle("calls_each", ".2f") if (name, main) in by_way else "–"
                  for name in drivers]
        cells.append(first.limiter() if first else "–")
        text.append(line(cells))
    return "\n".join(text) + "\n"


def cost(row):
    """Server CPU per message, with its unit."""
    return time_each(middle(row.values("ns_each"))) if row else NONE


def middle_ratio(one, other):
    """The median of the ratios."""
    return plain(middle(over(one, other)) if one and other else None, ".2f", none=NONE)


def page(run, options):
    """report.html: of each row the document of its median round; of a soak the first, the middle and
    the last.
    """
    chosen = []
    for case in run.plan.cases:
        for row in rows_of(run, case)[0]:
            numbers = sorted(row.rounds)
            shown = ([numbers[0], numbers[len(numbers) // 2], numbers[-1]] if run.plan.mode == "soak"
                     else [row.representative()])
            paths = [run.document(case.name, *row.way, number) for number in dict.fromkeys(shown)]
            chosen += [path for path in paths if os.path.exists(path)]
    if not chosen:
        return
    name = f"{run.facts['profile']}: {run.facts['kernel']}, {run.facts['commit']}" + (
        f", {run.facts['label']}" if run.facts["label"] else "")
    done = subprocess.run([options.program("loadgen"), "report", "--by-folder", "--title", name, "-o",
                           run.path_aside("report.html"), *chosen], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise machine.CannotRun(f"loadgen report failed: {done.stderr.strip()}")


def write(run, options, more=()):
    """summary.md, table.md and report.html."""
    with open(run.path("summary.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(head(run) + list(more) + [summary(run, case, options)
                                                       for case in run.plan.cases]))
    if run.plan.mode == "matrix":
        with open(run.path("table.md"), "w", encoding="utf-8") as file:
            file.write(table(run))
    page(run, options)

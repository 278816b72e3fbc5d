"""What scripts/peers makes of its windows: a summary of each workload, and one table of all.

Not a program of its own. Everything is worked out from raw.csv, so that it can be again.
"""

import csv
import os
import statistics

# Below this share of a CPU neither side is what limits: both wait to be woken.
BUSY = 0.8


def read(folder):
    """The rows of a folder, numbers as numbers."""
    with open(os.path.join(folder, "raw.csv"), newline="", encoding="utf-8") as file:
        return [{key: number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def number(text):
    """A number, None for nothing, and text for everything else."""
    if text in ("", None):
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


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
        reasons = [row["failure"] for row in own if row.get("failure")]
        self.reason = reasons[0] if reasons else "no window was good"
        self.is_reference = server in ("engine", "engine-hybi-02")

    def values(self, key):
        """Of all rounds that have it."""
        return [row[key] for row, _ in self.rounds if row.get(key) is not None]

    def median(self, key):
        """None without a value."""
        values = self.values(key)
        return statistics.median(values) if values else None

    def ratios(self, key):
        """To the engine's of the same round."""
        return [row[key] / other[key] for row, other in self.rounds
                if row.get(key) is not None and other.get(key) and other[key] > 0]

    def limiter(self):
        """What the rate was limited by."""
        server, client = self.median("server_busy"), self.median("client_busy")
        if client is None and server is None:
            return ""
        if max(server or 0, client or 0) < BUSY:
            return "neither"
        return "server" if (server or 0) >= (client or 0) else "client"


def lines_of(rows, workload):
    """The lines of a workload, the engine's first."""
    rows = [row for row in rows if row["workload"] == workload]
    kept = {(row["server"], row["round"]): row for row in rows if row["kept"]}
    return [Line(server, rows, kept) for server in dict.fromkeys(row["server"] for row in rows)]


def spread(values, form):
    """Median and extremes."""
    if not values:
        return ""
    return (f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})")


def plain(value, form, scale=1.0):
    """A figure, or nothing."""
    return "" if value is None else f"{value / scale:{form}}"


def summary(rows, workload, about, figure, versions):
    """One workload as Markdown."""
    what = "bytes per connection" if figure == "bytes_each" else "server CPU ns each"
    text = [f"### {workload}: {about}", "",
            f"| server | {what}: median (min to max) | times the engine's | per second "
            "| times the engine's | p50 us | p99 us | server busy | client busy | limited by "
            "| rounds |", "|---|---|---|---|---|---|---|---|---|---|---|"]
    missing = []
    for line in lines_of(rows, workload):
        name = f"{line.server} {versions.get(line.server, '')}".strip()
        if not line.rounds:
            missing.append(f"- {name} is left out: {line.reason}")
            continue
        ratios = rates = ""
        if not line.is_reference:
            ratios = spread(line.ratios(figure), ".2f")
            rates = plain(middle(line.ratios("per_second")), ".2f")
        text.append(
            f"| {name} | {spread(line.values(figure), ',.0f')} | {ratios} "
            f"| {plain(line.median('per_second'), ',.0f')} | {rates} "
            f"| {plain(line.median('p50_ns'), ',.0f', 1e3)} "
            f"| {plain(line.median('p99_ns'), ',.0f', 1e3)} "
            f"| {plain(line.median('server_busy'), '.2f')} "
            f"| {plain(line.median('client_busy'), '.2f')} | {line.limiter()} "
            f"| {len(line.rounds)} |")
    if missing:
        text += ["", *missing]
    return "\n".join(text) + "\n"


def middle(values):
    """The median, or None."""
    return statistics.median(values) if values else None


def absolute(value, figure):
    """The engine's own figure, with its unit."""
    if value is None:
        return ""
    if figure == "bytes_each":
        return f"{value:,.0f} B"
    return f"{value / 1e3:.3g} µs" if value < 1e6 else f"{value / 1e6:.3g} ms"


def table(rows, workloads):
    """All workloads in one table: the engine's figure, and how many times it the others take."""
    present = [name for name in workloads if any(row["workload"] == name for row in rows)]
    by_server = {}
    for name in present:
        for line in lines_of(rows, name):
            by_server.setdefault(line.server, {})[name] = line
    # The engine first, then the cheapest, by how they do where most of them are compared.
    order = sorted(by_server, key=lambda server: rank(server, by_server[server], workloads))
    text = ["| server | " + " | ".join(workloads[name].short for name in present) + " |",
            "|---" * (len(present) + 1) + "|"]
    for server in order:
        cells = []
        for name in present:
            line, figure = by_server[server].get(name), workloads[name].figure
            if line is None or not line.rounds:
                cells.append("–")
            elif line.is_reference:
                cells.append(absolute(line.median(figure), figure))
            else:
                ratio = middle(line.ratios(figure))
                cells.append("–" if ratio is None else cell(ratio))
        text.append(f"| {server} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def cell(ratio):
    """Three digits; what is below the engine stands out."""
    text = f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
    return f"**{text}**" if ratio < 1 else text


def rank(server, lines, workloads):
    """Where a server stands in the table."""
    group = 0 if server.startswith("engine") else 2 if server.startswith("bare-") else 1
    if server in ("engine", "engine-hybi-02"):
        return group, 0.0, server
    ratios = [middle(line.ratios(workloads[name].figure)) for name, line in lines.items()
              if workloads[name].figure == "ns_each"]
    ratios = [ratio for ratio in ratios if ratio is not None]
    return group, middle(ratios) or float("inf"), server


def write(folder, rows, workloads, versions):
    """summary.md and table.md."""
    present = [name for name in workloads if any(row["workload"] == name for row in rows)]
    with open(os.path.join(folder, "summary.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(summary(rows, name, workloads[name].about, workloads[name].figure,
                                     versions) for name in present))
    with open(os.path.join(folder, "table.md"), "w", encoding="utf-8") as file:
        file.write(table(rows, workloads))

"""Figures: middles, intervals, ratios, who limited a window; rows of CSV and of Markdown."""

import csv
import math
import os
import statistics

# Of all CPUs that a side has; below this share it waits to be woken, so it is not what limits.
BUSY = 0.8
# How surely an interval is to hold the true median.
CONFIDENCE = 0.95
# What stands where there is no figure.
NONE = "–"


def middle(values):
    """The median; None without a value."""
    return statistics.median(values) if values else None


def interval(values):
    """An interval of order statistics that holds the true median, whatever the distribution, and how
    surely: with at least 95 %, or as surely as so few values can.
    """
    ordered, count = sorted(values), len(values)

    def coverage(rank):
        below = sum(math.comb(count, k) for k in range(rank))
        return 1 - 2 * below / 2 ** count

    rank = 1
    while rank + 1 <= count // 2 and coverage(rank + 1) >= CONFIDENCE:
        rank += 1
    return ordered[rank - 1], ordered[count - rank], max(coverage(rank), 0.0)


def within(values, form, none=NONE):
    """Median and interval."""
    if not values:
        return none
    low, high, _ = interval(values)
    return f"{middle(values):{form}} [{low:{form}} to {high:{form}}]"


def spread(values, form):
    """Median and extremes; nothing without a value."""
    if not values:
        return ""
    return f"{middle(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def spread_percent(values):
    """How far repeats are apart, in percent of their median."""
    return (max(values) - min(values)) / max(statistics.median(values), 1) * 100


def percentile(values, share):
    """The value that this share of all is below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def of(rows, key):
    """The values of those rows that have it."""
    return [row[key] for row in rows if row.get(key) is not None]


def ratios(pairs, key):
    """How many times as much one has as the other, of the pairs in which both have it."""
    return [one[key] / other[key] for one, other in pairs
            if one.get(key) is not None and other.get(key) and other[key] > 0]


def plain(value, form, scale=1.0, none=""):
    """A figure, or what stands for none."""
    return none if value is None else f"{value / scale:{form}}"


def time_each(nanos, none=NONE):
    """What something takes, with its unit, in three digits."""
    if nanos is None:
        return none
    return f"{nanos / 1e3:.3g} µs" if nanos < 999_500 else f"{nanos / 1e6:.3g} ms"


def limiter(server, client, called=("server", "generator")):
    """Which side kept a window from being faster: whichever was busier, if it was busy; "" if not known."""
    if server is None and client is None:
        return ""
    if max(server or 0, client or 0) <= BUSY:
        return "neither"
    return called[0] if (server or 0) >= (client or 0) else called[1]


def most(values, none=NONE):
    """What most of them are; of several the first in the alphabet."""
    return max(sorted(set(values)), key=values.count) if values else none


def counted(number_of, what):
    """So many of these, in words."""
    return f"{number_of} {what}" if number_of == 1 else f"{number_of} {what}s"


def duration(seconds):
    """A time as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def line(cells):
    """A row of a table in Markdown."""
    return "| " + " | ".join(cells) + " |"


def heading(titles):
    """The first two rows of a table in Markdown."""
    return [line(titles).replace("|  |", "| |"), "|---" * len(titles) + "|"]


def number(text):
    """A number, None for nothing, and text for everything else."""
    if text in ("", None):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def read(folder):
    """The rows of the raw.csv of a folder, numbers as numbers."""
    with open(os.path.join(folder, "raw.csv"), newline="", encoding="utf-8") as file:
        return [{key: number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def append(path, columns, rows, mode="a"):
    """Adds rows to a file, which gets its head before the first one; mode "w" makes it anew."""
    new = mode == "w" or not os.path.exists(path)
    with open(path, mode, newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def write(folder, name, text):
    """A file of a folder."""
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)

"""Reads what loadgen --out has written with the Python package hdrhistogram, and compares.

    hdr_reader.py DIR       exit code 77 if the package is not there
"""

import json
import math
import os
import sys

try:
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader
except ImportError:
    print("the package hdrhistogram is not installed")
    sys.exit(77)

LONGEST = 60_000_000_000


def check(what, ours, theirs):
    if ours != theirs:
        sys.exit(f"{what}: loadgen says {ours}, hdrhistogram {theirs}")


def check_percentile(what, ours, histogram, percentile):
    """The libraries round to another rank where the percentile falls between two messages."""
    total = histogram.get_total_count()
    rank = percentile * total / 100
    theirs = {histogram.get_value_at_percentile(100 * max(whole, 1) / total)
              for whole in (math.floor(rank), math.ceil(rank))}
    if ours not in theirs:
        sys.exit(f"{what}: loadgen says {ours}, hdrhistogram {sorted(theirs)}")


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "result.json"), encoding="utf-8") as file:
        document = json.load(file)
    latency = document["outcome"]["latency"]
    histogram = HdrHistogram.decode(latency["hdr_v2_deflate_base64"])
    check("count", latency["count"], histogram.get_total_count())
    for key, percentile in (("p50_ns", 50), ("p99_ns", 99), ("p99_9_ns", 99.9)):
        check_percentile(key, latency[key], histogram, percentile)
    rows = {row["start_unix_ns"] // 1_000_000: row for row in document["intervals"]}
    reader = HistogramLogReader(os.path.join(folder, "latency.hlog"),
                                HdrHistogram(1, LONGEST, 3))
    tags, received = [], 0
    while (interval := reader.get_next_interval_histogram()) is not None:
        tags.append(interval.get_tag())
        if interval.get_tag() is None:
            start = int(interval.get_start_time_stamp())
            row = min(rows.values(), key=lambda row: abs(row["start_unix_ns"] // 1_000_000 - start))
            check("rows", True, abs(row["start_unix_ns"] // 1_000_000 - start) <= 2)
            check("received", row["received"], interval.get_total_count())
            check_percentile("row's p99", row["p99_ns"], interval, 99)
            received += interval.get_total_count()
    check("seconds", sum(row["received"] for row in rows.values()), received)
    check("warm-up", "warmup", tags[0])
    print(f"{received} replies in {len(tags) - 1} seconds read back")


main()

"""The windows of a run of scripts/peers: in memory, and with --out on disk, where it can go on."""

import json
import os
import sys

from suite.machine import note_environment
from suite.peers import report as tables
from suite.programs import digests
from suite.report import append, read

COLUMNS = ["workload", "server", "dialect", "round", "kept", "count", "seconds", "ns_each",
           "bytes_each", "per_second", "server_busy", "client_busy", "p50_ns", "p99_ns", "steal",
           "generator_waited", "disturbed", "failure"]


class Results:
    """The rows so far, in memory and, with --out, on disk as they come."""

    def __init__(self, options, versions):
        self.rows, self.folder = [], options.out
        self.plan = {**what_is_measured(options), "servers": versions}
        if not self.folder:
            return
        os.makedirs(self.folder, exist_ok=True)
        facts = os.path.join(self.folder, "plan.json")
        again = os.path.exists(os.path.join(self.folder, "raw.csv"))
        if again:
            self.resume()
        note_environment(options, "a" if again else "w")
        with open(facts, "w", encoding="utf-8") as file:
            json.dump(self.plan, file, indent=2)
            file.write("\n")

    def resume(self):
        """Goes on with the rows that are there, if they are of the same thing."""
        before = tables.read_plan(self.folder)
        if not before:
            sys.exit(f"peers: {self.folder} holds a raw.csv that another tool or version wrote; "
                     "choose another folder")
        for key, value in self.plan.items():
            if key != "servers" and before.get(key) != value:
                sys.exit(f"peers: {self.folder} holds a run with another {key} "
                         f"({before.get(key)}, now {value}); choose another folder")
        self.plan["servers"] = {**before.get("servers", {}), **self.plan["servers"]}
        self.rows = read(self.folder)
        self.widen()
        print(f"peers: going on with the {len(self.rows)} windows of {self.folder}",
              file=sys.stderr)

    def widen(self):
        """Rows that an older version wrote get the columns that it did not know."""
        if all(set(row) == set(COLUMNS) for row in self.rows):
            return
        self.rows = [{key: row.get(key) for key in COLUMNS} for row in self.rows]
        path = os.path.join(self.folder, "raw.csv")
        # In one step, so that an interruption leaves the old file or the new one.
        append(path + ".new", COLUMNS, self.rows, "w")
        os.replace(path + ".new", path)

    def add(self, workload, server, tries, **figures):
        """One more window."""
        row = {key: figures.get(key) for key in COLUMNS}
        row.update(workload=workload, server=server.name, dialect=server.dialect, round=tries)
        self.rows.append(row)
        if self.folder:
            append(os.path.join(self.folder, "raw.csv"), COLUMNS, [row])

    def complete(self, workload, names):
        """How many rounds have a good window of every one of these servers, and the last round."""
        kept: dict[int, set] = {}
        last = 0
        for row in self.rows:
            if row["workload"] == workload:
                last = max(last, row["round"])
                if row["kept"]:
                    kept.setdefault(row["round"], set()).add(row["server"])
        return len([found for found in kept.values() if found >= names]), last


def what_is_measured(options):
    """What must be the same for windows to stand in one table."""
    return {**digests(options), "seconds": options.seconds, "cpus": [options.server_cpu, options.client_cpu]}

"""The one table of workloads, benches/workloads.toml, and what a workload is."""

import functools
import os

from suite.machine import ROOT
from suite.schema import PlanError, counts, list_of, number, one_of, options_list, read, some_of, take, text, whole

TABLE = os.path.join(ROOT, "benches", "workloads.toml")
# `wss` is RFC 6455 in TLS.
DIALECTS = ["hybi-02", "rfc6455", "wss"]
# What workloads were called before they had one table: command lines, and results that are kept.
FORMER = {"fanout": ["broadcast"], "fanout-burst16": ["broadcast-burst16"], "broadcast-1000": ["broadcast"],
          "echo": ["echo-1", "echo-100", "echo-1000", "echo-10000"]}
# Which there are is known to the engine: `engine doctor --json`.
SOME_DRIVERS = list_of(lambda name: name.replace("-", "").isalnum(), "names of drivers, which `engine doctor` has",
                       "all", "auto")
PAYLOAD = whole(0, 16 << 20)
RATE = number(0.001, 100e6, "messages per second")
# Keys that every workload may have, and those of each scenario.
COMMON: dict[str, tuple] = {
    "name": (text(r"[a-z0-9][a-z0-9-]{0,39}", "up to 40 of a-z, 0-9 and -, first a letter or digit"),
             None),
    "about": (text(r"[^\n|]+", "a line of text without `|`"), ""),
    "short": (text(r"[^\n|]+", "a line of text without `|`"), ""),
    "scenario": (one_of("echo", "broadcast", "storm", "churn", "idle"), None),
    "connections": (counts(1, 1_000_000), [100]),
    "drivers": (SOME_DRIVERS, None),
    "dialects": (some_of(DIALECTS), None),
    "engine-options": (options_list(), []),
    "loadgen-options": (options_list(), []),
}
OF_SCENARIO: dict[str, dict] = {
    "echo": {"payload": (PAYLOAD, 64), "depth": (whole(1, 65536), 1), "rate": (RATE, None)},
    "broadcast": {"payload": (whole(32, 16 << 20), 64), "burst": (whole(1, 65536), 1),
                  "rate": (RATE, None)},
    "storm": {"rate": (RATE, None)},
    "churn": {"lifetime": (text(r"\S+", "a time such as 10s, exponential:10s or uniform:1s..20s, as "
                                       "loadgen churn takes it"), "10s")},
    "idle": {"ping-interval": (text(r"\S+", "a time such as 20s"), "20s")},
}
# Of what scripts/bench says itself to loadgen, nothing may be said twice.
TAKEN = {"--pid", "--cpus", "-d", "--duration", "-n", "--messages", "--warmup", "--json", "-o", "--output",
         "--out", "-q", "--quiet", "--ws-version", "--dialect", "-c", "--connections", "--subscribers",
         "-p", "--payload", "-r", "--rate", "--depth", "--burst", "--commit", "--plan", "--csv"}


class Workload:
    """One workload with one number of connections."""

    def __init__(self, table, connections, many):
        self.scenario, self.connections = table["scenario"], connections
        self.name = f"{table['name']}-{connections}" if many else table["name"]
        count = f"{connections:,} connection{'s' if connections > 1 else ''}"
        self.about = ", ".join(part for part in (table["about"], count if many else "") if part)
        self.short = table["short"] or self.name
        self.drivers, self.dialects = table["drivers"], table["dialects"]
        self.engine_options = table["engine-options"]
        self.table = table
        self.size, self.at_once = table.get("payload", 64), table.get("depth") or table.get("burst") or 1

    @property
    def program(self):
        """Which of the engine's two programs serves it."""
        return "broadcast" if self.scenario == "broadcast" else "echo"

    @property
    def unit(self):
        """What is counted."""
        units = {"broadcast": "delivery", "storm": "connection", "churn": "connection",
                 "idle": "ping"}
        return units.get(self.scenario, "message")

    @property
    def files(self):
        """Files that either side has open at once."""
        return self.connections + 200

    def load(self):
        """The arguments of loadgen, but for the URL, the window and where it runs."""
        arguments = ["-c", str(self.connections)]
        for key, option in (("payload", "-p"), ("depth", "--depth"), ("burst", "--burst"),
                            ("rate", "-r"), ("lifetime", "--lifetime"),
                            ("ping-interval", "--ping-interval")):
            value = self.table.get(key)
            # In an open loop the depth is a bound, which nobody asked for.
            if value is not None and not (key == "depth" and self.table.get("rate") is not None):
                arguments += [option, f"{value:f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)]
        if "payload" in self.table:
            arguments.append("--binary")
        return arguments + self.table["loadgen-options"]


def entry_of(path, name):
    """A workload of the table, as a plan would have it."""
    known = entries()
    if name not in known:
        raise PlanError(f"{path}: there is no workload `{name}` in benches/workloads.toml; it has: {', '.join(known)}")
    return {"name": name, **known[name]}


@functools.cache
def entries():
    """Name -> keys of all that the table has."""
    return read(TABLE)


def checked(path, entry):
    """The keys of one workload with what stands for those that are missing, and words for where it stands."""
    where = f"workload `{entry['name']}`, "
    scenario = take(path, where, {"scenario": entry["scenario"]}, COMMON)["scenario"]
    table = take(path, where, entry, COMMON | OF_SCENARIO[scenario])
    for option in table["loadgen-options"]:
        if option.split("=")[0] in TAKEN:
            raise PlanError(f"{path}: {where}key `loadgen-options`: {option} is not allowed; a key of "
                            "the plan or scripts/bench itself says it")
    return table


def named(*names, kind=Workload):
    """Name -> workload, of the table."""
    found = {}
    for name in names:
        table = checked(TABLE, entry_of(TABLE, name))
        found[name] = kind(table, table["connections"][0], False)
    return found


def present(name, known):
    """What a name of a command line, or of an old result, is called now."""
    now = [new for new in FORMER.get(name, []) if new in known]
    return now if now and name not in known else [name]

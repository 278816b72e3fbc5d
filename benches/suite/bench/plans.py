"""What scripts/bench runs: a plan in TOML, read and checked.

A plan says which workloads are driven on which drivers and in which
dialects, and how often; benches/METHODOLOGY.md lists the keys. What is wrong in one is told with the
file, the key and what is allowed there.
"""

import os
import re
import sys

try:
    import tomllib
except ImportError:
    sys.exit(f"{os.path.basename(sys.argv[0])}: Python {sys.version.split()[0]} is too old: plans are "
             "read by its module tomllib, which 3.11 and later have")

DRIVERS = ["uring", "tokio-uring", "epoll"]
# `wss` is RFC 6455 in TLS.
DIALECTS = ["hybi-02", "rfc6455", "wss"]
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = 30 * 86400  # seconds: of a soak


class PlanError(Exception):
    """What is wrong with a plan, in one sentence."""


def whole(least, most):
    """A whole number."""
    def check(value):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value
    return check, f"a whole number from {least:,} to {most:,}"


def number(least, most, unit):
    """A number with or without a fraction."""
    def check(value):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise ValueError
        return value
    return check, f"a number of {unit} from {least:,} to {most:,}"


def text(pattern, what):
    """A text of a certain form."""
    def check(value):
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError
        return value
    return check, what


def seconds_of(value):
    """Seconds, from a number or a text such as 90s, 30m, 8h or 2d."""
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value)
        if not found:
            raise ValueError
        value = float(found[1]) * UNITS[found[2]]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value <= LONGEST:
        raise ValueError
    return value


def some_of(names, *words):
    """A list of some of these, or one of the words that stand for a list."""
    def check(value):
        if value in words:
            return value
        good = isinstance(value, list) and value and all(one in names for one in value)
        if not good or len(set(value)) < len(value):
            raise ValueError
        return value
    allowed = f"a list of different ones of {', '.join(names)}"
    return check, allowed + "".join(f', or "{word}"' for word in words)


def one_of(*values):
    """One of these, and nothing else."""
    def check(value):
        if value not in values or isinstance(value, bool) != isinstance(values[0], bool):
            raise ValueError
        return value
    return check, "one of " + ", ".join(str(value).lower() if isinstance(value, bool) else f'"{value}"'
                                        for value in values)


def counts(least, most):
    """A number of connections, or several in the order in which they are measured."""
    single, _ = whole(least, most)

    def check(value):
        values = value if isinstance(value, list) else [value]
        if not values or len(set(map(str, values))) < len(values):
            raise ValueError
        return [single(one) for one in values]
    return check, f"a whole number from {least:,} to {most:,}, or a list of different ones"


def options_list():
    """More arguments of a program."""
    def check(value):
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError
        return value
    return check, "a list of texts"


PAYLOAD = whole(0, 16 << 20)
RATE = number(0.001, 100e6, "messages per second")
# Keys of a plan: what is allowed, and what stands for a key that is missing.
PLAN = {
    "about": (text(r"[^\n]+", "a line of text"), ""),
    "mode": (one_of("matrix", "soak"), "matrix"),
    "rounds": (whole(1, 1000), 5),
    "seconds": (number(0.1, 3600, "seconds"), 1.0),
    "warmup": (number(0, 600, "seconds"), 0.3),
    "max-steal": (number(0, 100, "percent"), 5.0),
    "shards": ((lambda value: value if value == "half" else whole(1, 1024)[0](value),
                'a whole number from 1 to 1,024, or "half" of the CPUs'), 1),
    "drivers": (some_of(DRIVERS, "all", "auto"), "all"),
    "dialects": (some_of(DIALECTS), ["rfc6455"]),
    "duration": ((seconds_of, "seconds, or a text such as 90s, 30m, 8h or 2d, up to 30d"), 1800),
    "max-growth": (number(0, 1000, "percent"), 5.0),
    "max-drift": (number(0, 1000, "percent"), 25.0),
}
ONLY_SOAK = ["duration", "max-growth", "max-drift"]
ONLY_MATRIX = ["rounds", "max-steal"]
# Keys that every workload may have, and those of each scenario.
COMMON: dict[str, tuple] = {
    "name": (text(r"[a-z0-9][a-z0-9-]{0,39}", "up to 40 of a-z, 0-9 and -, first a letter or digit"),
             None),
    "about": (text(r"[^\n|]+", "a line of text without `|`"), ""),
    "scenario": (one_of("echo", "broadcast", "storm", "churn", "idle"), None),
    "connections": (counts(1, 1_000_000), [100]),
    "drivers": (some_of(DRIVERS, "all", "auto"), None),
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


class Case:
    """One workload with one number of connections."""

    def __init__(self, table, connections, many):
        self.scenario, self.connections = table["scenario"], connections
        self.name = f"{table['name']}-{connections}" if many else table["name"]
        count = f"{connections:,} connection{'s' if connections > 1 else ''}"
        self.about = ", ".join(part for part in (table["about"], count if many else "") if part)
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


class Plan:
    """All of it."""

    def __init__(self, settings, cases):
        self.cases = cases
        self.about, self.mode = settings["about"], settings["mode"]
        self.rounds, self.seconds, self.warmup = (settings[k] for k in ("rounds", "seconds", "warmup"))
        self.max_steal, self.shards = settings["max-steal"], settings["shards"]
        self.duration = settings["duration"]
        self.max_growth, self.max_drift = settings["max-growth"], settings["max-drift"]


def read(path):
    """The table of a file."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: no TOML: {error}") from None


def take(path, where, table, keys):
    """The values of a table with what stands for those that are missing."""
    found = {}
    for key, value in table.items():
        if key not in keys:
            raise PlanError(f"{path}: {where}there is no key `{key}`; known are: {', '.join(keys)}")
        (check, allowed), _ = keys[key]
        try:
            found[key] = check(value)
        except (ValueError, TypeError):
            shown = value if not isinstance(value, str) else f'"{value}"'
            raise PlanError(f"{path}: {where}key `{key}`: {shown} is not allowed; it is {allowed}") from None
    return {**{key: default for key, (_, default) in keys.items()}, **found}


def plan(path, table, overrides):
    """A table of a file, made a plan; `overrides` are values of the command line."""
    table = dict(table)
    workloads = table.pop("workload", None)
    if not isinstance(workloads, list) or not all(isinstance(one, dict) for one in workloads):
        raise PlanError(f"{path}: key `workload`: it is missing; a plan has one [[workload]] or more")
    settings = take(path, "", table, PLAN)
    typed = overrides.get("plan", {})
    settings.update((key, value) for key, value in take("the command line", "", typed, PLAN).items()
                    if key in typed)
    for key in ONLY_SOAK:
        if key in table and settings["mode"] != "soak":
            raise PlanError(f'{path}: key `{key}` is for plans with mode = "soak" only')
    for key in ONLY_MATRIX:
        if key in table and settings["mode"] == "soak":
            raise PlanError(f"{path}: key `{key}` means nothing in a soak, which is one long run")
    cases = []
    for position, entry in enumerate(workloads, 1):
        cases += expand(path, f"workload {position}, ", entry, settings, overrides)
    names = [case.name for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"{path}: two workloads are called `{name}`; give them different names")
    wanted = overrides.get("workloads")
    for name in wanted or []:
        if not any(chosen(case, [name]) for case in cases):
            raise PlanError(f"{path} has no workload `{name}`; it has: {', '.join(names)}")
    made = Plan(settings, [case for case in cases if not wanted or chosen(case, wanted)])
    if made.mode == "soak":
        check_soak(path, made)
    return made


def chosen(case, names):
    """Whether a case is asked for, by its own name or that of all its numbers of connections."""
    return case.name in names or case.table["name"] in names


def expand(path, where, entry, settings, overrides):
    """The cases of one entry."""
    for key in ("name", "scenario"):
        if key not in entry:
            raise PlanError(f"{path}: {where}key `{key}` is missing; it is {COMMON[key][0][1]}")
    where = f"workload `{entry['name']}`, "
    scenario = take(path, where, {"scenario": entry["scenario"]}, COMMON)["scenario"]
    if scenario == "idle" and settings["mode"] != "soak":
        raise PlanError(f'{path}: {where}key `scenario`: "idle" is for plans with mode = "soak"')
    table = take(path, where, entry, COMMON | OF_SCENARIO[scenario])
    for option in table["loadgen-options"]:
        if option.split("=")[0] in TAKEN:
            raise PlanError(f"{path}: {where}key `loadgen-options`: {option} is not allowed; a key of "
                            "the plan or scripts/bench itself says it")
    for key in ("drivers", "dialects"):
        table[key] = overrides.get(key) or table[key] or settings[key]
    return [Case(table, count, len(table["connections"]) > 1) for count in table["connections"]]


def check_soak(path, made):
    """A soak is of one server."""
    for case in made.cases:
        if case.drivers == "all" or (isinstance(case.drivers, list) and len(case.drivers) > 1):
            raise PlanError(f'{path}: workload `{case.name}`, key `drivers`: a soak is of one server; '
                            'it is "auto", or a list of one')
        if case.drivers != made.cases[0].drivers or case.program != made.cases[0].program:
            raise PlanError(f"{path}: workload `{case.name}`: all workloads of a soak load the same server; "
                            "give them the same driver, and no echo beside a broadcast")
        if len(case.dialects) > 1 or "wss" in case.dialects:
            raise PlanError(f"{path}: workload `{case.name}`, key `dialects`: in a soak it is a list "
                            "of one, hybi-02 or rfc6455")
        if case.engine_options != made.cases[0].engine_options:
            raise PlanError(f"{path}: workload `{case.name}`, key `engine-options`: all workloads of a "
                            "soak load the same server")
    if made.duration < 2 * made.seconds:
        raise PlanError(f"{path}: key `duration`: {made.duration:g} s is shorter than two segments of "
                        f"{made.seconds:g} s (key `seconds`)")


def seconds_needed(made, rows):
    """About how long a matrix takes; `rows` is how many rows of each case there are, by name.

    Besides the window: what connecting and its end take, and being told the counters.
    """
    total = 0.0
    for case in made.cases:
        window = made.seconds + made.warmup + OVERHEAD + PER_CONNECTION * case.connections
        total += rows[case.name] * (made.rounds * window + CHECK)
    return total


# Seconds, as measured on a virtual machine: checking a server, a window's fixed part with the start of its
# server, and what each connection adds to it.
CHECK, OVERHEAD, PER_CONNECTION = 0.5, 0.45, 0.0002

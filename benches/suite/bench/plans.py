"""What scripts/bench runs: a plan in TOML, read and checked.

A plan says which workloads are driven on which drivers and in which
dialects, and how often; benches/METHODOLOGY.md lists the keys. What is wrong in one is told with the
file, the key and what is allowed there.
"""

from suite.schema import PlanError, number, one_of, seconds_of, some_of, take, text, whole
from suite.workloads import COMMON, DIALECTS, SOME_DRIVERS, Workload, checked, entry_of, present

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
    "drivers": (SOME_DRIVERS, "all"),
    "dialects": (some_of(DIALECTS), ["rfc6455"]),
    "duration": ((seconds_of, "seconds, or a text such as 90s, 30m, 8h or 2d, up to 30d"), 1800),
    "max-growth": (number(0, 1000, "percent"), 5.0),
    "max-drift": (number(0, 1000, "percent"), 25.0),
}
ONLY_SOAK = ["duration", "max-growth", "max-drift"]
ONLY_MATRIX = ["rounds", "max-steal"]

class Plan:
    """All of it."""

    def __init__(self, settings, cases):
        self.cases = cases
        self.about, self.mode = settings["about"], settings["mode"]
        self.rounds, self.seconds, self.warmup = (settings[k] for k in ("rounds", "seconds", "warmup"))
        self.max_steal, self.shards = settings["max-steal"], settings["shards"]
        self.duration = settings["duration"]
        self.max_growth, self.max_drift = settings["max-growth"], settings["max-drift"]


def resolved(path, table):
    """The table of a plan in which every workload stands with all its keys: so it is kept with a run."""
    table = dict(table)
    names, own = table.pop("workloads", []), table.pop("workload", [])
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise PlanError(f"{path}: key `workloads`: it is a list of names of benches/workloads.toml")
    if not isinstance(own, list) or not all(isinstance(one, dict) for one in own) or not (names or own):
        raise PlanError(f"{path}: key `workload`: it is missing; a plan has one [[workload]] or more, or names "
                        "some of benches/workloads.toml as `workloads`")
    found = [entry_of(path, name) for name in names]
    for entry in own:
        like = entry.get("like")
        rest = {key: value for key, value in entry.items() if key != "like"}
        found.append({**(entry_of(path, like) if like is not None else {}), **rest})
    return {**table, "workload": found}


def plan(path, table, overrides):
    """A table of a file, made a plan; `overrides` are values of the command line."""
    table = resolved(path, table)
    workloads = table.pop("workload")
    settings = settings_of(path, table, overrides)
    cases = []
    for position, entry in enumerate(workloads, 1):
        cases += expand(path, f"workload {position}, ", entry, settings, overrides)
    names = [case.name for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"{path}: two workloads are called `{name}`; give them different names")
    wanted = [now for name in overrides.get("workloads") or [] for now in called_now(name, cases)]
    for name in wanted:
        if not any(chosen(case, [name]) for case in cases):
            raise PlanError(f"{path} has no workload `{name}`; it has: {', '.join(names)}")
    made = Plan(settings, [case for case in cases if not wanted or chosen(case, wanted)])
    if made.mode == "soak":
        check_soak(path, made)
    return made


def settings_of(path, table, overrides):
    """The keys of a plan, but for its workloads."""
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
    return settings


def called_now(name, cases):
    """What the command line names, by the names that the plan's workloads have."""
    return present(name, {case.name for case in cases} | {case.table["name"] for case in cases})


def chosen(case, names):
    """Whether a case is asked for, by its own name or that of all its numbers of connections."""
    return case.name in names or case.table["name"] in names


def expand(path, where, entry, settings, overrides):
    """The cases of one entry."""
    for key in ("name", "scenario"):
        if key not in entry:
            raise PlanError(f"{path}: {where}key `{key}` is missing; it is {COMMON[key][0][1]}")
    table = checked(path, entry)
    if table["scenario"] == "idle" and settings["mode"] != "soak":
        raise PlanError(f'{path}: workload `{entry["name"]}`, key `scenario`: "idle" is for plans with mode = "soak"')
    for key in ("drivers", "dialects"):
        table[key] = overrides.get(key) or table[key] or settings[key]
    return [Workload(table, count, len(table["connections"]) > 1) for count in table["connections"]]


def check_drivers(path, made, known):
    """What the engine has no driver of that name for."""
    for case in made.cases:
        for name in case.drivers if isinstance(case.drivers, list) else []:
            if name not in known:
                raise PlanError(f"{path}: workload `{case.name}`, key `drivers`: the engine has no driver `{name}`; "
                                f"it has: {', '.join(known)}")


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

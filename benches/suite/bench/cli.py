"""Measures the engine with loadgen on this machine, and writes the results to a folder.

    scripts/bench                     the profile `quick`: less than a minute after the build
    scripts/bench full                every driver, dialect, workload and number of connections
    scripts/bench soak                one server for a long time: memory, latency, connections left behind
    scripts/bench --plan FILE         a plan of your own, in TOML; benches/scenarios has these three
    scripts/bench --compare A B       compares two runs, for example of two kernels, row by row
    scripts/bench --resume DIR        continues a run that was interrupted
    scripts/bench --report DIR        writes summary.md, table.md and report.html of a run again

Engine and loadgen run on separate CPUs and talk over 127.0.0.1. Before anything is measured, a client that
shares no code with them checks, on each driver and in each dialect, that every byte comes back (or is
delivered) as it was sent. The results are written to results/<kernel>/<time>-<commit>[-<label>]: summary.md,
table.md, raw.csv with every window, and env.txt with the machine before and after. Three things are large, so
they go to cargo's target folder unless --keep is given: loadgen's JSON document of every window (the input of
`loadgen compare`), the engine's logs, and report.html.

Exit codes: 0 measured; 1 the soak failed a check, or --compare found something worse; 2 wrong usage or a
wrong plan; 3 it cannot run here, or the two runs are not comparable; 130 interrupted.

Needs Python 3.11 and cargo, and openssl for workloads in TLS. benches/METHODOLOGY.md says more.
"""

import argparse
import os
import shlex
import signal
import sys

from suite import machine, programs
from suite.bench import compare, matrix, plans, soak, tables
from suite.bench.record import Progress, Run, folder_for, name_of
from suite.machine import ROOT, CannotRun, guarded, near, utc
from suite.report import duration
from suite.schema import PlanError, read
from suite.workloads import DIALECTS

PROFILES = ["quick", "full", "soak"]


def options_of(arguments):
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("profile", nargs="?", choices=PROFILES, metavar="PROFILE", help="quick, full or soak [quick]")
    add("--plan", metavar="FILE", help="run this plan instead of a profile's")
    add("--label", default="", metavar="NAME", help="a name for this run, part of its folder's name")
    add("--out", metavar="DIR", help="write the results to this folder")
    add("--keep", action="store_true", help="write loadgen's document of every window, the engine's logs and "
        "report.html to the results, too, not to cargo's target folder")
    add("--workload", action="append", metavar="NAME", help="only this one of the plan; may be repeated")
    add("--driver", action="append", metavar="NAME",
        help="this driver instead of the plan's, of those that `engine doctor` has; may be repeated")
    add("--dialect", action="append", choices=DIALECTS, metavar="NAME",
        help="this dialect instead of the plan's (hybi-02, rfc6455, wss); may be repeated")
    add("--rounds", type=int, metavar="N", help="complete rounds per workload")
    add("--seconds", type=float, metavar="S", help="length of a window, or of a segment of a soak")
    add("--duration", metavar="TIME", help="length of a soak: 90s, 30m, 8h, 2d")
    add("--max-steal", type=float, metavar="PERCENT",
        help="repeat windows in which the hypervisor took more than this of a CPU")
    add("--server-cpus", type=cpus_of, metavar="LIST", help="CPUs of the engine")
    add("--generator-cpus", type=cpus_of, metavar="LIST", help="CPUs of loadgen")
    add("--estimate", action="store_true", help="only say what would run, and for how long")
    add("--resume", metavar="DIR", help="go on with the run in this folder")
    add("--report", metavar="DIR", help="write the summaries of a run again")
    add("--compare", nargs=2, metavar=("A", "B"),
        help="compare two runs, by their folders or labels; A is the base")
    add("--metric", action="append", metavar="NAME",
        help="with --compare: this metric of loadgen compare; may be repeated [server-cpu]")
    add("--allow-diff", action="append", default=[], metavar="NAME",
        help="with --compare: although this differs, as in loadgen compare; may be repeated")
    add("--bin-dir", metavar="DIR", help="take engine and loadgen from there instead of building them")
    options = parser.parse_args(arguments)
    check(parser, options)
    return options


def cpus_of(text):
    """A list of CPUs of the command line."""
    try:
        return machine.cpu_list(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def check(parser, options):
    """What does not go together."""
    named = {"PROFILE": options.profile, "--plan": options.plan, "--resume": options.resume,
             "--report": options.report, "--compare": options.compare}
    chosen = [name for name, value in named.items() if value]
    if len(chosen) > 1:
        parser.error(f"{chosen[0]} and {chosen[1]} do not go together")
    given = chosen[0] if chosen else "PROFILE"
    new = ["label", "out", "keep", "workload", "driver", "dialect", "rounds", "seconds", "duration", "max_steal",
           "server_cpus", "generator_cpus", "estimate"]
    if given not in ("PROFILE", "--plan"):
        for name in new:
            if getattr(options, name) not in (None, "", False, []):
                parser.error(f"--{name.replace('_', '-')} is for new runs, not for {given}")
    if given != "--compare" and (options.metric or options.allow_diff):
        parser.error("--metric and --allow-diff are for --compare")
    if not all(c.isascii() and (c.isalnum() or c in "._-") for c in options.label):
        parser.error("a label has letters, digits, '.', '_' and '-' only")
    if (options.server_cpus and options.generator_cpus
            and set(options.server_cpus) & set(options.generator_cpus)):
        print("bench: engine and loadgen share CPUs: each slows the other down", file=sys.stderr)


def facts_of(options):
    """What a new run measures."""
    profile = options.profile or ("quick" if not options.plan else None)
    path = options.plan or os.path.join(ROOT, "benches", "scenarios", f"{profile}.toml")
    path = os.path.relpath(path) if not os.path.relpath(path).startswith("..") else path
    table = plans.resolved(path, read(path))
    settings = {"rounds": options.rounds, "seconds": options.seconds, "max-steal": options.max_steal,
                "duration": options.duration}
    overrides = {"plan": {key: value for key, value in settings.items() if value is not None},
                 "workloads": options.workload, "drivers": options.driver, "dialects": options.dialect}
    plan = plans.plan(path, table, overrides)
    if options.duration and plan.mode != "soak":
        raise PlanError(f'{path} is no soak, so --duration means nothing; --seconds and --rounds do')
    if options.rounds and plan.mode == "soak":
        raise PlanError(f"{path} is a soak, so --rounds means nothing; --duration does")
    if options.max_steal is not None and plan.mode == "soak":
        raise PlanError(f"{path} is a soak, which leaves nothing out, so --max-steal means nothing")
    return plan, {"profile": profile or os.path.basename(path).removesuffix(".toml"), "label": options.label,
                  "command": shlex.join(["scripts/bench", *sys.argv[1:]]), "utc": utc(),
                  "commit": machine.commit(), "plan_file": path, "plan": table,
                  "overrides": overrides, "bin_dir": options.bin_dir and os.path.abspath(options.bin_dir)}


class AtHand:
    """What is there to measure with."""

    def __init__(self, options):
        programs.build(options, programs.BENCHED)
        self.first, self.drivers = programs.usable_drivers(options)
        self.file_limit = machine.raise_file_limit()

    def order(self):
        """The drivers, the first choice first."""
        return sorted(self.drivers, key=lambda name: name != self.first)


def rows_ahead(plan, at_hand, run=None):
    """How many rows each workload has that can be measured, and how many windows are done."""
    ahead, done = {}, 0
    for case in plan.cases:
        ways, cannot = matrix.ways_of(case, at_hand.drivers, at_hand.first)
        ways = [way for way in ways if way not in cannot and case.files <= at_hand.file_limit]
        if run is not None:
            ways = [way for way in ways if way not in run.left_out(case.name)]
            done += min(run.complete(case.name, ways)[0], plan.rounds) * len(ways)
        ahead[case.name] = len(ways)
    return ahead, done


def estimate(plan, at_hand, run=None):
    """What will run, in one line; the number of windows and the seconds they take."""
    if plan.mode == "soak":
        print(f"bench: {len(plan.cases)} workloads at once for {duration(plan.duration)}, in segments of "
              f"{plan.seconds:g} s", file=sys.stderr)
        return 0, plan.duration
    ahead, _ = rows_ahead(plan, at_hand, run)
    rows = sum(ahead.values())
    seconds = plans.seconds_needed(plan, ahead)
    print(f"bench: {len(plan.cases)} workloads, {rows} rows, {plan.rounds} rounds of windows of "
          f"{plan.seconds:g} s: {rows * plan.rounds} windows, about {duration(seconds)}", file=sys.stderr, flush=True)
    return rows * plan.rounds, seconds


def tell(text):
    """Prints; that nobody reads it any more does not end a measurement."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def begin(options):
    """A new run, or None if only its estimate was asked for."""
    plan, facts = facts_of(options)
    server, generator = machine.cpus(plan, options)
    if set(server) & set(generator):
        print("bench: engine and loadgen share a CPU: each slows the other down", file=sys.stderr)
    at_hand = AtHand(options)
    plans.check_drivers(facts["plan_file"], plan, at_hand.drivers)
    if options.estimate:
        estimate(plan, at_hand)
        return None, at_hand
    facts.update(programs.identity(options, server, generator), drivers=at_hand.order(),
                 unusable={name: why for name, why in at_hand.drivers.items() if why})
    name = name_of(facts)
    # Two runs may begin in the same second.
    facts["documents"] = None if options.keep else f"{name}-{os.getpid()}"
    folder = options.out or folder_for(name)
    return Run.begin(folder, facts), at_hand


def resume(options):
    """A run that was interrupted."""
    run = Run.open(options.resume)
    if run.plan.mode == "soak":
        raise CannotRun("a soak is of one server that ran all the time, so it cannot go on; begin a new one")
    if run.facts["finished"]:
        raise CannotRun(f"{run.folder} is complete; nothing is left to measure")
    options.bin_dir = options.bin_dir or run.facts["bin_dir"]
    at_hand = AtHand(options)
    run.must_agree(programs.identity(options, run.facts["server_cpus"],
                                          run.facts["generator_cpus"]))
    print(f"bench: going on with the {len(run.rows)} windows of {run.folder}", file=sys.stderr)
    return run, at_hand


def measure(run, at_hand, options):
    """All that is left of a run; its exit code."""
    total, seconds = estimate(run.plan, at_hand, run)
    command = shlex.join(["scripts/bench", *sys.argv[1:]])
    environment = machine.Environment(run.folder, command, run.facts)
    progress = Progress(total, seconds)
    how, code, more = "interrupted", 0, []
    try:
        if run.plan.mode == "soak":
            code, more = soak.soak(run, options, at_hand, progress)
        else:
            rounds(run, options, at_hand, progress)
        run.facts["finished"] = utc()
        run.note()
        how = "finished"
    except KeyboardInterrupt:
        go_on = f"; scripts/bench --resume {shlex.quote(run.folder)} goes on from here"
        progress.say("interrupted" + (go_on if run.plan.mode == "matrix" else ""))
        code = 130
        if run.plan.mode == "soak":
            more = soak.findings(run, options)[1]
    finally:
        progress.clear()
        environment.after(how)
    # What there is so far is shown, too.
    tables.write(run, options, more)
    if not any(row["kept"] for row in run.rows):
        print(f"bench: nothing could be measured; {run.folder}/raw.csv tells why", file=sys.stderr)
        return code or 3
    print(f"bench: results in {run.folder} (summary.md, raw.csv); loadgen's documents and report.html in "
          f"{near(run.aside)}", file=sys.stderr)
    return code


def rounds(run, options, at_hand, progress):
    """Workload after workload; each is shown when it is done."""
    work = matrix.Matrix(run, options, at_hand, progress)
    progress.skip(rows_ahead(run.plan, at_hand, run)[1])
    tell("\n".join(tables.title(run)))
    for case in run.plan.cases:
        work.measure(case)
        progress.clear()
        tell(tables.summary(run, case, options))


def report(options):
    """The summaries of a folder, anew."""
    run = Run.open(options.report)
    options.bin_dir = options.bin_dir or run.facts["bin_dir"]
    programs.build(options, programs.BENCHED)
    if run.plan.mode == "soak":
        # Drift is worked out of them.
        run.must_have_documents()
    more = soak.findings(run, options)[1] if run.plan.mode == "soak" else []
    tables.write(run, options, more)


@guarded
def main():
    """Does what is asked for."""
    options = options_of(sys.argv[1:])
    # What was started here ends with it, however it ends.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.compare:
        programs.build(options, programs.BENCHED)
        return compare.compare(options)
    if options.report:
        return report(options)
    run, at_hand = resume(options) if options.resume else begin(options)
    return measure(run, at_hand, options) if run else 0

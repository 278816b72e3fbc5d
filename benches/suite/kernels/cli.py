"""Other Linux kernels: what the engine can do on them and what a message costs there.

Each kernel is a package of Debian, fetched through this machine's own package sources without
changing them, or an image of yours. It boots in QEMU, by default without hardware virtualisation.

  scripts/kernels list             the kernels that can be fetched
  scripts/kernels fetch            fetch them into the cache
  scripts/kernels build            build what runs on them, so that test and bench begin at once
  scripts/kernels test             the engine's tests on every driver that each kernel has
  scripts/kernels bench            what messages cost on each kernel, in instructions
  scripts/kernels report DIR       the tables of a result of bench, made anew
  scripts/kernels compare A B      two results of bench beside each other, or two kernels of one

Everything fetched is kept below $XDG_CACHE_HOME/ringbolt/kernels (~/.cache/ringbolt/kernels).
"""

import argparse
import concurrent.futures
import functools
import json
import os
import signal
import subprocess
import sys
import time

from suite.kernels import compare as comparison
from suite.kernels import costs, guest, images, profile, tables
from suite.kernels import verdict as verdict_of
from suite.kernels.guest import Failed
from suite.kernels.images import Missing
from suite.machine import ROOT

TESTING = """Runs the engine's tests on every driver that each kernel has. On two CPUs five kernels took 63 s with
`--suites brief`, 146 s with `usual`, and one of them 300 s with `all`, on another machine up to two and a half times
as long; building programs and tests takes 200 s before the first of such runs."""
MEASURING = """Counts what messages cost on each kernel, after two boots of one kernel have shown that counts
repeat. `--series all` (eleven kernels) takes 18 minutes on two fast CPUs, twice that on busy ones."""
COMPARING = """Two results of bench beside each other, each kernel of the first and the one of its series in the
second; or two kernels that you name.

  scripts/kernels compare before after                       every series that both results have
  scripts/kernels compare results/kernels/a --series 6.12 7.3
                                                             two kernels of one result
  scripts/kernels compare before after --series 6.18.3-mine 6.18.4-mine
                                                             a kernel of each, by their versions
"""


class Skipped:
    """A kernel that is not here, and why."""

    def __init__(self, series, why):
        self.series, self.why = series, why


def look_up(options):
    """The kernels asked for: images, what is skipped, and functions that fetch the others."""
    found = [images.local(path) for path in options.kernel]
    series = options.series or ([] if found else images.DEFAULT_SERIES)
    if not series:
        return found
    try:
        packages = images.Packages(options.suite, options.refresh)
        newest = packages.newest()
    except Missing as error:
        return found + [Skipped(name, str(error)) for name in series]
    if series == ["all"]:
        series = list(newest)
    for name in dict.fromkeys(series):
        if name in newest:
            found.append(functools.partial(fetched, packages, newest[name]))
        else:
            found.append(Skipped(name, not_here(packages, newest)))
    return found


def fetched(packages, fields):
    """The image of a package, or that it is skipped."""
    try:
        return packages.fetch(fields)
    except Missing as error:
        return Skipped(images.series_of(fields["Version"]), str(error))


def wanted(options, meanwhile=lambda: None):
    """The kernels asked for, images and what is skipped, and what came of what is done meanwhile, since
    fetching waits for the network. Nothing is done meanwhile where it is known that all are skipped."""
    found = look_up(options)
    with concurrent.futures.ThreadPoolExecutor(images.FETCHES) as pool:
        fetching = pool.map(lambda kernel: kernel() if callable(kernel) else kernel, found)
        hopeless = all(isinstance(kernel, Skipped) for kernel in found)
        done = None if hopeless else meanwhile()
        return list(fetching), done


def not_here(packages, newest):
    """Why a series is not among the packages, and what to do."""
    absent = f" (without {', '.join(packages.absent)}, which they lack)" if packages.absent else ""
    return (f"this machine's archives{absent} have {', '.join(newest)}; name another release of "
            "theirs with --suite, or give an image of your own with --kernel PATH")


def skipped(kernels):
    """Tells of the kernels that are skipped; gives the others."""
    for kernel in kernels:
        if isinstance(kernel, Skipped):
            print(f"skipped: kernel {kernel.series}: {kernel.why}")
    return [kernel for kernel in kernels if not isinstance(kernel, Skipped)]


def show_list(options):
    """Prints the newest kernel of each series."""
    packages = images.Packages(options.suite, options.refresh)
    kept = images.kept()
    print(f"{'series':8}{'version':26}{'download':>10}  {'here':6}package")
    for series, fields in packages.newest().items():
        here = "yes" if (fields["Package"], fields["Version"]) in kept else "no"
        print(f"{series:8}{fields['Version']:26}{int(fields['Size']) / 1e6:7.1f} MB  {here:6}"
              f"{fields['Package']}")
    for suite in packages.absent:
        print(f"not in this machine's archives: {suite}")
    return 0


def fetch(options):
    """Fetches, and prints what is here."""
    print(f"{'emulator':34}{guest.emulator_version()}")
    kernels, _ = wanted(options)
    for image in skipped(kernels):
        print(f"{image.series:8}{image.version:26}sha256 {image.sha256[:16]}…  {image.path}")
    return int(options.require and any(isinstance(kernel, Skipped) for kernel in kernels))


def ready(options, build):
    """The images to boot and what was built for them; no images if this machine cannot boot any."""
    try:
        guest.emulator_version()
    except Missing as error:
        print(f"skipped: every kernel: {error}")
        options.found = [Skipped("every", str(error))]
        return [], None
    options.found, built = wanted(options, build)
    return skipped(options.found), built


def test(options):
    """Runs the tests on each kernel, several at once, and prints what each has."""
    began = time.monotonic()
    kernels, made = ready(options, functools.partial(build_tests, options.suites))
    wrong = options.require and len(kernels) < len(options.found)
    if not kernels:
        return int(wrong)
    programs, built = made
    features, verdicts = verdict_of.features_of(programs["engine"]), []

    def one(image):
        try:
            return verdict_of.test(image, programs, features, options)
        except Failed as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for image, verdict in zip(kernels, pool.map(one, kernels)):
            complaints = [verdict] if isinstance(verdict, str) else verdict.wrong
            state = "FAILED" if complaints else "ok"
            took = "" if isinstance(verdict, str) else f", {verdict.seconds:.0f} s"
            print(f"{image.series:8}{image.version:26}{state}{took}", flush=True)
            for complaint in complaints:
                wrong = True
                print("    " + complaint.replace("\n", "\n    "), flush=True)
            if not isinstance(verdict, str):
                verdicts.append(verdict)
    if verdicts:
        print("\n" + verdict_of.table(verdicts))
        if options.out:
            os.makedirs(options.out, exist_ok=True)
            with open(os.path.join(options.out, "features.md"), "w", encoding="utf-8") as file:
                file.write(verdict_of.table(verdicts) + "\n")
    print(f"\n{time.monotonic() - began:.0f} s, of which building {built:.0f} s")
    return int(wrong)


def build_tests(level):
    """The programs and tests for guests, and how long they took to build."""
    began = time.monotonic()
    programs = guest.build()
    programs.update(guest.build_tests(verdict_of.programs_of(guest.drivers_of(programs["engine"]), level)))
    programs.pop("bare")
    return programs, time.monotonic() - began


def build(options):
    """Builds ahead, and prints what there is."""
    programs, took = build_tests(options.suites)
    for name, path in sorted(programs.items()):
        print(f"{name:16}{os.path.getsize(path) / 1e6:7.1f} MB  {path}")
    print(f"{took:.0f} s")
    return 0


def bench(options):
    """Measures on each kernel, prints the tables and writes the results."""
    if options.kvm:
        guest.check_kvm()
    began = time.monotonic()
    kernels, programs = ready(options, guest.build)
    wrong = options.require and len(kernels) < len(options.found)
    if not kernels:
        return int(wrong)
    check_servers(options.server, guest.drivers_of(programs["engine"]))
    if options.kvm:
        guest.try_kvm(kernels[0], programs)
    document = about(options, programs)
    document["skipped"] = [{"series": kernel.series, "why": kernel.why} for kernel in options.found
                           if isinstance(kernel, Skipped)]
    wrong |= measure(kernels, programs, options, document)
    document["wall_seconds"] = round(time.monotonic() - began)
    print(tables.proof_of(document) + tables.warning(document) + tables.across(document))
    if options.out:
        write(options.out, document)
    return int(is_inexact(document) or wrong)


def check_servers(names, drivers):
    """Ends where a server that was asked for is not known."""
    for name in names or []:
        if name not in [*drivers, *costs.OTHERS]:
            raise Missing(f"there is no server `{name}`; there are: {', '.join([*drivers, *costs.OTHERS])}")


def measure(kernels, programs, options, document):
    """Proves and measures, several boots at once; adds both to the document. Whether a kernel failed."""
    plugin = (None, "no instructions are counted under hardware virtualisation")
    plugin = plugin if options.kvm else profile.plugin()
    wrong = False

    def one(image):
        try:
            return costs.measure(image, programs, options, plugin)
        except Failed as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(1 if options.kvm else options.jobs) as pool:
        # The proof comes first. Its boots run side by side, so that they disturb each other if they can.
        boots = [pool.submit(costs.proving, kernels[-1], programs, options.timeout)
                 for _ in range(0 if options.kvm else 2)]
        measured = pool.map(one, kernels)
        document.update(proven(kernels[-1], boots))
        for image, found in zip(kernels, measured):
            if isinstance(found, str):
                wrong = True
                print(f"FAILED: {found}", flush=True)
                continue
            document["kernels"].append(found)
            print(f"{image.series:8}{image.version:26}measured", file=sys.stderr, flush=True)
    return wrong


def proven(image, boots):
    """What a result says of its determinism: the proof, or why there is none."""
    if not boots:
        return {"proof": None}
    try:
        return {"proof": costs.prove(image, *(boot.result() for boot in boots))}
    except Failed as error:
        print(f"FAILED: determinism was not shown, so NOTHING measured is exact: {error}", flush=True)
        return {"proof": None, "no_proof": str(error)}


def is_inexact(document):
    """Whether counts are not exact; says so, after all that was measured."""
    why = tables.inexact(document)
    if why:
        print(f"FAILED: nothing that was measured is exact: {why}. Run it again; if that fails, too, "
              "the same boot does not repeat under this emulator: take another version of QEMU",
              file=sys.stderr)
    return bool(why)


def about(options, programs):
    """What a result depends on besides the kernels."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT,
                            capture_output=True, text=True).stdout.strip()
    return {"form": costs.FORM, "utc": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
            "commit": commit or "unknown", "command": " ".join(["scripts/kernels", *sys.argv[1:]]),
            "emulator": guest.emulator_version(), "kvm": options.kvm,
            "cpu": "host" if options.kvm else guest.EMULATED_CPU, "memory": guest.MEMORY,
            "seed": guest.SEED, "command_line": guest.COMMAND_LINE, "messages": costs.MESSAGES,
            "repeats": options.repeats, "programs": guest.digests(programs), "kernels": []}


def write(folder, document):
    """Leaves the document and what people read."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "kernels.json"), "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    for_people(folder, document)


def report(options):
    """Makes what people read anew."""
    for_people(options.folder, tables.read(os.path.join(options.folder, "kernels.json")))
    return 0


def for_people(folder, document):
    """Leaves what people read."""
    with open(os.path.join(folder, "summary.md"), "w", encoding="utf-8") as file:
        file.write("# What a message costs on other kernels\n\n" + tables.warning(document)
                   + f"Commit {document['commit']}, {document['utc']}, `{document['command']}`; "
                   f"{document['emulator']}, CPU `{document['cpu']}`, one CPU, {document['memory']}, "
                   f"seed {document['seed']}; medians of {document['repeats']} runs.\n\n"
                   + tables.proof_of(document))
        for row in document["skipped"]:
            file.write(f"Skipped: {row['series']}: {row['why']}\n\n")
        file.write(tables.across(document) + "\n" + tables.in_full(document))
    with open(os.path.join(folder, "table.md"), "w", encoding="utf-8") as file:
        file.write(tables.warning(document) + tables.across(document, {"lockstep"}))
    print(f"written: {folder}/summary.md and table.md", file=sys.stderr)


def compare(options):
    """Compares two results or kernels, or says why that cannot be done."""
    old = tables.read(options.old)
    new = tables.read(options.new) if options.new else old
    found = comparison.differences(old, new, set(options.allow_diff))
    if found:
        raise Missing("these cannot be compared, or not for their kernels alone:\n  "
                      + "\n  ".join(found)
                      + "\nwhat stands in brackets compares them all the same, if that is the question")
    text, changed = comparison.compare(old, new, options.pair)
    print(text)
    return int(options.check and changed > 0)


def options_of(arguments):
    """The command line."""
    which = argparse.ArgumentParser(add_help=False)
    add = which.add_argument
    add("--suite", action="append", default=[], metavar="NAME",
        help="look into this release of the archives, too, such as experimental")
    add("--refresh", action="store_true", help="read the package lists again, whatever their age")
    some = argparse.ArgumentParser(add_help=False)
    add = some.add_argument
    add("--series", action="append", metavar="X.Y",
        help=f"this series, or `all`; may be repeated [{', '.join(images.DEFAULT_SERIES)}]")
    add("--kernel", action="append", default=[], metavar="PATH",
        help="this bzImage; may be repeated, and alone takes the place of the series")
    add("--require", action="store_true", help="end with 1 if a kernel is skipped")
    booting = argparse.ArgumentParser(add_help=False)
    add = booting.add_argument
    add("--timeout", type=int, default=600, metavar="S",
        help="end a boot after so many seconds, whatever it does [600]")
    add("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N",
        help="boot so many at once; counts do not change by it [2, or the CPUs there are]")
    parser = argparse.ArgumentParser(prog="scripts/kernels", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    verbs.add_parser("list", parents=[which], help="the kernels that can be fetched")
    verbs.add_parser("fetch", parents=[which, some], help="fetch kernels into the cache")
    much = argparse.ArgumentParser(add_help=False)
    much.add_argument("--suites", choices=verdict_of.LEVELS, default="usual",
                      help="how much of the drivers' tests: `none`, only what each kernel has and takes and an "
                           "exchange of messages on each driver and with each switch; `brief`, also the tests "
                           "that take less than two seconds each; `usual`, also those that take "
                           "seconds, and some again without each feature; `all` that there are, and those of "
                           "RFC 6455 and TLS [usual]")
    verbs.add_parser("build", parents=[much], help="build what runs on kernels, ahead of test and bench")
    testing = verbs.add_parser("test", parents=[which, some, booting, much], description=TESTING,
                               help="run the engine's tests on each kernel")
    testing.add_argument("--out", metavar="DIR", help="also write features.md there")
    measuring = verbs.add_parser("bench", parents=[which, some, booting], description=MEASURING,
                                 help="count what messages cost on each kernel")
    add = measuring.add_argument
    add("--workload", action="append", choices=list(costs.MESSAGES), help="only this [both]")
    add("--shape", action="append", choices=list(costs.SHAPES),
        help="only this: taking turns, or as the scheduler chooses [both]")
    add("--server", action="append", metavar="NAME",
        help="only this: a driver of the engine, or one of " + ", ".join(f"`{name}`" for name in costs.OTHERS)
             + "; may be repeated. Ratios "
             "are to `epoll` and `bare-epoll`; what a feature is worth needs `uring`, too [all]")
    add("--repeats", type=int, default=5, metavar="N",
        help="runs of each workload within a boot; the median counts [5]")
    add("--out", metavar="DIR", help="also write kernels.json, summary.md and table.md there")
    add("--kvm", action="store_true",
        help="measure time by hardware virtualisation, where there is /dev/kvm")
    anew = verbs.add_parser("report", help="make summary.md and table.md of a result anew")
    anew.add_argument("folder", metavar="DIR", help="where its kernels.json is")
    add_compare(verbs)
    options = parser.parse_args(arguments)
    if min(getattr(options, name, 1) for name in ["jobs", "timeout", "repeats"]) < 1:
        parser.error("--jobs, --timeout and --repeats must be above zero")
    if "all" in (getattr(options, "series", None) or []) and len(options.series) > 1:
        parser.error("--series all has every series already")
    if options.verb == "bench" and not any(
            costs.servers(workload, shape, drivers_in(options.server), options.server)
            for workload in options.workload or costs.MESSAGES for shape in options.shape or costs.SHAPES):
        parser.error(f"{', '.join(options.server)} is not measured in that workload and shape: features of the "
                     "ring have the shape lockstep, and `uring +incremental` the workload echo only")
    if options.verb == "compare" and not (options.new or options.pair):
        parser.error("compare needs two results, or one and two of its kernels: --series A B")
    return options


def drivers_in(names):
    """Which of some servers must be drivers of the engine."""
    return [name for name in names or ["any"] if name not in costs.OTHERS]


def add_compare(verbs):
    """The command line of compare."""
    beside = verbs.add_parser("compare", description=COMPARING,
                              formatter_class=argparse.RawDescriptionHelpFormatter,
                              help="two results of bench beside each other, or two kernels of one")
    add = beside.add_argument
    add("old", metavar="RESULT", help="a kernels.json, or the folder that it is in")
    add("new", metavar="RESULT2", nargs="?", help="another one; without it the kernels are of the same")
    add("--series", dest="pair", nargs=2, metavar=("A", "B"),
        help="this kernel of the first result and that one of the second: series, versions, or the first "
             f"{comparison.DIGITS} digits of an image's SHA-256")
    add("--allow-diff", action="append", default=[], metavar="NAME", choices=comparison.ALLOWED,
        help="compare although this differs, or although the proof was not passed: "
             f"{', '.join(comparison.ALLOWED)}; may be repeated")
    add("--check", action="store_true", help="end with 1 if something changed")


def main():
    """Does what is asked for."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    options = options_of(sys.argv[1:])
    verbs = {"list": show_list, "fetch": fetch, "build": build, "test": test, "bench": bench, "report": report,
             "compare": compare}
    try:
        return verbs[options.verb](options)
    except Missing as error:
        print(f"kernels: {error}", file=sys.stderr)
        return 3
    except Failed as error:
        print(f"kernels: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130



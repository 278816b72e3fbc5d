"""Counts the instructions of the protocol core's operations, exactly, and compares them with the
committed baseline (benches/instructions.json).

Each operation runs twice under valgrind's callgrind, a few times and many times; the difference is
the operation alone. The same binary gives the same count on any machine whose CPU valgrind shows as
the same to the program, whatever else the machine does. An instruction is not a nanosecond: one that
misses the cache costs as much as hundreds that do not.

Needs valgrind and cargo.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys

from suite.machine import ROOT, guarded, target

BASELINE = os.path.join(ROOT, "benches", "instructions.json")
FEW = 5


def output(*command):
    """What a command prints; ends the program if it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"instructions: {' '.join(command)} failed\n{done.stderr.strip()}")
    return done.stdout.strip()


def counted(program, name, repetitions):
    """Instructions of a whole run."""
    done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                           program, name, str(repetitions)], capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"instructions: {name} failed under valgrind\n{done.stderr.strip()}")
    return int(found.group(1))


def per_unit(program, name, units):
    """Instructions of one unit of an operation."""
    many = FEW + max(5, 1000 // units)
    return (counted(program, name, many) - counted(program, name, FEW)) / ((many - FEW) * units)


def build():
    """The program that is counted."""
    output("cargo", "build", "--release", "--quiet", "--locked", "-p", "ringbolt-benches",
           "--bin", "instructions")
    return os.path.join(target(), "release", "instructions")


def show(found, baseline, percent):
    """Prints the table; the names of the operations that changed."""
    before, changed = baseline.get("operations", {}), []
    print("| operation | instructions | baseline | change |")
    print("|---|---|---|---|")
    for name, (value, unit) in found.items():
        old = before.get(name)
        if old is None:
            print(f"| {name} | {value:,.1f} per {unit} | none | new |")
            continue
        change = (value / old - 1) * 100
        mark = ""
        if abs(change) > percent:
            changed.append(name)
            mark = " **more**" if change > 0 else " **less**"
        print(f"| {name} | {value:,.1f} per {unit} | {old:,.1f} | {change:+.2f} %{mark} |")
    for name in before.keys() - found.keys():
        print(f"| {name} | gone | {before[name]:,.1f} | |")
    return changed


@guarded
def main():
    """Counts, compares, and says what changed."""
    parser = argparse.ArgumentParser(prog="scripts/instructions", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--percent", type=float, default=2.0, metavar="P",
                        help="a change of more than this is marked [2]")
    parser.add_argument("--check", action="store_true", help="end with 1 if something is marked")
    parser.add_argument("--bless", action="store_true", help="write the counts as the new baseline")
    parser.add_argument("operation", nargs="*", help="count these alone [all]")
    options = parser.parse_args()
    if options.bless and options.operation:
        parser.error("--bless writes the whole baseline: name no operation")
    if not shutil.which("valgrind"):
        print("skipped: counting instructions, which needs valgrind")
        return
    program = build()
    known = dict(line.split("\t", 1) for line in output(program).splitlines())
    wrong = [name for name in options.operation if name not in known]
    if wrong:
        sys.exit(f"instructions: no operation {wrong[0]}; known are {', '.join(known)}")
    found = {}
    for name in options.operation or known:
        unit, units = known[name].split("\t")
        found[name] = (per_unit(program, name, int(units)), unit)
    baseline = {}
    if os.path.exists(BASELINE):
        with open(BASELINE, encoding="utf-8") as file:
            baseline = json.load(file)
    made_with = {"rustc": output("rustc", "--version"), "valgrind": output("valgrind", "--version")}
    if options.operation:
        baseline["operations"] = {name: count for name, count
                                  in baseline.get("operations", {}).items() if name in found}
    changed = show(found, baseline, options.percent)
    for tool, version in made_with.items():
        if baseline and baseline.get(tool) != version:
            print(f"\nThe baseline was made with {baseline.get(tool)}; this is {version}, which may "
                  "be what changed.")
    if options.bless:
        counts = {name: round(value, 2) for name, (value, _) in found.items()}
        with open(BASELINE, "w", encoding="utf-8") as file:
            json.dump({**made_with, "operations": counts}, file, indent=2)
            file.write("\n")
        print("\nwritten as the new baseline")
    elif changed:
        print(f"\nmore than {options.percent:g} % from the baseline: {', '.join(changed)}. If that is "
              "meant: scripts/instructions --bless")
        if options.check:
            sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())

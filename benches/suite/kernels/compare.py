"""Two results of scripts/kernels bench beside each other, or two kernels of one.

"""

from suite.kernels.costs import NOISE
from suite.kernels.guest import PROGRAMS
from suite.kernels.images import Missing, in_order
from suite.kernels.tables import caveat, groups, inexact, number, of, over

# What must be the same for two results to be compared, and what it is called.
SAME = {"emulator": "emulator", "cpu": "CPU model", "memory": "memory", "seed": "seed",
        "command_line": "kernel command line", "messages": "number of messages"}
PROOF = "proof"
# What may differ if it is named. Time and instructions are never compared.
ALLOWED = [*PROGRAMS, *SAME, PROOF]
SIDES = ("first", "second")
# So many digits of an image's SHA-256 name it.
DIGITS = 8


def differences(old, new, allowed):
    """Why two results cannot be compared."""
    found = []
    for key, name in SAME.items():
        if old[key] != new[key] and key not in allowed:
            found.append(f"{name}: {old[key]} and {new[key]} (--allow-diff {key})")
    if old["kvm"] != new["kvm"]:
        found.append("one measured time under hardware virtualisation, the other counted instructions")
    elif old["kvm"] and "cpu" not in allowed:
        found += machines(old, new)
    for name in sorted(old["programs"].keys() | new["programs"].keys()):
        one, other = old["programs"].get(name, "none"), new["programs"].get(name, "none")
        if one != other and name not in allowed:
            found.append(f"the program {name}: {one[:16]} and {other[:16]}, SHA-256 (--allow-diff {name})")
    if PROOF not in allowed:
        found += [f"{side} is not exact: {why} (--allow-diff {PROOF})" for side, why in unproven(old, new)]
    return found


def machines(old, new):
    """The CPUs that time was measured on, if there are several."""
    models = sorted({kernel["cpu"] for document in (old, new) for kernel in document["kernels"]})
    return [f"CPU model: {' and '.join(models)} (--allow-diff cpu)"] if len(models) > 1 else []


def unproven(old, new):
    """Which of two results, or the only one, is not exact, and why."""
    sides = ["the result"] if old is new else [f"the {side} result" for side in SIDES]
    return [(side, inexact(document)) for side, document in zip(sides, (old, new)) if inexact(document)]


def versions(kernels):
    """Some kernels by their versions."""
    return ", ".join(kernel["kernel"]["version"] for kernel in kernels) or "none"


def called(kernels):
    """Some kernels by their versions and images: two builds may have the same version."""
    return ", ".join(f"{about['version']} (SHA-256 {about.get('sha256', '')[:DIGITS]}…)"
                     for about in (kernel["kernel"] for kernel in kernels))


def pick(document, name, side):
    """The kernel of a result that is named by its series, its version, or the start of its image's
    SHA-256."""
    kernels = document["kernels"]
    for names in (lambda about: name == about["version"],
                  lambda about: len(name) >= DIGITS and about.get("sha256", "").startswith(name),
                  lambda about: name == about["series"]):
        found = [kernel for kernel in kernels if names(kernel["kernel"])]
        if len(found) == 1:
            return found[0]
        if found:
            raise Missing(f"{name} is several kernels of the {side} result: "
                          f"{called(found)}; name one by its version, or by the first {DIGITS} digits of "
                          "its SHA-256")
    raise Missing(f"there is no kernel {name} in the {side} result; it has {versions(kernels)}: name a "
                  "series or a version of these")


def by_series(document):
    """series -> its kernels; there may be several that were given by their paths."""
    found = {}
    for kernel in document["kernels"]:
        found.setdefault(kernel["kernel"]["series"], []).append(kernel)
    return found


def pairs(old, new):
    """The kernels of two results that belong together, and those that stand alone, in words."""
    before, after = by_series(old), by_series(new)
    found, alone = [], []
    for series in sorted(before.keys() | after.keys(), key=in_order):
        same, rest = matched(series, before.get(series, []), after.get(series, []))
        found += same
        alone += [f"- {kernel['kernel']['version']} is only in the {side} result"
                  for side, kernels in zip(SIDES, rest) for kernel in kernels]
    if not found:
        raise Missing(f"these results have no series in common: the first has {versions(old['kernels'])}, "
                      f"the second {versions(new['kernels'])}; name one kernel of each: --series A B")
    return found, alone


def matched(series, before, after):
    """The pairs of one series, and what is left of each side. Where there are several, versions tell."""
    if len(before) == len(after) == 1:
        return [(before[0], after[0])], ([], [])
    same = []
    for one in before:
        version = one["kernel"]["version"]
        alike = [[kernel for kernel in side if kernel["kernel"]["version"] == version]
                 for side in (before, after)]
        if [len(side) for side in alike] == [1, 1]:
            same.append((one, alike[1][0]))
    taken = [{id(pair[side]) for pair in same} for side in (0, 1)]
    rest = [[kernel for kernel in side if id(kernel) not in gone]
            for side, gone in zip((before, after), taken)]
    if all(rest):
        raise Missing(f"which kernels of series {series} belong together cannot be told: the first result "
                      f"has {called(rest[0])}, the second {called(rest[1])}; name one of each by its "
                      "version: --series VERSION VERSION")
    return same, rest


def compare(old, new, chosen=None):
    """Kernels of two results beside each other: those that are chosen, or all that belong together. The
    text, and how many rows show a change."""
    if chosen:
        found, alone = [(pick(old, chosen[0], SIDES[0]), pick(new, chosen[1], SIDES[1]))], []
    else:
        found, alone = pairs(old, new)
    lines = [line for side, why in unproven(old, new)
             for line in (f"**Nothing here is exact, since {side} is not: {why}.**", "")]
    changed = 0
    for one, other in found:
        table, count = beside(one, other)
        lines += [f"### {one['kernel']['version']} → {other['kernel']['version']}", "",
                  "| workload | shape | server | before | after | change | ÷ epoll, before | after |",
                  "|---|---|---|---|---|---|---|---|", *table, ""]
        changed += count
    limits = ", ".join(f"{percent:g} % in {shape}" for shape, percent in NOISE.items())
    lines += [*alone, ""] if alone else []
    lines += ["`~`: a difference that may be nothing but a timer's or the scheduler's doing "
              f"({limits}, or the spread where that is more). {caveat(new)}"]
    return "\n".join(lines), changed


def beside(one, other):
    """The rows of two kernels, and how many show a change."""
    lines, changed = [], 0
    for workload, shape in groups([*one["rows"], *other["rows"]]):
        tables = [of(kernel["rows"], workload, shape) for kernel in (one, other)]
        for name in dict.fromkeys([*tables[0], *tables[1]]):
            text, differs = change(name, tables, shape)
            lines.append(f"| {workload} | {shape} | {text} |")
            changed += differs
    return lines, changed


def change(name, tables, shape):
    """One line of a comparison, and whether it shows a change."""
    row, other = (table.get(name, {}) for table in tables)
    if "each" not in row or "each" not in other:
        states = [state(row), state(other)]
        return f"{name} | {states[0]} | {states[1]} | | | ", sorted(states) == ["not there", "there"]
    percent = (other["each"] / row["each"] - 1) * 100
    differs = abs(percent) >= max(NOISE[shape], row["spread_percent"], other["spread_percent"])
    mark = f"{percent:+.2f} %" if differs else f"~ ({percent:+.2f} %)"
    ratios = [over(one, table.get("epoll")) for one, table in zip((row, other), tables)]
    return (f"{name} | {number(row['each'])} | {number(other['each'])} | {mark} | {ratios[0]} "
            f"| {ratios[1]}"), differs


def state(row):
    """Whether a kernel has a row; what was not asked of it is no difference of kernels."""
    if not row:
        return "not measured"
    return "there" if "each" in row else "not there"

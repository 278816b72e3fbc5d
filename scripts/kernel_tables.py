"""Tables of what messages cost on kernels, and the comparison of two results.

Not a program of its own: scripts/kernels imports it.
"""

import json

from kernel_costs import FORM, NOISE, PER, WITHOUT
from kernel_images import Missing, in_order

CAVEAT = ("Instructions, not nanoseconds: an instruction that misses the cache, enters the kernel or "
          "stops the pipeline costs as much as hundreds that do not, and here all weigh the same. Read "
          "them with the system calls and switches beside them, and measure time on a real machine.")
TIMED = ("Nanoseconds under hardware virtualisation, on a machine that others may use, too: compare "
         "within one boot, and nothing below the spread.")
# What must be the same for two results to be compared, and what it is called.
SAME = {"emulator": "emulator", "cpu": "CPU model", "kvm": "way of running", "memory": "memory",
        "seed": "seed", "command_line": "kernel command line", "messages": "number of messages"}


def of(rows, workload, shape):
    """server -> its row."""
    return {row["server"]: row for row in rows
            if (row["workload"], row["shape"]) == (workload, shape)}


def groups(rows):
    """The workloads and shapes of some rows, in their order."""
    return list(dict.fromkeys((row["workload"], row["shape"]) for row in rows))


def number(value, digits=0):
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def unsteady(rows):
    """The servers whose repeats were too far apart for this shape to mean what it says."""
    names = [row["server"] for row in rows if row["shape"] == "lockstep"
             and row.get("spread_percent", 0) > NOISE["lockstep"]]
    if not names:
        return []
    return [f"- The turns of {', '.join(names)} did not settle (spread above {NOISE['lockstep']:g} %): "
            "their figures, events and groups are what happened to come of it; the other shape says more.", ""]


def over(row, base):
    """How many times as much as another."""
    if not base or "each" not in base or "each" not in row:
        return "–"
    return f"{row['each'] / base['each']:.3f}"


def caveat(document):
    """What every table says."""
    return TIMED if document["kvm"] else CAVEAT


def across(document, shapes=frozenset(NOISE)):
    """One table per workload and shape: servers down, kernels across."""
    kernels, unit = document["kernels"], "ns" if document["kvm"] else "instructions"
    lines = []
    for workload, shape in groups(row for kernel in kernels for row in kernel["rows"]
                                  if row["shape"] in shapes):
        lines += [f"### {workload}, {shape}: {unit} per {PER[workload]}, client and server together, "
                  "and times the epoll driver's", "",
                  "| | " + " | ".join(kernel["kernel"]["version"] for kernel in kernels) + " |",
                  "|---|" + "---|" * len(kernels)]
        tables = [of(kernel["rows"], workload, shape) for kernel in kernels]
        for name in dict.fromkeys(name for table in tables for name in table if name not in WITHOUT):
            cells = []
            for table in tables:
                row = table.get(name, {})
                cells.append(f"{number(row['each'])} ({over(row, table.get('epoll'))})"
                             if "each" in row else "–")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines += ["", f"Differences below {NOISE[shape]:g} % mean nothing in this shape. "
                  + caveat(document), ""]
    return "\n".join(lines + bought(document))


def bought(document):
    """What each feature of the ring is worth: how much more a message costs without it."""
    kernels, lines = document["kernels"], []
    for workload, shape in groups(row for kernel in kernels for row in kernel["rows"]
                                  if row["server"] in WITHOUT):
        lines += [f"### {workload}, {shape}: what the ring driver's {PER[workload]} costs more without a "
                  "feature of the ring", "",
                  "| | " + " | ".join(kernel["kernel"]["version"] for kernel in kernels) + " |",
                  "|---|" + "---|" * len(kernels)]
        tables = [of(kernel["rows"], workload, shape) for kernel in kernels]
        for name in WITHOUT:
            cells = []
            for table in tables:
                row, whole = table.get(name, {}), table.get("uring", {})
                both = "each" in row and "each" in whole
                cells.append(f"{row['each'] - whole['each']:+,.0f} "
                             f"({(row['each'] / whole['each'] - 1) * 100:+.2f} %)" if both else "–")
            lines.append(f"| {name.removeprefix('uring ')} | " + " | ".join(cells) + " |")
        lines += ["", f"`–`: the kernel has no such feature. Differences below {NOISE[shape]:g} % mean "
                  "nothing. " + caveat(document), ""]
    return lines


def in_full(document):
    """Everything that was measured on each kernel."""
    lines = []
    for kernel in document["kernels"]:
        about = kernel["kernel"]
        lines += [f"## {about['version']}" + (f" ({about['package']})" if about["package"] else ""),
                  "", f"`--driver auto` takes {kernel['auto']}. Of the ring's features it has "
                  f"{', '.join(kernel['features']) or 'none'}.", ""]
        if kernel["no_profile"]:
            lines += [f"Where instructions go was not counted: {kernel['no_profile']}.", ""]
        for workload, shape in groups(kernel["rows"]):
            lines += one_table(document, kernel["rows"], workload, shape)
            lines += where(kernel["rows"], workload, shape)
    return "\n".join(lines)


def one_table(document, rows, workload, shape):
    """One workload and shape on one kernel."""
    unit = "ns" if document["kvm"] else "instructions"
    lines = [f"### {workload}, {shape}; per {PER[workload]}", "",
             f"| server | {unit} | spread | ÷ epoll | ÷ bare-epoll | of these in the server "
             "| system calls of the server | context switches | completions |",
             "|---|---|---|---|---|---|---|---|---|"]
    table, absent = of(rows, workload, shape), []
    for name, row in table.items():
        if "absent" in row:
            absent.append(f"{name} is not there: {row['absent'].splitlines()[0]}")
            continue
        lines.append(f"| {name} | {number(row['each'])} | {row['spread_percent']:.2f} % "
                     f"| {over(row, table.get('epoll'))} | {over(row, table.get('bare-epoll'))} "
                     f"| {number(row['server_each'])} | {number(row.get('system_calls'), 3)} "
                     f"| {number(row.get('switches'), 3)} | {number(row.get('completions'), 3)} |")
    return [*lines, "", *(f"- {text}" for text in absent), *([""] if absent else []),
            *unsteady(table.values()), caveat(document), ""]


def where(rows, workload, shape):
    """Where the instructions of one workload and shape go on one kernel."""
    table = {name: row["where"] for name, row in of(rows, workload, shape).items() if "where" in row}
    if not table:
        return []
    names = list(next(iter(table.values()))["groups"])
    lines = ["Where they go, client and server together; `rep` are rounds of repeated string "
             "instructions, which stand for one instruction each:", "",
             "| server | user | kernel | rep | " + " | ".join(names) + " |",
             "|---|---|---|---|" + "---|" * len(names)]
    for name, found in table.items():
        cells = [found["user"], found["kernel"], found["rep"], *found["groups"].values()]
        lines.append(f"| {name} | " + " | ".join(map(number, cells)) + " |")
    return [*lines, "", CAVEAT, ""]


def read(path):
    """A result, as bench has written it."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except OSError as error:
        raise Missing(f"{path}: {error.strerror}") from None
    except ValueError:
        raise Missing(f"{path} is no JSON; compare takes the kernels.json that bench writes") from None
    if not isinstance(document, dict) or document.get("form") != FORM:
        raise Missing(f"{path} has not the form {FORM}; compare takes the kernels.json that bench "
                      "writes, of the same version of this program")
    return document


def differences(old, new, allowed):
    """Why two results cannot be compared."""
    found = []
    for key, name in SAME.items():
        if old[key] != new[key] and key not in allowed:
            found.append(f"{name}: {old[key]} and {new[key]}")
    for name in sorted(old["programs"].keys() | new["programs"].keys()):
        one, other = old["programs"].get(name, "none"), new["programs"].get(name, "none")
        if one != other and name not in allowed:
            found.append(f"the program {name}: {one[:16]} and {other[:16]} (SHA-256)")
    return found


def compare(old, new):
    """The kernels of two results beside each other; their series are matched."""
    lines, changed = [], 0
    before = {kernel["kernel"]["series"]: kernel for kernel in old["kernels"]}
    after = {kernel["kernel"]["series"]: kernel for kernel in new["kernels"]}
    for series in sorted(before.keys() & after.keys(), key=in_order):
        one, other = before[series], after[series]
        lines += [f"### {one['kernel']['version']} → {other['kernel']['version']}", "",
                  "| workload | shape | server | before | after | change | ÷ epoll, before | after |",
                  "|---|---|---|---|---|---|---|---|"]
        for workload, shape in groups(one["rows"]):
            tables = [of(kernel["rows"], workload, shape) for kernel in (one, other)]
            for name, row in tables[0].items():
                text, differs = change(name, row, tables, shape)
                lines.append(f"| {workload} | {shape} | {text} |")
                changed += differs
        lines.append("")
    for series in sorted(before.keys() ^ after.keys(), key=in_order):
        lines.append(f"- {series} is only in the {'first' if series in before else 'second'} result")
    limits = ", ".join(f"{percent:g} % in {shape}" for shape, percent in NOISE.items())
    lines += ["", f"`~`: a difference that may be nothing but a timer's or the scheduler's doing ({limits}, "
              f"or the spread where that is more). {caveat(new)}"]
    return "\n".join(lines), changed


def change(name, row, tables, shape):
    """One line of a comparison, and whether it shows a change."""
    other = tables[1].get(name, {})
    if "each" not in row or "each" not in other:
        states = ["there" if "each" in one else "not there" for one in (row, other)]
        return f"{name} | {states[0]} | {states[1]} | | | ", states[0] != states[1]
    percent = (other["each"] / row["each"] - 1) * 100
    differs = abs(percent) >= max(NOISE[shape], row["spread_percent"], other["spread_percent"])
    mark = f"{percent:+.2f} %" if differs else f"~ ({percent:+.2f} %)"
    ratios = [over(one, table.get("epoll")) for one, table in zip((row, other), tables)]
    return (f"{name} | {number(row['each'])} | {number(other['each'])} | {mark} | {ratios[0]} "
            f"| {ratios[1]}"), differs

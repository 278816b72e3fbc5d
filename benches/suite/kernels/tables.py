"""Tables of what messages cost on kernels.

"""

import json
import os

from suite.kernels.costs import FORM, NOISE, PER, UNREAD, VARIANTS, WITH
from suite.kernels.images import Missing
from suite.report import NONE, heading, line, plain, spread_percent

CAVEAT = ("Instructions, not nanoseconds: an instruction that misses the cache, enters the kernel or "
          "stops the pipeline costs as much as hundreds that do not, and here all weigh the same. Read "
          "them with the system calls and switches beside them, and measure time on a real machine.")
TIMED = ("Nanoseconds under hardware virtualisation, on a machine that others may use, too: compare "
         "within one boot, and nothing below the spread.")
# The spread of the server's part is shown where it is above the whole's by so much, in percent.
SPREAD_SHOWN = 2.0


def of(rows, workload, shape):
    """server -> its row."""
    return {row["server"]: row for row in rows
            if (row["workload"], row["shape"]) == (workload, shape)}


def groups(rows):
    """The workloads and shapes of some rows, in their order."""
    return list(dict.fromkeys((row["workload"], row["shape"]) for row in rows))


def number(value, digits=0):
    """A number, or a dash where there is none."""
    return plain(value, f",.{digits}f", none=NONE)


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


def inexact(document):
    """Why the counts of a result are not exact; None where its proof was passed, or time was measured."""
    proof = document.get("proof")
    if document["kvm"]:
        return None
    if not proof:
        # Of a boot that failed the first line says which; the others are what the kernel said.
        why = document.get("no_proof") or "whether two boots agree was not shown"
        return why.splitlines()[0].split("; it said:")[0]
    if proof["largest_difference_percent"] <= proof["allowed_percent"]:
        return None
    return (f"two boots of kernel {proof['kernel']} are up to "
            f"{proof['largest_difference_percent']:.4f} % apart, and {proof['allowed_percent']} % is allowed")


def warning(document):
    """What stands above everything where the counts are not exact."""
    why = inexact(document)
    return f"**Nothing here is exact: {why}.**\n\n" if why else ""


def proof_of(document):
    """What came of the proof."""
    proof = document.get("proof")
    if not proof:
        return ""
    return (f"Kernel {proof['kernel']} was booted twice: {proof['equal']} of {proof['readings']} readings "
            "were the same integer, the others within "
            f"{proof['largest_difference_percent']:.4f} %.\n\n")


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
                  *heading(["", *(kernel["kernel"]["version"] for kernel in kernels)])]
        tables = [of(kernel["rows"], workload, shape) for kernel in kernels]
        for name in dict.fromkeys(name for table in tables for name in table if name not in VARIANTS):
            cells = []
            for table in tables:
                row = table.get(name, {})
                cells.append(f"{number(row['each'])} ({over(row, table.get('epoll'))})"
                             if "each" in row else "–")
            lines.append(line([name, *cells]))
        lines += ["", f"Differences below {NOISE[shape]:g} % mean nothing in this shape. "
                  + caveat(document), ""]
    return "\n".join(lines + bought(document))


def bought(document):
    """What each feature of the ring is worth: how much more a message costs without it, or with it where
    it is off by default."""
    kernels, lines = document["kernels"], []
    for workload, shape in groups(row for kernel in kernels for row in kernel["rows"]
                                  if row["server"] in VARIANTS):
        tables = [of(kernel["rows"], workload, shape) for kernel in kernels]
        names = [name for name in VARIANTS if any(name in table for table in tables)]
        lines += [f"### {workload}, {shape}: what the ring driver's {PER[workload]} costs more without a "
                  "feature of the ring" + (", or with one more" if WITH.keys() & set(names) else ""), "",
                  *heading(["", *(kernel["kernel"]["version"] for kernel in kernels)])]
        for name in names:
            cells = []
            for table in tables:
                row, whole = table.get(name, {}), table.get("uring", {})
                both = "each" in row and "each" in whole
                cells.append(f"{row['each'] - whole['each']:+,.0f} "
                             f"({(row['each'] / whole['each'] - 1) * 100:+.2f} %)" if both else "–")
            lines.append(line([name[len("uring "):], *cells]))
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


def of_server(row):
    """The server's part of a row, with its spread where its repeats agree much less than the whole's."""
    if "server_each" not in row:
        return number(None)
    spread = row.get("server_spread_percent", spread_percent(row["server_each_all"]))
    apart = spread > row["spread_percent"] + SPREAD_SHOWN
    return number(row["server_each"]) + (f" (spread {spread:.2f} %)" if apart else "")


def unread(rows):
    """The servers whose part was not measured."""
    names = [row["server"] for row in rows if "each" in row and "server_each" not in row]
    if not names:
        return []
    return [f"- What of it is in the server was not measured of {', '.join(names)}: {UNREAD}.", ""]


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
                     f"| {of_server(row)} | {number(row.get('system_calls'), 3)} "
                     f"| {number(row.get('switches'), 3)} | {number(row.get('completions'), 3)} |")
    return [*lines, "", *(f"- {text}" for text in absent), *([""] if absent else []),
            *unsteady(table.values()), *unread(table.values()), caveat(document), ""]


def where(rows, workload, shape):
    """Where the instructions of one workload and shape go on one kernel."""
    table = {name: row["where"] for name, row in of(rows, workload, shape).items() if "where" in row}
    if not table:
        return []
    names = list(next(iter(table.values()))["groups"])
    lines = ["Where they go, client and server together; `rep` are rounds of repeated string "
             "instructions, which stand for one instruction each:", "",
             *heading(["server", "user", "kernel", "rep", *names])]
    for name, found in table.items():
        cells = [found["user"], found["kernel"], found["rep"], *found["groups"].values()]
        lines.append(line([name, *map(number, cells)]))
    return [*lines, "", CAVEAT, ""]


def read(path):
    """A result, as bench has written it: the file, or the folder that it is in."""
    path = os.path.join(path, "kernels.json") if os.path.isdir(path) else path
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

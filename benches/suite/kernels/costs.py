"""What a message costs on a kernel, counted in instructions.

Under the emulator one nanosecond of the
guest's clock is one instruction, so that whatever reads the clock counts instructions.
"""

import json

from suite.kernels import guest, profile
from suite.report import middle, spread_percent

FORM = "ringbolt.kernels/1"
# Servers without a protocol, on the ring and on epoll.
BARE = {"echo": {"bare-ring": "ring-echo", "bare-epoll": "epoll-echo"},
        "broadcast": {"bare-ring": "ring-fanout", "bare-epoll": "epoll-fanout"}}
# The ring driver without one feature of the ring, and without any; what those cost shows what each
# buys. Features that matter once per connection or need several shards or a network are left out.
WITHOUT = {"uring -multishot-recv": "-multishot-recv", "uring -buffer-ring": "-buffer-ring",
           "uring -defer-taskrun": "-defer-taskrun",
           "uring -defer-taskrun,-coop-taskrun": "-defer-taskrun,-coop-taskrun",
           "uring -direct": "-direct", "uring -no-sqarray": "-no-sqarray",
           "uring -skip-success": "-skip-success", "uring none": "none"}
# The ring driver with a feature that is off by default.
WITH = {"uring +incremental": "+incremental"}
VARIANTS = {**WITHOUT, **WITH}
# All that can be asked for besides the engine's drivers.
OTHERS = [*BARE["echo"], *VARIANTS]
# Whether the scheduler has a say. In turns each side keeps the CPU until it has nothing to do.
SHAPES = {"lockstep": True, "threads": False}
# What may be nothing but the scheduler's or a timer's doing.
NOISE = {"lockstep": 1.0, "threads": 5.0}
CONNECTIONS = {"echo": ["-c", "8"], "broadcast": ["-c", "16"]}
# Messages that are sent: an echo is one message there and back, a publication has 16 deliveries.
MESSAGES = {"echo": 1600, "broadcast": 120}
PER = {"echo": "message there and back", "broadcast": "delivery to one of 16 subscribers"}
EVENTS = ["system_calls", "switches", "completions"]
# Whose time a reading is.
ALL, SERVER = "the time", "the server's time"
UNREAD = "loadgen read the server's CPU time beside the window"
# Two boots may differ by so much, in percent.
EQUAL = 0.01
LIMIT = 120


def server_of(name, workload):
    """The command of a server."""
    if name not in BARE[workload]:
        features = [f"--ring-features={VARIANTS[name]}"] if name in VARIANTS else []
        return ["/bin/engine", workload, "--listen", "127.0.0.1:0", "--shards", "1",
                "--driver", name.split()[0], *features]
    return ["/bin/bare", BARE[workload][name]]


def load(workload, messages, count=False, mark=False):
    """One run of the generator, which is on epoll whatever the server is on."""
    return {"command": ["/bin/loadgen", workload, "ws://{address}/", *CONNECTIONS[workload],
                        "-n", str(messages), "--warmup", "20ms", "--payload", "64", "--binary",
                        "--ws-version", "hybi-02", "--driver", "epoll", "--threads", "1",
                        "--seed", "1", "--pid", "{pid}", "--json", "--quiet"],
            "seconds": LIMIT, "count": count, "mark": mark}


def servers(workload, shape, drivers, only=None):
    """All that are measured, or those of them that were asked for. Single features move too little to be
    seen where the scheduler chooses, and what packs received bytes is worth most where there are as many
    receives as messages."""
    single = WITHOUT if shape == "lockstep" else []
    found = [*drivers, *BARE[workload], *single, *(WITH if single and workload == "echo" else [])]
    return [name for name in found if only is None or name in only]


def runs_of(name, workload, shape, repeats):
    """The runs of a server: the repeats that count instructions, and but for a feature that is off by
    default, two runs of different length for the events and two for the plugin."""
    messages = MESSAGES[workload]
    # In lockstep repeats are alike.
    times = repeats if shape == "threads" else min(repeats, 2)
    runs = [load(workload, messages) for _ in range(times)]
    if name in WITH:
        return runs
    runs += [load(workload, messages * length, count=True) for length in (1, 2)]
    if shape == "lockstep":
        runs += [load(workload, messages * length, mark=True) for length in (1, 2)]
    return runs


def plan(repeats, drivers, workloads=tuple(MESSAGES), shapes=tuple(SHAPES), only=None):
    """Every server under these workloads and shapes: the repeats that count instructions, two runs of
    different length in which the kernel counts events, and two that are marked for the plugin, so
    that their differences are the messages'."""
    tasks: list[dict] = [{"name": "doctor", "runs": [{"command": ["/bin/engine", "doctor", "--json"],
                                                      "seconds": LIMIT}]}]
    for workload in workloads:
        for shape in shapes:
            for name in servers(workload, shape, drivers, only):
                tasks.append({"name": f"{workload}/{shape}/{name}", "turns": SHAPES[shape],
                              "server": server_of(name, workload),
                              "runs": runs_of(name, workload, shape, repeats)})
    return {"wait_until_quiet": True, "tasks": tasks}


def proof(drivers):
    """The plan whose two boots must agree: the same load on every driver, without the bare servers."""
    tasks = [task for task in plan(1, drivers)["tasks"] if task["name"].startswith("echo/")
             and task["name"].split("/")[2] in drivers]
    for task in tasks:
        # What is traced or marked for the plugin is no reading.
        task["runs"] = [run for run in task["runs"] if not run["count"] and not run["mark"]]
    return {"wait_until_quiet": True, "tasks": tasks}


def readings(boot):
    """(task, run, whose) -> nanoseconds of every run that measured; the server's where loadgen has them."""
    found = {}
    for name, results in boot.results.items():
        for result in results:
            if result.get("exit") == 0 and is_timed(result):
                document = json.loads(result["out"])
                found[name, result["run"], ALL] = document["outcome"]["elapsed_ns"]
                if document["cost"]["server_cpu_ns"] is not None:
                    found[name, result["run"], SERVER] = document["cost"]["server_cpu_ns"]
    return found


def proving(image, programs, seconds):
    """Boots a kernel for the proof; its readings."""
    return readings(guest.boot(image, programs, proof(guest.drivers_of(programs["engine"])), seconds))


def prove(image, one, other):
    """How far the readings of two boots of a kernel are apart, in percent at most, and over how many."""
    if not one and not other:
        raise guest.Failed(f"kernel {image.version}: two boots did not measure anything")
    alone = sorted(one.keys() ^ other.keys())
    if alone:
        task, run, whose = alone[0]
        why = f"; {UNREAD} in the other" if whose == SERVER else ""
        raise guest.Failed(f"kernel {image.version}: two boots of the same did not measure the same: "
                           f"{whose} of run {run} of {task} is there in one boot only{why}")
    apart = [abs(one[key] - other[key]) / max(other[key], 1) * 100 for key in one]
    return {"kernel": image.version, "readings": len(apart), "largest_difference_percent": max(apart),
            "equal": sum(value == 0 for value in apart), "allowed_percent": EQUAL}


def measure(image, programs, options, plugin):
    """Boots a kernel and measures everything there, with the compiled plugin or without, and why."""
    (path, why), counter, symbols = plugin, None, None
    if path:
        symbols = profile.symbols_of(image, programs, options.timeout)
        counter = (path, symbols.mark())
    told = plan(options.repeats, guest.drivers_of(programs["engine"]), options.workload or MESSAGES,
                options.shape or SHAPES, options.server)
    boot = guest.boot(image, programs, told, options.timeout, options.kvm, counter=counter)
    doctor = json.loads(boot.results.pop("doctor")[0]["out"])
    here = {row["name"] for row in doctor["ring_features"] if row["here"]}
    counts = iter(profile.sections(boot.counts))
    rows = []
    for name, results in boot.results.items():
        marked = [(next(counts), next(counts))[1] for result in results
                  if counter and result.get("marked")]
        workload, shape, server = name.split("/")
        row = {"workload": workload, "shape": shape, "server": server}
        lacks = lacking(server, here)
        if lacks:
            row["absent"] = f"this kernel has no {lacks[0]}"
        else:
            row.update(figures(results, name))
            row.update(where(results, marked, symbols))
        rows.append(row)
    return {"kernel": image.identity(), "release": boot.about["kernel"], "cpu": boot.about["cpu"],
            "clock": boot.about["clock"], "auto": doctor["auto"], "features": sorted(here),
            "no_profile": why, "boot_wall_seconds": round(boot.seconds, 1), "rows": rows}


def lacking(server, here):
    """The features that a server switches on or off and that this kernel does not have, so that there is
    nothing to measure."""
    words = VARIANTS.get(server, "").split(",")
    return [word[1:] for word in words if word[:1] in ("+", "-") and word[1:] not in here]


def is_timed(result):
    """Whether a run is one of the repeats: neither traced nor marked. A kernel that cannot count events
    gives an empty count of a run in which it should have."""
    return result["counts"] is None and not result["marked"]


def where(results, marked, symbols):
    """Where the instructions of a row go, if they were counted."""
    if len(marked) != 2:
        return {}
    received = [json.loads(result["out"])["outcome"]["received"] for result in results
                if result["marked"]]
    few, many = marked
    return {"where": profile.per_message(few, many, received[1] - received[0], symbols)}


def figures(results, name):
    """The figures of one server under one workload, or why there are none."""
    if "error" in results[0]:
        return {"absent": results[0]["error"]}
    wrong = next((result for result in results if result.get("exit") != 0), None)
    if wrong:
        words = wrong.get("error") or (wrong["err"] or wrong["out"])[-800:]
        raise guest.Failed(f"{name}: loadgen failed: {words}")
    documents = [json.loads(result["out"]) for result in results]
    timed = [document for document, result in zip(documents, results) if is_timed(result)]
    each = [document["outcome"]["elapsed_ns"] / document["outcome"]["received"]
            for document in timed]
    found = {"each": middle(each), "each_all": each, "spread_percent": spread_percent(each)}
    found.update(share_of_server(timed))
    found.update(events(documents, results))
    return found


def share_of_server(timed):
    """The server's part of a row; nothing if loadgen could not read it in each of the runs, since what is
    left would look surer than it is."""
    read = [(document["cost"]["server_cpu_ns"], document["outcome"]["received"]) for document in timed]
    if any(nanos is None for nanos, _ in read):
        return {}
    each = [nanos / received for nanos, received in read]
    return {"server_each": middle(each), "server_each_all": each,
            "server_spread_percent": spread_percent(each)}


def events(documents, results):
    """Events per message, from the two runs in which they were counted."""
    counted = [(document["outcome"]["received"], result["counts"])
               for document, result in zip(documents, results) if result["counts"]]
    if len(counted) != 2:
        return {}
    (few, before), (many, after) = counted
    found = {}
    for event in EVENTS:
        if event not in before or event not in after:
            continue
        # The client is on epoll: completions are the server's, on whichever thread they come.
        whose = "server" if event == "system_calls" else "all"
        each = (after[event][whose] - before[event][whose]) / (many - few)
        # Below zero where the turns did not settle, so that the longer run had fewer.
        if each >= 0:
            found[event] = each
    return found

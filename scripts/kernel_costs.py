"""What a message costs on a kernel, counted in instructions.

Not a program of its own: scripts/kernels imports it. Under the emulator one nanosecond of the
guest's clock is one instruction, so that whatever reads the clock counts instructions.
"""

import json
import statistics

import kernel_guest as guest
import kernel_profile as profile

FORM = "ringbolt.kernels/1"
DRIVERS = ["uring", "tokio-uring", "epoll"]
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
# Whether the scheduler has a say. In turns each side keeps the CPU until it has nothing to do.
SHAPES = {"lockstep": True, "threads": False}
# What may be nothing but the scheduler's or a timer's doing.
NOISE = {"lockstep": 1.0, "threads": 5.0}
CONNECTIONS = {"echo": ["-c", "8"], "broadcast": ["-c", "16"]}
# Messages that are sent: an echo is one message there and back, a publication has 16 deliveries.
MESSAGES = {"echo": 1600, "broadcast": 120}
PER = {"echo": "message there and back", "broadcast": "delivery to one of 16 subscribers"}
EVENTS = ["system_calls", "switches", "completions"]
# Two boots may differ by so much, in percent.
EQUAL = 0.01
LIMIT = 120


def server_of(name, workload):
    """The command of a server."""
    if name not in BARE[workload]:
        features = [f"--ring-features={WITHOUT[name]}"] if name in WITHOUT else []
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


def servers(workload, shape):
    """All that are measured. Single features move too little to be seen where the scheduler chooses."""
    return [*DRIVERS, *BARE[workload], *(WITHOUT if shape == "lockstep" else [])]


def plan(repeats, workloads=tuple(MESSAGES), shapes=tuple(SHAPES)):
    """Every server under these workloads and shapes: the repeats that count instructions, two runs of
    different length in which the kernel counts events, and two that are marked for the plugin, so
    that their differences are the messages'."""
    tasks = [{"name": "doctor", "runs": [{"command": ["/bin/engine", "doctor", "--json"],
                                          "seconds": LIMIT}]}]
    for workload in workloads:
        messages = MESSAGES[workload]
        for shape in shapes:
            turns = SHAPES[shape]
            for name in servers(workload, shape):
                # In lockstep repeats are alike.
                times = repeats if shape == "threads" else min(repeats, 2)
                runs = [load(workload, messages) for _ in range(times)]
                runs += [load(workload, messages * length, count=True) for length in (1, 2)]
                if shape == "lockstep":
                    runs += [load(workload, messages * length, mark=True) for length in (1, 2)]
                tasks.append({"name": f"{workload}/{shape}/{name}", "turns": turns,
                              "server": server_of(name, workload), "runs": runs})
    return {"wait_until_quiet": True, "tasks": tasks}


def proof(repeats):
    """The plan whose two boots must agree: the same load on every driver, without the bare servers."""
    tasks = [task for task in plan(repeats)["tasks"] if task["name"].startswith("echo/")
             and task["name"].split("/")[2] in DRIVERS]
    for task in tasks:
        task["runs"] = task["runs"][:2]
    return {"wait_until_quiet": True, "tasks": tasks}


def readings(boot):
    """(task, run) -> nanoseconds of every run that measured."""
    found = {}
    for name, results in boot.results.items():
        for result in results:
            if result.get("exit") == 0 and is_timed(result):
                document = json.loads(result["out"])
                found[name, result["run"]] = (document["outcome"]["elapsed_ns"],
                                              document["cost"]["server_cpu_ns"])
    return found


def prove(image, programs, seconds):
    """Boots a kernel twice; how far the two are apart, in percent at most, and over how many
    readings."""
    boots = [readings(guest.boot(image, programs, proof(1), seconds)) for _ in range(2)]
    one, other = boots
    if not one or one.keys() != other.keys():
        raise guest.Failed(f"kernel {image.version}: two boots of the same did not measure the same "
                           "runs")
    apart = [abs(a - b) / max(b, 1) * 100 for key in one for a, b in zip(one[key], other[key])]
    return {"kernel": image.version, "readings": len(apart), "largest_difference_percent": max(apart),
            "equal": sum(value == 0 for value in apart), "allowed_percent": EQUAL}


def measure(image, programs, options):
    """Boots a kernel and measures everything there."""
    counter, symbols, why = None, None, "no instructions are counted under hardware virtualisation"
    if not options.kvm:
        path, why = profile.plugin()
        if path:
            symbols = profile.symbols_of(image, programs, options.timeout)
            counter, why = (path, symbols.mark()), None
    told = plan(options.repeats, options.workload or MESSAGES, options.shape or SHAPES)
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
        lacks = [word for word in WITHOUT.get(server, "").split(",")
                 if word.startswith("-") and word[1:] not in here]
        if lacks:
            row["absent"] = f"this kernel has no {lacks[0][1:]}"
        else:
            row.update(figures(results, name))
            row.update(where(results, marked, symbols))
        rows.append(row)
    return {"kernel": image.identity(), "release": boot.about["kernel"], "cpu": boot.about["cpu"],
            "clock": boot.about["clock"], "auto": doctor["auto"], "features": sorted(here),
            "no_profile": why, "boot_wall_seconds": round(boot.seconds, 1), "rows": rows}


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
    return {"where": profile.per_message(*marked, received[1] - received[0], symbols)}


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
    of_server = [document["cost"]["server_cpu_ns"] / document["outcome"]["received"]
                 for document in timed]
    found = {"each": statistics.median(each), "each_all": each,
             "spread_percent": (max(each) - min(each)) / statistics.median(each) * 100,
             "server_each": statistics.median(of_server), "server_each_all": of_server}
    found.update(events(documents, results))
    return found


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

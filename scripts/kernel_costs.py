"""What a message costs on a kernel, counted in instructions.

Not a program of its own: scripts/kernels imports it. Under the emulator one nanosecond of the
guest's clock is one instruction, so that whatever reads the clock counts instructions.
"""

import json
import statistics

import kernel_guest as guest

FORM = "ringbolt.kernels/1"
DRIVERS = ["uring", "tokio-uring", "epoll"]
# Servers without a protocol, on the ring and on epoll.
BARE = {"echo": {"bare-ring": "ring-echo", "bare-epoll": "epoll-echo"},
        "broadcast": {"bare-ring": "ring-fanout", "bare-epoll": "epoll-fanout"}}
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
    if name in DRIVERS:
        return ["/bin/engine", workload, "--listen", "127.0.0.1:0", "--shards", "1",
                "--driver", name]
    return ["/bin/bare", BARE[workload][name]]


def load(workload, messages, count=False):
    """One run of the generator, which is on epoll whatever the server is on."""
    return {"command": ["/bin/loadgen", workload, "ws://{address}/", *CONNECTIONS[workload],
                        "-n", str(messages), "--warmup", "20ms", "--payload", "64", "--binary",
                        "--ws-version", "hybi-02", "--driver", "epoll", "--threads", "1",
                        "--seed", "1", "--pid", "{pid}", "--json", "--quiet"],
            "seconds": LIMIT, "count": count}


def servers(workload):
    """All that are measured."""
    return [*DRIVERS, *BARE[workload]]


def plan(repeats):
    """Every server under every workload and shape: the repeats that count instructions, and two runs
    of different length in which the kernel counts events, so that their difference is the messages'."""
    tasks = []
    for workload, messages in MESSAGES.items():
        for shape, turns in SHAPES.items():
            for name in servers(workload):
                runs = [load(workload, messages) for _ in range(repeats)]
                runs += [load(workload, messages * times, True) for times in (1, 2)]
                tasks.append({"name": f"{workload}/{shape}/{name}", "turns": turns,
                              "server": server_of(name, workload), "runs": runs})
    return {"wait_until_quiet": True, "tasks": tasks}


def proof(repeats):
    """The plan whose two boots must agree: the same load on every driver, without the bare servers."""
    tasks = [task for task in plan(repeats)["tasks"] if task["name"].split("/")[2] in DRIVERS
             and task["name"].startswith("echo")]
    for task in tasks:
        task["runs"] = task["runs"][:2]
    return {"wait_until_quiet": True, "tasks": tasks}


def readings(boot):
    """(task, run) -> nanoseconds of every run that measured."""
    found = {}
    for name, results in boot.results.items():
        for result in results:
            if result.get("exit") == 0 and not result["counts"]:
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


def measure(image, programs, repeats, seconds, kvm):
    """Boots a kernel and measures everything there."""
    boot = guest.boot(image, programs, plan(repeats), seconds, kvm)
    rows = []
    for name, results in boot.results.items():
        workload, shape, server = name.split("/")
        row = {"workload": workload, "shape": shape, "server": server}
        rows.append({**row, **figures(results, name)})
    return {"kernel": image.identity(), "release": boot.about["kernel"], "cpu": boot.about["cpu"],
            "clock": boot.about["clock"], "boot_wall_seconds": round(boot.seconds, 1),
            "rows": rows}


def figures(results, name):
    """The figures of one server under one workload, or why there are none."""
    if "error" in results[0]:
        return {"absent": results[0]["error"]}
    wrong = next((result for result in results if result.get("exit") != 0), None)
    if wrong:
        words = wrong.get("error") or (wrong["err"] or wrong["out"])[-800:]
        raise guest.Failed(f"{name}: loadgen failed: {words}")
    documents = [json.loads(result["out"]) for result in results]
    timed = [document for document, result in zip(documents, results) if not result["counts"]]
    each = [document["outcome"]["elapsed_ns"] / document["outcome"]["received"]
            for document in timed]
    of_server = [document["cost"]["server_cpu_ns"] / document["outcome"]["received"]
                 for document in timed]
    busy = [(document["cost"]["server_cpu_ns"] + document["cost"]["generator_cpu_ns"])
            / document["outcome"]["elapsed_ns"] * 100 for document in timed]
    found = {"each": statistics.median(each), "each_all": each,
             "busy_percent": statistics.median(busy),
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
        found[event] = (after[event][whose] - before[event][whose]) / (many - few)
    return found

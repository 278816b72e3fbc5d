"""Whether the engine works on a kernel: its driver tests there, and what it chooses by itself.

"""

import json
import os
import re
import subprocess

from suite.kernels import guest
from suite.kernels.images import in_order
from suite.machine import ROOT
from suite.report import heading, line

# The test programs that are told which driver to take.
COMMON = ["server", "clients"]
TESTS = os.path.join(ROOT, "engine", "tests")
# Those that take every driver in turn by themselves, and a name for what they are about.
PROTOCOLS, OF_PROTOCOLS = "RFC 6455 and TLS", ["rfc6455", "rfc6455_clients", "tls"]
# Those that run the others again, on other drivers or with other features, are for a CPU that is not
# emulated; here every driver and every feature has a task of its own.
NOT_HERE = ["combinations::", "drivers::", "switches::"]
# How much of the suites is run: nothing; what is quick; what does not take minutes; all that there is.
LEVELS = ["none", "brief", "usual", "all"]
# More than two seconds each under an emulator.
HEAVY = ["chaos::a_drain", "chaos::the_loop", "chaos::what_arrives", "with_few_buffers_and_slow", "with_timeouts_all",
         "a_late_reader_of_mixed", "a_late_reader_of_parts", "large_and_small_messages",
         "a_message_that_nobody_finishes", "many_connections_relay", "a_server_that_is_cut_off",
         "no_socket_is_left_of_connections", "the_smallest_queues_overflow"]
# Long under an emulator.
LONG = ["ten_thousand_bad", "a_late_reader_of_small", "a_late_reader_of_large",
        "subscribers_come_and_go", "the_end_of_one_connection_never", "a_thousand_connections",
        "a_callback_that_sends_and_ends", "a_flood_of_pings", "whatever_a_client_sends"]
# What shows that a ring without a feature works: all that depends on features, in seconds.
BY_FEATURE = ["a_few_buffers_do", "thousands_of_frames_in_one", "a_slow_consumer", "every_size_comes",
              "every_other_subscriber", "a_drain_without_patience", "both_kinds_come"]
LONG_BY_FEATURE = ["a_late_reader_of", "large_and_small_messages", "many_connections_relay"]
FEATURES = "RINGBOLT_TEST_RING_FEATURES"
# The task of a ring with none of its features.
FEATURELESS = "no features"
DRIVER = "RINGBOLT_TEST_DRIVER"
# From this series on a kernel has all that makes a ring fast; before the other one, too little for it
# to be taken unasked.
RING_SINCE, RING_WORTH_SINCE = "6.1", "5.19"
# The line that a program of tests ends with: tests passed, failed, ignored, left out.
SUMMARY = (r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored; \d+ measured; "
           r"(\d+) filtered out")
# Seconds of the guest's clock for one program of tests.
LIMIT = 600
# Seconds of that clock, which counts instructions and no pauses of the host, until a server listens. More
# is no work, but waiting for what never comes.
START = 0.2


def server(*arguments):
    """A server that is the engine's own echo."""
    return ["/bin/engine", "echo", "--listen", "127.0.0.1:0", "--shards", "1", *arguments]


def exchange(driver):
    """Some messages there and back, each compared."""
    return {"command": ["/bin/loadgen", "echo", "ws://{address}/", "-c", "4", "-n", "200",
                        "--warmup", "0", "--driver", driver, "--json", "--quiet"], "seconds": LIMIT}


def suites_of(drivers, level):
    """The test programs of each driver that are to run: those for all, and the one that it has of its own."""
    return {driver: [] if level == "none" else [*COMMON, *own(driver)] for driver in drivers}


def own(driver):
    """The test program that has a driver's name, if there is one."""
    name = driver.replace("-", "_")
    places = (os.path.join(TESTS, name, "main.rs"), os.path.join(TESTS, f"{name}.rs"))
    return [name] if any(map(os.path.exists, places)) else []


def programs_of(drivers, level):
    """The test programs that are to be built."""
    protocols = OF_PROTOCOLS if level == "all" else []
    return {suite for suites in [*suites_of(drivers, level).values(), protocols] for suite in suites}


def of_suite(suite, level, names, environment):
    """A program of tests, or those of these names."""
    skipped = NOT_HERE + ([] if level == "all" else LONG) + (HEAVY if level == "brief" else [])
    return {"command": [f"/bin/{suite}", *(word for name in skipped for word in ("--skip", name)), *names],
            "seconds": LIMIT, "environment": environment}


def plan(drivers, features, level):
    """What a guest does. A driver's tests run beside a server on it: where that does not start, the
    kernel does not have the driver, and the server says why. The same with a feature."""
    tasks = [{"name": "doctor", "runs": [{"command": ["/bin/engine", "doctor", "--json"],
                                          "seconds": LIMIT}]},
             {"name": "auto", "server": server("--driver", "auto"), "runs": [exchange("auto")]}]
    for driver, suites in suites_of(drivers, level).items():
        runs = [of_suite(suite, level, [], {DRIVER: driver}) for suite in suites]
        tasks.append({"name": driver, "server": server("--driver", driver),
                      "runs": [exchange(driver), *runs]})

    if level == "all":
        tasks.append({"name": PROTOCOLS, "runs": [of_suite(suite, level, [], {}) for suite in OF_PROTOCOLS]})

    def ring(name, wanted, tested):
        """A server whose ring has these features and, unless it is None, tests of rings with those."""
        names = BY_FEATURE + (LONG_BY_FEATURE if level == "all" else [])
        tests = [of_suite("server", level, names, {FEATURES: tested})] if tested else []
        tasks.append({"name": name, "runs": [exchange("epoll"), *tests],
                      "server": server("--driver", "uring", f"--ring-features={wanted}")})

    ring(FEATURELESS, "none", "none" if level != "none" else None)
    for feature in features:
        # Where the first server starts, the kernel has the feature, and tests can be told to leave it.
        ring(f"+{feature}", f"+{feature}", f"all,-{feature}" if level in ("usual", "all") else None)
        ring(f"-{feature}", f"-{feature}", None)
    return {"tasks": tasks}


class Verdict:
    """What came of a kernel."""

    def __init__(self, image, boot, drivers):
        self.image, self.seconds, self.wrong = image, boot.seconds, []
        self.drivers, self.left, self.protocols = {}, {}, None
        out = boot.results["doctor"][0].get("out", "")
        try:
            self.doctor = json.loads(out)
        except ValueError:
            self.doctor = {"auto": None, "drivers": [], "fallback": [], "ring_features": []}
            self.wrong.append(f"`engine doctor --json` gave no document: {out[-500:]}")
        self._judge_choice()
        self._judge_auto(boot.results["auto"])
        for driver in drivers:
            self._judge_driver(driver, boot.results[driver])
        if PROTOCOLS in boot.results:
            self._judge_protocols(boot.results[PROTOCOLS])
        self._judge_featureless(boot.results[FEATURELESS])
        for row in self.doctor["ring_features"]:
            self._judge_feature(row, boot.results)
        self._judge_starts(boot.results)

    def _judge_starts(self, results):
        for name, runs in results.items():
            took = (runs[0].get("server_start_nanoseconds") or 0) / 1e9
            if took > START:
                self.wrong.append(f"{name}: a server listens after {took:.2f} s of the guest's clock; it must after "
                                  f"{START}")

    def _judge_choice(self):
        holds = [row["driver"] for row in self.doctor["fallback"] if row["holds"]]
        auto = self.doctor["auto"]
        if not holds or auto != holds[0]:
            self.wrong.append(f"auto takes {auto}; the first that works is "
                              + (holds[0] if holds else "no driver"))
        if in_order(self.image.series) >= in_order(RING_SINCE):
            if auto != "uring":
                self.wrong.append(f"auto takes {auto}; from {RING_SINCE} on it must be uring")
        elif in_order(self.image.series) < in_order(RING_WORTH_SINCE) and auto not in ("tokio-uring", "epoll"):
            self.wrong.append(f"auto takes {auto}; before {RING_WORTH_SINCE} it must be "
                              "tokio-uring or epoll")

    def _usable(self, driver):
        return any(row["name"] == driver and row["usable"] for row in self.doctor["drivers"])

    def _judge_auto(self, results):
        if not answered(results[0]):
            self.wrong.append(f"the engine on auto: {reason(results[0])}")

    def _judge_driver(self, driver, results):
        row = next((row for row in self.doctor["drivers"] if row["name"] == driver), None)
        usable = bool(row and row["usable"])
        if "error" in results[0]:
            self.drivers[driver] = "no"
            if usable:
                self.wrong.append(f"{driver}: usable by the doctor, and: {results[0]['error']}")
            elif not row or not row["why_not"]:
                self.wrong.append(f"{driver}: not there, and the doctor does not say why")
            return
        if not usable:
            self.wrong.append(f"{driver}: not usable by the doctor, and a server starts on it")
        if not answered(results[0]):
            self.wrong.append(f"{driver}: {reason(results[0])}")
        told, self.left[driver] = self._judge_suites(driver, suites_of([driver], "all")[driver], results[1:])
        self.drivers[driver] = told if results[1:] else "yes"

    def _judge_suites(self, name, suites, results):
        """How many tests passed, in words, and how many were left out."""
        for suite, result in zip(suites, results):
            if not passed(result):
                self.wrong.append(f"{name}: {suite}: {failures(result)}")
        there, failed, left = counts_of(results)
        return in_words(there, failed), left

    def _judge_protocols(self, results):
        self.protocols, _ = self._judge_suites(PROTOCOLS, OF_PROTOCOLS, results)

    def _judge_featureless(self, results):
        if not self._usable("uring"):
            return
        if not answered(results[0]):
            self.wrong.append(f"{FEATURELESS}: {reason(results[0])}")
        if results[1:] and not passed(results[1]):
            self.wrong.append(f"tests with {FEATURELESS}: {failures(results[1])}")

    def _judge_feature(self, row, results):
        name = row["name"]
        if f"+{name}" not in results or not self._usable("uring"):
            return
        forced, without = results[f"+{name}"][0], results[f"-{name}"][0]
        if row["here"] and not answered(forced):
            self.wrong.append(f"+{name}: {reason(forced)}")
        if row["here"] is False and "error" not in forced:
            self.wrong.append(f"+{name}: here is no {name}, and a server that must have it starts")
        if not answered(without):
            self.wrong.append(f"-{name}: {reason(without)}")
        tests = results[f"+{name}"][1:]
        if row["here"] and tests and passed(tests[0]) == 0:
            self.wrong.append(f"tests without {name}: {failures(tests[0])}")


def answered(result):
    """Whether messages came back as they were sent."""
    return result.get("exit") == 0


def passed(result):
    """How many tests of a program passed; none if one failed."""
    found = re.search(r"^test result: ok\. (\d+) passed", result.get("out", ""), re.M)
    return int(found.group(1)) if result.get("exit") == 0 and found else 0


def counts_of(results):
    """How many tests passed, failed and were left out, as their programs tell."""
    found = [re.search(SUMMARY, result.get("out", ""), re.M) for result in results]
    counts = [[int(count) for count in one.groups()] for one in found if one]
    return tuple(map(sum, zip((0, 0, 0), *((count[0], count[1], count[2] + count[3]) for count in counts))))


def in_words(good, failed):
    """How many tests passed, and of how many where that were not all."""
    return f"{good} of {good + failed} tests" if failed else f"{good} tests"


def reason(result):
    """Why a program failed."""
    if "error" in result:
        return result["error"]
    late = "" if result["in_time"] else ", killed when its time was over"
    return f"{result['status']}{late}: {(result['err'] or result['out'])[-1500:].strip()}"


def failures(result):
    """What a program of tests says of those that failed."""
    out = result.get("out", "")
    at = out.find("\nfailures:\n")
    return f"{result.get('status')}\n{out[at:][:4000].strip()}" if at >= 0 else reason(result)


def features_of(program):
    """The names of the ring's features that the engine has switches for."""
    run = subprocess.run
    text = run([program, "echo", "--help"], capture_output=True, text=True).stdout
    if "--ring-features" not in text:
        return []
    return [row["name"] for row in guest.doctor_of(program)["ring_features"]]


def test(image, programs, features, options):
    """Boots a kernel and judges what it did."""
    drivers = guest.drivers_of(programs["engine"])
    boot = guest.boot(image, programs, plan(drivers, features, options.suites), options.timeout)
    return Verdict(image, boot, drivers)


def table(verdicts):
    """What each kernel has, as Markdown."""
    lines = heading(["", *(verdict.image.version for verdict in verdicts)])

    def row(name, cells):
        lines.append(line([name, *cells]))

    row("`--driver auto` takes", [str(verdict.doctor["auto"]) for verdict in verdicts])
    drivers = list(dict.fromkeys(driver for verdict in verdicts for driver in verdict.drivers))
    for driver in drivers:
        row(f"driver {driver}", [verdict.drivers.get(driver, "?") for verdict in verdicts])
    if any(verdict.protocols for verdict in verdicts):
        row(f"{PROTOCOLS}, every driver", [verdict.protocols or "?" for verdict in verdicts])
    names = dict.fromkeys(feature["name"] for verdict in verdicts
                          for feature in verdict.doctor["ring_features"])
    signs = {True: "yes", False: "–", None: "?"}
    for name in names:
        here = [{feature["name"]: feature["here"] for feature in verdict.doctor["ring_features"]}
                for verdict in verdicts]
        row(name, [signs[known.get(name)] for known in here])
    left = {driver: max(verdict.left.get(driver, 0) for verdict in verdicts) for driver in drivers}
    if any(left.values()):
        lines += ["", "Left out, since they take long in an emulator or only run others again: "
                  + ", ".join(f"{count} tests of {driver}" for driver, count in left.items()) + "."]
    return "\n".join(lines)

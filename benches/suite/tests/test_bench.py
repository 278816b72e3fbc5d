"""Tests of scripts/bench: plans, CPUs, folders and what is made of windows.

    cd benches && python3 -m unittest suite.tests.test_bench
"""

import contextlib
import io
import json
import os
import tempfile
import types
import unittest
from unittest import mock

from suite import machine, programs, report
from suite.bench import cli, compare, matrix, plans, record, soak, tables
from suite.machine import ROOT
from suite.schema import PlanError, read
from suite.window import WindowFailed, is_disturbed, read_result, read_window, reason

ECHO = {"name": "echo", "scenario": "echo"}
ALL = {"uring": None, "tokio-uring": "too old", "epoll": None}


def plan(table, **overrides):
    """A plan of a table."""
    return plans.plan("p.toml", table, overrides)


def run_of(folder, table=None, **facts):
    """A run in a folder."""
    given = {"plan_file": "p.toml", "plan": table or {"workload": [ECHO]}, "overrides": {},
             "drivers": ["uring", "epoll"], "label": "", "profile": "p", "kernel": "6.1", "utc": "now",
             "commit": "c0ffee", "command": "scripts/bench", "server_cpus": [0],
             "generator_cpus": [1], **facts}
    return record.Run.begin(folder, given)


def figures(ns_each, **more):
    """What a window gives."""
    return {"kept": 1, "count": 10, "ns_each": ns_each, "per_second": 5.0, "server_busy": 0.9,
            "client_busy": 0.5, "limited_by": "server", "steal": 0.0, **more}


class Windows(unittest.TestCase):
    def test_why_a_run_failed_is_told_by_its_words_or_its_errors(self):
        errors = {"timeout": {"count": 3, "examples": ["no answer in 10 s", "again"], "reasons": {}},
                  "reset": {"count": 1, "examples": [], "reasons": {}}}
        document = json.dumps({"outcome": {"errors": errors}})
        self.assertEqual(reason(1, "\nno such host\nmore\n", document), "no such host")
        self.assertEqual(reason(1, "", document),
                         "errors: 3 of timeout, the first: no answer in 10 s; 1 of reset")
        self.assertEqual(reason(9, "\n", ""), "it ended with code 9 and said nothing")

    """Which windows count."""

    def test_other_work_disturbs_by_stealing_and_by_making_wait(self):
        quiet = {"steal": 0.01, "generator_waited": 0.05}
        self.assertFalse(is_disturbed(quiet, 2))
        self.assertFalse(is_disturbed({"steal": 0.0}, 2), "not known in old results")
        self.assertTrue(is_disturbed({**quiet, "steal": 0.03}, 2))
        self.assertTrue(is_disturbed({**quiet, "generator_waited": 0.4}, 2))
        self.assertFalse(is_disturbed({"steal": 0.5, "generator_waited": 0.4}, 100), "whoever wants all")

    def test_a_window_without_the_cost_that_was_asked_for_has_failed(self):
        document = {"cost": {"server_cpu_ns": None, "generator_cpu_ns": [5]}, "trust": {
            "limited_by": None, "generator_waited_ns": [30, 10]}, "outcome": {
                "unit": "message", "latency": None, "received": 10, "elapsed_ns": 100}}
        self.assertEqual(read_result(json.dumps(document))["generator_waited"], 0.3)
        read_window(json.dumps(document), types.SimpleNamespace(pid=None))
        with self.assertRaisesRegex(WindowFailed, "beside the window"):
            read_window(json.dumps(document), types.SimpleNamespace(pid=7))


class Plans(unittest.TestCase):
    """Tables to plans."""

    def refused(self, table, *parts, **overrides):
        """A plan is not taken, and the sentence says all of this."""
        with self.assertRaises(PlanError) as error:
            plan(table, **overrides)
        for part in parts:
            self.assertIn(part, str(error.exception))

    def test_those_that_come_with_it_are_good(self):
        for name in ("quick", "full", "soak"):
            path = os.path.join(ROOT, "benches", "scenarios", f"{name}.toml")
            made = plans.plan(path, read(path), {})
            self.assertGreater(len(made.cases), 3, name)
            if name != "soak":
                self.assertGreaterEqual(made.rounds, 5, "loadgen compare needs five a side")
                self.assertGreaterEqual(made.seconds, 1)
        self.assertIn("wss", [dialect for case in plans.plan(
            "full", read(os.path.join(ROOT, "benches", "scenarios", "full.toml")),
            {}).cases for dialect in case.dialects])

    def test_what_is_wrong_is_told_with_file_key_and_what_is_allowed(self):
        self.refused({}, "p.toml", "`workload`", "[[workload]]")
        self.refused({"round": 3, "workload": [ECHO]}, "p.toml", "no key `round`", "rounds")
        self.refused({"rounds": 0, "workload": [ECHO]}, "`rounds`", "0 is not", "from 1 to 1,000")
        self.refused({"rounds": True, "workload": [ECHO]}, "`rounds`")
        self.refused({"drivers": [1], "workload": [ECHO]}, "`drivers`", "engine doctor")
        made = plan({"drivers": ["epoll", "kqueue"], "workload": [ECHO]})
        with self.assertRaisesRegex(PlanError, "no driver `kqueue`; it has: uring, tokio-uring, epoll"):
            plans.check_drivers("p.toml", made, ALL)
        self.refused({"workloads": ["nothing"]}, "p.toml", "`nothing`", "echo-100")
        self.refused({"workloads": "echo-1"}, "`workloads`", "list of names")
        self.refused({"workload": [{"name": "x"}]}, "workload 1", "`scenario`", "broadcast")
        self.refused({"workload": [{**ECHO, "payload": -1}]}, "workload `echo`", "`payload`")
        self.refused({"workload": [{**ECHO, "burst": 2}]}, "`burst`", "depth")
        self.refused({"workload": [{**ECHO, "connections": [5, 5]}]}, "`connections`", "different")
        self.refused({"workload": [ECHO, ECHO]}, "two workloads", "`echo`")
        self.refused({"workload": [{**ECHO, "loadgen-options": ["--rate=5"]}]}, "--rate=5")
        self.refused({"workload": [{"name": "i", "scenario": "idle"}]}, '"soak"')
        self.refused({"duration": "1h", "workload": [ECHO]}, "`duration`", "soak")
        self.refused({"workload": [ECHO]}, "the command line", "`rounds`", plan={"rounds": 0})
        self.refused({"workload": [ECHO]}, "no workload `no`", "echo", workloads=["no"])

    def test_files_that_are_no_plans(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.toml")
            with open(path, "w", encoding="ascii") as file:
                file.write("rounds = \n")
            for wrong, said in ((path, "no TOML"), (folder, "directory"), (path + "x", "No such")):
                with self.assertRaises(PlanError) as error:
                    read(wrong)
                self.assertIn(wrong, str(error.exception))
                self.assertIn(said, str(error.exception))

    def test_numbers_of_connections_are_cases_of_their_own(self):
        made = plan({"workload": [{**ECHO, "about": "64 bytes", "connections": [1, 2000]}]})
        self.assertEqual([case.name for case in made.cases], ["echo-1", "echo-2000"])
        self.assertEqual(made.cases[1].about, "64 bytes, 2,000 connections")
        one = plan({"workload": [{**ECHO, "connections": [1, 20]}]}, workloads=["echo-20"])
        self.assertEqual([case.connections for case in one.cases], [20])
        self.assertEqual(len(plan({"workload": [{**ECHO, "connections": [1, 20]}]},
                                  workloads=["echo"]).cases), 2)

    def test_the_command_line_is_loadgens(self):
        case, = plan({"workload": [{**ECHO, "rate": 50, "loadgen-options": ["--compress"]}]}).cases
        self.assertEqual(case.load(), ["-c", "100", "-p", "64", "-r", "50", "--binary", "--compress"])
        case, = plan({"workload": [{**ECHO, "depth": 16}]}).cases
        self.assertEqual(case.load(), ["-c", "100", "-p", "64", "--depth", "16", "--binary"])

    def test_a_soak_is_of_one_server(self):
        soak = {"mode": "soak", "drivers": "auto", "dialects": ["rfc6455"], "workload": [ECHO]}
        self.assertEqual(plan({**soak, "duration": "2h"}).duration, 7200)
        self.refused({**soak, "drivers": "all"}, "`drivers`", "one server")
        self.refused({**soak, "max-steal": 2}, "`max-steal`", "means nothing")
        self.refused({**soak, "dialects": ["rfc6455", "hybi-02"]}, "`dialects`")
        self.refused({**soak, "duration": "1y"}, "`duration`", "8h")
        self.refused({**soak, "duration": 3, "seconds": 2}, "shorter than two segments")

    def test_an_estimate_grows_with_what_is_measured(self):
        made = plan({"rounds": 5, "seconds": 2, "workload": [ECHO]})
        few, many = (plans.seconds_needed(made, {"echo": rows}) for rows in (1, 6))
        self.assertTrue(10 < few < 20 and abs(many - 6 * few) < 1e-6, (few, many))


class Machines(unittest.TestCase):
    """CPUs and drivers."""

    def test_cpus_are_shared_out_over_cores(self):
        alone = {cpu: {cpu} for cpu in range(4)}.get
        threads = {0: {0, 1}, 1: {0, 1}, 2: {2, 3}, 3: {2, 3}}.get
        share = machine.share_out
        self.assertEqual(share([0, 1, 2, 3], "half", alone), ([0, 1], [2, 3]))
        self.assertEqual(share([0, 1, 2, 3], 1, alone), ([0], [1]))
        self.assertEqual(share([0, 1, 2, 3], 1, threads), ([0], [2]))
        self.assertEqual(share([3], 1, alone), ([3], [3]))
        with self.assertRaisesRegex(machine.CannotRun, "3 shards"):
            share([0, 1, 2, 3], 3, alone)

    def test_lists_of_cpus(self):
        self.assertEqual(machine.cpu_list("0,2-4,2"), [0, 2, 3, 4])
        for wrong in ("", "a", "3-1", "1-", "0-99999"):
            with self.assertRaises(ValueError):
                machine.cpu_list(wrong)

    def test_rows_are_drivers_by_dialects_and_say_why_not(self):
        case, = plan({"dialects": ["hybi-02", "rfc6455"], "workload": [ECHO]}).cases
        ways, cannot = matrix.ways_of(case, ALL, "epoll")
        self.assertEqual(len(ways), 6)
        self.assertEqual(ways[0], ("epoll", "hybi-02"), "the first choice comes first")
        self.assertEqual(cannot, {("tokio-uring", d): "too old" for d in case.dialects})
        case.drivers = "auto"
        self.assertEqual({way[0] for way in matrix.ways_of(case, ALL, "uring")[0]}, {"uring"})

    def test_the_limiter_is_loadgens_verdict_or_whoever_was_busy(self):
        closed, = plan({"workload": [ECHO]}).cases
        opened, = plan({"workload": [{**ECHO, "rate": 5}]}).cases
        for case, said, server, client, expected in (
                (closed, "generator", 0.9, 0.9, "generator"), (closed, None, 0.9, 0.7, "server"),
                (closed, None, 0.5, 0.9, "generator"), (closed, None, 0.5, 0.5, "neither"),
                (opened, None, 0.9, 0.5, "schedule"), (opened, "server", 1, 0.1, "server")):
            window = {"limited_by": said, "server_busy": server, "client_busy": client}
            found = matrix.limited_by(window, case)
            self.assertEqual(found, expected)

    def test_of_a_complaint_the_line_that_says_what_is_wrong(self):
        text = "bench: engine echo did not start\nerror: no such driver\n\nUsage: x\n"
        self.assertEqual(matrix.why(text), "error: no such driver")
        self.assertEqual(matrix.why("bench: x did not start\nboom"), "boom")


class Folders(unittest.TestCase):
    """Runs on disk."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = os.path.join(scratch.name, "run")

    def test_a_run_is_read_as_it_was_written(self):
        run = run_of(self.folder)
        run.add("echo", "uring", "rfc6455", 1, '{"a": 1}', **figures(100.0))
        run.add("echo", "epoll", "rfc6455", 1, '{"a": 2}', **figures(50.0, kept=0))
        again = record.Run.open(self.folder)
        self.assertEqual(len(again.rows), 2)
        self.assertEqual(again.rows[0]["ns_each"], 100)
        self.assertEqual(again.complete("echo", [("uring", "rfc6455")]), (1, 1))
        self.assertEqual(again.complete("echo", [("uring", "rfc6455"), ("epoll", "rfc6455")]), (0, 1))
        self.assertEqual(os.listdir(os.path.join(self.folder, "runs", "echo")),
                         ["uring-rfc6455.1.json"], "only of what counts")

    def test_what_nobody_reads_is_left_aside(self):
        with tempfile.TemporaryDirectory() as target, mock.patch.dict(os.environ, {"CARGO_TARGET_DIR": target}):
            run = run_of(self.folder, documents="one")
            run.add("echo", "uring", "rfc6455", 1, '{"a": 1}', **figures(100.0))
            self.assertEqual(sorted(os.listdir(self.folder)), ["raw.csv", "run.json"])
            found = compare.documents([run])["echo", "uring", "rfc6455"]
            self.assertEqual(found, [[os.path.join(target, "bench", "one", "runs", "echo", "uring-rfc6455.1.json")]])
            self.assertIn("`bench/one/runs/` of cargo's target folder", "\n".join(tables.head(run)))
            os.rename(os.path.join(target, "bench"), os.path.join(target, "cleaned"))
            with self.assertRaisesRegex(machine.CannotRun, "documents of .* are gone.*--keep"):
                compare.documents([run])

    def test_a_soak_whose_documents_are_gone_keeps_its_summary(self):
        table = {"mode": "soak", "drivers": "auto", "workload": [ECHO]}
        run = run_of(self.folder, table, bin_dir=None)
        run.add("echo", "uring", "rfc6455", 1, None, **figures(100.0))
        with mock.patch.object(programs, "build"), self.assertRaisesRegex(machine.CannotRun, "documents"):
            cli.report(types.SimpleNamespace(report=self.folder, bin_dir="x"))
        self.assertNotIn("summary.md", os.listdir(self.folder))

    def test_what_cannot_go_on_says_why(self):
        run = run_of(self.folder, engine="one")
        with self.assertRaisesRegex(machine.CannotRun, "another engine: one, now two"):
            run.must_agree({"engine": "two"})
        run.must_agree({"engine": "one"})
        with self.assertRaisesRegex(machine.CannotRun, "--resume"):
            run_of(self.folder)
        with self.assertRaisesRegex(machine.CannotRun, "no run.json"):
            record.Run.open(ROOT)
        os.remove(os.path.join(self.folder, "run.json"))
        with open(os.path.join(self.folder, "mine"), "w", encoding="ascii"):
            pass
        with self.assertRaisesRegex(machine.CannotRun, "not empty"):
            run_of(self.folder)

    def test_progress_in_a_pipe_has_no_control_characters(self):
        stream = io.StringIO()
        progress = record.Progress(10, 100.0, stream)
        progress.at("hidden")
        progress.step()
        progress.milestone("one")
        progress.say("careful")
        text = stream.getvalue()
        self.assertNotIn("\x1b", text)
        self.assertNotIn("hidden", text)
        self.assertIn("[1/10] one", text)


class Rounds(unittest.TestCase):
    """What of a matrix is done, and how much of it there is."""

    def measured(self, disturbed, broken=()):
        """Where the progress was after each window, and at the end; `disturbed` are numbers of windows that do
        not count, `broken` drivers whose windows fail.
        """
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        run = run_of(os.path.join(scratch.name, "run"), {"rounds": 5, "workload": [ECHO]})
        progress, seen, number = record.Progress(15, 10.0, io.StringIO()), [], iter(range(1, 100))

        def window(server, *_):
            seen.append((progress.done, progress.total))
            if server in broken:
                raise WindowFailed("lost")
            found = figures(100.0, steal=1.0 if next(number) in disturbed else 0.0)
            found.pop("kept")
            return found, "{}"

        at_hand = types.SimpleNamespace(first="uring", drivers=dict.fromkeys(ALL), file_limit=10_000)
        servers = mock.Mock(of=lambda driver, dialect: driver)
        with mock.patch.object(matrix, "window", window), mock.patch.object(matrix, "check", lambda *_: None), \
                mock.patch.object(matrix, "Servers", lambda *_: servers):
            matrix.Matrix(run, None, at_hand, progress).measure(run.plan.cases[0])
        return [*seen, (progress.done, progress.total)]

    def test_windows_that_are_repeated_do_not_count_beyond_the_total(self):
        seen = self.measured({2, 9})
        self.assertEqual(len(seen) - 1, 7 * 3, "two rounds are measured again")
        self.assertTrue(all(done <= total == 15 for done, total in seen), seen)
        self.assertEqual(seen[-1], (15, 15))

    def test_a_row_that_is_left_out_is_none_of_the_total(self):
        seen = self.measured(set(), broken=["epoll"])
        self.assertTrue(all(done <= total for done, total in seen), seen)
        self.assertEqual(seen[-1], (10, 10))

    def test_rounds_that_never_were_good_are_none_of_the_total(self):
        self.assertEqual(self.measured(set(range(100)))[-1], (0, 0))


class Reports(unittest.TestCase):
    """Windows to figures."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = os.path.join(scratch.name, "run")
        self.options = types.SimpleNamespace(program=lambda name: f"bin/{name}", metric=None, allow_diff=[])

    def filled(self):
        """A run of two drivers in two dialects."""
        table = {"dialects": ["hybi-02", "rfc6455"], "workload": [{**ECHO, "about": "64 bytes"}]}
        run = run_of(self.folder, table)
        for number in range(1, 7):
            for driver, dialect, cost in (("uring", "hybi-02", 100), ("uring", "rfc6455", 110),
                                          ("epoll", "hybi-02", 200), ("epoll", "rfc6455", 220)):
                run.add("echo", driver, dialect, number, "{}", calls_each=0.5,
                        **figures(cost + number))
        run.add("echo", "uring", "rfc6455", 7, None, **figures(9.0, kept=0))
        run.add("echo", "tokio-uring", "rfc6455", 0, None, kept=0, failure="too old")
        return run

    def test_intervals_hold_what_they_promise(self):
        low, high, sure = report.interval([3, 1, 2])
        self.assertEqual((low, high), (1, 3))
        self.assertAlmostEqual(sure, 0.75)
        self.assertAlmostEqual(report.interval(list(range(6)))[2], 1 - 2 / 64)
        low, high, sure = report.interval(list(range(15)))
        self.assertEqual((low, high), (3, 11))
        self.assertGreaterEqual(sure, 0.95)
        self.assertEqual(report.interval([5]), (5, 5, 0.0))

    def test_a_summary_has_figures_ratios_reasons_and_commands(self):
        run = self.filled()
        text = tables.summary(run, run.plan.cases[0], self.options)
        self.assertIn("| uring | hybi-02 | 104 [101 to 106] | 0.509 |", text)
        self.assertIn("- uring ÷ epoll, rfc6455: 0.508 [0.502 to 0.513]", text)
        self.assertIn("- rfc6455 ÷ hybi-02, uring: 1.097", text)
        self.assertIn("- tokio-uring rfc6455 is left out: too old", text)
        self.assertIn("- 1 windows were disturbed", text)
        self.assertIn("engine echo --cpus 0 --driver uring", text)
        self.assertIn("loadgen echo ws://ADDRESS/ -c 100 -p 64", text)
        self.assertIn("| server | 6 |", text, "who limited, and how many rounds")
        head = "\n".join(tables.head(run))
        self.assertIn("at least 96.8 % (6 rounds)", head)
        self.assertIn("not complete", head)

    def test_windows_that_failed_do_not_vanish(self):
        run = self.filled()
        for number in (8, 9):
            run.add("echo", "epoll", "rfc6455", number, None, kept=0, failure=f"loadgen: lost {number}")
        run.add("echo", "epoll", "rfc6455", 0, None, kept=0, failure="its windows failed")
        text = tables.summary(run, run.plan.cases[0], self.options)
        self.assertIn("- epoll rfc6455: 2 windows failed and are not counted, the first: loadgen: lost 8", text)
        self.assertIn("- epoll rfc6455 was given up after 6 good windows: its windows failed", text)
        self.assertIn("- 1 windows were disturbed", text, "the failed ones are none of these")

    def test_one_table_of_all(self):
        text = tables.table(self.filled())
        self.assertEqual(text.splitlines()[2],
                         "| echo: 64 bytes | 0.114 µs | 0.51 | rfc6455 ÷ hybi-02 1.10 | 0.50 | 0.50 | server |")

    def test_the_median_round_represents_its_row(self):
        found, missing = tables.rows_of(self.filled(), plan({"workload": [ECHO]}).cases[0])
        self.assertEqual(found[0].representative(), 3)
        self.assertEqual([row.way for row in missing], [("tokio-uring", "rfc6455")])

    def test_comparisons_take_every_good_document_of_a_side(self):
        run = self.filled()
        found = compare.documents([run, run])
        self.assertEqual([len(paths) for paths in found["echo", "uring", "rfc6455"]], [6, 6])
        self.assertNotIn(("echo", "tokio-uring", "rfc6455"), found)

    def side(self, name, *runs):
        """Documents of runs with these costs."""
        paths = []
        for number, costs in enumerate(runs):
            paths.append([])
            for position, ns_each in enumerate(costs):
                path = f"{self.folder}-{name}-{number}-{position}.json"
                with open(path, "w", encoding="ascii") as file:
                    json.dump({"cost": {"server_cpu_ns_per_message": ns_each}, "outcome": {}}, file)
                paths[-1].append(path)
        return paths

    def test_runs_of_one_side_that_differ_as_much_bear_nothing_out(self):
        base = self.side("base", [10, 10, 11], [14, 15, 14])
        overlap = compare.runs_overlap
        self.assertTrue(overlap(base, self.side("new", [13, 13, 13], [16, 16, 16]), "server-cpu"))
        self.assertFalse(overlap(base, self.side("new", [15, 15, 16], [17, 16, 17]), "server-cpu"))
        self.assertFalse(overlap(base, self.side("new", [9, 9, 9]), "server-cpu"))
        with self.assertRaisesRegex(compare.CannotRun, "cannot be told"):
            overlap(base, base, "p99")

    def test_every_metric_has_its_place(self):
        for metric, place in (("server-cpu", "cost.server_cpu_ns_per_message"), ("p99", "outcome.latency.p99_ns"),
                              ("p99.9", "outcome.latency.p99_9_ns"), ("max", "outcome.latency.max_ns"),
                              ("service.p99.9", "outcome.service.p99_9_ns"),
                              ("lag.p50", "trust.scheduling_delay.p50_ns"),
                              ("delivery-ratio", "outcome.delivery_ratio.ratio")):
            self.assertEqual(".".join(compare.place_of(metric)), place, metric)

    def test_a_comparison_says_what_differs_and_what_it_means(self):
        run = self.filled()
        real_overlap, compare.runs_overlap = compare.runs_overlap, lambda *_: False
        self.addCleanup(setattr, compare, "runs_overlap", real_overlap)
        metric = {"metric": "server-cpu", "unit": "ns", "base": {"median": 100.0}, "new": {"median": 150.0},
                  "verdict": "worse", "p_adjusted": 0.01, "ratio": 1.5,
                  "ratio_interval": {"low": 1.4, "high": 1.6}}
        difference = {"name": "kernel.release", "standing": "compared", "base": ["6.1"], "new": ["6.2"]}
        answer = {"differences": [difference], "metrics": [metric], "warnings": ["3 of the 6 runs"],
                  "regressions": ["server-cpu"]}
        real, compare.compare_row = compare.compare_row, lambda *_: (answer, 1, None)
        self.addCleanup(setattr, compare, "compare_row", real)
        self.options.compare = [run.folder, run.folder]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertEqual(compare.compare(self.options), 1)
        self.assertIn("| kernel.release | 6.1 | 6.2 | compared |", out.getvalue())
        self.assertIn("| echo | uring | hybi-02 | server-cpu | 100 ns | 150 ns | +50.0 % [+40.0 to +60.0] worse |",
                      out.getvalue())
        self.assertIn("4 of 4 lines show a change", out.getvalue())
        self.assertIn("Note, 4 of 4 rows: some of the runs.", out.getvalue())
        self.assertIn("with 1 and 1 runs", out.getvalue())
        compare.runs_overlap = lambda *_: True
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertEqual(compare.compare(self.options), 0)
        self.assertIn("0 of 4 lines show a change", out.getvalue())

    def test_a_row_that_cannot_be_compared_says_why(self):
        run = self.filled()
        answer = {"differences": [], "metrics": [], "warnings": [], "regressions": []}
        why = "error: cannot compare: server-cpu is missing in 1 of the 12 runs"
        real, compare.compare_row = compare.compare_row, lambda *_: (answer, 3, why)
        self.addCleanup(setattr, compare, "compare_row", real)
        self.options.compare = [run.folder, run.folder]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            self.assertEqual(compare.compare(self.options), 3)
        self.assertIn(f"echo uring hybi-02: {why}", said.getvalue())

    def test_labels_that_no_run_has(self):
        with self.assertRaisesRegex(machine.CannotRun, "has this label"):
            compare.find("no-run-has-this-label")


class Soaks(unittest.TestCase):
    """Samples to findings."""

    def rows(self, growth=0.0, opened=10, end=0, files=8):
        """Samples of thirty segments."""
        rows = [{"seconds": 0.0, "segment": 0, "phase": "begin", "memory_bytes": 5e7, "files": 8, "open": 0}]
        rows += [{"seconds": 60.0 * n, "segment": n, "phase": "rest", "memory_bytes": 1e8 * (1 + growth * n),
                  "files": 20, "open": opened} for n in range(1, 31)]
        return rows + [{"seconds": 2000.0, "segment": 30, "phase": "end", "memory_bytes": 1e8, "files": files,
                        "open": end}]

    def test_growth_is_seen_and_noise_is_not(self):
        text, bad = soak.memory(self.rows(0.01), 5)
        self.assertTrue(bad, text)
        self.assertIn("MiB per hour", text)
        self.assertFalse(soak.memory(self.rows(0.0001), 5)[1])
        self.assertIn("too few", soak.memory([], 5)[0])
        small = [{**row, "memory_bytes": row["memory_bytes"] / 1000} for row in self.rows(0.01)]
        self.assertFalse(soak.memory(small, 5)[1], "kibibytes are no leak")

    def test_connections_left_behind_are_seen(self):
        self.assertFalse(soak.connections(self.rows(), 10)[1])
        for rows in (self.rows(opened=11), self.rows(opened=9), self.rows(end=1), self.rows(files=9)):
            self.assertTrue(soak.connections(rows, 10)[1])

    def test_thirds_do_not_overlap(self):
        self.assertEqual(soak.thirds(list(range(12))), ([0, 1, 2, 3, 4], [7, 8, 9, 10, 11]))
        self.assertEqual(soak.thirds([1, 2, 3]), ([1], [3]))
        self.assertEqual(soak.thirds([1]), ([], []))

    def test_one_outlier_does_not_tilt_the_slope(self):
        points = [(x, 2.0 * x) for x in range(20)]
        points[10] = (10, 5000.0)
        self.assertAlmostEqual(soak.slope(points), 2.0)


class Schema(unittest.TestCase):
    """What both tools must agree on."""

    def test_documents_have_what_is_read(self):
        with open(os.path.join(ROOT, "loadgen", "schema", "result-3.json"), encoding="utf-8") as file:
            trust = json.load(file)["$defs"]["trust"]["properties"]
        self.assertIn("limited_by", trust)


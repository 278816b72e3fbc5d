"""Tests of what scripts/kernels makes of its results: proof, tables and comparisons."""

import contextlib
import copy
import io
import json
import os
import tempfile
import threading
import unittest
from unittest import mock

from suite.kernels import cli as kernels
from suite.kernels import compare as comparison
from suite.kernels import costs, guest, images, profile, tables

# Seconds in which what runs at once has met.
MEET = 5
def kernel_of(version, each=100.0, **changed):
    """What a result says of a kernel."""
    rows = [{"workload": "echo", "shape": "lockstep", "server": server, "each": value,
             "spread_percent": 0.1, "server_each": 50.0, "server_each_all": [50.0, 50.0]}
            for server, value in [("uring", each), ("epoll", 100.0)]]
    about = {"series": images.series_of(version), "version": version, "package": "", **changed}
    return {"kernel": about, "rows": rows, "cpu": "one", "auto": "uring", "features": [],
            "no_profile": None}


def document(each=100.0, **changed):
    """A result with one kernel, or those that are given."""
    same = dict.fromkeys(comparison.SAME, 1)
    proof = {"kernel": "6.1.2", "readings": 12, "equal": 12, "largest_difference_percent": 0.0,
             "allowed_percent": costs.EQUAL}
    return {**same, "form": costs.FORM, "kvm": False, "programs": {"engine": "a" * 64},
            "commit": "c0ffee", "utc": "now", "command": "scripts/kernels bench", "repeats": 2,
            "skipped": [], "proof": proof, "kernels": [kernel_of("6.1.2", each)], **changed}


def apart(percent):
    """The proof of a result whose two boots were so far apart."""
    return {**document()["proof"], "equal": 11, "largest_difference_percent": percent}


class Compare(unittest.TestCase):
    def test_what_differs_in_more_than_kernels_is_refused(self):
        one = document()
        self.assertEqual(comparison.differences(one, copy.deepcopy(one), set()), [])
        other = document(programs={"engine": "b" * 64}, emulator="another", command_line=2)
        found = comparison.differences(one, other, set())
        self.assertEqual(len(found), 3)
        self.assertIn("kernel command line: 1 and 2 (--allow-diff command_line)", found)
        self.assertEqual(comparison.differences(one, other, {"engine", "emulator", "command_line"}), [])

    def test_what_is_not_proven_is_refused(self):
        good = document()
        for proof, why in [(apart(0.02), "0.0200 % apart"), (None, "not shown")]:
            bad = document(proof=proof)
            for pair, side in [((bad, good), "first"), ((good, bad), "second")]:
                (text,) = comparison.differences(*pair, set())
                self.assertIn(f"the {side} result is not exact", text)
                self.assertIn(why, text)
                self.assertIn("--allow-diff proof", text)
                self.assertEqual(comparison.differences(*pair, {"proof"}), [])
                self.assertIn(f"**Nothing here is exact, since the {side} result is not: ",
                              comparison.compare(*pair)[0].splitlines()[0])
        self.assertEqual(len(comparison.differences(bad, bad, set())), 1)
        self.assertEqual(comparison.differences(good, document(proof=apart(0.01)), set()), [])

    def test_time_needs_no_proof_but_one_model_of_cpu(self):
        one, other = document(kvm=True, proof=None), document(kvm=True, proof=None)
        self.assertEqual(comparison.differences(one, other, set()), [])
        other["kernels"][0]["cpu"] = "another"
        self.assertIn("CPU model: another and one", comparison.differences(one, other, set())[0])
        self.assertEqual(comparison.differences(one, other, {"cpu"}), [])
        found = comparison.differences(one, document(), set(comparison.ALLOWED))
        self.assertEqual(len(found), 1, "time and instructions are never compared")

    def test_small_differences_are_none(self):
        text, changed = comparison.compare(document(), document(100.9))
        self.assertEqual(changed, 0)
        self.assertIn("~ (+0.90 %)", text)
        text, changed = comparison.compare(document(), document(102.0))
        self.assertEqual(changed, 1)
        self.assertIn("+2.00 %", text)

    def test_a_row_that_one_has_not_measured_is_no_change_and_one_that_it_lacks_is(self):
        one, other = document(), document()
        row = one["kernels"][0]["rows"][0]
        other["kernels"][0]["rows"] += [{**row, "server": "uring +incremental"},
                                        {**row, "workload": "broadcast"}]
        text, changed = comparison.compare(one, other)
        self.assertEqual(changed, 0)
        self.assertIn("| uring +incremental | not measured | there |", text)
        self.assertIn("| broadcast | lockstep | uring | not measured | there |", text)
        one["kernels"][0]["rows"].append({"workload": "echo", "shape": "lockstep",
                                          "server": "uring +incremental", "absent": "no"})
        self.assertEqual(comparison.compare(one, other)[1], 1)

    def test_two_kernels_of_one_result_are_compared(self):
        both = document(kernels=[kernel_of("6.1.2"), kernel_of("7.3.4", 103.0)])
        text, changed = comparison.compare(both, both, ["6.1", "7.3.4"])
        self.assertIn("### 6.1.2 → 7.3.4\n", text)
        self.assertEqual((changed, text.count("###"), "+3.00 %" in text), (1, 1, True))
        self.assertIn("-2.91 %", comparison.compare(both, document(), ["7.3", "6.1"])[0])
        with self.assertRaisesRegex(images.Missing, "no kernel 6.12 in the second result; it has 6.1.2, 7"):
            comparison.compare(both, both, ["6.1", "6.12"])

    def test_kernels_of_one_series_are_told_apart(self):
        mine = kernel_of("6.1.2-mine", 102.0, sha256="12345678" + "0" * 56)
        again = kernel_of("6.1.2-mine", 104.0, sha256="abcdef01" + "0" * 56)
        one = document(kernels=[kernel_of("6.1.2"), mine])
        two = document(kernels=[again, kernel_of("6.1.2")])
        text, changed = comparison.compare(one, two)
        self.assertIn("### 6.1.2 → 6.1.2\n", text)
        self.assertIn("### 6.1.2-mine → 6.1.2-mine\n", text)
        self.assertEqual(changed, 1)
        with self.assertRaisesRegex(images.Missing, "several kernels of the first result.*by its version"):
            comparison.compare(one, two, ["6.1", "6.1.2"])
        three = document(kernels=[mine, again])
        with self.assertRaisesRegex(images.Missing, "which kernels of series 6.1.*--series VERSION"):
            comparison.compare(document(), three)
        with self.assertRaisesRegex(images.Missing, "SHA-256 abcdef01"):
            comparison.compare(three, three, ["6.1.2-mine", "6.1"])
        self.assertIn("+1.96 %", comparison.compare(three, three, ["12345678", "abcdef010"])[0])
        text, _ = comparison.compare(document(), one)
        self.assertIn("- 6.1.2-mine is only in the second result", text)

    def test_results_without_a_common_series_are_not_equal_but_refused(self):
        with self.assertRaisesRegex(images.Missing, "no series in common: .*6.1.2.*7.3.4.*--series A B"):
            comparison.compare(document(), document(kernels=[kernel_of("7.3.4")]))

    def test_every_table_says_that_an_instruction_is_no_nanosecond(self):
        for text in [tables.across(document()), comparison.compare(document(), document())[0]]:
            self.assertIn(tables.CAVEAT, text)


class Proof(unittest.TestCase):
    def bench(self, readings, jobs=2):
        """Measures one kernel whose boots for the proof read this; the exit code, what is said, the files."""
        self.order, given, lock = [], iter(readings), threading.Lock()

        def proving(*_):
            with lock:
                self.order.append("proof")
                found = next(given)
            if isinstance(found, Exception):
                raise found
            return found

        def measure(*_):
            self.order.append("measured")
            return kernel_of("6.1.2")

        image = images.Image("", "6.1", "6.1.2", "", "", {})
        about = document(kernels=[])
        del about["proof"]
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            for where, name, value in [
                    (kernels, "about", lambda *_: about), (costs, "proving", proving),
                    (costs, "measure", measure), (guest, "build", lambda: {"engine": "engine"}),
                    (guest, "drivers_of", lambda _: ["uring", "epoll"]),
                    (guest, "emulator_version", lambda: "QEMU"),
                    (kernels, "look_up", lambda _: [image]), (profile, "plugin", lambda: (None, "none"))]:
                stack.enter_context(mock.patch.object(where, name, value))
            out, err = io.StringIO(), io.StringIO()
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            code = kernels.bench(kernels.options_of(["bench", "--out", folder, "--jobs", str(jobs)]))
            files = {}
            for name in ["summary.md", "table.md", "kernels.json"]:
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    files[name] = file.read()
        return code, out.getvalue(), err.getvalue(), files

    def test_two_boots_that_agree_are_told(self):
        reading = {("echo/lockstep/uring", 0, costs.ALL): 100}
        code, out, _, files = self.bench([reading, reading])
        self.assertEqual((code, self.order), (0, ["proof", "proof", "measured"]))
        for text in [out, files["summary.md"]]:
            self.assertIn("Kernel 6.1.2 was booted twice: 1 of 1 readings were the same integer", text)
            self.assertNotIn("Nothing here is exact", text)

    def test_what_is_not_exact_is_written_and_says_so_at_its_top_and_in_the_exit_code(self):
        one, other = ({("echo/lockstep/uring", 0, costs.ALL): nanos} for nanos in (1000, 1001))
        failed = guest.Failed("kernel 6.1.2 ended, code 1; it said:\npanic")
        for readings, why in [([one, other], "0.0999 % apart"), ([one, failed], "ended, code 1"),
                              ([one, {}], "there in one boot only"), ([{}, {}], "did not measure anything")]:
            code, out, err, files = self.bench(readings, jobs=1)
            self.assertEqual(code, 1)
            for text in [files["summary.md"].split("\n\n")[1], files["table.md"].split("\n\n")[0]]:
                self.assertTrue(text.startswith("**Nothing here is exact: ") and text.endswith(".**"), text)
                self.assertIn(why, text)
                self.assertIn(text, out)
            self.assertIn(why, err.split("written: ")[1], "said after the results are written")
            self.assertEqual(len(json.loads(files["kernels.json"])["kernels"]), 1)

    def test_the_boots_of_the_proof_run_at_once(self):
        meeting, reading = threading.Barrier(2), {("x", 0, costs.ALL): 1}
        document_of: dict = {"kernels": []}

        def proving(*_):
            meeting.wait(MEET)
            return reading

        options = mock.Mock(kvm=False, jobs=2, timeout=1)
        image = images.Image("", "6.1", "6.1.2", "", "", {})
        with mock.patch.object(costs, "proving", proving), \
                mock.patch.object(costs, "measure", lambda *_: {}), \
                mock.patch.object(profile, "plugin", lambda: (None, "none")), \
                contextlib.redirect_stderr(io.StringIO()):
            self.assertFalse(kernels.measure([image], {}, options, document_of))
        self.assertEqual(document_of["proof"]["equal"], 1)

    def test_the_servers_time_may_be_missing_in_both_boots_but_not_in_one(self):
        def boot(server):
            out = json.dumps({"outcome": {"elapsed_ns": 100}, "cost": {"server_cpu_ns": server}})
            result = {"exit": 0, "run": 0, "out": out, "counts": None, "marked": False}
            return costs.readings(mock.Mock(results={"echo/lockstep/epoll": [result]}))

        image = images.Image("", "6.1", "6.1.2", "", "", {})
        self.assertEqual(costs.prove(image, boot(None), boot(None))["readings"], 1)
        self.assertEqual(costs.prove(image, boot(7), boot(7))["readings"], 2)
        with self.assertRaisesRegex(guest.Failed, "server's time of run 0 of echo/lockstep/epoll.*; loadgen "
                                                  "read the server's CPU time beside the window"):
            costs.prove(image, boot(7), boot(None))

    def test_every_run_of_the_proof_is_a_reading(self):
        tasks = costs.proof(["uring", "tokio-uring", "epoll"])["tasks"]
        self.assertEqual(len(tasks), 6)
        self.assertTrue(all([run["count"] or run["mark"] for run in task["runs"]] == [False] for task in tasks))


class Tables(unittest.TestCase):
    def text(self, **changed):
        """Everything of a kernel whose ring driver has a row like this."""
        one = document()
        row = one["kernels"][0]["rows"][0]
        row.update(changed)
        for name in [name for name, value in row.items() if value is None]:
            del row[name]
        return tables.in_full(one)

    def test_a_servers_part_that_was_not_measured_is_none(self):
        text = self.text(server_each=None)
        self.assertIn("| uring | 100 | 0.10 % | 1.000 | – | – |", text)
        self.assertIn(f"was not measured of uring: {costs.UNREAD}.", text)
        self.assertNotIn("not measured", self.text())

    def test_a_servers_part_whose_repeats_disagree_says_so(self):
        self.assertIn("| 50 (spread 27.50 %) |", self.text(server_spread_percent=27.5))
        self.assertNotIn("(spread", self.text(server_spread_percent=2.0))
        self.assertIn("| 50 (spread 40.00 %) |", self.text(server_each_all=[40.0, 60.0]))

    def test_what_a_feature_more_costs_is_told_beside_what_one_less_costs(self):
        one = document()
        rows = one["kernels"][0]["rows"]
        for server, each in [("uring -direct", 110.0), ("uring +incremental", 104.0)]:
            rows.append({**rows[0], "server": server, "each": each})
        text = tables.across(one)
        self.assertIn("costs more without a feature of the ring, or with one more", text)
        self.assertIn("| +incremental | +4 (+4.00 %) |", text)
        self.assertNotIn("| uring +incremental |", text)
        rows[-1] = {"workload": "echo", "shape": "lockstep", "server": "uring +incremental",
                    "absent": "this kernel has no incremental"}
        self.assertIn("| +incremental | – |", tables.across(one))
        self.assertIn("- uring +incremental is not there: this kernel has no incremental", tables.in_full(one))

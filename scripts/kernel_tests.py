"""Tests of scripts/kernels: what it makes of packages, guests' reports and results.

    python3 scripts/kernel_tests.py
"""

import copy
import json
import os
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kernel_costs as costs  # noqa: E402  the path is set just above
import kernel_guest as guest  # noqa: E402
import kernel_images as images  # noqa: E402
import kernel_profile as profile  # noqa: E402
import kernel_tables as tables  # noqa: E402
import kernel_verdict as verdict  # noqa: E402

PACKAGES = """Package: linux-image-6.1.0-50-cloud-amd64
Version: 6.1.9-1
Size: 26000000

Package: linux-image-6.1.0-51-cloud-amd64
Version: 6.1.10-1
Size: 26000000

Package: linux-image-7.3.4-cloud-amd64
Version: 7.3.4-1
Size: 2000

Package: linux-binary-7.3.4-cloud-amd64
Version: 7.3.4-1
Size: 13000000
"""


class Images(unittest.TestCase):
    def test_the_newest_of_each_series_that_holds_a_kernel_is_found(self):
        packages = images.Packages.__new__(images.Packages)
        packages.environment = {}
        names = "\n".join(line.split()[1] for line in PACKAGES.splitlines() if "Package" in line)

        def answer(*command, **_):
            return names if command[1] == "pkgnames" else PACKAGES

        def newer(one, other):
            return images.in_order(one) > images.in_order(other)

        with mock.patch.object(images, "run", answer), mock.patch.object(images, "newer", newer):
            newest = packages.newest()
        self.assertEqual([(series, fields["Package"]) for series, fields in newest.items()],
                         [("6.1", "linux-image-6.1.0-51-cloud-amd64"),
                          ("7.3", "linux-binary-7.3.4-cloud-amd64")])

    def test_series_are_in_the_order_of_their_numbers(self):
        self.assertEqual(sorted(["6.12", "5.10", "6.1"], key=images.in_order), ["5.10", "6.1", "6.12"])
        self.assertEqual(images.series_of("6.12.118-1~deb12u1"), "6.12")

    def test_an_image_tells_its_version(self):
        head = bytearray(0x400)
        head[0x202:0x206] = b"HdrS"
        head[0x20E:0x210] = (0x100).to_bytes(2, "little")
        head[0x300:0x320] = b"6.18.3-mine (me@here) #1\0".ljust(0x20, b"\0")
        with tempfile.NamedTemporaryFile() as file:
            file.write(head)
            file.flush()
            image = images.local(file.name)
            self.assertEqual((image.version, image.series), ("6.18.3-mine", "6.18"))
            file.seek(0)
            file.write(b"x" * 0x400)
            file.flush()
            with self.assertRaisesRegex(images.Missing, "no bzImage"):
                images.local(file.name)
            with self.assertRaisesRegex(images.Missing, "No such file"):
                images.local(file.name + ".absent")

    def test_an_image_whose_bytes_have_changed_is_not_used(self):
        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.dict(os.environ, {"XDG_CACHE_HOME": folder}):
            tree = os.path.join(folder, "tree", "boot")
            os.makedirs(tree)
            with open(os.path.join(tree, "vmlinuz-1"), "wb") as file:
                file.write(b"kernel")
            fields = {"Package": "p", "Version": "6.1.2-3"}
            kept = images.keep(os.path.join(folder, "tree"), fields)
            self.assertEqual(images.find("p", "6.1.2-3").sha256, kept.sha256)
            self.assertEqual(images.kept(), {("p", "6.1.2-3")})
            with open(kept.path, "ab") as file:
                file.write(b"!")
            self.assertIsNone(images.find("p", "6.1.2-3"))


class Guest(unittest.TestCase):
    def test_an_archive_is_the_same_for_the_same_files(self):
        one = guest.initramfs({"init": (0o755, b"abc"), "a": (0o644, b"")})
        self.assertEqual(one, guest.initramfs({"a": (0o644, b""), "init": (0o755, b"abc")}))
        self.assertEqual(one[:6], b"070701")
        self.assertIn(b"TRAILER!!!", one)
        self.assertEqual(len(one) % 4, 0)

    def test_a_plan_has_the_doctor_each_driver_and_each_feature(self):
        names = [task["name"] for task in verdict.plan(["direct"], False)["tasks"]]
        self.assertEqual(names, ["doctor", "auto", *verdict.SUITES, "+direct", "-direct"])


class Verdict(unittest.TestCase):
    def judged(self, series, auto, **changed):
        good = {"exit": 0, "out": "test result: ok. 3 passed; 0 failed"}
        doctor = {"auto": auto, "ladder": [{"driver": auto, "holds": True}],
                  "drivers": [{"name": name, "usable": True} for name in verdict.SUITES],
                  "ring_features": [{"name": "direct", "here": True}]}
        results = {name: [good] * 5 for name in ["auto", *verdict.SUITES, "+direct", "-direct"]}
        results["doctor"] = [{"out": guest.json.dumps(doctor)}]
        results.update(changed)
        boot = mock.Mock(results=results, seconds=1)
        return verdict.Verdict(images.Image("", series, series, "", "", {}), boot).wrong

    def test_each_kernel_must_choose_what_suits_it(self):
        self.assertEqual(self.judged("6.1", "uring"), [])
        self.assertEqual(self.judged("5.10", "tokio-uring"), [])
        self.assertIn("before 5.19", self.judged("5.10", "uring")[0])
        self.assertIn("must be uring", self.judged("6.12", "epoll")[0])

    def test_what_fails_is_told(self):
        bad = {"exit": 101, "status": "exit status: 101", "in_time": True, "err": "",
               "out": "\nfailures:\n    that_one\n"}
        wrong = self.judged("6.1", "uring", epoll=[{"exit": 0}, bad, bad])
        self.assertEqual(len(wrong), 2)
        self.assertIn("that_one", wrong[0])
        self.assertIn("tests without direct",
                      self.judged("6.1", "uring", **{"+direct": [{"exit": 0}, bad]})[0])
        self.assertIn("does not start", self.judged(
            "6.1", "uring", epoll=[{"error": "it does not start"}])[0])


def document(each=100.0, **changed):
    """A result with one kernel."""
    rows = [{"workload": "echo", "shape": "lockstep", "server": server, "each": value,
             "spread_percent": 0.1} for server, value in [("uring", each), ("epoll", 100.0)]]
    kernel = {"kernel": {"series": "6.1", "version": "6.1.2", "package": ""}, "rows": rows}
    same = {key: 1 for key in tables.SAME}
    return {**same, "kvm": False, "programs": {"engine": "a" * 64}, "kernels": [kernel], **changed}


class Compare(unittest.TestCase):
    def test_what_differs_in_more_than_kernels_is_refused(self):
        one = document()
        self.assertEqual(tables.differences(one, copy.deepcopy(one), set()), [])
        other = document(programs={"engine": "b" * 64}, emulator="another")
        found = tables.differences(one, other, set())
        self.assertEqual(len(found), 2)
        self.assertEqual(tables.differences(one, other, {"engine", "emulator"}), [])

    def test_small_differences_are_none(self):
        text, changed = tables.compare(document(), document(100.9))
        self.assertEqual(changed, 0)
        self.assertIn("~ (+0.90 %)", text)
        text, changed = tables.compare(document(), document(102.0))
        self.assertEqual(changed, 1)
        self.assertIn("+2.00 %", text)

    def test_every_table_says_that_an_instruction_is_no_nanosecond(self):
        for text in [tables.across(document()), tables.compare(document(), document())[0]]:
            self.assertIn(tables.CAVEAT, text)


class Profile(unittest.TestCase):
    def test_two_runs_are_subtracted_and_functions_grouped(self):
        symbols = profile.Symbols("10 tcp_sendmsg\n20 io_issue_sqe\n30 __x64_sys_sethostname\n")
        self.assertEqual(symbols.mark(), 0x30)
        text = "mark 0\nuser 9\nrep 9\nmark 1\nuser 100\nrep 10\n12 50\n24 20\nmark 2\nuser 5\nrep 0\n"
        text += "mark 3\nuser 180\nrep 12\n12 90\n14 20\n24 30\n"
        _, few, _, many = profile.sections(text)
        found = profile.per_message(few, many, 10, symbols)
        self.assertEqual((found["user"], found["rep"], found["kernel"]), (8.0, 0.2, 7.0))
        self.assertEqual(found["functions"], {"tcp_sendmsg": 6.0, "io_issue_sqe": 1.0})
        self.assertEqual((found["groups"]["TCP and IP"], found["groups"]["ring"]), (6.0, 1.0))

    def test_functions_are_known_by_their_names(self):
        for name, group in [("__tcp_transmit_skb", "TCP and IP"), ("ep_poll", "epoll"),
                            ("__x64_sys_epoll_wait", "epoll"), ("__do_sys_io_uring_enter", "ring"),
                            ("io_schedule", "scheduler"), ("try_to_wake_up", "scheduler"),
                            ("memset_orig", "memory and copies"), ("do_syscall_64",
                                                                   "entering and leaving"),
                            ("skb_release_data", "sockets, buffers, loopback"), ("xyz", profile.REST)]:
            self.assertEqual(profile.group_of(name), group, name)


class Plans(unittest.TestCase):
    def test_a_figure_and_its_events_come_from_their_own_runs(self):
        runs = costs.plan(3, ["echo"], ["lockstep"])["tasks"][1]["runs"]
        kinds = [(run["count"], run["mark"]) for run in runs]
        self.assertEqual(kinds, [(False, False)] * 2 + [(True, False)] * 2 + [(False, True)] * 2)
        self.assertEqual(len(costs.plan(3, ["echo"], ["threads"])["tasks"]), 1 + 5)

    def test_runs_that_were_to_be_counted_are_no_repeats_even_where_nothing_was(self):
        def run(nanos, counts, marked=False):
            document = {"outcome": {"elapsed_ns": nanos, "received": 10}, "cost": {"server_cpu_ns": nanos}}
            return {"exit": 0, "out": json.dumps(document), "counts": counts, "marked": marked}

        runs = [run(100, None), run(102, None), run(900, {}), run(950, {}), run(800, None, True)]
        self.assertEqual(costs.figures(runs, "x")["each_all"], [10, 10.2])


if __name__ == "__main__":
    unittest.main()

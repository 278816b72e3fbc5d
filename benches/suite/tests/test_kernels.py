"""Tests of scripts/kernels: what it makes of packages, guests' reports and results.

    cd benches && python3 -m unittest suite.tests.test_kernels
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
import threading
import unittest
from unittest import mock

from suite.kernels import cli as kernels
from suite.kernels import compare as comparison
from suite.kernels import costs, emulator, guest, images, profile, verdict
from suite.kernels import unpacked as unpacking
from suite.tests.test_kernel_results import document, kernel_of

# Seconds in which what runs at once has met.
MEET = 5
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


@contextlib.contextmanager
def unpacked():
    """A cache of its own, and beside it the tree of a package with an image."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"XDG_CACHE_HOME": folder}):
        os.makedirs(os.path.join(folder, "tree", "boot"))
        with open(os.path.join(folder, "tree", "boot", "vmlinuz-1"), "wb") as file:
            file.write(b"kernel")
        yield folder


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
        with unpacked() as folder:
            fields = {"Package": "p", "Version": "6.1.2-3"}
            kept = images.keep(os.path.join(folder, "tree"), fields)
            self.assertEqual(images.find("p", "6.1.2-3").sha256, kept.sha256)
            self.assertEqual(images.kept(), {("p", "6.1.2-3")})
            with open(kept.path, "ab") as file:
                file.write(b"!")
            self.assertIsNone(images.find("p", "6.1.2-3"))

    def test_an_image_that_is_being_kept_is_not_taken_for_a_broken_one(self):
        with unpacked() as folder:
            copy_file = images.shutil.copyfile

            def look_meanwhile(*paths):
                copy_file(*paths)
                self.assertIsNone(images.find("another", "1"))

            with mock.patch.object(images.shutil, "copyfile", look_meanwhile):
                kept = images.keep(os.path.join(folder, "tree"), {"Package": "p", "Version": "6.1.2-3"})
                again = images.keep(os.path.join(folder, "tree"), {"Package": "p", "Version": "6.1.2-3"})
            self.assertTrue(os.path.exists(kept.path))
            self.assertEqual(kept.sha256, again.sha256)
            self.assertEqual(os.listdir(images.cache()), ["images"])

    def test_packages_are_fetched_at_once_and_beside_the_build(self):
        meeting = threading.Barrier(3)

        def fetch(fields):
            meeting.wait(MEET)
            if fields["Version"] == "6.12":
                raise images.Missing("the archive is away")
            return fields["Version"]

        packages = mock.Mock(fetch=fetch, absent=[])
        packages.newest.return_value = {name: {"Version": name} for name in ["6.1", "6.12"]}
        series = [word for name in ["6.1", "6.12", "3.0", "6.1"] for word in ("--series", name)]
        options = kernels.options_of(["test", *series])
        with mock.patch.object(images, "Packages", return_value=packages):
            (one, *gone), built = kernels.wanted(options, lambda: meeting.wait(MEET) is not None)
        self.assertEqual((one, [kernel.series for kernel in gone], built), ("6.1", ["6.12", "3.0"], True))
        self.assertIn("away", gone[0].why)
        packages.newest.return_value = {}
        with mock.patch.object(images, "Packages", return_value=packages):
            self.assertIsNone(kernels.wanted(options, lambda: self.fail("nothing can be booted"))[1])


DRIVERS = ["uring", "tokio-uring", "epoll"]
# What a guest does where the ring has one feature.
TASKS = ["doctor", "auto", *DRIVERS, verdict.FEATURELESS, "+direct", "-direct"]


class Guest(unittest.TestCase):
    def test_an_archive_is_the_same_for_the_same_files(self):
        one = guest.initramfs({"init": (0o755, b"abc"), "a": (0o644, b"")})
        self.assertEqual(one, guest.initramfs({"a": (0o644, b""), "init": (0o755, b"abc")}))
        self.assertEqual(one[:6], b"070701")
        self.assertIn(b"TRAILER!!!", one)
        self.assertEqual(len(one) % 4, 0)

    def test_a_plan_has_the_doctor_each_driver_and_each_feature(self):
        for task in verdict.plan(DRIVERS, ["direct"], "none")["tasks"]:
            commands = [run["command"][0] for run in task["runs"]]
            self.assertLessEqual(set(commands), {"/bin/engine", "/bin/loadgen"}, "no suite of tests")
            self.assertEqual(len(commands), 1)
        tasks = {task["name"]: task["runs"] for task in verdict.plan(DRIVERS, ["direct"], "usual")["tasks"]}
        self.assertEqual(list(tasks), TASKS)
        for driver, suites in verdict.suites_of(DRIVERS, "usual").items():
            told = [(run["command"][0], run["environment"]) for run in tasks[driver][1:]]
            self.assertEqual(told, [(f"/bin/{suite}", {verdict.DRIVER: driver}) for suite in suites])
        built = [verdict.programs_of(DRIVERS, level) for level in verdict.LEVELS]
        self.assertEqual((built[0], built[1]), (set(), built[2]))
        (task,) = [task for task in verdict.plan(DRIVERS, [], "all")["tasks"] if task["name"] == verdict.PROTOCOLS]
        run = {run["command"][0].removeprefix("/bin/") for run in task["runs"]}
        self.assertEqual(run, built[3] - built[2])


class Verdict(unittest.TestCase):
    def judged(self, series, auto, **changed):
        boot = self.boot(auto, **changed)
        return verdict.Verdict(images.Image("", series, series, "", "", {}), boot, DRIVERS).wrong

    @staticmethod
    def boot(auto, **changed):
        """What a guest says where all is well, but for what is changed."""
        good = {"exit": 0, "out": "test result: ok. 3 passed; 0 failed"}
        doctor = {"auto": auto, "fallback": [{"driver": auto, "holds": True}],
                  "drivers": [{"name": name, "usable": True} for name in DRIVERS],
                  "ring_features": [{"name": "direct", "here": True}]}
        results = {name: [good] * 5 for name in TASKS}
        results["doctor"] = [{"out": guest.json.dumps(doctor)}]
        results.update(changed)
        return mock.Mock(results=results, seconds=1)

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
        self.assertIn(f"tests with {verdict.FEATURELESS}",
                      self.judged("6.1", "uring", **{verdict.FEATURELESS: [{"exit": 0}, bad]})[0])
        self.assertIn("does not start", self.judged(
            "6.1", "uring", epoll=[{"error": "it does not start"}])[0])

    def test_a_server_that_waits_before_it_listens_is_told(self):
        def started(seconds):
            good = {"exit": 0, "out": "test result: ok. 3 passed; 0 failed",
                    "server_start_nanoseconds": seconds * 1e9}
            return self.judged("6.1", "uring", epoll=[good] * 3)

        self.assertEqual(started(0.1), [])
        self.assertIn("epoll: a server listens after 1.02 s", started(1.02)[0])

    def test_suites_that_take_every_driver_are_judged_where_they_ran(self):
        good = {"exit": 0, "out": "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"}
        bad = {"exit": 1, "status": "exit status: 1", "out": "test result: FAILED. 2 passed; 2 failed; 0 ignored; "
               "0 measured; 0 filtered out\nfailures:\n    that_one\n", "in_time": True, "err": ""}
        for runs, told, wrong in [([good] * 3, "12 tests", 0), ([good, bad, good], "10 of 12 tests", 1)]:
            boot = self.boot("uring", **{verdict.PROTOCOLS: runs})
            ran = verdict.Verdict(images.Image("", "6.1", "6.1", "", "", {}), boot, DRIVERS)
            self.assertEqual((ran.protocols, len(ran.wrong)), (told, wrong))
            self.assertIn(f"| {verdict.PROTOCOLS}, every driver | {told} |", verdict.table([ran]))
        without = verdict.Verdict(images.Image("", "6.1", "6.1", "", "", {}), self.boot("uring"), DRIVERS)
        self.assertNotIn(verdict.PROTOCOLS, verdict.table([without]))

    def test_the_tests_that_were_left_out_are_counted(self):
        def ran(passed, failed, ignored, left):
            word = "FAILED" if failed else "ok"
            return {"exit": 101 if failed else 0, "status": "", "in_time": True, "err": "",
                    "out": f"test result: {word}. {passed} passed; {failed} failed; {ignored} ignored; "
                           f"0 measured; {left} filtered out; finished in 1.00s\n"}

        good = {"exit": 0}
        boot = self.boot("uring", epoll=[good, ran(60, 0, 0, 12), ran(6, 0, 1, 3)],
                         uring=[good, ran(60, 0, 0, 0), ran(6, 2, 0, 0)],
                         **{"tokio-uring": [good, ran(5, 0, 0, 0), ran(2, 0, 0, 0), ran(1, 0, 0, 0)]})
        told = verdict.Verdict(images.Image("", "6.1", "6.1", "", "", {}), boot, DRIVERS)
        self.assertEqual(told.drivers, {"epoll": "66 tests", "uring": "66 of 68 tests", "tokio-uring": "8 tests"})
        self.assertIn("| driver epoll | 66 tests |", verdict.table([told]))
        self.assertIn("again: 0 tests of uring, 0 tests of tokio-uring, 16 tests of epoll.", verdict.table([told]))


class CommandLine(unittest.TestCase):
    def said(self, *arguments):
        """What is said of a command line that is refused."""
        with contextlib.redirect_stderr(io.StringIO()) as err, self.assertRaises(SystemExit) as end:
            kernels.options_of(list(arguments))
        self.assertEqual(end.exception.code, 2)
        return err.getvalue()

    def test_what_is_unknown_or_missing_is_refused(self):
        said = self.said("compare", "a", "b", "--allow-diff", "engin")
        for name in ["engin", *comparison.ALLOWED]:
            self.assertIn(f"'{name}'", said)
        self.assertIn("--series A B", self.said("compare", "a"))
        self.assertEqual(kernels.options_of(["compare", "a", "--series", "6.1", "7.3"]).pair, ["6.1", "7.3"])

    def test_the_help_tells_how_long_it_takes(self):
        for verb, words in [("test", ["63 s", "146 s", "300 s", "200 s"]), ("bench", ["18 minutes"]),
                            ("compare", ["--series 6.12 7.3"])]:
            with contextlib.redirect_stdout(io.StringIO()) as out, self.assertRaises(SystemExit):
                kernels.options_of([verb, "--help"])
            for word in words:
                self.assertIn(word, " ".join(out.getvalue().split()))

    def test_two_kernels_of_a_result_in_a_folder_are_compared(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            both = document(kernels=[kernel_of("6.1.2"), kernel_of("7.3.4", 103.0)])
            kernels.write(folder, both)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                code = kernels.compare(kernels.options_of(
                    ["compare", folder, "--series", "6.1", "7.3", "--check"]))
            self.assertEqual(code, 1)
            self.assertIn("### 6.1.2 → 7.3.4", out.getvalue())
            kernels.write(folder, {**both, "proof": None})
            with self.assertRaisesRegex(images.Missing, "the result is not exact"):
                kernels.compare(kernels.options_of(["compare", folder, "--series", "6.1", "7.3"]))


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

    def test_a_plugin_is_there_whole_or_not_at_all(self):
        def compiler(command, **_):
            path = command[command.index("-o") + 1]
            self.assertFalse(path.endswith(".so"), "an emulator may load it half written")
            open(path, "w", encoding="ascii").close()
            return mock.Mock(returncode=0)

        with tempfile.TemporaryDirectory() as folder, \
                mock.patch.dict(os.environ, {"XDG_CACHE_HOME": folder}), \
                mock.patch.object(guest, "emulator_version", lambda: "QEMU emulator version 7.2.22"), \
                mock.patch.object(profile.shutil, "which", lambda name: name), \
                mock.patch.object(profile.subprocess, "run", compiler):
            path, why = profile.plugin()
            self.assertEqual((os.listdir(images.cache()), why), ([os.path.basename(path)], None))

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
        runs = costs.plan(3, DRIVERS, ["echo"], ["lockstep"])["tasks"][1]["runs"]
        kinds = [(run["count"], run["mark"]) for run in runs]
        self.assertEqual(kinds, [(False, False)] * 2 + [(True, False)] * 2 + [(False, True)] * 2)
        self.assertEqual(len(costs.plan(3, DRIVERS, ["echo"], ["threads"])["tasks"]), 1 + 5)
        some = costs.plan(1, DRIVERS, ["echo"], ["lockstep"], ["uring none", "epoll"])["tasks"][1:]
        self.assertEqual([task["name"] for task in some], ["echo/lockstep/epoll", "echo/lockstep/uring none"])

    def test_a_feature_that_is_off_by_default_is_switched_on_in_echo_in_turns_only(self):
        name, tasks = "uring +incremental", {task["name"]: task for task in costs.plan(3, DRIVERS)["tasks"]}
        self.assertEqual([task for task in tasks if task.endswith(name)], [f"echo/lockstep/{name}"])
        task = tasks[f"echo/lockstep/{name}"]
        self.assertIn("--ring-features=+incremental", task["server"])
        self.assertEqual([(run["count"], run["mark"]) for run in task["runs"]], [(False, False)] * 2)

    def test_a_kernel_that_lacks_a_feature_has_nothing_to_measure_of_it(self):
        here = {"buffer-ring", "direct"}
        for server, lacks in [("uring +incremental", ["incremental"]), ("uring none", []), ("uring", []),
                              ("uring -skip-success", ["skip-success"]), ("uring -direct", [])]:
            self.assertEqual(costs.lacking(server, here), lacks, server)

    def test_a_row_tells_which_feature_its_kernel_lacks(self):
        doctor = {"auto": "uring", "ring_features": [{"name": "incremental", "here": False}]}
        results = {"doctor": [{"out": json.dumps(doctor)}],
                   "echo/lockstep/uring +incremental": [{"error": "the engine does not start"}]}
        boot = mock.Mock(results=results, counts="", seconds=1, about={"kernel": "6.1", "cpu": "", "clock": ""})
        image = images.Image("", "6.1", "6.1.2", "", "", {})
        options = mock.Mock(repeats=1, workload=None, shape=None, server=None, kvm=False, timeout=1)
        with mock.patch.object(guest, "boot", return_value=boot), \
                mock.patch.object(guest, "drivers_of", return_value=DRIVERS):
            (row,) = costs.measure(image, {"engine": "e"}, options, (None, "no plugin"))["rows"]
        self.assertEqual((row["server"], row["absent"]),
                         ("uring +incremental", "this kernel has no incremental"))

    @staticmethod
    def run_of(nanos, counts=None, marked=False, server=0):
        """A run of loadgen; the server's time is all, unless it is told."""
        document = {"outcome": {"elapsed_ns": nanos, "received": 10},
                    "cost": {"server_cpu_ns": nanos if server == 0 else server}}
        return {"exit": 0, "out": json.dumps(document), "counts": counts, "marked": marked}

    def test_runs_that_were_to_be_counted_are_no_repeats_even_where_nothing_was(self):
        run = self.run_of
        runs = [run(100), run(102), run(900, {}), run(950, {}), run(800, None, True)]
        self.assertEqual(costs.figures(runs, "x")["each_all"], [10, 10.2])

    def test_a_row_without_the_servers_time_keeps_its_total(self):
        run = self.run_of
        for servers in [(None, None), (50, None)]:
            found = costs.figures([run(100, server=server) for server in servers], "x")
            self.assertEqual((found["each"], "server_each" in found), (10, False))
        found = costs.figures([run(100, server=40), run(100, server=60)], "x")
        self.assertEqual((found["server_each"], found["spread_percent"], found["server_spread_percent"]),
                         (5.0, 0.0, 40.0))


class Emulators(unittest.TestCase):
    """Which emulator is taken, and what is said where there is none."""

    def setUp(self):
        emulator.command.cache_clear()
        self.addCleanup(emulator.command.cache_clear)
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.enterContext(mock.patch.object(images, "cache", lambda: self.folder))

    def test_one_that_is_installed_is_taken_as_it_is(self):
        with mock.patch.object(shutil, "which", lambda name: f"/usr/bin/{name}"):
            self.assertEqual(emulator.command(), (emulator.PROGRAM,))

    def test_one_that_is_unpacked_starts_with_its_own_libraries_and_firmware(self):
        with mock.patch.object(shutil, "which", lambda name: None), \
                mock.patch.object(unpacking, "release", lambda: "trixie"), \
                mock.patch.object(emulator, "starts", lambda command: True):
            words = emulator.command()
        tree = os.path.join(self.folder, "emulator", "trixie")
        self.assertIn(os.path.join(tree, "lib64/ld-linux-x86-64.so.2"), words)
        self.assertIn(f"QEMU_MODULE_DIR={tree}/usr/lib/x86_64-linux-gnu/qemu", words)
        self.assertIn(os.path.join(tree, "usr/bin", emulator.PROGRAM), words)
        self.assertIn(os.path.join(tree, "usr/share/seabios"), words)

    def test_without_any_the_text_says_what_failed_and_what_to_do(self):
        def no_packages():
            raise images.Missing("no archive")

        with mock.patch.object(shutil, "which", lambda name: None), \
                mock.patch.object(images, "Packages", no_packages), \
                self.assertRaises(images.Missing) as raised:
            emulator.command()
        for word in ["no archive", "apt-get install", emulator.PACKAGE]:
            self.assertIn(word, str(raised.exception))

    def test_what_does_not_start_is_not_kept(self):
        packages = mock.Mock(download=lambda names, suite, folder: None)
        with mock.patch.object(shutil, "which", lambda name: None), \
                mock.patch.object(images, "Packages", lambda: packages), \
                self.assertRaises(images.Missing):
            emulator.command()
        self.assertFalse(os.path.exists(os.path.join(self.folder, "emulator")))

"""Tests of scripts/test: what it counts and says, and how it comes to its tools."""

import ast
import contextlib
import io
import os
import stat
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from suite.checks import cli, steps, tools
from suite.checks.session import Session, StepFailed
from suite.checks.tools import Provider, Tool
from suite.kernels import unpacked
from suite.kernels.images import Missing

SKIPPED = "skipped: what needs ruby, which could not be installed"


class Sessions(unittest.TestCase):
    """What is counted, and what is said at the end."""

    def setUp(self):
        self.said = io.StringIO()
        self.session = Session(lambda text, **_: print(text, file=self.said))

    def end(self, automatic=False):
        """The exit code and the last lines."""
        self.said.truncate(0)
        self.said.seek(0)
        code = self.session.end(automatic)
        return code, self.said.getvalue().splitlines()

    def python(self, text, **more):
        """Runs a line of Python."""
        return self.session.run(sys.executable, "-c", text, **more)

    def test_steps_end_at_their_first_error_and_the_others_run(self):
        def bad(session):
            session.run("false")
            self.fail("it went on after an error")

        self.session.step("bad", bad)
        self.session.step("good", lambda session: session.run("true"))
        code, lines = self.end()
        self.assertEqual((code, lines[-1]), (1, "1 passed, 1 failed, 0 skipped"))
        self.assertIn("failed: bad", lines)

    def test_skipped_lines_of_programs_are_counted_once(self):
        for quiet in (False, True):
            self.python(f"print('{SKIPPED}'); print('hidden')", quiet=quiet)
        self.assertEqual(self.said.getvalue().count("hidden"), 1, "what is quiet shows nothing else")
        code, lines = self.end()
        self.assertEqual((code, lines[-1]), (0, "0 passed, 0 failed, 1 skipped"))
        self.assertIn(SKIPPED, lines)

    def test_where_nobody_looks_what_is_missing_fails(self):
        self.session.skip("kernel 5.10: this machine's archives have 6.1")
        self.session.skip("kernels, the other checks took 21 minutes here; `scripts/test kernels` runs them")
        self.assertEqual(self.end(automatic=True)[0], 0, "these may be")
        for line in (SKIPPED, "skipped: every kernel: there is no emulator", "skipped: npm ws, it cannot be installed"):
            self.session.skipped = {line: None}
            self.assertEqual(self.end(automatic=False)[0], 0)
            self.session.failed = []
            code, lines = self.end(automatic=True)
            self.assertEqual((code, lines[-1]), (1, "0 passed, 1 failed, 1 skipped"), line)
            self.session.failed = []

    def test_what_is_quiet_is_shown_where_it_fails(self):
        with self.assertRaises(StepFailed):
            self.python("print('why'); raise SystemExit(3)", quiet=True)
        self.assertIn("why\n", self.said.getvalue())
        self.assertEqual(self.python("raise SystemExit(3)", must=False), 3)

    def test_it_says_where_the_time_went(self):
        self.session.steps = [("fmt", 2.0), ("test", 400.0)]
        self.session.sections = [("test: doc tests", 300.0), ("fmt: x", 2.0), ("test: unit", 100.0)]
        _, lines = self.end()
        self.assertTrue(lines[-4].endswith("fmt 2 s, test 400 s"), lines)
        self.assertEqual(lines[-3:-1], ["     300 s  test: doc tests", "     100 s  test: unit"])


class Tools(unittest.TestCase):
    """Installed, unpacked or missing."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(mock.patch.dict(os.environ, {"XDG_CACHE_HOME": self.folder}))
        self.enterContext(mock.patch.object(tools.shutil, "which", lambda name: name))
        self.session = Session(lambda *_, **__: None)
        self.tool = Tool("mine | grep unpacked", "p", programs={"mine": "usr/bin/mine"}, MINE=["usr/*"])
        self.provider = Provider(self.session)

    def fetch(self, tree, names, works, left_out):
        """A package with a program that says its environment."""
        self.assertEqual((names, left_out), (["p"], ("libc6",)))
        os.makedirs(os.path.join(tree, "usr", "bin"))
        path = os.path.join(tree, "usr", "bin", "mine")
        with open(path, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\necho unpacked $MINE\n")
        os.chmod(path, stat.S_IRWXU)
        self.assertIsNone(works(tree))

    def test_what_cannot_be_installed_beside_what_is_there_is_unpacked(self):
        with mock.patch.object(unpacked, "fetch", self.fetch), \
                mock.patch.object(self.provider, "install", lambda _: False):
            self.provider.one(self.tool)
        self.assertEqual(self.session.skipped, {})
        out = subprocess.run(["mine"], capture_output=True, text=True, check=True).stdout
        self.assertRegex(out, rf"unpacked {self.folder}/.*/p/usr/bin\n")

    def test_what_cannot_be_had_at_all_is_told(self):
        def no(*_, **__):
            raise Missing("no archive")

        with mock.patch.object(unpacked, "fetch", no), mock.patch.object(self.provider, "install", lambda _: False):
            self.provider.one(self.tool)
            self.provider.one(Tool("false", "gcc"))
        self.assertEqual([line.split(",")[0] for line in self.session.skipped],
                         ["skipped: what needs p", "skipped: what needs gcc"])

    def test_nothing_that_is_there_is_removed(self):
        run = mock.Mock(return_value=0)
        with mock.patch.object(self.session, "run", run), mock.patch.object(tools.os, "geteuid", lambda: 0):
            self.assertTrue(self.provider.install(Tool("true", "p")))
            self.assertTrue(self.provider.install(Tool("true", "q")))
        calls = [call.args for call in run.call_args_list]
        self.assertEqual([call[1] for call in calls], ["update", "install", "install"])
        self.assertTrue(all("--no-remove" in call for call in calls[1:]))

    def test_every_step_that_needs_a_tool_is_a_step(self):
        known = {step.__name__ for step in [*steps.ALL, *steps.BY_NAME]}
        self.assertLessEqual(set(tools.NEEDED), known)
        self.assertLessEqual({name for names in tools.NEEDED.values() for name in names}, set(tools.TOOLS))


class Steps(unittest.TestCase):
    """Which steps run."""

    def test_the_help_has_every_step(self):
        for step in [*steps.ALL, *steps.BY_NAME]:
            self.assertRegex(cli.__doc__, rf"\n    {step.__name__} ")

    def test_names_choose_steps(self):
        self.assertEqual(cli.chosen([]), (steps.ALL, True))
        self.assertEqual(cli.chosen(["asan", "fmt"]), ([steps.asan, steps.fmt], False))
        with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit) as end:
            cli.chosen(["nothing"])
        self.assertEqual(end.exception.code, 2)
        self.assertIn("no such step: nothing", said.getvalue())

    def test_a_whole_run_that_took_long_does_less_of_the_kernels(self):
        session = mock.Mock(elapsed=lambda: steps.SHORT_AFTER + 1)
        session.section = lambda title: contextlib.nullcontext()
        session.run = mock.Mock(return_value=0)
        steps.kernels(session, whole=True)
        words = [call.args for call in session.run.call_args_list]
        self.assertIn("none", words[0])
        self.assertEqual(words[1].count("--series"), 1)
        session.skip.assert_called_once()
        session.run.reset_mock()
        steps.kernels(session)
        self.assertEqual(session.run.call_args_list[1].args.count("--series"), 3)


class Tidy(unittest.TestCase):
    """Budgets of the suite itself."""

    def test_files_and_functions_are_within_their_budget(self):
        root = os.path.join(steps.BENCHES, "suite")
        lengths, wrong = [], []
        for folder, _, names in os.walk(root):
            for name in sorted(name for name in names if name.endswith(".py")):
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                if text.count("\n") > 600:
                    wrong.append(f"{path}: {text.count(chr(10))} lines, 600 at most")
                for node in ast.walk(ast.parse(text)):
                    if isinstance(node, ast.FunctionDef):
                        length = (node.end_lineno or 0) - node.body[0].lineno + 1
                        lengths.append(length)
                        if length > 70:
                            wrong.append(f"{path}: `{node.name}` has {length} lines, 70 at most")
        self.assertGreater(len(lengths), 300)
        self.assertEqual(wrong, [])
        self.assertLessEqual(sorted(lengths)[len(lengths) // 2], 8, "the median function")

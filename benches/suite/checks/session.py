"""One run of scripts/test: commands whose output is shown as it comes, what was skipped, and where the time went."""

import contextlib
import os
import re
import subprocess
import time

from suite.machine import ROOT
from suite.report import duration

SKIPPED = "skipped: "
# What may be skipped where nobody looks: kernels that the archives have no more, and what there was no time for.
MAY_BE_SKIPPED = re.compile(r"skipped: (kernel \S+:|.*, the other checks took )")
# Sections that took less are not told.
TOLD = 10


class StepFailed(Exception):
    """A step has come to its first error."""


class Session:
    """What was run, and what came of it."""

    def __init__(self, show=print):
        self.began, self.show = time.monotonic(), show
        self.skipped: dict[str, None] = {}
        self.passed: list[str] = []
        self.failed: list[str] = []
        self.steps: list[tuple[str, float]] = []
        self.sections: list[tuple[str, float]] = []
        self.child: subprocess.Popen | None = None

    def elapsed(self):
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def say(self, text):
        """A line, at once."""
        if text.startswith(SKIPPED):
            self.skipped[text] = None
        self.show(text, flush=True)

    @contextlib.contextmanager
    def section(self, title):
        """A part of a step, and how long it took."""
        self.say(f"\n=== {title}")
        began = time.monotonic()
        try:
            yield
        finally:
            self.sections.append((title, time.monotonic() - began))

    def skip(self, what):
        """Something that is not done, and why."""
        self.say(f"{SKIPPED}{what}")

    def run(self, *command, must=True, quiet=False, where=ROOT, **environment):
        """Runs a command, in the work tree or where is said; its exit code. What it says is shown as it comes, or if
        it is quiet only where it fails.
        """
        lines = []
        self.child = subprocess.Popen(command, cwd=where, env={**os.environ, **environment}, text=True,
                                      errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT)
        assert self.child.stdout is not None
        with self.child.stdout as said:
            for line in said:
                text = line.rstrip("\n")
                if quiet and not text.startswith(SKIPPED):
                    lines.append(text)
                else:
                    self.say(text)
        code = self.child.wait()
        if code and must:
            for text in lines:
                self.show(text)
            self.show(f"`{' '.join(command)}` ended with {code}", flush=True)
            raise StepFailed
        return code

    def step(self, name, what):
        """A step of its own: it ends at its first error, and the next one still runs."""
        began = time.monotonic()
        try:
            what(self)
            self.passed.append(name)
        except StepFailed:
            self.failed.append(name)
        took = time.monotonic() - began
        self.steps.append((name, took))
        self.say(f"--- {name}: {'FAILED' if name in self.failed else 'ok'} after {took:.0f} s")

    def end(self, automatic):
        """What is told at the end; the exit code. Where nobody looks, checks that did not run for want of
        something must not look like checks that passed.
        """
        self.show("")
        for line in sorted(self.skipped):
            self.show(line)
        if automatic and any(not MAY_BE_SKIPPED.match(line) for line in self.skipped):
            self.failed.append("what is missing")
        if self.failed:
            self.show(f"failed: {', '.join(self.failed)}")
        longest = sorted(self.sections, key=lambda section: -section[1])[:5]
        self.show(f"{duration(self.elapsed())}: " + ", ".join(f"{name} {took:.0f} s" for name, took in self.steps))
        for title, took in longest:
            if took >= TOLD:
                self.show(f"    {took:4.0f} s  {title}")
        self.show(f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} skipped", flush=True)
        return int(bool(self.failed))

    def stop(self):
        """Ends what is running."""
        if self.child and self.child.poll() is None:
            self.child.terminate()

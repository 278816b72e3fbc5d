"""Servers that are started, clients that are run against them, and what came of each pair."""

import contextlib
import os
import subprocess
import tempfile
import time

from suite.machine import ROOT

COMES_UP = 10.0  # seconds until a server must listen, or after SIGTERM have ended
LASTS = 180  # seconds that a client may take


class DidNotComeUp(Exception):
    """A server that does not listen; the text is what it said."""


class Started:
    """A server that listens."""

    def __init__(self, command, environment):
        self.out, self.err = (tempfile.TemporaryFile("w+", errors="replace") for _ in range(2))
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=self.err, text=True)
        address = self.wait()
        if address is None:
            self.end()
            raise DidNotComeUp(f"did not come up: {' '.join(command)}\n{indented(self.said())}")
        self.url = f"{address}/" if address.startswith("wss://") else f"ws://{address}/"

    def wait(self):
        """Where it listens, as soon as it says so."""
        end = time.monotonic() + COMES_UP
        while time.monotonic() < end:
            found = [line for line in text_of(self.out).splitlines(True) if line.startswith("listening on ")]
            if found and found[0].endswith("\n"):
                return found[0].removeprefix("listening on ").strip()
            if self.process.poll() is not None:
                return None
            time.sleep(0.05)
        return None

    def said(self):
        """What it has said so far."""
        return text_of(self.err) + text_of(self.out)

    def end(self):
        """Sends SIGTERM, which must end it; its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(COMES_UP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def text_of(file):
    """All that a process has written to a file; where it goes on writing stays."""
    return os.pread(file.fileno(), 1 << 24, 0).decode("utf-8", "replace")


def indented(text):
    """Lines as what is said of the line above."""
    return "\n".join(f"    {line}" for line in text.splitlines())


class Pairs:
    """All of a run."""

    def __init__(self):
        self.failed: list[str] = []
        # Of every program that is started, besides our own environment.
        self.around: dict[str, str] = {}

    def say(self, text):
        """A line, at once."""
        print(text, flush=True)

    def skip(self, what):
        """Something that cannot run here, and why."""
        self.say(f"skipped: {what}")

    def environment(self, more=None):
        """What a program is started with."""
        return {**os.environ, **self.around, **(more or {})}

    @contextlib.contextmanager
    def server(self, name, *command, graceful=True, environment=None):
        """A server for as long as it is used; None if it does not come up. SIGTERM must end it with code 0."""
        try:
            started = Started(command, self.environment(environment))
        except DidNotComeUp as why:
            self.say(str(why))
            self.failed.append(name)
            yield None
            return
        try:
            yield started.url
        except BaseException:
            started.end()
            raise
        code = started.end()
        if graceful and code != 0:
            self.say(f"    {name} ended with code {code} on SIGTERM\n{indented(started.said())}")
            self.failed.append(f"{name}: end")

    def pair(self, name, *command, environment=None):
        """Runs a client; whether all was well."""
        try:
            done = subprocess.run(command, cwd=ROOT, env=self.environment(environment), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                  timeout=LASTS, check=False)
            code, said = done.returncode, done.stdout.splitlines()
        except subprocess.TimeoutExpired as late:
            shown = late.stdout or b""
            said = (shown if isinstance(shown, str) else shown.decode("utf-8", "replace")).splitlines()
            code = 124
        if code == 0:
            self.say(f"{name} ... ok ({(said or [''])[-1][:100]})")
            return True
        told = [line for line in said if not line.endswith(" ok") and "... ok (" not in line]
        self.say("\n".join([f"{name} ... FAILED (code {code})", *(f"    {line}" for line in told)]))
        self.failed.append(name)
        return False

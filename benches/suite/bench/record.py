"""The folder of a run of scripts/bench: what is measured, every window, the documents of loadgen.


    run.json                    what is measured, with what; what a later part must have in common
    raw.csv                     every window, also those that are not counted
    env.txt                     the machine before and after

and, with --keep there, too, but without it below cargo's target folder, in bench/NAME, since it is much and
nobody reads all of it:

    runs/WORKLOAD/DRIVER-DIALECT.ROUND.json
                                loadgen's document of each window that counts: `loadgen compare` and
                                `loadgen report` take them as they are
    logs/                       the engine's own lines
    report.html                 what `loadgen report` draws of them
"""

import json
import os
import platform
import sys
import time

from suite.bench import plans
from suite.machine import ROOT, CannotRun, near, target
from suite.report import append, duration, read

COLUMNS = ["workload", "driver", "dialect", "round", "kept", "count", "seconds", "ns_each", "per_second",
           "calls_each", "server_busy", "client_busy", "p50_ns", "p99_ns", "p999_ns", "limited_by",
           "steal", "generator_waited", "failure"]
FORM = 2  # of run.json


class Run:
    """A run that is going on, or was."""

    def __init__(self, folder, facts):
        self.folder, self.facts = folder, facts
        self.plan = plans.plan(facts["plan_file"], facts["plan"], facts["overrides"])
        raw = os.path.join(folder, "raw.csv")
        self.rows = read(folder) if os.path.exists(raw) else []

    @classmethod
    def begin(cls, folder, facts):
        """A new one."""
        try:
            os.makedirs(folder, exist_ok=True)
            left = os.listdir(folder)
        except OSError as error:
            raise CannotRun(f"cannot make {folder}: {error.strerror}") from None
        if "run.json" in left:
            raise CannotRun(f"{folder} holds a run already; go on with it by --resume {folder}, or choose "
                            "another --out")
        if left:
            raise CannotRun(f"{folder} is not empty; choose another --out")
        run = cls(folder, {"form": FORM, **facts, "finished": None})
        run.note()
        return run

    @classmethod
    def open(cls, folder):
        """One that is there."""
        try:
            with open(os.path.join(folder, "run.json"), encoding="utf-8") as file:
                facts = json.load(file)
        except FileNotFoundError:
            raise CannotRun(f"{folder} holds no run of scripts/bench: it has no run.json") from None
        except (OSError, ValueError) as error:
            raise CannotRun(f"{folder}/run.json cannot be read: {error}") from None
        if not isinstance(facts, dict) or facts.get("form") != FORM:
            raise CannotRun(f"{folder} holds a run of another version of scripts/bench")
        return cls(folder, facts)

    def must_agree(self, now):
        """Windows of other programs or another kernel have no place in it."""
        for key, value in now.items():
            if self.facts.get(key) != value:
                raise CannotRun(f"{self.folder} is of another {key.replace('_', ' ')}: "
                                f"{self.facts.get(key)}, now {value}; begin a new run")

    def note(self):
        """Writes run.json, so that it is whole at any time."""
        path = os.path.join(self.folder, "run.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.facts, file, indent=2)
            file.write("\n")
        os.replace(path + ".new", path)

    def path(self, name):
        """A file of the folder."""
        return os.path.join(self.folder, name)

    @property
    def aside(self):
        """The folder of what is only kept if that was asked for."""
        name = self.facts.get("documents")
        return os.path.join(target(), "bench", name) if name else self.folder

    def path_aside(self, *parts):
        """A file of that folder; what it lies in is made."""
        path = os.path.join(self.aside, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def document(self, case, driver, dialect, round_number):
        """Where loadgen's document of a window is."""
        return os.path.join(self.aside, "runs", case, f"{driver}-{dialect}.{round_number}.json")

    def must_have_documents(self):
        """Ends where documents of windows that count are not there any more."""
        if any(row["kept"] for row in self.rows) and not os.path.isdir(os.path.join(self.aside, "runs")):
            raise CannotRun(f"loadgen's documents of {self.folder} are gone: they were in {near(self.aside)}; measure "
                            "it again, with --keep to have them beside its summary")

    def add(self, case, driver, dialect, round_number, text=None, **figures):
        """One more window, and loadgen's document of it if it counts."""
        row = {key: figures.get(key) for key in COLUMNS}
        row.update(workload=case, driver=driver, dialect=dialect, round=round_number)
        if text is not None and row["kept"]:
            path = self.document(case, driver, dialect, round_number)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        self.rows.append(row)
        append(self.path("raw.csv"), COLUMNS, [row])

    def complete(self, case, ways):
        """How many rounds have a good window of every one of these ways, and the last round."""
        kept: dict[int, set] = {}
        last = 0
        for row in self.rows:
            if row["workload"] == case:
                last = max(last, row["round"])
                if row["kept"]:
                    kept.setdefault(row["round"], set()).add((row["driver"], row["dialect"]))
        return len([found for found in kept.values() if found >= set(ways)]), last

    def left_out(self, case):
        """The ways that cannot be measured, as was found before."""
        return {(row["driver"], row["dialect"]) for row in self.rows
                if row["workload"] == case and row["round"] == 0}


def name_of(facts):
    """What a run is called."""
    return f"{facts['utc']}-{facts['commit']}" + (f"-{facts['label']}" if facts["label"] else "")


def folder_for(name):
    """Where a run is kept if nothing is said."""
    folder = os.path.join(ROOT, "results", platform.release(), name)
    return os.path.relpath(folder) if os.path.relpath(folder).count("..") == 0 else folder


class Progress:
    """Where a run is, on standard error: one line that is written over on a terminal."""

    def __init__(self, total, expected, stream=None):
        self.total, self.done, self.expected = total, 0, expected
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.colour = self.live and not os.environ.get("NO_COLOR")
        self.began, self.at_start = time.monotonic(), 0

    def skip(self, count):
        """Windows that were measured before."""
        self.done += count
        self.at_start += count

    def left(self):
        """Seconds that remain: as was estimated at first, then as the windows took."""
        measured, ahead = self.done - self.at_start, max(self.total - self.done, 0)
        guess = self.expected / max(self.total, 1)
        taken = time.monotonic() - self.began
        # The estimate weighs as much as ten windows.
        return (taken + 10 * guess) / (measured + 10) * ahead

    def at(self, what):
        """What is measured now."""
        if self.live:
            self.write(f"[{self.done:.0f}/{self.total:.0f}] {what}; about {duration(self.left())} left")

    def step(self):
        """A window has ended."""
        self.done += 1

    def back(self, count):
        """Windows that were done are measured again."""
        self.done -= count

    def drop(self, count):
        """Windows that were to come never will."""
        self.expected -= count * self.expected / max(self.total, 1)
        self.total -= count

    def milestone(self, what):
        """A line that stays where lines cannot be written over."""
        if not self.live:
            print(f"bench: [{self.done:.0f}/{self.total:.0f}] {what}; about {duration(self.left())} left",
                  file=self.stream, flush=True)

    def say(self, text):
        """Something that must be read."""
        self.clear()
        dim, plain = ("\x1b[33m", "\x1b[0m") if self.colour else ("", "")
        print(f"{dim}bench: {text}{plain}", file=self.stream, flush=True)

    def write(self, line):
        """Over the last line."""
        try:
            width = os.get_terminal_size(self.stream.fileno()).columns or 80
        except OSError:
            width = 80
        self.stream.write(f"\r\x1b[K{line[:max(width - 1, 20)]}")
        self.stream.flush()

    def clear(self):
        """Nothing stands there."""
        if self.live:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

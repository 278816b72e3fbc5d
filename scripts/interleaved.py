"""What the comparing scripts share: servers on one CPU, the machine's state, the programs.

Not a program of its own: scripts/floor and scripts/drivers import it.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAME = os.path.basename(sys.argv[0])


class Server:
    """A running server."""

    def __init__(self, name, command, cpu):
        self.name = name
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(["taskset", "-c", str(cpu), *command],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            self.log.seek(0)
            sys.exit(f"{NAME}: {' '.join(command)} did not start\n{self.log.read()}")
        # An engine says wss:// where it speaks TLS.
        self.secure = "wss://" in line
        self.address = line.split()[-1].removeprefix("wss://")

    def cpu_nanos(self):
        """CPU time of all its threads so far."""
        total = 0
        tasks = f"/proc/{self.process.pid}/task"
        for task in os.listdir(tasks):
            try:
                with open(f"{tasks}/{task}/schedstat", encoding="ascii") as stat:
                    total += int(stat.read().split()[0])
            except FileNotFoundError:
                pass  # the thread has just ended
        return total

    def counters(self):
        """An engine's counters, which it logs when it gets SIGUSR1."""
        def lines():
            self.log.seek(0)
            return [line for line in self.log.read().splitlines() if " counters " in line]

        known = len(lines())
        self.process.send_signal(signal.SIGUSR1)
        for _ in range(500):
            time.sleep(0.01)
            now = lines()
            if len(now) > known:
                return now[-1]
        sys.exit(f"{NAME}: {self.name} does not tell its counters")

    def wait_until_quiet(self):
        """Until it has dealt with the end of the last window's connections."""
        before = self.cpu_nanos()
        for _ in range(200):
            time.sleep(0.02)
            now = self.cpu_nanos()
            if now - before < 200_000:
                return
            before = now

    def stop(self):
        """Ends it, at the latest after five seconds."""
        self.process.terminate()
        try:
            self.process.wait(1)
            return
        except subprocess.TimeoutExpired:
            # The engine drains on the first signal and ends on the second.
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(4)
        except subprocess.TimeoutExpired:
            self.process.kill()


def ticks(cpu):
    """Of one CPU: ticks in use, stolen, and all of them."""
    with open("/proc/stat", encoding="ascii") as stat:
        line = next(line for line in stat if line.startswith(f"cpu{cpu} "))
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, line.split()[1:9])
    busy = user + nice + system + irq + softirq
    return busy, steal, busy + steal + idle + iowait


def build(options):
    """Builds the programs, and says where they are."""
    if options.bin_dir is None:
        subprocess.run(["cargo", "build", "--release", "--quiet", "--bins", "-p", "ringbolt",
                        "-p", "ringbolt-benches", "-p", "ringbolt-loadgen"], cwd=ROOT, check=True)
        target = os.environ.get("CARGO_TARGET_DIR", "target")
        options.bin_dir = os.path.join(ROOT, target, "release")

    def program(name):
        path = os.path.join(options.bin_dir, name)
        if not os.access(path, os.X_OK):
            sys.exit(f"{NAME}: there is no {path}; build it, or leave --bin-dir out")
        return path

    options.program = program


def note_environment(options):
    """Writes down what was measured and on what machine."""
    def output(*command):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
        return done.stdout.strip() if done.returncode == 0 else "unknown"

    with open(os.path.join(options.out, "env.txt"), "w", encoding="utf-8") as file:
        file.write(f"utc: {time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}\n")
        file.write(f"commit: {output('git', 'describe', '--always', '--dirty')}\n")
        file.write(f"command: scripts/{NAME} {' '.join(sys.argv[1:])}\n")
        file.write(f"cpu of the servers: {options.server_cpu}; of the client: {options.client_cpu}\n")
        file.write(output(os.path.join(ROOT, "scripts", "environment")) + "\n")

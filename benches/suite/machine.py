"""The machine: its CPUs and limits, what else it does, the work tree, certificates for TLS."""

import functools
import os
import resource
import subprocess
import sys
import time

from suite import NAME, environment

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class CannotRun(Exception):
    """Why nothing can be measured here, in one sentence."""

    # What the program ends with.
    code = 3


def guarded(main):
    """A program's main function, which ends with a sentence and a code of its own where it cannot run here."""
    @functools.wraps(main)
    def wrapped():
        try:
            return main()
        except CannotRun as error:
            print(f"{NAME}: {error}", file=sys.stderr)
            return error.code
        except KeyboardInterrupt:
            print(f"{NAME}: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # Nobody reads any more, such as `head`; nor the flush at the end of Python.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
    return wrapped


def target():
    """Where cargo leaves what it builds, and we what we fetch."""
    return os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"))


def near(folder):
    """A folder as it is seen from here, if it is below."""
    relative = os.path.relpath(folder)
    return folder if relative.startswith("..") else relative


def cpu_list(text):
    """CPUs from a list such as 0,2-3."""
    found = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            raise ValueError(f"`{text}` is no list of CPUs; 0,2-3 is one") from None
        if high < low or high - low > 4096:
            raise ValueError(f"`{part}` is no range of CPUs")
        found += range(low, high + 1)
    return list(dict.fromkeys(found))


def siblings_of(cpu):
    """The CPUs that are threads of the same core, itself among them."""
    path = f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    try:
        with open(path, encoding="ascii") as file:
            return set(cpu_list(file.read().strip()))
    except (OSError, ValueError):
        return {cpu}


def share_out(usable, shards, siblings=siblings_of):
    """CPUs for the server and for the generator: as many for both, of different cores if there are."""
    half = (len(usable) + 1) // 2
    count = half if shards == "half" else shards
    if count > half:
        raise CannotRun(f"{count} shards need as many CPUs, and loadgen others; of {len(usable)} CPUs the "
                        f"server can have {half}: lower the key `shards` of the plan")
    server = usable[:count]
    taken = set().union(*(siblings(cpu) for cpu in server))
    rest = [cpu for cpu in usable if cpu not in server]
    rest.sort(key=lambda cpu: cpu in taken)
    # A machine with one CPU has nothing else to give.
    return server, rest[:count] or server


def cpus(plan, options):
    """What the options say, or what is shared out."""
    usable = sorted(os.sched_getaffinity(0))
    chosen = [options.server_cpus, options.generator_cpus]
    for cpu in [cpu for some in chosen for cpu in some or []]:
        if cpu not in usable:
            raise CannotRun(f"CPU {cpu} cannot be used here; these can: {','.join(map(str, usable))}")
    if all(chosen):
        return chosen
    if chosen[0]:
        rest = [cpu for cpu in usable if cpu not in chosen[0]]
        return chosen[0], rest[:len(chosen[0])] or chosen[0]
    if chosen[1]:
        usable = [cpu for cpu in usable if cpu not in chosen[1]] or usable
        count = (len(usable) if plan.shards == "half" else plan.shards)
        return usable[:count], chosen[1]
    return share_out(usable, plan.shards)


def raise_file_limit():
    """Gives the programs as many open files as they may have; says how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def certify(folder):
    """A certificate for localhost and 127.0.0.1: the engine's arguments."""
    paths = [os.path.join(folder, name) for name in ("cert.pem", "key.pem")]
    try:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "7", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-addext", "basicConstraints=critical,CA:FALSE",
                        "-out", paths[0], "-keyout", paths[1]],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        raise CannotRun("openssl, which makes the certificate for TLS, is missing or failed") from None
    return ["--listen-tls", "127.0.0.1:0", "--tls-cert", paths[0], "--tls-key", paths[1]]


def commit():
    """The commit that is checked out, and whether it was changed since."""
    name = output_of("git", "rev-parse", "--short", "HEAD")
    if name == "unknown":
        return "nogit"
    return name + ("-dirty" if output_of("git", "status", "--porcelain", "--untracked-files=no")
                   else "")


def ticks(cpu=""):
    """Of one CPU, or of all of them: ticks in use, stolen, and all of them."""
    with open("/proc/stat", encoding="ascii") as stat:
        line = next(line for line in stat if line.startswith(f"cpu{cpu} "))
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, line.split()[1:9])
    busy = user + nice + system + irq + softirq
    return busy, steal, busy + steal + idle + iowait


def output_of(*command):
    """What a program prints; "unknown" if it cannot."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def utc():
    """Now."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


class Environment:
    """env.txt: the machine before and after each part of a run."""

    def __init__(self, folder, command, run):
        self.path = os.path.join(folder, "env.txt")
        self.before = ticks()
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"utc: {utc()}\ncommand: {command}\ncommit: {run['commit']}\n"
                       f"cpus of the engine: {show(run['server_cpus'])}; "
                       f"of loadgen: {show(run['generator_cpus'])}\n")
            file.write(environment.text() + "\n")

    def after(self, how):
        """Notes the end, and how it came."""
        now = ticks()
        whole = max(now[2] - self.before[2], 1)
        busy, stolen = ((now[i] - self.before[i]) / whole * 100 for i in (0, 1))
        with open("/proc/loadavg", encoding="ascii") as file:
            load = file.read().strip()
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"after: {utc()}, {how}; load average: {load}; all CPUs meanwhile: {busy:.1f} % "
                       f"in use, {stolen:.2f} % stolen by the hypervisor\n\n")


def show(cpus_of):
    """CPUs as an option has them."""
    return ",".join(map(str, cpus_of))


def note_environment(options, mode="w"):
    """Writes down what was measured and on what machine; mode "a" adds to what is there."""
    with open(os.path.join(options.out, "env.txt"), mode, encoding="utf-8") as file:
        file.write(f"utc: {utc()}\n")
        file.write(f"commit: {output_of('git', 'describe', '--always', '--dirty')}\n")
        file.write(f"command: scripts/{NAME} {' '.join(sys.argv[1:])}\n")
        file.write(f"cpu of the servers: {options.server_cpu}; of the client: {options.client_cpu}\n")
        file.write(environment.text() + "\n")

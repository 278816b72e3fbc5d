"""Where a guest's instructions go: user code, and the kernel's functions by what they are for.

A plugin of QEMU counts (counter.c); the
guest itself cannot tell whether one is there.
"""

import bisect
import os
import re
import shutil
import subprocess
import zlib

from suite.kernels import guest
from suite.kernels.images import cache

# The system call by which a guest marks the beginning and the end of a run.
MARK = "__x64_sys_sethostname"
# The first group that a function's name fits is its own.
GROUPS = {
    "ring": r"(__x64_sys_|__do_sys_)?_*(io_(?!schedule|apic)|iou_|req_ref|tctx_|ctx_flush|handle_tw_list)",
    "epoll": r"_*ep_|.*epoll|eventpoll",
    "TCP and IP": r"_*(tcp|inet6?|ip6?|ipv4|dst|rt|fib|nf|tso|csum)_",
    "sockets, buffers, loopback": r"_*(skb|sk|sock|socket|sockfd|lock_sock|release_sock|alloc_skb|"
                                  r"kfree_skb|consume_skb|napi|netif|net|dev|loopback|eth|"
                                  r"process_backlog|validate_xmit|pskb|import_|simple_copy|move_addr|"
                                  r"(__x64_)?sys_(send|recv)|__sys_(send|recv)|____sys|datagram|iov)",
    "scheduler": r".*(sched|enqueue|dequeue|pick_|update_curr|try_to_wake|ttwu|select_task|set_next|"
                 r"put_prev|wake_|wakeup|context_switch|switch_|finish_task|load_avg|cpuacct|cgroup|"
                 r"resched|runqueue|prepare_task|idle)|_*(rt_rq|rq_|wait)",
    "memory and copies": r".*(kmem|kmalloc|kfree|slab|mem(cpy|set|move)|copy|clear_page|page|"
                         r"check_object|check_heap|kvfree|fault)",
    "timers and clocks": r".*(timer|ktime|clock|jiffies|tick|tsc)",
    "locks": r".*(spin|mutex|rcu|lockref|lock)",
    "entering and leaving": r".*(entry|syscall|exit_to_user|irq|swapgs|error_return|__x64_sys|"
                            r"fdget|fget|fput|security_|apparmor|ksys_|vfs_)",
}
REST = "the rest of the kernel"
# So many functions are kept of each row.
FUNCTIONS = 25


def plugin():
    """The compiled plugin for this emulator, or None and why."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        return None, "no C compiler is here"
    version = tuple(map(int, re.findall(r"\d+", guest.emulator_version())[:2]))
    api = 1 if version < (8, 2) else 2 if version < (9, 1) else 3 if version < (9, 2) else 4
    os.makedirs(cache(), exist_ok=True)
    path = os.path.join(cache(), f"counter-{api}.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "counter.c")
    # Aside first: an emulator of another run may be loading it.
    part = f"{path}.{os.getpid()}.part"
    done = subprocess.run([compiler, "-O2", "-shared", "-fPIC", f"-DAPI={api}", "-o", part, source],
                          capture_output=True, text=True)
    if done.returncode != 0:
        return None, f"the plugin does not compile: {done.stderr.strip()}"
    os.replace(part, path)
    return path, None


class Symbols:
    """The functions of a kernel, by address."""

    def __init__(self, text):
        pairs = sorted((int(address, 16), name) for address, name in map(str.split, text.splitlines()))
        self.addresses = [address for address, _ in pairs]
        self.names = [name for _, name in pairs]

    def name(self, address):
        """The function that an address is in."""
        at = bisect.bisect_right(self.addresses, address) - 1
        return self.names[at] if at >= 0 else "?"

    def mark(self):
        """The address of the system call that marks."""
        return next((address for address, name in zip(self.addresses, self.names) if name == MARK), None)


def symbols_of(image, programs, seconds):
    """The functions of an image: asked of the kernel itself, once."""
    path = os.path.join(cache(), "symbols", image.sha256)
    if not os.path.exists(path):
        boot = guest.boot(image, {"guest": programs["guest"]}, {"symbols": True, "tasks": []}, seconds)
        packed = next(line["symbols"] for line in boot.lines if "symbols" in line)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".part", "wb") as file:
            file.write(bytes.fromhex(packed))
        os.replace(path + ".part", path)
    with open(path, "rb") as file:
        return Symbols(zlib.decompress(file.read()).decode())


def sections(text):
    """What the plugin has written, from mark to mark."""
    found = []
    for line in text.splitlines():
        what, count = line.split()
        if what == "mark":
            found.append({})
        elif what in ("user", "rep"):
            found[-1][what] = int(count)
        else:
            address = int(what, 16)
            found[-1][address] = found[-1].get(address, 0) + int(count)
    return found


def group_of(name):
    """What a function is for."""
    return next((group for group, pattern in GROUPS.items() if re.match(pattern, name)), REST)


def per_message(few, many, messages, symbols):
    """The figures of a row, from two runs of which one has so many messages more."""
    functions, user, rep = {}, 0, 0
    for what in few.keys() | many.keys():
        count = (many.get(what, 0) - few.get(what, 0)) / messages
        if what == "user":
            user = count
        elif what == "rep":
            rep = count
        else:
            name = symbols.name(what)
            functions[name] = functions.get(name, 0) + count
    groups = dict.fromkeys([*GROUPS, REST], 0)
    for name, count in functions.items():
        groups[group_of(name)] += count
    dearest = sorted(functions.items(), key=lambda item: -item[1])[:FUNCTIONS]
    return {"user": user, "kernel": sum(functions.values()), "rep": rep, "groups": groups,
            "functions": dict(dearest)}

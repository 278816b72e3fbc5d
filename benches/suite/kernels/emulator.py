"""The emulator that kernels run in: the machine's own, or one that is unpacked beside the kernels.

Where no emulator is installed, its package and all
that this needs are fetched as kernels are, from the same signed lists, and unpacked into the cache. Nothing
is installed: installing it could replace packages that the machine needs.
"""

import functools
import os
import shutil
import subprocess
import tempfile

from suite.kernels import images
from suite.kernels.images import Missing

PROGRAM = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
# Where the machine's own release is not known; the counts of two versions may differ.
SUITE = "trixie"
LIBRARIES = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"]
FIRMWARE = ["usr/share/qemu", "usr/share/seabios"]


def release():
    """The suite whose emulator is fetched: the machine's own release, where it is one of Debian's."""
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            fields = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    except OSError:
        return SUITE
    name = fields.get("VERSION_CODENAME", "").strip('"')
    return name if name in images.SUITES else SUITE


def command_in(tree):
    """How an unpacked emulator is started: with its own libraries, modules and firmware."""
    libraries = ":".join(os.path.join(tree, folder) for folder in LIBRARIES)
    firmware = [word for folder in FIRMWARE for word in ("-L", os.path.join(tree, folder))]
    modules = os.path.join(tree, LIBRARIES[-1], "qemu")
    return ["env", f"QEMU_MODULE_DIR={modules}", os.path.join(tree, "lib64/ld-linux-x86-64.so.2"), "--library-path",
            libraries, os.path.join(tree, "usr/bin", PROGRAM), *firmware]


def starts(command):
    """Whether an emulator can be started."""
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, stdin=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0


@functools.cache
def command():
    """The words that an emulator's command begins with. One is fetched if there is none."""
    if shutil.which(PROGRAM):
        return (PROGRAM,)
    tree = os.path.join(images.cache(), "emulator", release())
    if not starts(command_in(tree)):
        fetch(tree)
    return tuple(command_in(tree))


def fetch(tree):
    """Unpacks the emulator's package, and what it needs, into a folder."""
    try:
        packages = images.Packages()
        with tempfile.TemporaryDirectory(dir=images.cache()) as folder:
            packages.download(PACKAGE, release(), folder)
            aside = os.path.join(folder, "tree")
            for name in sorted(os.listdir(folder)):
                if name.endswith(".deb"):
                    images.run("dpkg-deb", "-x", os.path.join(folder, name), aside)
            if not starts(command_in(aside)):
                raise Missing(f"the package {PACKAGE} of {release()} was unpacked and does not start")
            # Aside first: another run may have unpacked the same meanwhile.
            os.makedirs(os.path.dirname(tree), exist_ok=True)
            shutil.rmtree(tree, ignore_errors=True)
            os.rename(aside, tree)
    except (Missing, OSError) as error:
        if starts(command_in(tree)):
            return
        raise Missing(f"{PROGRAM} is not installed, and could not be fetched: {error}\nOn Debian: apt-get "
                      f"install --no-install-recommends {PACKAGE}") from None

"""The emulator that kernels run in: the machine's own, or one that is unpacked beside the kernels.

Where no emulator is installed, its package and all
that this needs are fetched as kernels are, from the same signed lists, and unpacked into the cache. Nothing
is installed: installing it could replace packages that the machine needs.
"""

import functools
import os
import shutil
import subprocess

from suite.kernels import images, unpacked
from suite.kernels.images import Missing

PROGRAM = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
FIRMWARE = ["usr/share/qemu", "usr/share/seabios"]


def command_in(tree):
    """How an unpacked emulator is started: with its own libraries, modules and firmware."""
    libraries = ":".join(os.path.join(tree, folder) for folder in unpacked.LIBRARIES)
    firmware = [word for folder in FIRMWARE for word in ("-L", os.path.join(tree, folder))]
    modules = os.path.join(tree, unpacked.LIBRARIES[-1], "qemu")
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
    tree = os.path.join(images.cache(), "emulator", unpacked.release())
    if not starts(command_in(tree)):
        fetch(tree)
    return tuple(command_in(tree))


def fetch(tree):
    """Unpacks the emulator's package, and what it needs, into a folder."""
    try:
        unpacked.fetch(tree, [PACKAGE], lambda folder: None if starts(command_in(folder)) else "it does not start")
    except (Missing, OSError) as error:
        raise Missing(f"{PROGRAM} is not installed, and could not be fetched: {error}\nOn Debian: apt-get "
                      f"install --no-install-recommends {PACKAGE}") from None

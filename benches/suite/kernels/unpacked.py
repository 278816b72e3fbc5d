"""Packages of this machine's archives, unpacked into a folder of the cache instead of installed.

Installing one could replace packages that the machine needs, or needs rights that the user has not. They are
fetched as kernels are, from the same signed lists, with all that they need.
"""

import os
import shutil
import tempfile

from suite.kernels import images
from suite.kernels.images import Missing

# Where the machine's own release is not known.
SUITE = "trixie"
LIBRARIES = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"]


def release():
    """The suite that packages are of: the machine's own release, where it is one of Debian's."""
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            fields = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    except OSError:
        return SUITE
    name = fields.get("VERSION_CODENAME", "").strip('"')
    return name if name in images.SUITES else SUITE


def fetch(tree, names, works, left_out=()):
    """Unpacks packages, and what they need but for what is left out, into a folder; `works` says of a folder
    why that is not enough, or None."""
    try:
        packages = images.Packages()
        with tempfile.TemporaryDirectory(dir=images.cache()) as folder:
            packages.download(names, release(), folder)
            aside = os.path.join(folder, "tree")
            for name in sorted(os.listdir(folder)):
                if name.endswith(".deb") and name.split("_")[0] not in left_out:
                    images.run("dpkg-deb", "-x", os.path.join(folder, name), aside)
            why = works(aside)
            if why is not None:
                raise Missing(f"{', '.join(names)} of {release()} was unpacked, but {why}")
            # Aside first: another run may have unpacked the same meanwhile.
            os.makedirs(os.path.dirname(tree), exist_ok=True)
            shutil.rmtree(tree, ignore_errors=True)
            os.rename(aside, tree)
    except (Missing, OSError):
        if works(tree) is not None:
            raise

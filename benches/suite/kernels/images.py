"""Linux kernels out of the machine's own package sources, kept outside of the work tree.

Packages are looked for in an apt root of its
own, below $XDG_CACHE_HOME/ringbolt/kernels: its sources are the archives that the machine is
configured for, in every release of Debian that has kernels of interest. The system's own sources,
lists and packages are neither used nor changed.
"""

import errno
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from suite import NAME

# Oldest first. What an archive does not have is left out.
SUITES = ["bullseye", "bullseye-security", "bookworm", "bookworm-security", "bookworm-backports",
          "trixie", "trixie-security", "trixie-backports", "forky", "sid"]
# Their indices may be past the date until which they are valid; signatures are checked all the same.
ROLLING = {"forky", "sid", "experimental"}
DEFAULT_SERIES = ["5.10", "6.1", "6.12", "6.18", "7.3"]
# A small kernel with a serial console and a network, and nothing to wait for at boot.
FLAVOUR = "cloud-amd64"
# From 6.19 on linux-image holds nothing, and linux-binary the kernel.
HOLLOW = 1_000_000
LISTS_LAST = 24 * 3600
# Packages that are fetched at once: an archive is mostly waited for.
FETCHES = 4
SETTINGS = ["HZ", "PREEMPT_DYNAMIC", "PREEMPT_VOLUNTARY", "PREEMPT_LAZY", "IO_URING", "IPV6",
            "MITIGATION_PAGE_TABLE_ISOLATION", "PAGE_TABLE_ISOLATION", "CC_VERSION_TEXT"]


class Missing(Exception):
    """A kernel, or what fetches kernels, is not here; the text says what to do."""


class Image:
    """A kernel that can be booted."""

    def __init__(self, path, series, version, package, sha256, settings):
        self.path, self.series, self.version = path, series, version
        self.package, self.sha256, self.settings = package, sha256, settings

    def identity(self):
        """What a result says of it."""
        return {"series": self.series, "version": self.version, "package": self.package,
                "sha256": self.sha256, "settings": self.settings}


def cache():
    """Where everything is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "ringbolt", "kernels")


def run(*command, env=None, cwd=None, check=True):
    """What a command prints."""
    done = subprocess.run(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    if check and done.returncode != 0:
        raise Missing(f"`{' '.join(command)}` failed:\n{done.stderr.strip()}")
    return done.stdout


def series_of(version):
    """5.10 of 5.10.262-1."""
    found = re.match(r"(\d+\.\d+)", version)
    return found.group(1) if found else version


def in_order(series):
    """For sorting: 5.10 before 6.1 before 6.12."""
    return [int(part) for part in re.findall(r"\d+", series)]


def archives():
    """The archive and the security archive that this machine is configured for, and their keyring."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Missing("kernels are fetched by apt, which this machine does not have; give images of "
                      "your own: --kernel PATH")
    form = "$(REPO_URI)\t$(ORIGIN)\t$(SIGNED_BY)"
    main = security = None
    for line in run("apt-get", "indextargets", "--format", form, "Created-By: Packages").splitlines():
        uri, origin, signed = line.split("\t")
        uri = uri.rstrip("/")
        # Without package lists the origin is not known, but the archives' folders are.
        if origin != "Debian" and not re.search(r"/debian(-security)?$", uri):
            continue
        if uri.endswith("-security"):
            security = security or uri
        else:
            main = main or (uri, signed)
    if not main:
        raise Missing("no archive of Debian is among this machine's package sources, so no packaged "
                      "kernel can be had; add one, or give images of your own: --kernel PATH")
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    signed = main[1] if main[1].startswith("/") else keyring
    return main[0], security or main[0] + "-security", signed


class Packages:
    """The kernels that the archives have."""

    def __init__(self, suites=(), refresh=False):
        self.root = os.path.join(cache(), "apt")
        self.absent = []
        self.environment = {**os.environ, "LC_ALL": "C",
                            "APT_CONFIG": os.path.join(self.root, "apt.conf")}
        self._set_up([*SUITES, *(suite for suite in suites if suite not in SUITES)], refresh)

    def _set_up(self, suites, refresh):
        main, security, signed = archives()
        for folder in ["etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/lib/dpkg",
                       "var/cache/apt/archives/partial"]:
            os.makedirs(os.path.join(self.root, folder), exist_ok=True)
        open(os.path.join(self.root, "var/lib/dpkg/status"), "a", encoding="ascii").close()
        trust = f"signed-by={signed} " if os.path.exists(signed) else ""
        lines = []
        for suite in suites:
            late = "check-valid-until=no " if suite in ROLLING else ""
            archive = security if suite.endswith("-security") else main
            lines.append(f"deb [{trust}{late}arch=amd64] {archive} {suite} main\n")
        sources = "".join(lines)
        place = os.path.join(self.root, "etc/apt/sources.list")
        known = open(place, encoding="utf-8").read() if os.path.exists(place) else None
        with open(place, "w", encoding="utf-8") as file:
            file.write(sources)
        with open(self.environment["APT_CONFIG"], "w", encoding="utf-8") as file:
            file.write(f'Dir "{self.root}/";\nDir::Etc::sourcelist "{place}";\n'
                       'Dir::Etc::sourceparts "-";\nDir::Etc::trustedparts "/etc/apt/trusted.gpg.d";\n'
                       f'Dir::State::status "{self.root}/var/lib/dpkg/status";\n'
                       'APT::Architecture "amd64";\nAPT::Architectures {"amd64";};\n'
                       'APT::Sandbox::User "root";\nAcquire::Languages "none";\n'
                       'Acquire::PDiffs "false";\nAcquire::GzipIndexes "true";\nAcquire::Retries "3";\n')
        self._update(sources != known or refresh)

    def _update(self, now):
        stamp = os.path.join(self.root, "updated")
        if not now and os.path.exists(stamp) and time.time() - os.path.getmtime(stamp) < LISTS_LAST:
            with open(stamp, encoding="utf-8") as file:
                self.absent = file.read().split()
            return
        print("kernels: reading the archives' package lists", file=sys.stderr, flush=True)
        done = subprocess.run(["apt-get", "-q", "update"], env=self.environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        complaints = re.findall(r"^[EW]: (.*)", done.stdout + done.stderr, re.M)
        self.absent = sorted({found.group(1) for text in complaints
                              for found in [re.search(r" (\S+) Release", text)] if found})
        if not run("apt-cache", "pkgnames", "linux-image-", env=self.environment):
            raise Missing("the archives' package lists could not be read:\n  "
                          + "\n  ".join(complaints))
        with open(stamp, "w", encoding="utf-8") as file:
            file.write("\n".join(self.absent))

    def newest(self):
        """series -> the stanza of its newest kernel, in the order of the series."""
        names = run("apt-cache", "pkgnames", "linux-", env=self.environment).split()
        pattern = re.compile(rf"linux-(image|binary)-\d\S*-{FLAVOUR}")
        names = sorted(name for name in names if pattern.fullmatch(name)
                       and re.match(r"linux-[a-z]+-\d+\.\d+\.\d+", name))
        best = {}
        text = run("apt-cache", "show", *names, env=self.environment, check=False) if names else ""
        for stanza in text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in stanza.splitlines()
                          if ": " in line and not line.startswith(" "))
            if "Version" not in fields or int(fields.get("Size", 0)) < HOLLOW:
                continue
            series = series_of(fields["Version"])
            if series not in best or newer(fields["Version"], best[series]["Version"]):
                best[series] = fields
        return dict(sorted(best.items(), key=lambda item: in_order(item[0])))

    def fetch(self, fields):
        """The image of a package, from the cache or the archive."""
        kept = find(fields["Package"], fields["Version"])
        if kept:
            return kept
        print(f"kernels: fetching {fields['Package']} {fields['Version']}, "
              f"{int(fields['Size']) / 1e6:.1f} MB", file=sys.stderr, flush=True)
        os.makedirs(cache(), exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            # apt checks the package against the signed lists.
            run("apt-get", "-q", "download", f"{fields['Package']}={fields['Version']}",
                env=self.environment, cwd=folder)
            package = next(name for name in os.listdir(folder) if name.endswith(".deb"))
            run("dpkg-deb", "-x", os.path.join(folder, package), os.path.join(folder, "tree"))
            return keep(os.path.join(folder, "tree"), fields)

    def download(self, names, suite, folder):
        """Fetches packages of a suite, and all that they need, into a folder."""
        print(f"{NAME}: fetching {', '.join(names)} of {suite}", file=sys.stderr, flush=True)
        os.makedirs(os.path.join(folder, "partial"), exist_ok=True)
        # Nothing is installed in this root, so that all of it is fetched.
        run("apt-get", "-q", "-y", "-t", suite, "--no-install-recommends", "--download-only",
            "-o", f"Dir::Cache::archives={folder}", "install", *names, env=self.environment)


@functools.cache
def newer(one, other):
    """Whether one version of a package comes after the other, as dpkg orders them."""
    return subprocess.run(["dpkg", "--compare-versions", one, "gt", other]).returncode == 0


def keep(tree, fields):
    """Moves what an unpacked package has to boot into the cache."""
    files = [os.path.join(folder, name) for folder, _, names in os.walk(tree) for name in names]
    kernel = next((path for path in files if os.path.basename(path).startswith("vmlinuz")), None)
    if not kernel:
        raise Missing(f"{fields['Package']} has no kernel in it")
    config = next((path for path in files if os.path.basename(path).startswith("config-")), None)
    digest = sha256(kernel)
    place = os.path.join(cache(), "images", f"{fields['Version'].replace(':', '_')}-{digest[:16]}")
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        # Aside first: whoever looks for another image meanwhile takes a part of one for broken.
        aside = os.path.join(folder, "image")
        os.makedirs(aside)
        shutil.copyfile(kernel, os.path.join(aside, "vmlinuz"))
        with open(os.path.join(aside, "image.json"), "w", encoding="utf-8") as file:
            json.dump({"package": fields["Package"], "version": fields["Version"], "sha256": digest,
                       "settings": settings(config)}, file, indent=2)
        try:
            os.rename(aside, place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            # Another run has kept the same meanwhile.
    return find(fields["Package"], fields["Version"])


def settings(config):
    """What of a kernel's configuration changes what things cost."""
    if not config:
        return {}
    with open(config, encoding="utf-8", errors="replace") as file:
        pairs = re.findall(r"^CONFIG_(\w+)=(.*)$", file.read(), re.M)
    return {name: value.strip('"') for name, value in pairs if name in SETTINGS}


def find(package, version):
    """A kept image, if its bytes are still what they were."""
    images = os.path.join(cache(), "images")
    for name in sorted(os.listdir(images)) if os.path.isdir(images) else []:
        folder = os.path.join(images, name)
        try:
            with open(os.path.join(folder, "image.json"), encoding="utf-8") as file:
                about = json.load(file)
            path = os.path.join(folder, "vmlinuz")
            if (about["package"], about["version"]) != (package, version):
                continue
            if sha256(path) == about["sha256"]:
                return Image(path, series_of(version), version, package, about["sha256"],
                             about["settings"])
        except (OSError, ValueError, KeyError):
            pass  # cut off half-way: fetched again
        shutil.rmtree(folder, ignore_errors=True)
    return None


def kept():
    """(package, version) of all kept images."""
    images = os.path.join(cache(), "images")
    found = set()
    for name in os.listdir(images) if os.path.isdir(images) else []:
        try:
            with open(os.path.join(images, name, "image.json"), encoding="utf-8") as file:
                about = json.load(file)
            found.add((about["package"], about["version"]))
        except (OSError, ValueError, KeyError):
            continue
    return found


def sha256(path):
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def local(path):
    """A kernel image by its path; the version stands in its header (the x86 boot protocol, 2.00)."""
    try:
        with open(path, "rb") as file:
            head = file.read(1 << 16)
    except OSError as error:
        raise Missing(f"{path}: {error.strerror}") from None
    at = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    if head[0x202:0x206] != b"HdrS" or at >= len(head):
        raise Missing(f"{path} is no bzImage for x86; arch/x86/boot/bzImage of a built kernel is one")
    version = head[at:at + 200].split(b"\0")[0].decode("ascii", "replace").split(" ")[0]
    return Image(os.path.abspath(path), series_of(version), version, "", sha256(path), {})

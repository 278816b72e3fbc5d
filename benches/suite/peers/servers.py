"""The servers that scripts/peers knows: the engine, those of benches/peers, bare ones, and somebody else's."""

from suite.peers.manifest import listed
from suite.programs import drivers


class Peer:
    """A server that can be started: a command per kind of work."""

    # What it does not do, and why, by kind of workload.
    cannot = {}
    dialect = "rfc6455"
    # A server without a protocol is not asked for pongs.
    pongs = True

    def __init__(self, name, version, command):
        self.name, self.version, self.base = name, version, command

    def command(self, workload):
        """The command that serves a workload."""
        return [*self.base, workload.program]


class Engine(Peer):
    """Ours, with one driver in one dialect."""

    def __init__(self, name, options, driver, dialect):
        version = "" if driver in name else driver
        super().__init__(name, version, [options.program("engine")])
        self.dialect, self.driver = dialect, driver

    def command(self, workload):
        return [*self.base, workload.program, "--shards", "1", "--driver", self.driver]


class Bare(Peer):
    """A server that moves bytes unread, behind draft-02's handshake: the floor."""

    cannot = {"storm": "it never ends a connection; scripts/floor has one that does"}
    dialect = "hybi-02"
    pongs = False

    def __init__(self, name, options, kind):
        super().__init__(name, "", [options.program("bare")])
        self.kind = kind

    def command(self, workload):
        verb = "fanout" if workload.program == "broadcast" else "echo"
        large = workload.size > 16384
        if self.kind == "ring":
            return [*self.base, f"ring-{verb}", *(["--receive", "large"] if large else [])]
        buffer = "1100" if large else "256" if workload.size > 4096 else "64"
        return [*self.base, f"epoll-{verb}", "--buffer", buffer]


class Remote(Peer):
    """A server that somebody else runs."""

    cannot = {"idle": "it is not started anew for each window, so its memory would be that of earlier ones"}

    def __init__(self, name, url, pid, dialect):
        super().__init__(name, "", [])
        self.url, self.pid, self.dialect = url, pid, dialect

    def command(self, workload):  # noqa: ARG002  it runs already, whatever is measured
        return None


class Other(Peer):
    """A server of another project, in one dialect."""

    def __init__(self, name, manifest, dialect):
        super().__init__(name, manifest.prepare(), [])
        self.manifest, self.dialect, self.cannot = manifest, dialect, manifest.cannot

    def command(self, workload):
        return self.manifest.command(workload.program)


def others():
    """Name -> (what it is, how it is prepared) of all that benches/peers has."""
    found = {}
    for manifest in listed():
        for name, dialect in manifest.names():
            about = manifest.about if name == manifest.name else "the same in draft-02"
            found[name] = about, lambda _, name=name, manifest=manifest, dialect=dialect: Other(name, manifest, dialect)
    return found


BARE = {
    "bare-ring": ("no protocol: bytes moved unread by the engine's ring driver, draft-02",
                  lambda options: Bare("bare-ring", options, "ring")),
    "bare-epoll": ("no protocol: bytes moved unread by an epoll loop, draft-02",
                   lambda options: Bare("bare-epoll", options, "epoll")),
}


def known(options):
    """Name -> (what it is, how it is prepared) of everything that can be asked for."""
    names = drivers(options)
    ours = {"engine": (f"ours, {names[0]}, the first choice here", engine("engine", names[0]))}
    for driver in names[1:]:
        ours[f"engine-{driver}"] = f"ours, {driver}", engine(f"engine-{driver}", driver)
    ours["engine-hybi-02"] = f"ours, {names[0]}, in draft-02", engine("engine-hybi-02", names[0], "hybi-02")
    return {**ours, **others(), **BARE}


def engine(name, driver, dialect="rfc6455"):
    """Ours on one driver."""
    return lambda options: Engine(name, options, driver, dialect)

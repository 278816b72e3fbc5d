"""Which clients run against which servers."""

import os
import shutil
import subprocess
import sys

from suite.interop import certificates
from suite.interop.foreign import Foreign, has_browser, has_gem
from suite.interop.pairs import Pairs

PEERS = os.path.join("engine", "tests", "interop")
READERS = os.path.join("loadgen", "tests", "interop")
# At both sides of each form of the length.
SIZES = [0, 125, 126, 65535, 65536]
JSON = "import json, sys; json.load(sys.stdin)"


class Rounds(Pairs):
    """All pairs, of the engine with these arguments."""

    def __init__(self, programs, arguments, scratch):
        super().__init__()
        self.engine_program, self.loadgen = (os.path.join(programs, name) for name in ("engine", "loadgen"))
        self.arguments, self.scratch = arguments, scratch
        # More arguments for loadgen.
        self.load_arguments: list[str] = []
        self.has_ruby_client = has_gem("websocket")
        if not self.has_ruby_client:
            self.skip("ruby client, the gem websocket is not installed")
        self.foreign = Foreign(self.skip)

    def engine(self, work, *options):
        """A command that serves."""
        return [self.engine_program, work, *(options or ["--listen", "127.0.0.1:0"]), *self.arguments]

    def all(self):
        """One after the other."""
        plain = ["--listen", "127.0.0.1:0", "--compress"]
        self.serve("engine", self.engine("echo"), self.engine_echo)
        self.serve("engine --compress", self.engine("echo", *plain), self.engine_compressing)
        self.serve("engine --compress-takeover", self.engine("echo", *plain, "--compress-takeover", "both"),
                   self.engine_compressing)
        self.in_a_browser("engine", "--listen", "127.0.0.1:0")
        self.serve("engine broadcast", self.engine("broadcast"), self.engine_broadcast)
        self.other_servers()
        self.over_tls()
        self.serve("python server", [sys.executable, f"{PEERS}/hybi02.py", "server", "--port", "0"], self.python_server)
        if has_gem("em-websocket"):
            self.serve("em-websocket", ["ruby", f"{PEERS}/em_server.rb"], self.em_websocket)
        else:
            self.skip("em-websocket server, the gem em-websocket is not installed")

    def serve(self, name, command, use, **more):
        """Starts a server, lets it be used, and stops it."""
        with self.server(name, *command, **more) as url:
            if url:
                use(name, url)

    # ---- the engine as a server

    def engine_echo(self, name, url):
        """Everything that speaks either dialect."""
        self.python_client(name, url, "echo")
        self.ruby_client(name, url)
        self.load(name, url)
        self.logs(url)
        self.pages(url)
        self.clients(name, url, "client")
        self.load_and_kinds(name, url)

    def engine_broadcast(self, name, url):
        """Everything that can listen."""
        self.python_client(name, url, "broadcast")
        self.clients(name, url, "broadcast")

    def engine_compressing(self, name, url):
        """Everything that compresses."""
        self.clients(name, url, "compressed")
        self.compressed_load(name, url)

    def in_a_browser(self, name, *options):
        """A page in Chromium against both servers at once."""
        if not has_browser():
            self.skip("a browser, chromium is not installed")
            return
        with self.server(name, *self.engine("echo", *options, "--compress")) as echo, \
                self.server(f"{name} broadcast", *self.engine("broadcast", *options)) as broadcast:
            if echo and broadcast:
                self.pair(f"{name} <- a page in Chromium", sys.executable, f"{PEERS}/browser.py", echo,
                          f"{broadcast}room")

    # ---- clients

    def python_client(self, name, url, what):
        """The peer that was written from the draft."""
        self.pair(f"{name} <- python client ({what})", sys.executable, f"{PEERS}/hybi02.py", "client", url, what)

    def ruby_client(self, name, url):
        """The gem websocket."""
        if self.has_ruby_client:
            self.pair(f"{name} <- ruby client", "ruby", f"{PEERS}/ws_client.rb", url)

    def node(self):
        """What node finds the package by."""
        return {"NODE_PATH": self.foreign.ws}

    def clients(self, name, url, mode):
        """The clients of RFC 6455 that are there."""
        found = self.foreign
        if found.websockets:
            self.pair(f"{name} <- python websockets", found.websockets, f"{PEERS}/websockets_peer.py", mode, url)
        if found.ws:
            self.pair(f"{name} <- npm ws", "node", f"{PEERS}/ws_peer.js", mode, url, environment=self.node())
        if mode == "client" and url.startswith("ws://"):
            for crate in found.crates:
                self.pair(f"{name} <- {crate}", os.path.join(found.rust, f"{crate}-client"), url)
        if mode == "compressed" and found.yawc:
            self.pair(f"{name} <- yawc", found.yawc, url)

    # ---- loadgen as a client

    def load(self, name, url, dialect="hybi-02"):
        """Loads of every form of the length; what is to be JSON must be JSON."""
        options = [url, *self.load_arguments, "--ws-version", dialect]
        for size in SIZES:
            self.pair(f"{name} <- loadgen, {dialect}, {size} bytes", self.loadgen, "echo", *options, "-c", "20",
                      "--warmup", "100ms", "-d", "300ms", "-r", "500", "-p", str(size))
        self.pair(f"{name} <- loadgen, {dialect}, 100 connections", self.loadgen, "echo", *options, "-c", "100",
                  "--warmup", "100ms", "-d", "500ms", "--depth", "4")
        self.pair(f"{name} <- loadgen, {dialect}, report", "bash", "-o", "pipefail", "-c",
                  '"$0" echo "$@" -c 2 --warmup 0s -d 300ms -r 100 --json | python3 -c "$CHECK"', self.loadgen,
                  *options, environment={"CHECK": JSON})

    def kinds(self, name, url):
        """A few messages of every kind, pings and closing handshakes."""
        options = [url, *self.load_arguments, "--ws-version", "rfc6455", "--warmup", "0s"]
        for kind, words in (("binary", []), ("text", ["--text"])):
            for size in ("0", "125", "126", "65535", "64KiB", "1MiB"):
                self.pair(f"{name} <- loadgen, {kind} of {size}", self.loadgen, "echo", *options, *words, "-c", "5",
                          "-n", "50", "-p", size)
            self.pair(f"{name} <- loadgen, {kind} in fragments", self.loadgen, "echo", *options, *words, "-c", "5",
                      "-n", "50", "-p", "64KiB", "--fragments", "3")
        self.pair(f"{name} <- loadgen, 100 connections", self.loadgen, "echo", *options, "-c", "100", "-n", "5k",
                  "--depth", "4")
        self.pair(f"{name} <- loadgen, pings", self.loadgen, "idle", *options, "-c", "5", "-d", "1s",
                  "--ping-interval", "100ms")
        self.pair(f"{name} <- loadgen, closing", self.loadgen, "storm", *options, "-c", "5", "-n", "100")

    def load_and_kinds(self, name, url):
        """All of RFC 6455."""
        self.load(name, url, "rfc6455")
        self.kinds(name, url)

    def compressed_load(self, name, url):
        """With every use of earlier messages that can be asked for."""
        options = [url, "--ws-version", "rfc6455", "--compress", "--warmup", "0s"]
        for takeover in ("none", "sent", "received", "both"):
            self.pair(f"{name} <- loadgen --compress, takeover {takeover}", self.loadgen, "echo", *options,
                      "--compress-takeover", takeover, "-c", "10", "-n", "200", "-p", "4096", "--text")
        self.pair(f"{name} <- loadgen --compress, binary of 1MiB", self.loadgen, "echo", *options, "-c", "5", "-n",
                  "10", "-p", "1MiB")

    # ---- what loadgen writes

    def leaves(self, what, *arguments):
        """Runs loadgen for what it leaves behind."""
        done = subprocess.run([self.loadgen, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, env=self.environment(), check=False)
        if done.returncode != 0:
            self.say(f"{what} ended with {done.returncode}: {done.stderr.strip()}")
            self.failed.append(what)

    def logs(self, url):
        """Its histograms, read by the Python package hdrhistogram."""
        if self.foreign.hdr:
            out = os.path.join(self.scratch, "out-run")
            self.leaves("loadgen --out", "echo", url, "-c", "10", "--warmup", "100ms", "-d", "2s", "-r", "1k", "--out",
                        out)
            self.pair("loadgen --out <- python hdrhistogram", self.foreign.hdr, f"{READERS}/hdr_reader.py", out)

    def pages(self, url):
        """What loadgen report and compare draw, seen in a browser; emptied plots must be noticed."""
        if not has_browser():
            self.skip("loadgen report in a browser, chromium is not installed")
            return
        if not (self.foreign.websockets and self.foreign.pillow):
            self.skip("loadgen report in a browser, python websockets and pillow are not installed")
            return
        one, two, report, compare = (os.path.join(self.scratch, name)
                                     for name in ("one.json", "two.json", "report.html", "compare.html"))
        for run in (one, two):
            self.leaves("loadgen for a page", "echo", url, "-c", "10", "-d", "4s", "-r", "500", "-o", run, "-q")
        self.leaves("loadgen report", "report", one, two, "-o", report)
        # A run a side is not enough to compare, but to draw.
        subprocess.run([self.loadgen, "compare", "--format", "html", "-o", compare, one, "--", two],
                       stdin=subprocess.DEVNULL, capture_output=True, check=False)
        for name, page, plots in (("report", report, "4"), ("compare", compare, "1")):
            self.pair(f"loadgen {name} <- Chromium", self.foreign.pillow, f"{READERS}/report_page.py", page, plots)

    # ---- other people's servers

    def other_servers(self):
        """Loadgen against those of RFC 6455."""
        found = self.foreign
        if found.websockets:
            peer = [found.websockets, f"{PEERS}/websockets_peer.py"]
            self.serve("python websockets", [*peer, "server"], self.load_and_kinds)
            self.serve("python websockets, compressing", [*peer, "compressing"], self.compressed_load)
        for crate in found.crates:
            # A signal ends them, so their code tells nothing.
            self.serve(crate, [os.path.join(found.rust, f"peer-{crate}"), "echo"], self.kinds, graceful=False)
        if found.ws:
            peer = ["node", f"{PEERS}/ws_peer.js"]
            self.serve("npm ws", [*peer, "server"], self.load_and_kinds, environment=self.node())
            self.serve("npm ws, compressing", [*peer, "compressing"], self.compressed_load, environment=self.node())

    def python_server(self, name, url):
        """Draft-02, by its peer."""
        self.python_client(name, url, "echo")
        self.ruby_client(name, url)
        self.load(name, url)

    def em_websocket(self, name, url):
        """Draft-02, by the gem em-websocket."""
        self.python_client(name, url, "basic")
        self.ruby_client(name, url)
        self.load(name, url)

    # ---- TLS

    def over_tls(self):
        """Whatever speaks RFC 6455, both ways, inside TLS."""
        if not shutil.which("openssl"):
            self.skip("wss, openssl is not installed")
            return
        try:
            digest = certificates.certify(self.scratch)
        except certificates.Failed as why:
            self.say(str(why))
            self.failed.append("certificates by openssl")
            return
        authority, *pair = (os.path.join(self.scratch, name) for name in ("ca.pem", "server.pem", "server.key"))
        self.around = {"SSL_CERT_FILE": authority, "NODE_EXTRA_CA_CERTS": authority, "TRUSTED_SPKI": digest}
        self.load_arguments = ["--cacert", authority]
        self.tls_pairs(pair, ["--listen-tls", "127.0.0.1:0", "--tls-cert", pair[0], "--tls-key", pair[1]])
        self.around, self.load_arguments = {}, []

    def tls_pairs(self, pair, options):
        """With the authority that every program trusts."""
        self.serve("engine, wss", self.engine("echo", *options), self.engine_over_tls)
        self.serve("engine broadcast, wss", self.engine("broadcast", *options),
                   lambda name, url: self.clients(name, url, "broadcast"))
        self.in_a_browser("engine, wss", *options)
        if self.foreign.websockets:
            self.serve("python websockets, wss", [self.foreign.websockets, f"{PEERS}/websockets_peer.py", "server",
                                                  *pair], lambda name, url: self.load(name, url, "rfc6455"))
        if self.foreign.ws:
            self.serve("npm ws, wss", ["node", f"{PEERS}/ws_peer.js", "server", *pair],
                       lambda name, url: self.load(name, url, "rfc6455"), environment=self.node())

    def engine_over_tls(self, name, url):
        """Everything that speaks TLS, in both of its versions."""
        self.clients(name, url, "client")
        if self.foreign.ws:
            self.pair(f"{name} <- npm ws, TLS 1.2", "node", f"{PEERS}/ws_peer.js", "client", url,
                      environment={**self.node(), "NODE_OPTIONS": "--tls-max-v1.2"})
        self.load(name, url)
        self.load(name, url, "rfc6455")

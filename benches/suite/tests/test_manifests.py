"""Tests of what scripts/peers makes of benches/peers, and of a folder that somebody adds."""

import os
import sys
import tempfile
import unittest
from unittest import mock

from suite.peers import manifest
from suite.peers.manifest import Manifest, Missing, listed
from suite.schema import PlanError
from suite.window import Server

SERVER = """
import sys
print("listening on 127.0.0.1:1", sys.argv[1:], flush=True)
sys.stdin.read()
"""


class Manifests(unittest.TestCase):
    """Folders to servers."""

    def setUp(self):
        self.peers, target = (self.enterContext(tempfile.TemporaryDirectory()) for _ in range(2))
        self.enterContext(mock.patch.dict(os.environ, {"CARGO_TARGET_DIR": target}))

    def add(self, text, **files):
        """A peer called mine."""
        folder = os.path.join(self.peers, "mine")
        os.makedirs(folder, exist_ok=True)
        for name, content in {"peer.toml": text, "server.py": SERVER, **files}.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(content)
        return folder

    def test_all_that_come_with_it_are_good_and_listed(self):
        found = listed()
        names = [name for one in found for name, _ in one.names()]
        self.assertEqual(len(names), len(set(names)))
        self.assertIn("em-websocket-hybi-02", names)
        known = {os.path.relpath(one.folder, manifest.PEERS) for one in found}
        there = {os.path.relpath(folder, manifest.PEERS) for folder, folders, files in os.walk(manifest.PEERS)
                 if "peer.toml" in files and "target" not in folders}
        self.assertEqual(known, there, "a folder with a peer.toml that peers.toml does not name, or the reverse")
        for one in found:
            self.assertEqual(one.command("echo")[-1], "echo")
            self.assertTrue(one.crate is None or one.version(), one.name)

    def test_a_folder_and_a_line_are_a_peer(self):
        folder = self.add(f'about = "mine"\nrun = ["{sys.executable}", "{{folder}}/server.py", "{{work}}"]\n'
                          "version = { file = '{folder}/v', pattern = 'v=(.*)' }\n", v="v=1.2\n")
        with open(os.path.join(self.peers, "peers.toml"), "w", encoding="ascii") as file:
            file.write('peers = ["mine"]\n')
        mine, = listed(self.peers)
        self.assertEqual((mine.prepare(), mine.names()), ("1.2", [("mine", "rfc6455")]))
        server = Server("mine", mine.command("broadcast"), min(os.sched_getaffinity(0)))
        server.stop()
        self.assertEqual(server.address, "['broadcast']", "the last word of the line is where it listens")
        self.assertEqual(sorted(os.listdir(folder)), ["peer.toml", "server.py", "v"], "nothing is written there")

    def test_what_was_built_is_built_again_when_its_files_change(self):
        text = (f'about = "mine"\ncopy = true\nrun = ["{{target}}/server.py"]\n'
                f'build = [["{sys.executable}", "-c", "open(\'{{target}}/log\', \'a\').write(\'x\')"]]\n')
        self.add(text)
        for number, expected in ((1, "x"), (2, "x"), (3, "xx")):
            if number == 3:
                self.add(text, more="another")
            one = Manifest(self.peers, "mine")
            one.prepare()
            with open(os.path.join(one.own, "log"), encoding="ascii") as file:
                self.assertEqual(file.read(), expected)
        self.assertTrue(os.path.exists(one.command("echo")[0]), "it was copied")

    def test_what_cannot_be_had_says_why(self):
        for text, why in (('needs = ["no-such-program"]', "no-such-program is not installed"),
                          ('check = ["no-such-program"]', "no-such-program is not installed"),
                          (f'check = ["{sys.executable}", "-c", "import no_such_module"]', "ModuleNotFoundError"),
                          (f'build = [["{sys.executable}", "-c", "raise SystemExit(1)"]]', "building it")):
            self.add(f'about = "mine"\nrun = ["x"]\n{text}\n')
            with self.assertRaisesRegex(Missing, why):
                Manifest(self.peers, "mine").prepare()

    def test_what_is_wrong_in_a_manifest_is_told_with_file_and_key(self):
        for text, why in (('about = "x"', "`run` is missing"), ('run = ["x"]', "`about` is missing"),
                          ('about = "x"\nrun = "x"', "`run`.*a list of texts"), ('speed = 9', "no key `speed`"),
                          ('dialects = ["http"]', "`dialects`.*rfc6455, hybi-02"),
                          ('cannot = { fly = "it has no wings" }', "`cannot`.*storm"), ("about =", "no TOML")):
            self.add(text)
            with self.assertRaisesRegex(PlanError, f"mine/peer.toml: .*{why}"):
                Manifest(self.peers, "mine")

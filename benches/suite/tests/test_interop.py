"""Tests of scripts/interop: servers that come up and end, or do not, and what is said of a pair."""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import unittest
from unittest import mock

from suite.interop import certificates, cli
from suite.interop.pairs import Pairs

LISTENS = "import time; print('listening on 127.0.0.1:9', flush=True); time.sleep(60)"
GRACEFUL = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); "


class Running(unittest.TestCase):
    """What is started, and what is said of it."""

    def setUp(self):
        self.pairs, said = Pairs(), io.StringIO()
        self.enterContext(mock.patch.object(self.pairs, "say", lambda text: print(text, file=said)))
        self.said = said.getvalue

    def python(self, text):
        """A program."""
        return sys.executable, "-c", text

    def test_a_server_is_there_while_it_is_used_and_ends_by_itself(self):
        with self.pairs.server("good", *self.python(GRACEFUL + LISTENS)) as url:
            self.assertEqual(url, "ws://127.0.0.1:9/")
        with self.pairs.server("secure", *self.python(GRACEFUL + LISTENS.replace("127", "wss://127"))) as url:
            self.assertEqual(url, "wss://127.0.0.1:9/")
        self.assertEqual(self.pairs.failed, [])

    def test_a_server_that_ends_badly_has_failed_unless_its_code_tells_nothing(self):
        with self.pairs.server("bad", *self.python(LISTENS)):
            pass
        with self.pairs.server("crate", *self.python(LISTENS), graceful=False):
            pass
        self.assertEqual(self.pairs.failed, ["bad: end"])
        self.assertIn("bad ended with code -15 on SIGTERM", self.said())

    def test_a_server_that_does_not_come_up_says_why(self):
        with self.pairs.server("none", *self.python("raise SystemExit('no port is free')")) as url:
            self.assertIsNone(url)
        self.assertEqual(self.pairs.failed, ["none"])
        self.assertIn("    no port is free", self.said())

    def test_a_server_ends_with_whoever_uses_it(self):
        with self.assertRaises(KeyboardInterrupt), self.pairs.server("good", *self.python(LISTENS)):
            raise KeyboardInterrupt

    def test_a_pair_says_its_last_line_or_what_was_wrong(self):
        self.assertTrue(self.pairs.pair("a <- b", *self.python("print('x'); print('3 messages ok')")))
        self.assertFalse(self.pairs.pair("a <- c", *self.python("print('ping ... ok'); exit('pong is missing')")))
        self.assertEqual(self.pairs.failed, ["a <- c"])
        self.assertEqual(self.said(), "a <- b ... ok (3 messages ok)\na <- c ... FAILED (code 1)\n"
                                      "    pong is missing\n")

    def test_programs_get_what_is_around_them(self):
        self.pairs.around = {"AROUND": "all"}
        text = "import os; print(os.environ['AROUND'], os.environ['OWN'])"
        self.pairs.pair("x", *self.python(text), environment={"OWN": "one"})
        self.assertIn("(all one)", self.said())


class CommandLine(unittest.TestCase):
    """What may be said."""

    def test_only_options_of_the_engine_and_their_values(self):
        cli.check(["--driver", "epoll", "--no-x"])
        with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit) as end:
            cli.check(["--driver", "epoll", "uring"])
        self.assertEqual(end.exception.code, 64)
        self.assertIn("`uring`", said.getvalue())


class Certificates(unittest.TestCase):
    """An authority for a run."""

    @unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
    def test_openssl_verifies_them(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(len(certificates.certify(folder)), 44)
            said = certificates.openssl(folder, "verify", "-CAfile", "ca.pem", "server.pem")
            self.assertIn(b"OK", said)
            os.remove(os.path.join(folder, "server.pem"))
            with self.assertRaisesRegex(certificates.Failed, "openssl verify"):
                certificates.openssl(folder, "verify", "-CAfile", "ca.pem", "server.pem")

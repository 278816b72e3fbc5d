"""Runs it: python3 -m suite.peers."""

import sys

from suite.peers.cli import main

sys.exit(main())

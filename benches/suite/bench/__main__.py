"""Runs it: python3 -m suite.bench."""

import sys

from suite.bench.cli import main

sys.exit(main())

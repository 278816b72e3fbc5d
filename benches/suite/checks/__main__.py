"""Runs it: python3 -m suite.checks."""

import sys

from suite.checks.cli import main

sys.exit(main())

"""Runs it: python3 -m suite.interop."""

import sys

from suite.interop.cli import main

sys.exit(main())

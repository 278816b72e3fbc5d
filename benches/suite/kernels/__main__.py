"""Runs it: python3 -m suite.kernels."""

import sys

from suite.kernels.cli import main

sys.exit(main())

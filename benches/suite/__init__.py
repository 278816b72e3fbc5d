"""What measures and checks the engine: the programs of scripts/, as one package.

    scripts/NAME ...                        what people call
    cd benches && python3 -m suite.NAME     the same

It needs Python 3.11 and no package of anybody else's. Layers, each knows only those before it:

    machine      the machine: CPUs, limits, steal, the work tree, certificates
    programs     engine, loadgen and the others: built, found, asked what they can do
    report       figures: middles, intervals, ratios, who limited a window; CSV and Markdown
    workloads    the one table of workloads (benches/workloads.toml), read and checked
    window       a server that was started, and one measured window of it
    probe        a client of ours that asks whether a server does what it should
    bench, peers, kernels, floor, fairness, instructions, interop, checks
                 one per program; of each other they know nothing
    tests        what holds all that
"""

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036  what is older must be told so in words
    sys.exit(f"Python {sys.version.split()[0]} is too old for the programs in scripts/: they need 3.11 or "
             "later; Debian 12 has it as python3")

_path, _file = os.path.split(sys.argv[0])
# What messages begin with: scripts/bench and python3 -m suite.bench are both bench.
NAME = os.path.basename(_path) if _file == "__main__.py" else _file.removesuffix(".py")

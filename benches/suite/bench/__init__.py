"""scripts/bench: the engine under loadgen, by a plan."""

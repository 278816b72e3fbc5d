"""scripts/interop: the engine and loadgen against implementations that share no code with them."""

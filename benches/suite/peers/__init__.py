"""scripts/peers: the engine beside other people's servers."""

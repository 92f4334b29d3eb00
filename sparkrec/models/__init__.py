"""One file per architecture, one protocol: causal states for every position and an item matrix."""

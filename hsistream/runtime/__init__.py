"""How work is run: over many tiles, here or on a cluster, watched and resumable."""

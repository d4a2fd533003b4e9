"""Training of adapters: deltas of a decoder whose weights stay as they are."""

"""Measurements and their judges; `topics` runs them, `results` writes them, `tables` shows them."""

"""Benches: traffic, state and exposures of a stated size, measured beside a real broker and a real database."""

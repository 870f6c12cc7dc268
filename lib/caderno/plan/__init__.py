"""Fingerprints, the store of results, and why a task must run."""

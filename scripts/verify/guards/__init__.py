"""Proof that every guard is needed and watched: each is taken away in a copy of the sources, and a test must go red."""

"""Ranks of a traced run: a process group that answers at once, and how ranks divide a model of
transformers."""

"""Training frameworks: how each runs a layer, a loss and an optimizer, as operations (graph.py)."""

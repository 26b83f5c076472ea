"""Watches live processes: nothing here predicts."""

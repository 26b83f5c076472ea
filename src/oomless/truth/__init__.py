"""Prediction beside reality: score the estimator against measured rows."""

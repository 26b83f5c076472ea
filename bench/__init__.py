"""What docs/en/benchmarks.md quotes about speed: `python -m bench` (or `make bench`)."""

"""What the README quotes about speed: `python -m bench` (or `make bench`)."""

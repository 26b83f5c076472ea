"""What a run really did, beside what was predicted: logs, texts and snapshots read into one shape."""

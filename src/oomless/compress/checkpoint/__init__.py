"""From one checkpoint to another, streamed: what is stored (source, stored_weight), what it becomes (choice,
target), how it gets there (blocks, stream, journal) and what makes it whole (finish)."""

"""What a training step keeps for its backward: packed, moved elsewhere, divided between ranks, or computed
again."""

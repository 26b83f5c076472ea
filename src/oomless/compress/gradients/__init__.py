"""What data-parallel ranks and federated clients send each other: fewer bytes, and what they cost."""

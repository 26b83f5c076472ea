"""What compression costs: models run layer by layer from their checkpoints, so that one larger than
memory can be judged."""

"""A format for each module, so that a size is kept and what suffers most suffers least."""

"""Megatron-LM: what its argument list builds, how it lays memory out, and what each pipeline stage holds at
the peak."""

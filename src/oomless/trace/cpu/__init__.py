"""What kernels of a CPU allocate inside of themselves, so that a trace can be held against a real run on
one."""

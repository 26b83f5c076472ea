"""Numbers of few bits, with numpy alone: every function works on a block that lies in the processor's cache
and writes into memory that was taken before."""

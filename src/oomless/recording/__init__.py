"""A recording of allocations, its replay in the simulated allocator, timelines and snapshots. No torch is
imported here."""

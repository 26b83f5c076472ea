"""(Model, run, Hardware) -> Ledger. One file a category of memory. Pure, integer, no third-party import."""

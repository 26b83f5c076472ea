"""Will it serve? A model, a resolved question and hardware -> a ledger for each group of ranks, and the
capacity of the cache."""

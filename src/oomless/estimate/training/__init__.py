"""Will it train? A model, a resolved question and hardware -> the ledger of each group of ranks at the worst
moment of a step."""

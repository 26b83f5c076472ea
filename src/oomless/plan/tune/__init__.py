"""The best setting of an engine's own flags on cards that are given: what may be tried, the search, the
order."""

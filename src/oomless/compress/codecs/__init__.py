"""Codecs: one record for each kind of stored weight, with its bytes, its reader, its writer and its config
entry."""

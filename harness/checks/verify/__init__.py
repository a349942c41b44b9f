"""Checks that the records, masks, weights and tables of a folder agree."""

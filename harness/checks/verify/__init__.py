"""Whether records, masks, weights and tables of a folder agree."""

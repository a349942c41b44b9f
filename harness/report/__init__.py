"""The report of a run or study, as a page, as text and as pictures."""

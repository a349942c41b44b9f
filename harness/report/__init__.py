"""The report of a run or study: what people look at, print and defend."""

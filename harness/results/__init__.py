"""The results of run folders and study folders: numbers, tables and verdicts."""

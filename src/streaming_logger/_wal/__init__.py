"""The write-ahead log: what callers say, as records in memory that outlives the process; readers and recovery.

May import: `_base`, `_disk`.
"""

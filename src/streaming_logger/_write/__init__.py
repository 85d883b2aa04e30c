"""From the log to the files: sessions, which files are open, the flush and the completion.

May import: `_base`, `_disk`, `_events`, `_wal`.
"""

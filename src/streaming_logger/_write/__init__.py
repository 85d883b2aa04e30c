"""From memory to disk: which files are open, and the flush and completion of sessions.

May import: `_base`, `_disk`, `_events`, `_memory`.
"""

"""The end of completed files: which are due, and their deletion; and of sessions whose process died.

May import: `_base`, `_disk`, `_events`, `_config`, `_wal`.
"""

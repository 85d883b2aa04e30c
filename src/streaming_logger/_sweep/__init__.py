"""The end of completed files: which are due, and their deletion.

May import: `_base`, `_disk`, `_config`.
"""

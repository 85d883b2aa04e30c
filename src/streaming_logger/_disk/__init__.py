"""The log directory and the files in it: names, descriptors, locks, owner files, the ledger, timing lines.

The only package that makes system calls on them. May import: `_base`.
"""

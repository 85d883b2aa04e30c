"""The log directory and the files in it: names, descriptors, locks, owner files, the ledger's file, timing
lines, crash journals, marks of what is archived.

The only package that makes system calls on them. May import: `_base`.
"""

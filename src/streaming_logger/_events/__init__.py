"""What happens: log records, rate-limited errors, and the observers that events and text go to.

May import: `_base`, `_disk` (the ledger).
"""

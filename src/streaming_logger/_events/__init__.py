"""What happens: typed events, log records, rate-limited errors, the ledger, and the observers of events and text.

May import: `_base`, `_disk` (the ledger's file).
"""

"""What makes it run: the worker thread, forks and interpreter exit, and the wiring of all parts.

May import: every package above; only the public modules and `testing` import it.
"""

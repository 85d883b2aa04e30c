"""Foundation: exceptions, the two clocks, threads and locks, the numbers.

Knows nothing of sessions, files or settings. May import: nothing of this library.
"""

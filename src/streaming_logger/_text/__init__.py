"""The text of what a stream yields: strings, server-sent events, the chunks of the known SDKs.

Told by shape, so that no SDK is imported. May import: nothing of this library.
"""

"""The text in what a stream yields: strings, server-sent events, JSON lines, the chunks of the known SDKs.

Data comes in by `extractor`: strings by way of `guess` and a framer (`sse`, `documents`, `prefixed`),
objects and documents by way of `shapes`, which says who reads them. What is read are `parts`; the
`transcript` makes the session's text of them. May import: nothing of this library.
"""

"""libcst's nodes made from Python's own tree: what the code means, and nothing of what it looks like."""

"""Comparisons as pure functions: results are plain data, nothing here knows of pytest."""

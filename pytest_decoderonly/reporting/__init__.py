"""One run written down: what the suite, the guard and the checker found, as JSON and as a page."""

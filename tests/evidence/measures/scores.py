"""Scores read from logits: DLM401 to DLM403."""

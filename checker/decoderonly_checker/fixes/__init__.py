"""Fixes: what rules propose (`proposals`, `prompt_width`), as edits of the text (`edits`), written to files (`apply`)."""

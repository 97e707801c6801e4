"""The conformance suite: what a model and its tokenizer must do to be batched, padded, cached and cut."""

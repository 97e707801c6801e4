"""What padding does to a model's answers: the experiment behind `decoderonly study`."""

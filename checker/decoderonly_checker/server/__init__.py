"""The language server behind `decoderonly server`. Only `service.py` and `answers.py` need pygls."""

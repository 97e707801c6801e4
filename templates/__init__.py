"""Beginnings of a rule, a knowledge file and an assertion, which `python -m templates.new` puts in their places."""

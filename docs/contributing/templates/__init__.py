"""Beginnings of a rule, a knowledge file and an assertion, which `python docs/contributing/new.py` puts in their places."""

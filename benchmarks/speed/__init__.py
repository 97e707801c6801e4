"""The parts of `checker_speed.py`."""

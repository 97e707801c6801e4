"""The abstract interpreter: what the values of a program may be, without running it."""

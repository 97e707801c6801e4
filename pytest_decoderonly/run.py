"""Runs a script or a module under the guard: `python -m pytest_decoderonly.run script.py`, as `python script.py` would."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from pytest_decoderonly.runtime.script import main

    main(sys.argv[1:])

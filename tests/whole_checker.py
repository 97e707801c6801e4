"""Imports every module of the checker, for tests that run pytest inside pytest: `import whole_checker`.

pytester forgets what a run inside imported, so that each would import it again, and what is left of the first (caches of
classes, say) would not fit what the second imports.
"""

import importlib
import pkgutil

import decoderonly_checker

for _module in pkgutil.walk_packages(decoderonly_checker.__path__, "decoderonly_checker."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)

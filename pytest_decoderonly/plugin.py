"""The hooks that pytest sees. Nothing but pytest and the standard library is imported here.

pytest loads this module in every run of every project that has the package installed, so that it must cost
nothing where it is not asked for: the sub-plugins (`static`, `runtime.plugin`, `conformance.plugin`,
`summary`) are imported only under `--decoderonly-checks`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pytest_decoderonly import options

if TYPE_CHECKING:
    import pytest

_SUB_PLUGINS = (
    "pytest_decoderonly.static",
    "pytest_decoderonly.runtime.plugin",
    "pytest_decoderonly.conformance.plugin",
    "pytest_decoderonly.reporting.plugin",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini keys."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register markers and fixtures, and the sub-plugins where they are asked for."""
    for marker in options.MARKERS:
        config.addinivalue_line("markers", marker)
    options.validate(config)
    config.pluginmanager.import_plugin("pytest_decoderonly.fixtures")
    if not options.enabled(config):
        return
    from pytest_decoderonly.summary import summary_of

    summary_of(config)
    for name in _SUB_PLUGINS:
        import_module(name).register(config)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say in one line what this run checks; silent where the plugin is not in use."""
    if not options.enabled(config):
        return None
    models = options.models(config)
    shown = f"; models: {', '.join(models)}" if models else ""
    return f"decoderonly: static checks, guard={options.guard_mode(config)}{shown}"

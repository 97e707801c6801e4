"""Makes the documentation site: pages from rules, options and fixtures, and checks of what was built."""

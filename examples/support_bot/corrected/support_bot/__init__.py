"""The ticket desk of Brightkettle, a small shop for kettles."""

"""What the pages on the conformance suite are made of: runs of it, causes of its failures, tables."""

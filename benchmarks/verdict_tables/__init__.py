"""What the benchmarks of the verdicts share: causes read in the library's code, pages of Markdown."""

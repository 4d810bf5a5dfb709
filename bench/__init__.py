"""Measurements of Orchestra beside floors without any framework, in one interleaved run; see docs/performance.md."""

"""Benchmarks: Orchestra is compared with a floor, a minimal program without a framework, in one
interleaved run.

See docs/performance.md.
"""

"""Floors: minimal programs without a framework. The benches report Orchestra's ratio to them."""

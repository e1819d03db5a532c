"""Retrieval benchmarks: documents, queries and graded answers, read from what others publish and made of one's own."""

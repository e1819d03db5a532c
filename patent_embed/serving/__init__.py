"""Search in what a run trained: an engine over its vectors and words, a page, APIs, and judgements."""

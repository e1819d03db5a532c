"""Shapes of records: the layouts in which offices and vendors hand out one patent. One module a shape."""

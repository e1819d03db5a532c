"""The steps of the pipeline, one file each: what it is made from, how it is made, what is said of it."""

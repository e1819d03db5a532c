"""Other stores that a corpus and its vectors can be written into, a module each."""

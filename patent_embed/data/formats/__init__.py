"""Formats of files: what each recognises, and how it yields raw records. One module a format."""

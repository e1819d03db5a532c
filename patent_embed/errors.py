"""The one exception for a user's mistake: its text is all the user sees, and the program exits with 2."""


class UserError(Exception):
    """Says what is wrong (with the value), why it matters, and what to set. Shown without a traceback."""

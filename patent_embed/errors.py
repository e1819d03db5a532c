"""What ends a program and is no failure of it. The text is all that the user sees."""


class UserError(Exception):
    """A user's mistake. Says what is wrong (with the value), why it matters, and what to set. Shown without a
    traceback; the program exits with 2."""


class BaseStays(Exception):  # no error: the run is complete
    """The run is complete, and the tuned model is not published. Says why; the program exits with 3."""

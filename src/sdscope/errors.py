"""The error that a user can put right."""


class SdscopeError(ValueError):
    """Something that the user can put right: one line that says what is wrong and what to do."""


def first_line(error):
    """Of another's error, what fits into one of ours"""
    return str(error).strip().partition("\n")[0] or type(error).__name__

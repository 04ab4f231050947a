"""Is not in this page. scheduler.py imports it for what Postcard does not need."""


def __getattr__(name):
    raise AttributeError(f"numpy.{name} is not in this page, which has a small torch; or run it with `make talk`")

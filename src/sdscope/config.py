"""What a model's JSON files say."""


class Config(dict):
    """A dictionary whose entries are attributes too, as those of diffusers."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

"""From a name to a model's parts: where its folder is, what its files say, its weights, the device they go to."""

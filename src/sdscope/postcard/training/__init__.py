"""How Postcard learned to paint from captions, from nothing to the weights, and how well it does."""

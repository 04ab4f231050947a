"""The painter: an endless world of small scenes, each with the picture of it and the captions that tell it. No
torch."""

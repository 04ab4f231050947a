"""What the loop needs of PIL.Image: a picture made of bytes."""

from tensor import Tensor, uint8


class Image:
    mode = "RGB"

    def __init__(self, width, height, data):
        self.width, self.height, self.size, self.data = width, height, (width, height), data

    def tobytes(self):
        return bytes(self.data)

    def rgba(self):
        """As a canvas has its pixels"""
        red, green, blue = (self.data[i::3] for i in range(3))
        opaque = b"\xff" * (self.width * self.height)
        return bytes(number for pixel in zip(red, green, blue, opaque) for number in pixel)

    def __repr__(self):
        return f"<PIL.Image.Image image mode=RGB size={self.width}x{self.height}>"


def fromarray(picture):
    """Bytes (height, width, 3) -> a picture"""
    fits = isinstance(picture, Tensor) and picture.dtype is uint8 and picture.ndim == 3 and picture.shape[2] == 3
    if not fits:
        given = f"{picture.dtype} {picture.shape}" if isinstance(picture, Tensor) else type(picture).__name__
        raise TypeError(f"a picture is made of torch.uint8 (height, width, 3), not of {given}")
    height, width, _ = picture.shape
    return Image(width, height, picture.data)


def __getattr__(name):
    raise AttributeError(f"PIL.Image.{name} is not in this page, it has: fromarray; or run it with `make talk`")

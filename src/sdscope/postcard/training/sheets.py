"""The sheets of samples that a run leaves behind, to see how far it is."""

from PIL import Image

# what they ask for: the twelve that the first generation was judged by, then what it could not do
PROMPTS = (
    "painting depicting the sea, sunrise, ship",
    "a lighthouse by the sea at night, watercolor",
    "pixel art of a castle in the snow",
    "hot air balloon over the mountains, flat vector illustration",
    "a blue house in a green field at sunset, oil painting",
    "pencil sketch of a windmill in the countryside",
    "a rocket in the desert at night, flat vector illustration",
    "watercolor of a tree in the snow at sunrise",
    "a red ship on the sea at night, pixel art",
    "painting of mountains at sunset",
    "a yellow castle in the city during the day, oil painting",
    "green hot air balloon over the city at dawn, watercolor",
    "a photograph of an astronaut riding a horse",
    "a red house and a blue boat, flat vector illustration",
    "three balloons in the mountains, watercolor",
    "ukiyo-e print of a whale at sea in a storm",
)


def grid(images, columns):
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * (width + 4) - 4, -(-len(images) // columns) * (height + 4) - 4), "white")
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * (width + 4), i // columns * (height + 4)))
    return sheet

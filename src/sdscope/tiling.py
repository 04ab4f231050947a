"""Pictures too large for the memory at hand: decoded in tiles that overlap, blended where they do.

Not quite the same picture: each tile has its own group norms and its own attention. Mirrors tiled_decode
of diffusers' models/autoencoders/autoencoder_kl.py, bit for bit.
"""

import torch

OVERLAP = 0.25  # of a tile's side


def tiled_decode(decode, z, tile):
    """decode: z (B, 4, h, w) -> (B, 3, 8h, 8w), here for tiles of at most `tile` x `tile` latents"""
    stride = int(tile * (1 - OVERLAP))
    rows = [
        [decode(z[:, :, y : y + tile, x : x + tile]) for x in range(0, z.shape[3], stride)]
        for y in range(0, z.shape[2], stride)
    ]
    factor = rows[0][0].shape[2] // min(tile, z.shape[2])
    extent = int(tile * factor * OVERLAP)
    keep = tile * factor - extent  # the rest of a tile is the next one's, blended
    for i, row in enumerate(rows):
        for j, here in enumerate(row):
            if i > 0:
                blend(rows[i - 1][j], here, extent, dim=2)
            if j > 0:
                blend(row[j - 1], here, extent, dim=3)
    return torch.cat([torch.cat([t[:, :, :keep, :keep] for t in row], dim=3) for row in rows], dim=2)


def blend(before, here, extent, dim):
    """In place: the first `extent` lines of `here` begin as the last ones of `before`."""
    extent = min(before.shape[dim], here.shape[dim], extent)
    for i in range(extent):
        last, first = before.select(dim, before.shape[dim] - extent + i), here.select(dim, i)
        first.copy_(last * (1 - i / extent) + first * (i / extent))

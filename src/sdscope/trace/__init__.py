"""Record every stage of one run of a pipeline, from outside.

    with trace(pipe, attention="mean") as t:
        image = pipe("painting depicting the sea, sunrise, ship", seed=42)

    t.tokens.cond[0].strings        # ["<|startoftext|>", "painting</w>", ...]
    t.embeddings.cond               # (B, 77, D); .layers[3]: after 3 layers of the text encoder
    t.steps[10].noise               # (B, 4, h, w), what the scheduler was given
    t.steps[10].attention["ship"]   # (h, w); t.attention["ship"]: the mean over the steps
    t.pictures                      # what the pipeline returned, the same bits

The pipeline, ours or diffusers', with any scheduler that it takes, does not know that it is watched.
Everything is seen through forward hooks, which only read, and through wrappers of three methods; all of
them are gone when the block ends, also after an exception. A traced run gives the same bits as an untraced
one. What is recorded, with its shapes: record.py. Where what was seen is not one UNet call for each step of the
scheduler, the run ends in an SdscopeError: the trace does not guess.

Traced or not, a pipe, its scheduler and a trace of it belong to one thread at a time: the scheduler remembers
where in its run it is. Two threads need two pipes.

Kept are copies on the CPU, in the pipeline's precision. For one picture, 50 steps of Stable Diffusion 2 at
768 pixels in float32 (in float16 half as much):
    always             latents, predictions and x_0 of every step 37 MB, with model_input 44 MB; text and the
                       encoder's layers 8 MB; 16 channels of each decoder stage 96 MB; the picture 7 MB
    attention="mean"   188 MB: a map for each resolution
    attention="heads"  6254 MB: a map for each head of each layer
    features=True      31 MB: a channel mean for each part of the UNet (its outputs whole would be 13389 MB)
"""

from ..vocabulary import END, START
from .hooks import predicted_x0, trace
from .record import Attention, Features, Step, Tokens, Trace

__all__ = ["END", "START", "Attention", "Features", "Step", "Tokens", "Trace", "predicted_x0", "trace"]

"""LoRA: a small change to a large model, W x + scale (alpha / r) B (A x), with A (r, n) and B (m, r).

    lora = LoRA(pipe, "snowman.safetensors", scale=0.8)
    lora.merge()   # into the weights: W + scale (alpha / r) B A, as fast as before
    lora.remove()  # and all is as it was

Hu et al., arXiv:2106.09685. The same numbers as diffusers' load_lora_weights, set_adapters and fuse_lora,
which are peft's tuners/lora/layer.py, bit for bit.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .inputs import check_scale, require
from .loading.adapters import read_adapter


class LoRA:
    """LoRA(pipe, path, scale=1.0): from now on the pipe paints with it

    path   a file of diffusers (pytorch_lora_weights.safetensors), or a folder with one, or one of peft
           (adapter_config.json, adapter_model.safetensors); for the UNet, the text encoder, or both
    scale  how much of it; lora.scale = 0.5 changes it for the next picture, as long as it is not merged

    Several add up. What is wrong with a file is an SdscopeError, and the pipe stays as it is.
    """

    def __init__(self, pipe, path, scale=1.0):
        self.scale, self.layers = check_scale(scale), read_adapter(path, pipe)
        self.before, self.merged = {}, {}  # weights
        self.hooks = [layer.register_forward_hook(self.add) for layer in self.layers]
        self.pipe, pipe.loras = pipe, [*getattr(pipe, "loras", []), self]
        if any(layer in self.layers for layer in pipe.unet.modules()):
            pipe.unet.requires_grad_(False)  # as peft does: frozen, torch rounds another way

    # fmt: off

    # region lora
    def add(self, layer, inputs, output):
        """What a layer gives, W x -> with the change, computed beside it"""
        down, up, scaling = self.layers[layer]
        if isinstance(layer, nn.Conv2d):
            lower = F.conv2d(inputs[0], down, None, layer.stride, layer.padding)
            return output + F.conv2d(lower, up) * (self.scale * scaling)
        return output + F.linear(F.linear(inputs[0], down), up) * (self.scale * scaling)

    @torch.no_grad()
    def merge(self):
        """The change into the weights: nothing is computed beside them any more"""
        for hook in self.hooks:
            hook.remove()
        for layer, (down, up, scaling) in self.layers.items():
            if down[0, 0].numel() > 1:  # of a convolution wider than 1 x 1
                delta = F.conv2d(down.transpose(0, 1), up).transpose(0, 1)
            else:
                delta = (up.flatten(1) @ down.flatten(1)).view_as(layer.weight)
            delta = delta * (self.scale * scaling)
            self.before[layer] = layer.weight
            self.merged[layer] = nn.Parameter(layer.weight + delta, layer.weight.requires_grad)
            layer.weight = self.merged[layer]
            # endregion lora

    def remove(self):
        """All as it was, to the bit"""
        last = all(layer.weight is weight for layer, weight in self.merged.items())
        require(last, "another LoRA was merged after this one: remove that one first")
        for hook in self.hooks:
            hook.remove()
        for layer, weight in self.before.items():
            layer.weight = weight
        self.before, self.merged = {}, {}
        self.pipe.loras = [lora for lora in self.pipe.loras if lora is not self]
        self.pipe.unet.requires_grad_(not self.pipe.loras)

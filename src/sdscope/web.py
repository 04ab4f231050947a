"""A model for the browser: four ONNX graphs, the tokenizer, and model.json, which says what they are.

    sdscope export-web -o public/model

    text_encoder.onnx   input_ids (B, 77) int32 -> prompt_embeds (B, 77, D)
    unet.onnx           sample (B, 4, h, w), timestep (B,), encoder_hidden_states (B, 77, D)
                        -> noise_pred (B, 4, h, w), and what trace/ sees on the way:
                        attention.PART (B, 77, h', w'), the mean over the heads of a cross-attention,
                        features.PART (B, h', w'), the channel mean of a part's output
    vae_decoder.onnx    latents (B, 4, h, w) -> image (B, 8h, 8w, 4) uint8, as a canvas has its pixels,
                        and decoded (B, 3, 8h, 8w), from -1 to 1 or a little beyond, as the VAE gives it
    vae_encoder.onnx    image (B, H, W, 4) uint8, as a canvas has its pixels -> mean and std (B, 4, H / 8, W / 8) of its
                        latents, scaled: mean + std * noise is a draw. Only for who begins with a picture

B, h, w, H and W are free. Weights are stored in 16 bits and computed with in 32: the runtime widens them
when it loads the graph. ONNX: https://onnx.ai; it is read by onnxruntime-web in slides/engine/.
"""

import contextlib
import copy
import functools
import hashlib
import json
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from torch import nn

from . import files
from .errors import SdscopeError
from .loading.settings import sides
from .trace.hooks import UNET_PARTS, probabilities

GRAPHS = ("text_encoder.onnx", "unet.onnx", "vae_decoder.onnx", "vae_encoder.onnx")
TOKENIZER = "tokenizer.json"
OPSET = 18
SCHEDULE = dict(timestep_spacing="leading", rescale_betas_zero_snr=False, clip_sample=False)  # as slides/engine has it
MOST_BYTES = 2**31  # protobuf, in which ONNX is written, holds no more


def export_web(pipe, folder, prompts=()):
    """A StableDiffusion -> `folder` with the files above, in place of those of an export before; returns
    model.json's dict. prompts: for readers without an idea of their own.

    Made beside its place and then moved there. A folder with anything else in it, what cannot be written, or is too
    large: SdscopeError.
    """
    parts = pipe.text_encoder, pipe.unet, pipe.vae.decoder, pipe.vae.encoder
    if any(4 * sum(p.numel() for p in part.parameters()) >= MOST_BYTES for part in parts):
        raise SdscopeError("this model is too large for a browser: each part must stay below 2 GB")
    for key, value in SCHEDULE.items():
        if pipe.scheduler.config.get(key, value) != value:
            told = f"the scheduler's {key} is {pipe.scheduler.config[key]!r}"
            raise SdscopeError(f"{told}; a browser knows only {value!r}: give the pipeline such a scheduler")
    with files.making(folder, exported) as new:
        export_text_encoder(pipe, new / GRAPHS[0])
        export_unet(pipe, new / GRAPHS[1])
        export_vae_decoder(pipe, new / GRAPHS[2])
        export_vae_encoder(pipe, new / GRAPHS[3])
        export_tokenizer(pipe, new / TOKENIZER)
        model = describe(pipe, new) | dict(prompts=list(prompts))
        (new / "model.json").write_text(json.dumps(model, indent=1) + "\n", encoding="utf-8")
    return model


def exported(folder):
    """The names of the files in a folder that an export wrote: model.json knows them"""
    try:
        told = json.loads((folder / "model.json").read_text(encoding="utf-8"))["files"]
        return {"model.json", *(name for name in told if (folder / name).stat().st_size == told[name]["bytes"])}
    except (OSError, ValueError, TypeError, KeyError):
        return set()


def describe(pipe, folder):
    """What the browser has to know before it loads the rest: hashes, and the numbers of the configurations"""
    contents = {name: (folder / name).read_bytes() for name in (*GRAPHS, TOKENIZER)}
    told = {name: dict(bytes=len(x), sha256=hashlib.sha256(x).hexdigest()) for name, x in contents.items()}
    tokenizer = pipe.tokenizer
    return dict(
        version=hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16],
        files=told,
        size=pipe.size,
        factor=pipe.factor,
        latent_channels=pipe.unet.config.in_channels,
        scaling_factor=pipe.vae.config.scaling_factor,
        embedding_size=pipe.unet.config.cross_attention_dim,
        tokens=dict(length=tokenizer.model_max_length, end=tokenizer.eos_token_id, pad=tokenizer.pad_token_id),
        scheduler=dict(pipe.scheduler.config),
    )


def export_tokenizer(pipe, path):
    tokenizer = Tokenizer.from_str(pipe.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_padding()  # left over from its last use
    tokenizer.no_truncation()
    tokenizer.save(str(path))


def export_text_encoder(pipe, path):
    text_encoder = rounded(pipe.text_encoder)

    def encode(input_ids):
        return text_encoder(input_ids)[0]

    ids = torch.zeros(2, pipe.tokenizer.model_max_length, dtype=torch.int32)
    free = {name: {0: "batch"} for name in ("input_ids", "prompt_embeds")}
    write(path, text_encoder, encode, {"input_ids": ids}, ["prompt_embeds"], free)


def export_unet(pipe, path):
    unet = rounded(pipe.unet)
    c = unet.config
    inputs = dict(
        sample=torch.zeros(2, c.in_channels, *sides(c.sample_size)),
        timestep=torch.ones(2),
        encoder_hidden_states=torch.zeros(2, pipe.tokenizer.model_max_length, c.cross_attention_dim),
    )
    with seen(unet) as outputs:  # the names are known after a run
        with torch.no_grad():
            unet(*inputs.values())
        names = list(outputs)

        def predict(sample, timestep, encoder_hidden_states):
            outputs.clear()
            noise_pred = unet(sample, timestep, encoder_hidden_states)
            return noise_pred, *(outputs[name] for name in names)

        free = {name: {0: "batch", 2: "height", 3: "width"} for name in ("sample", "noise_pred")}
        free |= {name: {0: "batch"} for name in ("timestep", "encoder_hidden_states")}
        for name in names:
            h = 2 if name.startswith("attention.") else 1
            free[name] = {0: "batch", h: f"{name}.height", h + 1: f"{name}.width"}
        write(path, unet, predict, inputs, ["noise_pred", *names], free)


@contextlib.contextmanager
def seen(unet):
    """{"attention.PART": ..., "features.PART": ...} of the UNet's latest call, as the graph is to give them.
    Forward hooks, gone at the end; the same as those of trace/hooks.py, but they keep tensors, not copies."""
    outputs, looks, hooks = {}, {}, []

    def on_query(part, module, args, output):
        looks[part] = output

    def on_key(part, heads, module, args, output):
        looks[part] = probabilities(looks[part], output, heads).mean(1).transpose(1, 2)  # (B, 77, N)

    def on_part(part, module, args, output):
        outputs[f"features.{part}"] = output.mean(1)
        if part in looks:
            outputs[f"attention.{part}"] = looks[part].unflatten(2, output.shape[-2:])

    for name, module in unet.named_modules():
        part = name.partition(".transformer_blocks")[0]
        if UNET_PARTS.fullmatch(name):
            hooks.append(module.register_forward_hook(functools.partial(on_part, part)))
        if name.endswith("attn2"):
            hooks.append(module.to_q.register_forward_hook(functools.partial(on_query, part)))
            hooks.append(module.to_k.register_forward_hook(functools.partial(on_key, part, module.heads)))
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def export_vae_decoder(pipe, path):
    vae = rounded(pipe.vae)

    def decode(latents):
        decoded = vae.decode_tile(latents / vae.config.scaling_factor)
        x = (decoded * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
        x = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)  # red, green, blue, opaque
        return (x * 255).round().byte(), decoded

    latents = torch.zeros(2, pipe.unet.config.in_channels, *sides(pipe.unet.config.sample_size))
    free = {"latents": {0: "batch", 2: "h", 3: "w"}, "image": {0: "batch", 1: "height", 2: "width"}}
    free["decoded"] = {0: "batch", 2: "height", 3: "width"}
    write(path, vae, decode, {"latents": latents}, ["image", "decoded"], free)


def export_vae_encoder(pipe, path):
    vae, scale = rounded(pipe.vae), pipe.vae.config.scaling_factor

    def encode(image):
        x = 2.0 * (image[..., :3].permute(0, 3, 1, 2).float() / 255.0) - 1.0
        mean, logvar = vae.encode(x)
        return scale * mean, scale * torch.exp(0.5 * logvar)

    image = torch.zeros(2, *pipe.sides, 4, dtype=torch.uint8)
    free = {"image": {0: "batch", 1: "height", 2: "width"}}
    free |= {name: {0: "batch", 2: "h", 3: "w"} for name in ("mean", "std")}
    write(path, vae, encode, {"image": image}, ["mean", "std"], free)


def rounded(module):
    """A copy, in float32, whose weights are what 16 bits can hold"""
    return copy.deepcopy(module).cpu().half().float()


class Graph(nn.Module):
    """A function of a module as a module, which is what the exporter takes."""

    def __init__(self, module, function):
        super().__init__()
        self.module, self.forward = module, function


def write(path, module, function, inputs, outputs, free):
    """function(*inputs) -> outputs, as an ONNX graph. free: {name of a tensor: {dimension: its name}}

    By tracing: it takes seconds, where the exporter that torch recommends needs more than a minute for the same graph.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", message="Constant folding")  # it pads by a slice that it leaves as it is
        torch.onnx.export(
            Graph(module, function),
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
    store_in_16_bits(path)


def store_in_16_bits(path):
    """The weights of a graph as float16 and a Cast to float32. What would be rounded, such as the waves of the
    time embedding, which the exporter computed, stays as it is."""
    model = onnx.load(path)
    graph, casts = model.graph, []
    for weight in graph.initializer:
        array = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = array.astype("float16")
        if weight.data_type == TensorProto.FLOAT and (half == array).all():
            casts.append(helper.make_node("Cast", [f"{weight.name}.16"], [weight.name], to=TensorProto.FLOAT))
            weight.CopyFrom(numpy_helper.from_array(half, f"{weight.name}.16"))
    nodes = [*casts, *graph.node]  # in the order in which they are computed
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)

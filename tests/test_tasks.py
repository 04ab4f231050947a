"""Image to image, inpainting, depth, upscaling and LoRA are diffusers' pipelines of the same: difference 0.0.

With random weights and a choice of all combinations in which every two values meet; COMBINATIONS=all compares
them all. And what is wrong with a picture, a mask, a depth map or a LoRA is told in one line.
"""

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import NO_CHECKER, SCHEDULER, compare, load_both, run_both, tiny_pipeline
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    StableDiffusionDepth2ImgPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionUpscalePipeline,
)
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file, save_file
from test_exact import covering

import sdscope
from sdscope import SdscopeError
from sdscope.publish.facts import code_lines
from sdscope.scheduler import DDIM
from sdscope.trace import trace

STEPS = 5
TINY = dict(block_out_channels=[8, 16, 32, 32], norm_num_groups=4, layers_per_block=1)
SCHEDULERS = dict(  # the second and the fourth draw noise, the third computes a time twice
    ddim=DDIMScheduler,
    ancestral=EulerAncestralDiscreteScheduler,
    heun=HeunDiscreteScheduler,
    ddpm=DDPMScheduler,
    dpm=DPMSolverMultistepScheduler,
)
SETTINGS = dict(
    scheduler=list(SCHEDULERS),
    batch=[(1, 1), (2, 1), (2, 2)],  # prompts, pictures
    guidance=[1.0, 5.0],
    prediction_type=["epsilon", "v_prediction"],
)
# here diffusers takes no picture for several prompts, and shows no step between two computations of a time
UPSCALE = dict(scheduler=[name for name in SCHEDULERS if name != "heun"], batch=[(1, 1), (2, 2)])
PICTURES = dict(strength=[0.25, 0.7, 1.0], size=[(64, 64), (46, 75)])
KINDS = {  # the task's class, diffusers', what the UNet has
    "image_to_image": (sdscope.ImageToImage, StableDiffusionImg2ImgPipeline, {}),
    "inpaint_4": (sdscope.Inpaint, StableDiffusionInpaintPipeline, {}),
    "inpaint_9": (sdscope.Inpaint, StableDiffusionInpaintPipeline, dict(in_channels=9)),
    "depth": (sdscope.DepthToImage, StableDiffusionDepth2ImgPipeline, dict(in_channels=5)),
    "upscale": (sdscope.Upscale, StableDiffusionUpscalePipeline, dict(in_channels=7)),
    "upscale_classes": (
        sdscope.Upscale,
        StableDiffusionUpscalePipeline,
        dict(in_channels=7, num_class_embeds=1000, only_cross_attention=[True, True, True, False]),
    ),
}

ABSENT = {  # parts that a pipeline may be without
    StableDiffusionDepth2ImgPipeline: dict(depth_estimator=None, feature_extractor=None),
    StableDiffusionUpscalePipeline: {},
}


def rows(**settings):
    strength = len(settings) if os.environ.get("COMBINATIONS") == "all" else 2
    return [pytest.param(row, id="-".join(map(str, row.values()))) for row in covering(settings, strength)]


def reference(kind):
    """diffusers' pipeline of a kind, with random weights"""
    _, cls, unet = KINDS[kind]
    parts = {k: x for k, x in tiny_pipeline(**TINY | unet).components.items() if x is not None}
    if cls is StableDiffusionDepth2ImgPipeline:
        return cls(**parts, **ABSENT[cls])
    if cls is StableDiffusionUpscalePipeline:
        changes = dict(block_out_channels=[8, 8, 16], scaling_factor=0.08333)
        changes |= dict(down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3)
        parts["vae"] = AutoencoderKL.from_config(parts["vae"].config, **changes)
        low = SCHEDULER | dict(beta_start=0.0001, beta_end=0.02, clip_sample=True)
        return cls(**parts, low_res_scheduler=DDPMScheduler.from_config(low))
    return cls(**parts, **NO_CHECKER)


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    """kind -> (ours, opened from a folder that diffusers saved; diffusers'; the folder)"""
    made = {}

    def make(kind):
        if kind not in made:
            folder, (ours, theirs, _) = tmp_path_factory.mktemp(kind), KINDS[kind]
            reference(kind).save_pretrained(folder)
            theirs = theirs.from_pretrained(folder, **ABSENT.get(theirs, NO_CHECKER))
            theirs.set_progress_bar_config(disable=True)
            made[kind] = ours.from_pretrained(folder, device="cpu"), theirs, folder
        return made[kind][:2]

    make.folder = lambda kind: make(kind) and made[kind][2]
    return make


def picture(size, seed=0, mode="RGB"):
    """Smooth noise, height and width"""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 7, len(mode)), dtype=np.uint8).squeeze()
    return Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)


def mask(size, seed=0):
    """Grey at its edges"""
    return picture(size, seed + 9, "L").point(lambda x: min(max(3 * x - 256, 0), 255))


def both(ours, theirs, row, given, **more):
    """[(ours, theirs), ...]: the latents after every step, and the pictures"""
    config = SCHEDULER | dict(prediction_type=row["prediction_type"])
    ours.scheduler, theirs.scheduler = (SCHEDULERS[row["scheduler"]].from_config(config) for _ in "ab")
    if row["scheduler"] == "ddim":
        ours.scheduler = DDIM(config)
    n, (before, after, decoded) = row["batch"][0], ([], [], [])
    prompts, negatives = ["a ship", "a castle in the snow"][:n], ["night", ""][:n]
    call = dict(num_inference_steps=STEPS, guidance_scale=row["guidance"], **more)
    ours.decode = lambda latents: decoded.append(latents) or type(ours).decode(ours, latents)
    images = ours(prompts, *given, negatives, seed=3, callback=lambda s: before.append(s["latents"]), **call)
    del ours.decode
    keep = lambda pipe, i, t, tensors: after.append(tensors["latents"]) or {}
    keep = dict(callback_on_step_end=keep)
    if isinstance(ours, sdscope.Upscale):
        keep = dict(callback=lambda i, t, latents: after.append(latents))
    seeds = [torch.Generator().manual_seed(3 + i) for i in range(n)]
    expected = theirs(prompts, *given, negative_prompt=negatives, generator=seeds, **keep, **call).images
    latents, images = (
        zip([*before[1:], *decoded], after[-len(before) :], strict=True),
        zip(images, expected, strict=True),
    )
    return [*latents, *((torch.tensor(np.array(a)), torch.tensor(np.array(b))) for a, b in images)]


def several(make, row, **options):
    """One picture, or one for each prompt: of the batch's number"""
    made = [make(row["size"], seed, **options) for seed in range(row["batch"][1])]
    return made if row["batch"][1] > 1 else made[0]


@pytest.mark.parametrize("row", rows(**SETTINGS, **PICTURES))
def test_image_to_image(pipelines, row):
    compare(both(*pipelines("image_to_image"), row, [several(picture, row)], strength=row["strength"]))


@pytest.mark.parametrize("kind", ["inpaint_4", "inpaint_9"])
@pytest.mark.parametrize("row", rows(**SETTINGS, **PICTURES, own=[(64, 64), (40, 72)]))
def test_inpaint(pipelines, kind, row):
    given, (height, width) = [several(picture, row), several(mask, row)], row["own"]
    compare(both(*pipelines(kind), row, given, strength=row["strength"], height=height, width=width))


@pytest.mark.parametrize("kind", ["inpaint_4", "inpaint_9"])
@pytest.mark.parametrize("pad", [0, 7, 100])
@pytest.mark.parametrize(
    "size, box", [((64, 64), (10, 20, 30, 60)), ((90, 50), (0, 40, 50, 44)), ((50, 90), (70, 1, 90, 9))]
)
def test_padding_masks(pipelines, kind, pad, size, box):
    part = Image.new("L", size[::-1])
    part.paste(200, box)
    row = dict(scheduler="ancestral", batch=(1, 1), guidance=5.0, prediction_type="epsilon")
    given = [picture(size), part]
    compare(both(*pipelines(kind), row, given, padding_mask_crop=pad, height=40, width=72, strength=0.5)[-1:])


@pytest.mark.parametrize("row", rows(**SETTINGS, **PICTURES, maps=["one", "each", "picture"]))
def test_depth_to_image(pipelines, row):
    n = row["batch"][0] if row["maps"] == "each" else 1
    deep = torch.randn(n, 23, 31, generator=torch.Generator().manual_seed(1))
    if row["maps"] == "picture":  # of 16 bits, and diffusers is given the same as a tensor
        deep = Image.fromarray((deep[0].clamp(-2, 2) * 9000 + 30000).numpy().astype(np.uint16))
    ours, theirs = pipelines("depth")
    tensor = torch.from_numpy(np.array(deep, np.float32))[None] if row["maps"] == "picture" else deep
    call = type(theirs).__call__
    told = lambda prompts, image, depth, **more: call(theirs, prompts, image, tensor, **more)
    compare(both(ours, Instead(theirs, told), row, [several(picture, row), deep], strength=row["strength"]))


class Instead:
    """A pipeline that is called another way"""

    def __init__(self, pipe, call):
        vars(self).update(pipe=pipe, call=call)

    def __call__(self, *args, **kwargs):
        return self.call(*args, **kwargs)

    def __setattr__(self, name, value):
        setattr(self.pipe, name, value)


@pytest.mark.parametrize("kind", ["upscale", "upscale_classes"])
@pytest.mark.parametrize("row", rows(**SETTINGS | UPSCALE, noise_level=[0, 20, 350], size=[(16, 16), (14, 23)]))
def test_upscale(pipelines, kind, row):
    ours, theirs = pipelines(kind)
    pairs = both(ours, theirs, row, [several(picture, row)], noise_level=row["noise_level"])
    compare(pairs)
    height, width = (side - side % 4 for side in row["size"])
    assert pairs[-1][0].shape == (4 * height, 4 * width, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_traced(pipelines, kind):
    """The trace sees the task's steps, and its picture"""
    pipe, theirs = pipelines(kind)
    size = (16, 16) if kind.startswith("upscale") else (64, 64)
    given = [picture(size)] + [mask(size)] * kind.startswith("inpaint") + [picture(size, 1, "L")] * (kind == "depth")
    with trace(pipe, attention="mean") as t:
        image = pipe("a ship", *given, seed=0, num_inference_steps=3)
    assert t.pictures[0].tobytes() == image.tobytes() and len(t.steps) in (2, 3)
    for step in t.steps:
        seen = step.latents if step.model_input is None else step.model_input  # None: the latents as they are
        assert seen.shape[1] == theirs.unet.config.in_channels
        assert step.latents.shape[1] == step.pred_x0.shape[1] == 4 and step.attention["a"].ndim == 2


# ---- which class opens which folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", ["StableDiffusion", "ImageToImage", "Inpaint", "DepthToImage", "Upscale"])
def test_who_opens_what(pipelines, kind, cls):
    opens, folder = KINDS[kind][0].__name__, pipelines.folder(kind)
    if cls == opens:
        return
    named = KINDS[kind][1].__name__
    with pytest.raises(SdscopeError) as error:
        getattr(sdscope, cls).from_pretrained(folder)
    assert str(error.value) == f"the model folder {folder} holds a {named}: open it with sdscope.{opens}, not {cls}"


def test_models_of_text_to_image(tiny_folder):
    for cls in sdscope.ImageToImage, sdscope.Inpaint:
        assert cls.from_pretrained(tiny_folder, device="cpu").sides == [64, 64]
    for cls in sdscope.DepthToImage, sdscope.Upscale:
        with pytest.raises(SdscopeError, match=f"open it with sdscope.StableDiffusion, not {cls.__name__}$"):
            cls.from_pretrained(tiny_folder, device="cpu")


def test_a_folder_that_names_another_kind(pipelines, tmp_path):
    """model_index.json says one thing, the UNet another"""
    tiny_pipeline(in_channels=9).save_pretrained(tmp_path)
    assert sdscope.Inpaint.from_pretrained(tmp_path, device="cpu").unet.config.in_channels == 9
    for cls in sdscope.StableDiffusion, sdscope.ImageToImage:
        with pytest.raises(SdscopeError, match="in_channels 9, .*: open it with sdscope.Inpaint$"):
            cls.from_pretrained(tmp_path, device="cpu")


def test_withdrawn_names_lead_to_mirrors(monkeypatch):
    from sdscope.loading import hub

    asked = []
    monkeypatch.setattr(hub, "download", lambda *given: asked.append(given[0]))
    for name in "stabilityai/stable-diffusion-2-inpainting", "stabilityai/stable-diffusion-2-depth":
        hub.from_hub(name, True, torch.float32)
    hub.from_hub("runwayml/stable-diffusion-inpainting", True, torch.float32)
    hub.from_hub("sd2-upscaler", True, torch.float32)
    assert asked == [
        "sd2-community/stable-diffusion-2-inpainting",
        "sd2-community/stable-diffusion-2-depth",
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
        "stabilityai/stable-diffusion-x4-upscaler",
    ]


# ---- bad input

SIZE = (64, 64)
RGB, WHOLE = picture(SIZE), Image.new("L", SIZE, 255)
CLEAR = RGB.convert("RGBA")
CLEAR.putalpha(mask(SIZE))
DEEP = picture(SIZE, 1, "L")
NAN = torch.full((8, 8), torch.nan)
STRENGTHS = [
    (strength, "the strength must be a number above 0 up to 1")
    for strength in (0, 1.5, -1, float("nan"), "a lot", None, True)
] + [(0.1, "a strength of 0.1 leaves none of 5 steps: give 0.2 or more, or take more steps")]
PICTURES_THAT_FIT_NOTHING = [
    ("picture.png", "the picture must be a PIL image, or a list of them"),
    (None, "the picture must be a PIL image"),
    ([], "the picture must be a PIL image"),
    ([RGB, "x"], "not 'x'"),
    (np.zeros((64, 64, 3)), "the picture must be a PIL image"),
    ([RGB, RGB], "2 pictures for 1 prompts: give as many, or one for all"),
    (Image.new("RGB", (200, 7)), "the picture has 200 x 7 pixels: it must be 8 wide and 8 high at least"),
    (CLEAR, "the picture is transparent in places"),
    (Image.fromarray(np.zeros((64, 64), np.uint16)), "the picture is of mode I;16, and must be of 8 bits"),
    (Image.new("F", SIZE), "the picture is of mode F"),
]
MASKS_THAT_FIT_NOTHING = [
    (Image.new("L", (64, 60), 255), "the mask has 64 x 60 pixels, the picture 64 x 64 pixels: they must be the same"),
    (Image.new("L", SIZE), "the mask is black everywhere"),
    (Image.new("L", SIZE, 127), "the mask is black everywhere"),
    (np.ones((64, 64)), "the mask must be a PIL image"),
    ([WHOLE, WHOLE], "2 masks for 1 prompts"),
]
DEPTHS_THAT_FIT_NOTHING = [
    (None, "the depth map must be a tensor (H, W) or (B, H, W), or a picture of one channel, not None"),
    (RGB, "a depth map has one channel, of 8 or 16 bits, not RGB: convert it to L"),
    ([DEEP, DEEP], "2 depth maps for 1 prompts"),
    ([DEEP, DEEP.resize((9, 9))], "the depth maps must be of one size"),
    (WHOLE, "the depth map is the same everywhere"),
    (NAN, "the depth map has NaN or infinity in it"),
    (torch.zeros(1, 1, 8, 8), "not (1, 1, 8, 8)"),
    (torch.zeros(0, 8), "not (0, 8)"),
    ("depth.png", "not 'depth.png'"),
]
LEVELS = [(level, "the noise level must be a whole number from 0 to 350") for level in (-1, 351, 0.5, None, "20")]
BAD = [("image_to_image", [RGB], dict(strength=x), told) for x, told in STRENGTHS]
BAD += [("inpaint_4", [RGB, WHOLE], dict(strength=x), told) for x, told in STRENGTHS]
BAD += [("depth", [RGB, DEEP], dict(strength=x), told) for x, told in STRENGTHS[:2]]
BAD += [("image_to_image", [x], {}, told) for x, told in PICTURES_THAT_FIT_NOTHING]
BAD += [("inpaint_9", [RGB, x], {}, told) for x, told in MASKS_THAT_FIT_NOTHING]
BAD += [("inpaint_9", [RGB, Image.new("L", SIZE)], dict(padding_mask_crop=4), "the mask is black everywhere")]
BAD += [("inpaint_9", [RGB, WHOLE], dict(padding_mask_crop=-1), "padding_mask_crop must be a whole number from 0")]
BAD += [("inpaint_9", [[RGB], WHOLE], dict(height=60), "the height must be a multiple of 8 pixels")]
BAD += [("depth", [RGB, x], {}, told) for x, told in DEPTHS_THAT_FIT_NOTHING]
BAD += [("upscale", [RGB], dict(noise_level=x), told) for x, told in LEVELS]
BAD += [("upscale", [Image.new("RGB", (3, 9))], {}, "it must be 4 wide and 4 high at least")]


@pytest.mark.parametrize("kind, given, options, told", BAD, ids=lambda x: x[:40] if isinstance(x, str) else "-")
def test_bad_input(pipelines, monkeypatch, kind, given, options, told):
    """One line, before anything is computed"""
    pipe = pipelines(kind)[0]
    monkeypatch.setattr(pipe, "encode_prompt", None)
    with pytest.raises(SdscopeError) as error:
        pipe("a ship", *given, seed=0, num_inference_steps=STEPS, **options)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("change", ["L", "P", "1", "CMYK", "LA", "RGBA", "palette"])
def test_pictures_of_other_modes(pipelines, change):
    """Converted to RGB first, also with an alpha channel, if it hides nothing"""
    pipe = pipelines("image_to_image")[0]
    other = RGB.quantize(5) if change == "palette" else RGB.convert(change)
    paint = lambda image: pipe("a ship", image, seed=0, num_inference_steps=2).tobytes()
    assert paint(other) == paint(other.convert("RGB"))


def test_strength_and_masks_do_what_they_say(pipelines):
    """A whole mask and strength 1: of a model of 4 channels, text to image. Outside a mask the latents stay."""
    pipe, _ = pipelines("inpaint_4")
    pipe.scheduler = DDIM(SCHEDULER)
    text = sdscope.StableDiffusion(pipe.tokenizer, pipe.text_encoder, pipe.unet, pipe.vae, pipe.scheduler)
    generators = lambda: [torch.Generator().manual_seed(0)]
    drawn = generators()
    torch.randn(1, 4, 8, 8, generator=drawn[0])  # with this the picture is encoded
    expected = text.decode(
        text.denoise(text.get_latents(1, 64, 64, drawn), text.encode_prompt(["a ship"], [""], True), 3)
    )[0]
    assert pipe("a ship", RGB, WHOLE, seed=generators(), num_inference_steps=3).tobytes() == expected.tobytes()
    half = Image.new("L", SIZE)
    half.paste(255, (0, 0, 32, 64))
    ends = []
    pipe.decode = lambda latents: ends.append(latents) or [RGB]
    for prompt in "a ship", "a castle":
        pipe(prompt, RGB, half, seed=1, num_inference_steps=3)
    del pipe.decode
    same = (ends[0] == ends[1]).all(dim=1)[0]
    assert same[:, 4:].all() and not same[:, :4].any()


# ---- LoRA

TARGETS = dict(
    attention=(["to_q", "to_k", "to_v", "to_out.0"], None),
    both=(["to_q", "to_v"], ["q_proj", "v_proj", "fc1"]),
    all=(["proj_in", "ff.net.0.proj", "ff.net.2", "conv1", "conv_shortcut", "conv_in", "linear_1", "conv"], None),
)


@pytest.fixture(scope="module", params=[False, True], ids=["SD1", "SD2"])
def base(request, tmp_path_factory):
    """A folder; the settings of its UNet"""
    folder, unet = tmp_path_factory.mktemp("base"), TINY | dict(use_linear_projection=request.param)
    tiny_pipeline(**unet).save_pretrained(folder)
    return folder, unet


def make_lora(folder, unet, targets="attention", r=4, alpha=4, names="diffusers"):
    """A LoRA with random weights, saved by diffusers"""
    pipe = tiny_pipeline(**unet)
    torch.manual_seed(5)
    states, metadata = {}, {}
    for part, modules in zip(("unet", "text_encoder"), TARGETS[targets]):
        if modules:
            config = LoraConfig(r=r, lora_alpha=alpha, target_modules=modules, init_lora_weights=False)
            model = getattr(pipe, part)
            model.add_adapter(config)
            state = get_peft_model_state_dict(model)
            states[f"{part}_lora_layers"] = convert_state_dict_to_diffusers(state) if names == "diffusers" else state
            metadata[f"{part}_lora_adapter_metadata"] = config.to_dict() if alpha != r else None
    StableDiffusionPipeline.save_lora_weights(folder, **states, **metadata)
    return folder / "pytorch_lora_weights.safetensors"


def rename(path, change):
    save_file({change(key): value for key, value in load_file(path).items()}, path, {"format": "pt"})
    return path


def same(ours, theirs):
    """Equal to diffusers', with all weights moved to fresh memory: matrix products round by where it begins"""
    for module in ours.unet, ours.text_encoder, theirs.unet, theirs.text_encoder:
        for weight in module.parameters():
            weight.data = weight.data.clone()
    pairs = run_both(ours, theirs, ["a ship"], ["night"], (64, 64), 2, 3.0)
    compare(pairs)
    return pairs[-2][0]


@pytest.mark.parametrize(
    "targets, r, alpha, names",
    [("attention", 4, 4, "diffusers"), ("attention", 2, 5, "peft"), ("both", 4, 8, "diffusers"), ("all", 3, 2, "peft")],
)
def test_lora(base, tmp_path, targets, r, alpha, names):
    """Loaded, scaled, merged, and taken away again"""
    folder, unet = base
    (ours, theirs), path = load_both(folder), make_lora(tmp_path, unet, targets, r, alpha, names)
    without = same(ours, theirs)
    theirs.load_lora_weights(tmp_path)
    lora = sdscope.LoRA(ours, path)
    assert not torch.equal(same(ours, theirs), without)
    theirs.set_adapters(["default_0"], 0.5)
    lora.scale = 0.5
    same(ours, theirs)
    theirs.set_adapters(["default_0"], 1.0)
    theirs.fuse_lora(lora_scale=0.7)
    lora.scale = 0.7
    lora.merge()
    same(ours, theirs)
    lora.remove()
    assert torch.equal(same(ours, load_both(folder)[1]), without)


@pytest.mark.parametrize("options", [{}, dict(use_rslora=True), dict(alpha_pattern={"attn1.to_q": 9})], ids=str)
def test_lora_of_peft(base, tmp_path, options):
    """As PeftModel.save_pretrained writes it"""
    folder, unet = base
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["to_q", "ff.net.2"], init_lora_weights=False, **options)
    torch.manual_seed(5)
    get_peft_model(tiny_pipeline(**unet).unet, config).save_pretrained(tmp_path)
    ours, theirs = load_both(folder)
    theirs.unet = PeftModel.from_pretrained(theirs.unet, tmp_path).base_model.model
    lora = sdscope.LoRA(ours, tmp_path)
    loaded = same(ours, theirs)
    lora.remove()
    assert not torch.equal(run_both(ours, theirs, ["a ship"], ["night"], (64, 64), 2, 3.0)[-2][0], loaded)


def old(key):
    return key.replace(".to_out.0.lora", ".processor.to_out_lora").replace(".to_q.lora", ".processor.to_q_lora")


def kohya(key):
    name, _, end = key.partition(".lora.")
    return name.replace(".", "_").replace("unet_", "lora_unet_", 1) + ".lora_" + end


@pytest.mark.parametrize("change", [old, kohya, lambda key: key.removeprefix("unet.")], ids=["old", "kohya", "bare"])
def test_lora_by_other_names(base, tmp_path, change):
    folder, unet = base
    ours, theirs = load_both(folder)
    path = make_lora(tmp_path, unet)
    theirs.load_lora_weights(path)
    sdscope.LoRA(ours, rename(path, change))
    same(ours, theirs)


def test_several_loras(base, tmp_path):
    """They add up; merged, they are taken away last first"""
    folder, unet = base
    first, second = make_lora(tmp_path / "a", unet), make_lora(tmp_path / "b", unet, "all", names="peft")
    ours, theirs = load_both(folder)
    weights = {name: x.clone() for name, x in ours.unet.state_dict().items()}
    theirs.load_lora_weights(first, adapter_name="a")
    theirs.load_lora_weights(second, adapter_name="b")
    theirs.set_adapters(["a", "b"], [0.5, 0.8])
    one, two = sdscope.LoRA(ours, first, 0.5), sdscope.LoRA(ours, second, scale=0.8)
    same(ours, theirs)
    three = sdscope.LoRA(ours, first)
    one.merge(), three.merge(), two.merge()
    with pytest.raises(SdscopeError, match="another LoRA was merged after this one"):
        one.remove()
    three.remove(), two.remove(), one.remove()
    assert all(torch.equal(x, weights[name]) for name, x in ours.unet.state_dict().items())
    same(ours, load_both(folder)[1])


def test_lora_in_a_trace(base, tmp_path):
    folder, unet = base
    pipe = sdscope.StableDiffusion.from_pretrained(folder, device="cpu")
    paint = lambda: pipe("a ship", seed=0, num_inference_steps=2)
    sdscope.LoRA(pipe, make_lora(tmp_path, unet))
    expected = paint().tobytes()
    with trace(pipe, attention="mean") as t:
        paint()
    assert t.pictures[0].tobytes() == expected


def damaged(path):
    path.write_bytes(path.read_bytes()[:-100])
    return path


def edited(**changes):
    def edit(path):
        weights = load_file(path)
        key = sorted(weights)[0]
        save_file({key: changes["value"]} if "value" in changes else weights | changes, path)
        return path

    return edit


def half(path):
    save_file({k: x for k, x in load_file(path).items() if ".down." in k}, path)
    return path


def peft_folder(path, **changes):
    folder = path.parent / "peft"
    folder.mkdir()
    path.rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(dict(peft_type="LORA", r=4, lora_alpha=4) | changes))
    return folder


KEY = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora.down.weight"
BAD_LORAS = [
    (lambda path: path.with_name("none.safetensors"), "no LoRA '"),
    (lambda path: path.with_name("x.ckpt"), "is a pickle"),
    (lambda path: path.rename(path.parent / "pytorch_lora_weights.bin").parent, "is a pickle"),
    (
        lambda path: path.rename(path.parent / "other.safetensors").parent,
        "it has neither pytorch_lora_weights.safetensors",
    ),
    (damaged, "is damaged or incomplete"),
    (half, "is incomplete, down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k has only down: download"),
    (edited(**{KEY: torch.zeros(4, 99)}), "is a LoRA for another model: it has (4, 99) and"),
    (edited(**{KEY: torch.full((4, 32), torch.nan)}), "holds NaN or infinite weights in unet.mid_block"),
    (edited(**{"unet.down_blocks.7.proj.lora.down.weight": torch.zeros(4, 4)}), "nothing here fits unet.down_blocks.7"),
    (edited(**{KEY.replace(".lora.down.weight", ".dora_scale"): torch.zeros(4)}), "nothing here fits unet.mid_block"),
    (
        lambda path: Path(sdscope.__file__).parent / "postcard/weights/unet/diffusion_pytorch_model.safetensors",
        "is no LoRA",
    ),
    (lambda path: peft_folder(path, use_dora=True), "use_dora is True, and only plain LoRA is read here"),
    (lambda path: peft_folder(path, peft_type="LOHA"), "is a LOHA, and only LoRA is read here"),
    *[
        (partial(peft_folder, **says), "says no alpha for")
        for says in (
            dict(lora_alpha="four"),
            dict(lora_alpha=1e400),
            dict(alpha_pattern=[1]),
            dict(alpha_pattern={"(": 1}),
        )
    ],
    (lambda path: save_file(load_file(path), path, {"lora_adapter_metadata": "[1]"}) or path, "is damaged"),
    (edited(**{KEY: torch.zeros(())}), "is a LoRA for another model: it has () and"),
]


@pytest.mark.parametrize("change, told", BAD_LORAS, ids=[told[:40] for _, told in BAD_LORAS])
def test_bad_loras(tiny, tmp_path, change, told):
    """One line, and the pipe is as it was"""
    path = change(make_lora(tmp_path, {}))
    before = tiny("a ship", seed=0, num_inference_steps=1).tobytes()
    with pytest.raises(SdscopeError) as error:
        sdscope.LoRA(tiny, path)
    assert told in str(error.value) and "\n" not in str(error.value)
    assert tiny("a ship", seed=0, num_inference_steps=1).tobytes() == before


@pytest.mark.parametrize("scale", ["1", None, float("nan"), True])
def test_bad_scales(tiny, scale):
    with pytest.raises(SdscopeError, match="the scale must be a number"):
        sdscope.LoRA(tiny, "any.safetensors", scale)


# ---- as long as a slide is


@pytest.mark.parametrize("name", ["image_to_image", "inpaint", "depth_to_image", "upscale", "lora"])
def test_short_files(name):
    """At most 45 lines of code; regions of at most 25, and as wide as a slide"""
    source = (Path(sdscope.__file__).parent / f"{name}.py").read_text()
    assert code_lines(source) <= 45
    region = source.partition("# region ")[2].partition("# endregion ")[0].splitlines()[1:-1]
    assert max(map(len, region)) <= 100
    indented = "class A:\n" + "\n".join(region)
    assert 1 < code_lines(indented) - 1 <= 25

"""Every setting of a model's JSON files is read as diffusers reads it, has no effect there either, or is refused by
name."""

import inspect
import itertools
import json
import logging
import random
import re
import shutil

import diffusers
import pytest
import torch
from conftest import NO_CHECKER, compare, fuzzed, load_both, run_both, tiny_pipeline
from conftest import SCHEDULER as SCHEDULE
from diffusers import AutoencoderKL as ReferenceVAE
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers import UNet2DConditionModel as ReferenceUNet
from transformers import CLIPTextConfig, CLIPTextModel

from sdscope import SdscopeError, StableDiffusion
from sdscope import scheduler as ours_scheduler
from sdscope import unet as ours_unet
from sdscope import vae as ours_vae
from sdscope.loading.checkpoint import check_settings, load_scheduler
from sdscope.loading.settings import SCHEDULER, TEXT_ENCODER, UNET, VAE, settle
from sdscope.scheduler import DDIM
from sdscope.unet import UNet2DConditionModel
from sdscope.vae import AutoencoderKL

# diffusers' words on what it repairs, and numpy's on diffusers
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}Warning") for kind in ("Future", "Deprecation")]
# what published checkpoints of 1.x and 2.x name, and all that may take a file of theirs (one needs another package)
SCHEDULERS = [kind for kind in DDIMScheduler._get_compatibles() if not hasattr(kind, "_backends")]
SCHEDULERS.sort(key=lambda kind: kind.__name__)
CLASSES = {
    "unet": (UNET, [ReferenceUNet]),
    "vae": (VAE, [ReferenceVAE]),
    "text_encoder": (TEXT_ENCODER, [CLIPTextConfig]),
    "scheduler": (SCHEDULER, [DDIMScheduler, *SCHEDULERS]),
}


def arguments(kind):
    """name -> default of every argument with a name of its own"""
    parameters = inspect.signature(kind.__init__).parameters.values()
    named = [p for p in parameters if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: p.default for p in named}


def test_the_classes_are_those_that_are_meant():
    assert {"PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"} <= {
        k.__name__ for k in SCHEDULERS
    }
    assert len(arguments(ReferenceUNet)) > 40 and len(arguments(CLIPTextConfig)) > 15


@pytest.mark.parametrize("part", CLASSES)
def test_every_argument_is_in_one_group(part):
    table, kinds = CLASSES[part]
    for name in set().union(*map(arguments, kinds)):
        groups = [group for group in (table.read, table.only, table.free) if name in group]
        assert len(groups) == 1, name


@pytest.mark.parametrize("part", CLASSES)
def test_defaults_are_those_of_the_class(part):
    table, kinds = CLASSES[part]
    theirs = arguments(kinds[0])
    for name, (default, _) in (table.read | table.only).items():
        if name in theirs:
            value = theirs[name]
            assert default == (list(value) if isinstance(value, tuple) else value), name


@pytest.mark.parametrize("table, module", [(UNET, ours_unet), (VAE, ours_vae), (SCHEDULER, ours_scheduler)])
def test_which_defaults_are_unlike_those_of_1_5(table, module):
    """Of those that the classes here read; the two that the pipeline repairs are told of there"""
    told = {name for name, value in module.DEFAULTS.items() if table.read.get(name, table.only.get(name))[0] != value}
    assert told - {"steps_offset", "clip_sample"} == table.unlike - {"beta_schedule"}


# ---- the settings that are read: changed, they give diffusers' numbers

LEVELS = dict(
    block_out_channels=[16, 32],
    down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
)
SMALL_UNET = LEVELS | dict(norm_num_groups=4, layers_per_block=1, attention_head_dim=2, cross_attention_dim=12)
UNET_CHANGES = [
    dict(sample_size=8),
    dict(in_channels=8),
    dict(out_channels=8),
    dict(
        block_out_channels=[8, 24, 8],
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
    ),
    dict(block_out_channels=[12], down_block_types=["CrossAttnDownBlock2D"], up_block_types=["CrossAttnUpBlock2D"]),
    dict(layers_per_block=3),
    dict(attention_head_dim=[1, 4]),
    dict(cross_attention_dim=20),
    dict(norm_num_groups=8),
    dict(norm_eps=0.1),
    dict(use_linear_projection=True),
    dict(act_fn="swish"),
    dict(only_cross_attention=True),
    dict(only_cross_attention=[True, False]),
    dict(num_class_embeds=3),
]
SMALL_VAE = dict(
    block_out_channels=[8, 16],
    down_block_types=["DownEncoderBlock2D"] * 2,
    up_block_types=["UpDecoderBlock2D"] * 2,
    norm_num_groups=4,
)
VAE_CHANGES = [
    dict(latent_channels=8),
    dict(block_out_channels=[8], down_block_types=["DownEncoderBlock2D"], up_block_types=["UpDecoderBlock2D"]),
    dict(layers_per_block=2),
    dict(norm_num_groups=8),
    dict(sample_size=64),
    dict(sample_size=[8, 16]),
    dict(scaling_factor=0.5),
    dict(act_fn="swish"),
]


def all_change(table, changes):
    """Every setting that may have more than one value is changed"""
    free = {name for name, (_, values) in table.only.items() if len(set(map(bool, values))) == 1 < len(values)}
    assert set().union(*changes) == set(table.read) | free


def pair(reference, ours, config):
    torch.manual_seed(0)
    theirs = reference.from_config(config).eval()
    made = ours(settle(reference_table(ours), config, "config.json")).eval()
    made.load_state_dict(theirs.state_dict())
    return made, theirs


def reference_table(ours):
    return UNET if ours is UNet2DConditionModel else VAE


@pytest.mark.parametrize("change", UNET_CHANGES, ids=str)
@torch.no_grad()
def test_unet_settings_that_are_read(change):
    all_change(UNET, UNET_CHANGES)
    ours, theirs = pair(ReferenceUNet, UNet2DConditionModel, SMALL_UNET | change)
    sample = torch.randn(2, theirs.config.in_channels, 8, 8)
    words = torch.randn(2, 7, theirs.config.cross_attention_dim)
    labels = torch.tensor([2, 0])
    compare([(ours(sample, 41, words, labels), theirs(sample, 41, words, labels).sample)])


@pytest.mark.parametrize("change", VAE_CHANGES, ids=str)
@torch.no_grad()
def test_autoencoder_settings_that_are_read(change):
    all_change(VAE, VAE_CHANGES)
    ours, theirs = pair(ReferenceVAE, AutoencoderKL, SMALL_VAE | change)
    pictures = torch.rand(2, 3, 16, 16) * 2 - 1
    mean, logvar = ours.encode(pictures)
    expected = theirs.encode(pictures).latent_dist
    compare([(mean, expected.mean), (logvar, expected.logvar), (ours.decode(mean), theirs.decode(mean).sample)])
    assert ours.config.scaling_factor == theirs.config.scaling_factor


@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
def test_text_encoder_settings_that_are_read(tmp_path, act):
    pipe = tiny_pipeline(cross_attention_dim=48)
    torch.manual_seed(0)
    changes = dict(
        vocab_size=len(pipe.tokenizer) + 3,
        hidden_size=48,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=80,
        hidden_act=act,
        layer_norm_eps=0.1,
        pad_token_id=None,
        bos_token_id=7,
        eos_token_id=2,
    )
    assert set(changes) == set(TEXT_ENCODER.read)
    pipe.text_encoder = CLIPTextModel(CLIPTextConfig(**changes))
    pipe.save_pretrained(tmp_path)
    paint_both(*load_both(tmp_path))


# ---- the settings that have no effect: changed, diffusers paints the same

FREE = {
    "unet": dict(
        dropout=0.5,
        upcast_attention=True,
        addition_time_embed_dim=8,
        addition_embed_type_num_heads=3,
        projection_class_embeddings_input_dim=5,
        mid_block_only_cross_attention=True,
        cross_attention_norm="layer_norm",
        resnet_skip_time_act=True,
        resnet_out_scale_factor=2.0,
    ),
    "vae": dict(force_upcast=False, shift_factor=0.5, latents_mean=[1, 2, 3, 4], latents_std=[1, 2, 3, 4]),
    "text_encoder": dict(
        projection_dim=7,
        attention_dropout=0.5,
        initializer_range=0.5,
        initializer_factor=2.0,
        architectures=["Other"],
        dtype="float16",
        torch_dtype="bfloat16",
        chunk_size_feed_forward=1,
        is_encoder_decoder=True,
        id2label={"0": "a"},
        label2id={"a": 0},
        problem_type="regression",
        transformers_version="4.0.0",
        pruned_heads={},
        task_specific_params={},
    ),
    "scheduler": {},
}


def edit(folder, part, drop=(), **changes):
    path = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    config = {key: value for key, value in json.loads(path.read_text()).items() if key not in drop}
    path.write_text(json.dumps(config | changes))
    return path


def paint_both(ours, theirs, steps=2):
    """Every step's latents and the picture at the model's own size, equal to diffusers'; the picture's size"""
    compare(run_both(ours, theirs, ["a ship"], ["night"], ours.sides, steps, 3.0))
    size = ours("a ship", seed=0, num_inference_steps=1, guidance_scale=1).size
    assert theirs("a ship", num_inference_steps=1, guidance_scale=1).images[0].size == size
    return size


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@torch.no_grad()
def test_settings_without_effect(tiny_folder, folder, dtype):
    """All of them changed at once: diffusers' numbers are still those of the model as it was, and so are ours"""
    for part, (table, kinds) in CLASSES.items():
        known = FREE[part].keys() & set(arguments(kinds[0]))
        assert known == (table.free & set(arguments(kinds[0]))) - {"dynamic_thresholding_ratio", "sample_max_value"}
        edit(folder, part, **dict.fromkeys(table.free, 1) | FREE[part], _anything={"at": "all"})
    edit(folder, "text_encoder", output_hidden_states=True, output_attentions=True, return_dict=False)
    ours, theirs = load_both(folder, dtype)
    pairs = run_both(ours, theirs, ["a ship"], ["night"], (64, 64), 2, 3.0)
    compare(pairs)
    as_it_was = StableDiffusionPipeline.from_pretrained(tiny_folder, dtype=dtype, **NO_CHECKER)
    compare([(pairs[-1][1], run_both(ours, as_it_was, ["a ship"], ["night"], (64, 64), 2, 3.0)[-1][1])])


# ---- the rest is refused by name

REFUSED = {
    "unet": dict(
        act_fn="gelu",
        center_input_sample=True,
        flip_sin_to_cos=False,
        freq_shift=1,
        mid_block_type=None,
        downsample_padding=0,
        mid_block_scale_factor=2,
        transformer_layers_per_block=2,
        reverse_transformer_layers_per_block=[1, 1, 1, 1],
        encoder_hid_dim=32,
        encoder_hid_dim_type="text_proj",
        num_attention_heads=2,
        dual_cross_attention=True,
        class_embed_type="timestep",
        addition_embed_type="text",
        resnet_time_scale_shift="scale_shift",
        time_embedding_type="fourier",
        time_embedding_dim=64,
        time_embedding_act_fn="silu",
        timestep_post_act="silu",
        time_cond_proj_dim=256,
        conv_in_kernel=5,
        conv_out_kernel=1,
        attention_type="gated",
        class_embeddings_concat=True,
    ),
    "vae": dict(
        in_channels=1,
        out_channels=4,
        act_fn="gelu",
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    ),
    "text_encoder": dict(
        model_type="clip",
        use_attention_mask=True,
        output_hidden_states="yes",
        output_attentions=2,
        return_dict=[],
    ),
    "scheduler": dict(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        timestep_spacing="karras",
        trained_betas=[0.1, 0.2],
        thresholding=True,
        use_flow_sigmas=True,
    ),
}


def refusal(folder):
    """What is said of a folder's settings before anything is built, or None"""
    try:
        check_settings(folder)
        load_scheduler(DDIM, folder / "scheduler")
    except SdscopeError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
        return str(error)


@pytest.mark.parametrize("part", CLASSES)
def test_what_is_not_implemented_is_refused_by_name(folder, part):
    assert refusal(folder) is None
    assert set(REFUSED[part]) == set(CLASSES[part][0].only)
    path = edit(folder, part)
    whole = path.read_text()
    for key, value in (REFUSED[part] | dict(quantization_config={}, never_heard_of=1)).items():
        edit(folder, part, **{key: value})
        message = refusal(folder)
        assert message.startswith(f"{path}: ") and re.search(rf"\b{key}\b", message)
        assert ("scheduler=diffusers." if part == "scheduler" else "use diffusers' own pipeline") in message
        path.write_text(whole)


@pytest.mark.parametrize("part, change", [("unet", "act_fn"), ("scheduler", "beta_schedule")])
def test_it_is_refused_before_weights_are_read(folder, part, change):
    edit(folder, part, **{change: "other"})
    for weights in folder.rglob("*.safetensors"):
        weights.write_bytes(b"")
    with pytest.raises(SdscopeError, match=f"{change} is 'other'"):
        StableDiffusion.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize("module, made", [("unet", UNet2DConditionModel), ("vae", AutoencoderKL), ("scheduler", DDIM)])
def test_a_class_by_itself_refuses_too(module, made):
    for key, value in REFUSED[module].items():
        with pytest.raises(SdscopeError, match=rf"^{key} is "):
            made({key: value})


@pytest.mark.parametrize("named", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_the_advice_can_be_copied(folder, named):
    """What our DDIM does not do, diffusers' own scheduler does here, when it is passed as the message says"""
    edit(folder, "scheduler", beta_schedule="linear", _class_name=named)
    advice = re.search(r"scheduler=(.*)$", refusal(folder))[1]
    scheduler = eval(advice, {"diffusers": diffusers})
    assert type(scheduler).__name__ == named and scheduler.config.beta_schedule == "linear"
    theirs = load_both_with(folder, named, scheduler)
    paint_both(*theirs)


def load_both_with(folder, named, scheduler):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | dict(scheduler=["diffusers", named])))
    theirs = StableDiffusionPipeline.from_pretrained(folder, **NO_CHECKER)
    theirs.set_progress_bar_config(disable=True)
    return StableDiffusion.from_pretrained(folder, device="cpu", scheduler=scheduler), theirs


FIT = [
    ("unet", dict(in_channels=9), "in_channels 9, out_channels 4, latent_channels 4: open it with sdscope.Inpaint"),
    ("unet", dict(out_channels=8), "latent_channels 4: StableDiffusion needs in_channels 4, out_channels 4"),
    ("unet", dict(in_channels=8), "latent_channels 4: StableDiffusion needs in_channels 4, out_channels 4"),
    ("vae", dict(latent_channels=8), "latent_channels 8: StableDiffusion needs in_channels 8, out_channels 8"),
    ("unet", dict(cross_attention_dim=64), "cross_attention_dim 64 is not the text encoder's hidden_size 32"),
    ("text_encoder", dict(hidden_size=64), "cross_attention_dim 32 is not the text encoder's hidden_size 64"),
    (
        "text_encoder",
        dict(num_attention_heads=3),
        "num_attention_heads is 3, which does not divide a hidden_size of 32",
    ),
    ("unet", dict(attention_head_dim=3), "3 does not divide 16 channels"),
    ("unet", dict(attention_head_dim=[1, 2]), "attention_head_dim has 2 entries, block_out_channels 4"),
    ("unet", dict(down_block_types=["DownBlock2D"]), "down_block_types has 1 entries, block_out_channels 4"),
    ("unet", dict(norm_num_groups=7), "norm_num_groups is 7, which does not divide 16 channels"),
    ("unet", dict(norm_num_groups=0), "norm_num_groups is 0; it must be a whole number from 1"),
    ("unet", dict(norm_num_groups=1, block_out_channels=[15, 30, 30, 30], attention_head_dim=1), "begins with 15"),
    ("unet", dict(block_out_channels=[-16, 32, 32, 32]), "block_out_channels is [-16, 32, 32, 32]; it must be"),
    ("unet", dict(sample_size=None), "sample_size is null"),
    ("unet", dict(sample_size=[8, 8, 8]), "sample_size is [8, 8, 8]; it must be a whole number"),
    ("vae", dict(norm_num_groups=16), "norm_num_groups is 16, which does not divide 8 channels"),
    ("vae", dict(up_block_types=["UpDecoderBlock2D"]), "up_block_types has 1 entries, block_out_channels 4"),
    ("vae", dict(sample_size=4), "sample_size is 4: for 4 levels it must be 16 at least"),
    ("scheduler", dict(num_train_timesteps=None), "num_train_timesteps is None; it must be a whole number from 2"),
    ("scheduler", dict(beta_start="0.1"), "beta_start is '0.1'; it must be a number from 0 to below 1"),
    ("scheduler", dict(steps_offset=1000), "steps_offset is 1000: it must be below num_train_timesteps"),
]


@pytest.mark.parametrize("part, change, message", FIT, ids=lambda x: str(x)[:50])
def test_settings_that_fit_nothing(folder, part, change, message):
    edit(folder, part, **change)
    assert message in refusal(folder)


def test_eight_latent_channels(tmp_path):
    """All three say so: diffusers paints it, and so do we"""
    pipe = tiny_pipeline(in_channels=8, out_channels=8)
    pipe.vae = ReferenceVAE.from_config(pipe.vae.config, latent_channels=8)
    pipe.save_pretrained(tmp_path)
    assert paint_both(*load_both(tmp_path)) == (64, 64)


# ---- what diffusers repairs, and what it takes where a file says nothing

LINES = [
    ("scheduler", [], dict(steps_offset=0), ["the scheduler's steps_offset is 0: 1 is taken"]),
    ("scheduler", ["steps_offset"], {}, ["the scheduler's steps_offset is 0: 1 is taken"]),
    ("scheduler", [], dict(clip_sample=True), ["the scheduler's clip_sample is True: False is taken"]),
    ("scheduler", ["clip_sample"], {}, ["the scheduler's clip_sample is True: False is taken"]),
    ("scheduler", ["set_alpha_to_one"], {}, ["scheduler_config.json leaves out set_alpha_to_one (True)"]),
    ("scheduler", ["beta_start", "beta_end"], {}, ["leaves out beta_start (0.0001), beta_end (0.02)"]),
    ("scheduler", ["prediction_type"], {}, []),
    ("scheduler", [], dict(timestep_spacing="trailing", rescale_betas_zero_snr=True), []),
    ("unet", ["flip_sin_to_cos", "act_fn", "norm_eps", "in_channels"], dict(_diffusers_version="0.10.0.dev0"), []),
    ("unet", [], dict(sample_size=[4, 12], _diffusers_version="0.8.1"), []),
    ("vae", ["scaling_factor", "act_fn", "latent_channels"], dict(sample_size=[64, 32]), []),
    ("vae", ["sample_size"], {}, ["vae/config.json leaves out sample_size (32)"]),
]


@pytest.mark.parametrize("part, drop, change, lines", LINES, ids=lambda x: str(x)[:60])
def test_old_and_short_files_are_read_as_diffusers_reads_them(folder, caplog, part, drop, change, lines):
    """The same pictures at the same size, and a line for each repair"""
    caplog.set_level(logging.INFO, "sdscope")
    edit(folder, part, drop, **change)
    ours, theirs = load_both(folder)
    told = [record.getMessage() for record in caplog.records if record.name == "sdscope"]
    assert len(told) == len(lines)
    assert all(line in message and "as by diffusers" in message for line, message in zip(lines, told))
    assert paint_both(ours, theirs) == ((96, 32) if change.get("sample_size") == [4, 12] else (64, 64))


@pytest.mark.parametrize(
    "version, side", [("0.2.2", 64), ("0.8.1", 64), ("0.9.0.dev0", 8), ("0.10.0", 8), ("1.0", 8), (None, 8)]
)
def test_the_size_of_an_old_unet(folder, caplog, version, side):
    edit(
        folder, "unet", [] if version else ["_diffusers_version"], **{"_diffusers_version": version} if version else {}
    )
    ours, theirs = load_both(folder)
    assert ours.sides == [8 * side, 8 * side] and theirs.unet.config.sample_size == ours.unet.config.sample_size == side
    lines = (
        ["unet/config.json is of an old version, its sample_size is 8: 64 is taken, as by diffusers"]
        if side == 64
        else []
    )
    told = [record.getMessage() for record in caplog.records if record.name == "sdscope"]
    assert [message.removeprefix(f"{folder}/") for message in told] == lines


@pytest.mark.parametrize("changes", [dict(steps_offset=0), dict(clip_sample=True)], ids=str)
def test_a_scheduler_that_is_given_is_repaired_too(tiny_folder, caplog, changes):
    ours, theirs = load_both(tiny_folder, scheduler=DDIMScheduler(**SCHEDULE | changes))
    assert ours.scheduler.config.steps_offset == 1 and ours.scheduler.config.clip_sample is False
    theirs.scheduler = DDIMScheduler.from_config(theirs.scheduler.config)
    paint_both(ours, theirs)
    mine = StableDiffusion(ours.tokenizer, ours.text_encoder, ours.unet, ours.vae, DDIM(SCHEDULE | changes))
    paint_both(mine, theirs)
    assert sum("as by diffusers' pipeline" in message for message in caplog.messages) >= 1


@pytest.mark.parametrize("kind", [DDIMScheduler, *SCHEDULERS], ids=lambda kind: kind.__name__)
def test_files_of_other_schedulers(kind, tmp_path):
    """Our DDIM reads what diffusers' DDIM reads of them; what a file leaves out too"""
    for changes in {}, SCHEDULE:
        config = dict(kind.from_config(changes).config) if changes else dict(kind().config)
        config.pop("_use_default_values", None)
        expected = DDIMScheduler.from_config(config).config
        try:
            read = settle(SCHEDULER, config, "scheduler_config.json")
        except SdscopeError as error:
            assert not changes and "beta_schedule is " in str(error)
            continue
        assert {key: read[key] for key in SCHEDULER.read} == {key: expected[key] for key in SCHEDULER.read}
        assert {key: read[key] for key in expected.keys() & set(SCHEDULER.only)} == {
            key: expected[key] for key in expected.keys() & set(SCHEDULER.only)
        }


# ---- any JSON in any field

VALUES = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "3",
    "8",
    "64",
    "-3",
    "2147483648",
    "1e999",
    "-1e999",
    "NaN",
    "0.5",
    "-0.5",
    "1e-5",
    "1e300",
    "100000000000000000000000000",
    '""',
    '"0"',
    '"silu"',
    '"gelu"',
    '"é\\n\\u0000"',
    '"\\ud800"',
    '"linear"',
    '"v_prediction"',
    "[]",
    "[0]",
    "[8,8]",
    "[16,32,32,32]",
    "[1,2,2,2]",
    "[null]",
    '["a","b"]',
    "[[]]",
    '["DownBlock2D","DownBlock2D","DownBlock2D","DownBlock2D"]',
    '["UpBlock2D"]',
    "{}",
    '{"a":1}',
    '{"0":[]}',
]
CASES = 300


def damages():
    """(part, name, JSON): every setting that is not free, then any, with values of every kind"""
    draw = random.Random(0)
    names = [(part, name) for part, (table, _) in CLASSES.items() for name in [*table.read, *table.only]]
    free = [
        (part, name) for part, (table, _) in CLASSES.items() for name in [*sorted(table.free), "never_heard_of", ""]
    ]
    rows = itertools.chain(
        names, names, (draw.choice(names if draw.random() < 0.8 else free) for _ in itertools.count())
    )
    return [(*row, draw.choice(VALUES)) for row in itertools.islice(rows, CASES)]


def test_any_json_in_any_field(tiny_folder, tmp_path):
    """One line, or a model that paints. Of weights nothing is said here: what is refused, is before they are read."""
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    paths = {part: edit(folder, part) for part in CLASSES}
    whole = {part: path.read_text() for part, path in paths.items()}
    for part, name, value in damages():
        config = {key: json.dumps(entry) for key, entry in json.loads(whole[part]).items()} | {name: value}
        paths[part].write_text("{" + ", ".join(f"{json.dumps(key)}: {entry}" for key, entry in config.items()) + "}")
        said = refusal(folder)
        if said is None:
            try:
                pipe = StableDiffusion.from_pretrained(folder, device="cpu")
                assert pipe("a ship", seed=0, height=64, width=64, num_inference_steps=2).size == (64, 64)
            except SdscopeError as error:  # such as: the weights are of another shape
                said = str(error)
                assert "\n" not in said
        fuzzed.append(said)
        paths[part].write_text(whole[part])
    assert len(fuzzed) == CASES and 100 < sum(map(bool, fuzzed)) < CASES - 20

"""The bare pipeline is diffusers' pipeline, for every Stable Diffusion 1.x and 2.x: difference 0.0.

Two halves. With the published configurations and no weights: the same parameters, of the same shapes.
With the same configurations, narrower, and random weights: the same numbers, in the UNet, in the
autoencoder and in the whole pipeline. SETTINGS has 576 combinations; the whole pipeline is compared
in so many of them that every three values of different settings meet in one at least. The last lines
of a test run tell how many combinations were compared, here and in test_schedulers.py.
"""

from itertools import combinations, product

import pytest
import torch
from conftest import SCHEDULER, compare, load_both, run_both, tiny_pipeline
from diffusers import AutoencoderKL as ReferenceVAE
from diffusers import DDIMScheduler
from diffusers import UNet2DConditionModel as ReferenceUNet

from sdscope.loading.models import KNOWN
from sdscope.loading.settings import factor
from sdscope.scheduler import DDIM
from sdscope.unet import UNet2DConditionModel
from sdscope.vae import AutoencoderKL

# unet/config.json and vae/config.json as published, with what says nothing about our classes too
UNET = dict(
    _class_name="UNet2DConditionModel",
    act_fn="silu",
    block_out_channels=[320, 640, 1280, 1280],
    center_input_sample=False,
    down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    downsample_padding=1,
    flip_sin_to_cos=True,
    freq_shift=0,
    in_channels=4,
    layers_per_block=2,
    mid_block_scale_factor=1,
    norm_eps=1e-05,
    norm_num_groups=32,
    out_channels=4,
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
)  # fmt: skip
VAE = dict(
    _class_name="AutoencoderKL",
    act_fn="silu",
    block_out_channels=[128, 256, 512, 512],
    down_block_types=["DownEncoderBlock2D"] * 4,
    in_channels=3,
    latent_channels=4,
    layers_per_block=2,
    out_channels=3,
    up_block_types=["UpDecoderBlock2D"] * 4,
)
UNET_1 = UNET | dict(attention_head_dim=8, cross_attention_dim=768, sample_size=64)
UNET_2 = UNET | dict(
    _diffusers_version="0.8.0",
    attention_head_dim=[5, 10, 20, 20],
    cross_attention_dim=1024,
    dual_cross_attention=False,
    use_linear_projection=True,
)
UNET_21 = UNET_2 | dict(_diffusers_version="0.10.0.dev0", num_class_embeds=None, only_cross_attention=False)
VAE_1 = VAE | dict(norm_num_groups=32, sample_size=512)
VAE_2 = VAE | dict(_diffusers_version="0.8.0", norm_num_groups=32, sample_size=768)
PUBLISHED = {
    "sd14": (UNET_1 | dict(_diffusers_version="0.2.2"), VAE | dict(_diffusers_version="0.2.2", sample_size=512)),
    "sd15": (UNET_1 | dict(_diffusers_version="0.6.0"), VAE_1 | dict(_diffusers_version="0.6.0")),
    "sd2": (UNET_2 | dict(sample_size=64), VAE_2),
    "sd2-768": (UNET_2 | dict(sample_size=96), VAE_2),
    "sd21": (UNET_21 | dict(sample_size=64), VAE_2),
    "sd21-768": (UNET_21 | dict(sample_size=96, upcast_attention=True), VAE_2),
    "sd15-inpainting": (UNET_1 | dict(_diffusers_version="0.6.0", in_channels=9), VAE_1),
    "sd2-inpainting": (UNET_2 | dict(in_channels=9, sample_size=64), VAE_2),
    "sd2-depth": (UNET_2 | dict(in_channels=5, sample_size=64), VAE_2),
    "sd2-upscaler": (
        UNET
        | dict(
            attention_head_dim=8,
            block_out_channels=[256, 512, 512, 1024],
            cross_attention_dim=1024,
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            in_channels=7,
            num_class_embeds=1000,
            only_cross_attention=[True, True, True, False],
            sample_size=128,
            up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            use_linear_projection=True,
        ),
        VAE
        | dict(
            block_out_channels=[128, 256, 512],
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
            norm_num_groups=32,
            sample_size=256,
            scaling_factor=0.08333,
        ),
    ),
}
NARROW_UNET = dict(block_out_channels=[40, 40, 80, 80], norm_num_groups=8, cross_attention_dim=32)
TINY_UNET = dict(block_out_channels=[8, 16, 32, 32], norm_num_groups=4, layers_per_block=1)
NARROW_VAE = dict(block_out_channels=[8, 8, 16, 16], norm_num_groups=8)

SETTINGS = dict(
    heads=[8, (1, 2, 4, 4)],
    linear=[False, True],
    prediction_type=["epsilon", "v_prediction"],
    set_alpha_to_one=[False, True],
    steps=[10, 25, 50],
    guidance=[1.0, 5.0, 7.5],
    batch=[1, 3],
    size=[(64, 64), (40, 72)],
)
PROMPTS = ["painting depicting the sea, sunrise, ship", "a castle in the snow", ""]
NEGATIVES = ["", "night", "ship, people"]


def covering(settings, strength):
    """A choice from all combinations in which every `strength` values of different settings meet."""
    rows = [tuple(zip(settings, values)) for values in product(*settings.values())]
    groups = {row: set(combinations(row, strength)) for row in rows}
    missing, chosen = set().union(*groups.values()), []
    while missing:
        row = max(rows, key=lambda row: len(groups[row] & missing))
        chosen.append(dict(row))
        missing -= groups[row]
    return chosen


def test_the_covering_covers():
    chosen = covering(SETTINGS, 3)
    for names in combinations(SETTINGS, 3):
        met = {tuple(row[name] for name in names) for row in chosen}
        assert met == set(product(*(SETTINGS[name] for name in names)))


def shapes(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_the_published_models(name):
    unet, vae = PUBLISHED[name]
    with torch.device("meta"):
        expected = shapes(ReferenceUNet.from_config(unet))
        assert shapes(UNet2DConditionModel(unet)) == expected
        assert shapes(UNet2DConditionModel(KNOWN[name].unet)) == expected  # our table says the same
        assert shapes(AutoencoderKL(vae)) == shapes(ReferenceVAE.from_config(vae))
        assert shapes(AutoencoderKL(KNOWN[name].vae)) == shapes(AutoencoderKL(vae))
    assert KNOWN[name].size == factor(AutoencoderKL(vae).config) * unet["sample_size"]


def test_every_known_model_is_compared():
    assert set(PUBLISHED) == {name for name, known in KNOWN.items() if known.hub_id}


def pair(reference_class, our_class, config):
    torch.manual_seed(0)
    reference = reference_class.from_config(config).eval()
    ours = our_class(config).eval()
    ours.load_state_dict(reference.state_dict())
    return ours, reference


# every model in float32; in half precision, slow on a CPU, one of each kind
MODELS = [(name, torch.float32) for name in PUBLISHED]
MODELS += [(name, dtype) for name in ("sd15", "sd21-768") for dtype in (torch.float16, torch.bfloat16)]


@pytest.fixture(scope="module", params=MODELS, ids=str)
def narrow(request):
    """A published model, narrower: (our UNet, diffusers'), (our autoencoder, diffusers'), dtype"""
    name, dtype = request.param
    unet, vae = PUBLISHED[name]
    unets = pair(ReferenceUNet, UNet2DConditionModel, unet | NARROW_UNET)
    widths = NARROW_VAE["block_out_channels"][: len(vae["block_out_channels"])]
    vaes = pair(ReferenceVAE, AutoencoderKL, vae | NARROW_VAE | dict(block_out_channels=widths))
    return [module.to(dtype) for module in unets], [module.to(dtype) for module in vaes], dtype


@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_unet(narrow, batch, size):
    (ours, reference), _, dtype = narrow
    channels = reference.config.in_channels
    sample, words = torch.randn(batch, channels, *size).to(dtype), torch.randn(batch, 77, 32).to(dtype)
    times, labels = (torch.tensor(981), torch.arange(batch) + 0.25), torch.arange(batch) * 7  # an upscaler's
    compare((ours(sample, t, words, labels), reference(sample, t, words, labels).sample) for t in times)


@pytest.mark.parametrize("size", [(64, 64), (40, 72)])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_autoencoder(narrow, batch, size):
    _, (ours, reference), dtype = narrow
    pictures = torch.rand(batch, 3, *size).to(dtype) * 2 - 1
    mean, logvar = ours.encode(pictures)
    expected = reference.encode(pictures).latent_dist
    decoded = ours.decode(mean), reference.decode(mean).sample
    compare([(mean, expected.mean), (logvar, expected.logvar), decoded])


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    """(heads, linear, dtype) -> (the bare pipeline, diffusers' pipeline), of one folder"""
    loaded = {}

    def load(heads, linear, dtype=torch.float32):
        if (heads, linear, dtype) not in loaded:
            folder = tmp_path_factory.mktemp("narrow")
            config = dict(attention_head_dim=heads, use_linear_projection=linear)
            tiny_pipeline(**TINY_UNET | config).save_pretrained(folder)
            loaded[heads, linear, dtype] = load_both(folder, dtype)
        return loaded[heads, linear, dtype]

    return load


def set_schedulers(ours, theirs, **changes):
    ours.scheduler = DDIM(SCHEDULER | changes)
    theirs.scheduler = DDIMScheduler(**SCHEDULER | changes)


@pytest.mark.parametrize("row", covering(SETTINGS, 3), ids=lambda row: "-".join(map(str, row.values())))
def test_pipeline(pipelines, row):
    """The latents after every step, and the pictures"""
    ours, theirs = pipelines(row["heads"], row["linear"])
    set_schedulers(ours, theirs, **{key: row[key] for key in ("prediction_type", "set_alpha_to_one")})
    prompts, negatives = PROMPTS[: row["batch"]], NEGATIVES[: row["batch"]]
    compare(run_both(ours, theirs, prompts, negatives, row["size"], row["steps"], row["guidance"]))


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("model", [(8, False, "epsilon"), ((1, 2, 4, 4), True, "v_prediction")], ids=["SD1", "SD2"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_pipeline_in_half_precision(pipelines, dtype, model, guidance):
    """Not near: the same bits"""
    *layout, prediction_type = model
    ours, theirs = pipelines(*layout, dtype)
    set_schedulers(ours, theirs, prediction_type=prediction_type)
    compare(run_both(ours, theirs, PROMPTS[:2], NEGATIVES[:2], (40, 72), 4, guidance))

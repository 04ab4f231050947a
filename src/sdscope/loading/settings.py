"""What a model's JSON files may say. Each setting is read, has one value that is implemented, or has no effect.

A table for each file. Together they hold every setting of diffusers' UNet2DConditionModel, AutoencoderKL and
DDIMScheduler, of transformers' CLIPTextConfig, and of the schedulers whose files our DDIM may be given. A value
that is not implemented is refused by name, before anything is built; so is a setting that stands in no table:
nobody here can say what it does. Names that begin with _ are notes on where a file comes from.
"""

import logging
import re
from collections.abc import Callable
from typing import NamedTuple

from ..errors import SdscopeError
from .config import Config
from .tasks import TASKS, who_takes

log = logging.getLogger("sdscope")
ADVICE = "use diffusers' own pipeline for such a model"


class Kind(NamedTuple):
    """Which values will do."""

    words: str
    fits: Callable


class Table(NamedTuple):
    """The settings of a file."""

    read: dict  # name -> (what diffusers takes where the file leaves it out, a Kind)
    only: dict  # name -> (likewise, the list of values that are implemented)
    free: set  # no effect on a picture, whatever the value
    unlike: set  # left out, these are not as in Stable Diffusion 1.5: worth a line
    check: Callable  # whether the settings fit each other: config -> what is wrong, or None


def settle(table, config, path, say=log.warning, advice=ADVICE):
    """What a file says -> all its settings. What it leaves out is as in diffusers; where that is not as in
    Stable Diffusion 1.5, `say` gets a line. What is not implemented: SdscopeError, with the advice."""
    defaults = {key: default for key, (default, _) in (table.read | table.only).items()}
    absent = [key for key in defaults if key not in config]
    settings = checked(table, defaults | config, path, absent, advice)
    told = [f"{key} ({shown(settings[key])})" for key in absent if key in table.unlike]
    if told:
        say("%s leaves out %s: what is in brackets is taken, as by diffusers", path, ", ".join(told))
    if table is UNET and is_whole(settings.sample_size) and settings.sample_size < 64 and before_0_9(config):
        say("%s is of an old version, its sample_size is %d: 64 is taken, as by diffusers", path, settings.sample_size)
        settings["sample_size"] = 64
    return settings


def checked(table, config, path=None, absent=(), advice=ADVICE):
    """Settings -> the same, as a Config. Any that is not implemented: SdscopeError, one line"""
    where = f"{path}: " if path else ""
    for key, value in config.items():
        says = f"{where}{key} is {'left out, so ' if key in absent else ''}{shown(value)}"
        if key in table.read:
            kind = table.read[key][1]
            if not kind.fits(value):
                raise SdscopeError(f"{says}; it must be {kind.words}")
        elif key in table.only:
            allowed = table.only[key][1]
            # 0 is not false
            if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
                raise SdscopeError(f"{says}; only {' or '.join(map(repr, allowed))} is read here: {advice}")
        elif key not in table.free and not key.startswith("_"):
            unknown = f"{shown(key)} is not known here: take it out if it has no effect, or else"
            raise SdscopeError(f"{where}the setting {unknown} {advice}")
    if problem := table.check(config):
        raise SdscopeError(where + problem)
    return Config(config)


def shown(value):
    """A value for a message, on one line that is not too long"""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-12:]}"


def before_0_9(config):
    """Whether diffusers wrote this before 0.9"""
    version = re.match(r"(\d+)\.(\d+)", str(config.get("_diffusers_version")))
    return version is not None and tuple(map(int, version.groups())) < (0, 9)


def fit_together(folder, task, unet, vae, text_encoder):
    """The settings of a model's parts: SdscopeError if one does not fit another, or all not the task"""
    sides(unet.sample_size)
    channels = dict(in_channels=unet.in_channels, out_channels=unet.out_channels, latent_channels=vae.latent_channels)
    beside = unet.in_channels - vae.latent_channels
    if unet.out_channels != vae.latent_channels or beside not in TASKS[task].beside:
        told = ", ".join(f"{key} {value}" for key, value in channels.items())
        latent = vae.latent_channels
        wanted = f"{task} needs in_channels {' or '.join(str(latent + n) for n in TASKS[task].beside)}"
        opener = who_takes(beside) if unet.out_channels == latent else None
        advice = f"open it with sdscope.{opener}" if opener else f"{wanted}, out_channels {latent}"
        raise SdscopeError(f"{folder}: its UNet and its autoencoder have {told}: {advice}")
    if unet.cross_attention_dim != text_encoder.hidden_size:
        told = f"the UNet's cross_attention_dim {unet.cross_attention_dim} is not the text encoder's hidden_size"
        raise SdscopeError(f"{folder}: {told} {text_encoder.hidden_size}: they are of two models")


def repaired(scheduler):
    """diffusers' pipeline corrects two settings of a scheduler, whoever made it; so does this one, and says so."""
    for key, value in dict(steps_offset=1, clip_sample=False).items():
        now = getattr(getattr(scheduler, "config", None), key, value)
        if now != value:
            log.warning("the scheduler's %s is %r: %r is taken, as by diffusers' pipeline", key, now, value)
            change = getattr(scheduler, "register_to_config", scheduler.config.update)
            change(**{key: value})
    return scheduler


def sides(sample_size):
    """A UNet's own size: one side, or height and width -> height and width, in latents"""
    if sample_size is None:
        raise SdscopeError(f"the UNet's sample_size is null; unet/config.json must say {SIDES.words}")
    return (sample_size, sample_size) if is_whole(sample_size) else tuple(sample_size)


def factor(vae):
    """An autoencoder's settings -> how many pixels a latent has, each way; nearly always 8"""
    return 2 ** (len(vae.block_out_channels) - 1)  # every level but the last halves


def own_size(unet, vae):
    """The settings of a model's parts -> height and width in pixels that it was trained for; nearly always the same"""
    return [side * factor(vae) for side in sides(unet.sample_size)]


def is_whole(x):
    """A Python integer; truth values are none"""
    return isinstance(x, int) and not isinstance(x, bool)


def is_number(x):
    return isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) < 2**53


def whole_number(most, least=1):
    return Kind(f"a whole number from {least} to {most}", lambda x: is_whole(x) and least <= x <= most)


def some(kind, what):
    """A list of the kind, as long as models are deep"""

    def fits(x):
        return isinstance(x, (list, tuple)) and 1 <= len(x) <= LEVELS and all(map(kind.fits, x))

    return Kind(f"a list of 1 to {LEVELS} {what}", fits)


def either(*kinds):
    return Kind(" or ".join(kind.words for kind in kinds), lambda x: any(kind.fits(x) for kind in kinds))


def names(*allowed):
    return some(one_of(*allowed), " or ".join(allowed))


def one_of(*allowed):
    return Kind(" or ".join(map(repr, allowed)), lambda x: any(x == value for value in allowed))


LEVELS = 8
WIDTH, COUNT = whole_number(65536), whole_number(32)  # more than any model has: a check should not take minutes
FLAG = Kind("true or false", lambda x: isinstance(x, bool))
SMALL = Kind("a number from 0 to 1", lambda x: is_number(x) and 0 <= x <= 1)
BETA = Kind("a number from 0 to below 1", lambda x: is_number(x) and 0 <= x < 1)
POSITIVE = Kind("a number above 0", lambda x: is_number(x) and x > 0)
SIDES = Kind(
    "a whole number from 1 to 65536, or two of them, height and width",
    lambda x: WIDTH.fits(x) or isinstance(x, (list, tuple)) and len(x) == 2 and all(map(WIDTH.fits, x)),
)
TOKEN = whole_number(2**31 - 1, least=0)
NOTHING = Kind("null", lambda x: x is None)


def check_unet(c):
    """What diffusers and torch would say, later and less clearly"""
    widths = c.get("block_out_channels", [])
    for key in "down_block_types", "up_block_types", "attention_head_dim", "only_cross_attention":
        value = c.get(key, [])
        if isinstance(value, (list, tuple)) and value and widths and len(value) != len(widths):
            return f"{key} has {len(value)} entries, block_out_channels {len(widths)}: they must be as many"
    heads = c.get("attention_head_dim", 1)
    heads = [heads] * len(widths) if is_whole(heads) else heads
    for width, number in zip(widths, heads):
        if width % number:
            told = f"attention_head_dim is {shown(heads)}, the number of heads"
            return f"{told}: {number} does not divide {width} channels"
    if widths and widths[0] % 2:
        return f"block_out_channels begins with {widths[0]}: half of it are sines, half cosines, so it must be even"
    return check_groups(c)


def check_vae(c):
    widths = c.get("block_out_channels", [])
    for key in "down_block_types", "up_block_types":
        if key in c and len(c[key]) != len(widths):
            return f"{key} has {len(c[key])} entries, block_out_channels {len(widths)}: they must be as many"
    least = 2 ** len(widths)  # of which a tile has 2 x 2 latents
    if min(sides(c.get("sample_size", least))) < least:
        return f"sample_size is {shown(c['sample_size'])}: for {len(widths)} levels it must be {least} at least"
    return check_groups(c)


def check_groups(c):
    for width in c.get("block_out_channels", []):
        if width % c.get("norm_num_groups", 1):
            return f"norm_num_groups is {c['norm_num_groups']}, which does not divide {width} channels"
    return None


def check_text(c):
    width, heads = c.get("hidden_size", 1), c.get("num_attention_heads", 1)
    if width % heads:
        return f"num_attention_heads is {heads}, which does not divide a hidden_size of {width}"
    return None


def check_schedule(c):
    if c.get("steps_offset", 0) >= c.get("num_train_timesteps", 1000):
        return f"steps_offset is {c['steps_offset']}: it must be below num_train_timesteps"
    return None


# fine-tuning with averaged weights leaves the average's own settings in config.json (diffusers' EMAModel)
AVERAGE = {"decay", "min_decay", "optimization_step", "update_after_step", "use_ema_warmup", "inv_gamma", "power"}

UNET = Table(
    read=dict(
        sample_size=(None, either(SIDES, NOTHING)),  # null: refused by sides
        in_channels=(4, WIDTH),
        out_channels=(4, WIDTH),
        block_out_channels=([320, 640, 1280, 1280], some(WIDTH, "whole numbers from 1 to 65536")),
        down_block_types=(
            ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
            names("CrossAttnDownBlock2D", "DownBlock2D"),
        ),
        up_block_types=(
            ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
            names("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        layers_per_block=(2, COUNT),
        attention_head_dim=(8, either(WIDTH, some(WIDTH, "of them"))),
        cross_attention_dim=(1280, WIDTH),
        norm_num_groups=(32, WIDTH),
        norm_eps=(1e-5, SMALL),
        use_linear_projection=(False, FLAG),
        only_cross_attention=(False, either(FLAG, some(FLAG, "of them"))),
        num_class_embeds=(None, either(WIDTH, NOTHING)),
    ),
    only=dict(
        act_fn=("silu", ["silu", "swish"]),  # two names of one function
        center_input_sample=(False, [False]),
        flip_sin_to_cos=(True, [True]),
        freq_shift=(0, [0]),
        mid_block_type=("UNetMidBlock2DCrossAttn", ["UNetMidBlock2DCrossAttn"]),
        downsample_padding=(1, [1]),
        mid_block_scale_factor=(1, [1]),
        transformer_layers_per_block=(1, [1]),
        reverse_transformer_layers_per_block=(None, [None]),
        encoder_hid_dim=(None, [None]),
        encoder_hid_dim_type=(None, [None]),
        num_attention_heads=(None, [None]),
        dual_cross_attention=(False, [False]),
        class_embed_type=(None, [None]),
        addition_embed_type=(None, [None]),
        resnet_time_scale_shift=("default", ["default"]),
        time_embedding_type=("positional", ["positional"]),
        time_embedding_dim=(None, [None]),
        time_embedding_act_fn=(None, [None]),
        timestep_post_act=(None, [None]),
        time_cond_proj_dim=(None, [None]),
        conv_in_kernel=(3, [3]),
        conv_out_kernel=(3, [3]),
        attention_type=("default", ["default"]),
        class_embeddings_concat=(False, [False]),
    ),
    free={
        "dropout",  # nothing is dropped when a picture is painted
        # For diffusers' attention before torch had one: torch's, which both use now, is not told. Its kernels on
        # a GPU keep in float32 what overflows in float16. Where they do not, it is for devices.py to ask for float32.
        "upcast_attention",
        # of embeddings and blocks that are refused above
        "addition_time_embed_dim",
        "addition_embed_type_num_heads",
        "projection_class_embeddings_input_dim",
        "mid_block_only_cross_attention",
        "cross_attention_norm",
        "resnet_skip_time_act",
        "resnet_out_scale_factor",
    }
    | AVERAGE,
    unlike={"sample_size", "cross_attention_dim"},
    check=check_unet,
)

VAE = Table(
    read=dict(
        latent_channels=(4, WIDTH),
        block_out_channels=([64], some(WIDTH, "whole numbers from 1 to 65536")),
        layers_per_block=(1, COUNT),
        norm_num_groups=(32, WIDTH),
        sample_size=(32, SIDES),
        scaling_factor=(0.18215, POSITIVE),
        down_block_types=(["DownEncoderBlock2D"], names("DownEncoderBlock2D")),
        up_block_types=(["UpDecoderBlock2D"], names("UpDecoderBlock2D")),
    ),
    only=dict(
        in_channels=(3, [3]),
        out_channels=(3, [3]),
        act_fn=("silu", ["silu", "swish"]),
        use_quant_conv=(True, [True]),
        use_post_quant_conv=(True, [True]),
        mid_block_add_attention=(True, [True]),
    ),
    # read by other pipelines, not by diffusers' for Stable Diffusion 1.x and 2.x
    free={"force_upcast", "shift_factor", "latents_mean", "latents_std"} | AVERAGE,
    unlike={"block_out_channels", "layers_per_block", "sample_size"},
    check=check_vae,
)

# transformers makes the text encoder, of the same settings as in diffusers: what is read there is read here
TEXT_ENCODER = Table(
    read=dict(
        vocab_size=(49408, whole_number(2**18)),
        hidden_size=(512, WIDTH),
        intermediate_size=(2048, WIDTH),
        num_hidden_layers=(12, whole_number(128)),
        num_attention_heads=(8, WIDTH),
        max_position_embeddings=(77, WIDTH),
        hidden_act=("quick_gelu", one_of("quick_gelu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")),
        layer_norm_eps=(1e-5, SMALL),
        pad_token_id=(1, either(TOKEN, NOTHING)),
        bos_token_id=(49406, either(TOKEN, NOTHING)),
        eos_token_id=(49407, TOKEN),
    ),
    only=dict(
        model_type=("clip_text_model", ["clip_text_model"]),
        use_attention_mask=(False, [False, None]),  # diffusers would hide the padding
        output_hidden_states=(False, [False, True, None]),
        output_attentions=(False, [False, True, None]),
        return_dict=(True, [True, False, None]),
    ),
    free={
        "projection_dim",  # of CLIP's picture side
        # nothing is drawn at random, dropped or learned when a picture is painted
        *("initializer_range", "initializer_factor", "attention_dropout", "dropout", "gradient_checkpointing"),
        *("dtype", "torch_dtype", "use_bfloat16"),  # from_pretrained is told which
        # notes, and what every model of transformers has a place for, also of other kinds and older versions
        *("architectures", "transformers_version", "tokenizer_class", "finetuning_task", "task_specific_params"),
        *("use_cache", "torchscript", "pruned_heads", "chunk_size_feed_forward", "tie_word_embeddings"),
        *("is_encoder_decoder", "is_decoder", "add_cross_attention", "cross_attention_hidden_size"),
        *("tie_encoder_decoder", "tf_legacy_loss", "problem_type", "prefix"),
        *("id2label", "label2id", "num_labels", "sep_token_id", "decoder_start_token_id", "begin_suppress_tokens"),
        *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups"),
        *("diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty"),
        *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences"),
        *("output_scores", "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id"),
        *("remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens"),
    },
    unlike=set(),
    check=check_text,
)

SCHEDULER = Table(
    read=dict(
        num_train_timesteps=(1000, whole_number(100_000, least=2)),
        beta_start=(0.0001, BETA),
        beta_end=(0.02, BETA),
        set_alpha_to_one=(True, FLAG),
        steps_offset=(0, whole_number(99_999, least=0)),
        rescale_betas_zero_snr=(False, FLAG),
        clip_sample=(True, FLAG),
        clip_sample_range=(1.0, POSITIVE),
    ),
    only=dict(
        beta_schedule=("linear", ["scaled_linear"]),
        prediction_type=("epsilon", ["epsilon", "v_prediction"]),
        timestep_spacing=("leading", ["leading", "trailing", "linspace"]),
        trained_betas=(None, [None]),
        thresholding=(False, [False]),
        use_flow_sigmas=(False, [False, None]),  # a model that learned something else
    ),
    free={
        *("dynamic_thresholding_ratio", "sample_max_value"),  # of thresholding
        # how PNDM, DDPM, LMS, Euler, Heun, KDPM2, DPM-Solver, DEIS, UniPC take their steps, not DDIM
        *("skip_prk_steps", "variance_type", "interpolation_type", "timestep_type", "final_sigmas_type"),
        *("algorithm_type", "solver_order", "solver_type", "solver_p", "lower_order_final", "euler_at_final"),
        *("predict_x0", "disable_corrector", "lambda_min_clipped", "noise_sampler_seed"),
        *("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"),
        *("sigma_min", "sigma_max", "sigma_data", "sigma_schedule", "rho"),
        *("tensor_format", "timestep_values"),  # of versions before 0.5
        *("flow_shift", "use_dynamic_shifting", "time_shift_type", "shift_terminal"),  # of use_flow_sigmas
    },
    unlike={"beta_start", "beta_end", "beta_schedule", "set_alpha_to_one"},
    check=check_schedule,
)

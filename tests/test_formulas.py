"""Every formula on a slide, computed beside the code that it explains.

The text of each formula stands here as on the slide, without its colours: who changes one has to come by.
"""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sdscope.scheduler import DDIM
from sdscope.unet import Attention

PAGES = sorted((Path(__file__).parents[1] / "slides/pages/en").glob("*.md"))
T = 521
FORMULAS = {}  # the formula -> the test that computes it


def formula(text):
    def keep(check):
        FORMULAS[plain(text)] = check
        return check

    return keep


def plain(latex):
    """Without colours, spaces and their commands"""
    inner = r"(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*"
    latex = re.sub(rf"\\textcolor\{{[^}}]*\}}\{{({inner})\}}", r"\1", latex)
    return re.sub(r"\\[,;!]|\s+", "", latex)


def on_the_slides():
    found = [re.findall(r"^\$\$[^\n]*\n(.*?)\n\$\$", page.read_text(), re.M | re.S) for page in PAGES]
    return {plain(latex) for latexes in found for latex in latexes}


@pytest.fixture
def numbers():
    """A picture, noise, and the schedule at one time, as the formulas name them"""
    torch.manual_seed(0)
    ddim = DDIM({"prediction_type": "v_prediction"})
    ddim.set_timesteps(25)
    x0, eps = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64)
    return SimpleNamespace(ddim=ddim, x0=x0, eps=eps, a=ddim.alphas_cumprod[T].double())


@formula(r"x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\;\epsilon")
def forward_process(n):
    x_t = n.a.sqrt() * n.x0 + (1 - n.a).sqrt() * n.eps
    close(x_t, n.ddim.add_noise(n.x0, n.eps, torch.tensor([T])))


@formula(r"\hat\epsilon = \mathrm{UNet}(x_t,\; t,\; \text{words})")
def unet_call(n):
    """The order of what the UNet is given, and that it gives what it was given the shape of"""
    import inspect

    from sdscope.unet import UNet2DConditionModel

    assert list(inspect.signature(UNet2DConditionModel.forward).parameters)[1:4] == [
        "sample", "timestep", "encoder_hidden_states",
    ]  # fmt: skip
    with torch.device("meta"):
        unet = UNet2DConditionModel({})
        assert unet(torch.empty(1, 4, 64, 64), T, torch.empty(1, 77, 768)).shape == (1, 4, 64, 64)


@formula(r"v = \sqrt{\bar\alpha_t}\;\epsilon - \sqrt{1 - \bar\alpha_t}\;x_0")
def velocity(n):
    """What get_velocity gives, and what the scheduler makes of it: the same noise and picture again"""
    v = n.a.sqrt() * n.eps - (1 - n.a).sqrt() * n.x0
    close(v, n.ddim.get_velocity(n.x0, n.eps, torch.tensor([T])))
    x_t = n.ddim.add_noise(n.x0, n.eps, torch.tensor([T]))
    close(n.ddim.step(v, torch.tensor(T), x_t).pred_original_sample, n.x0)


@formula(r"\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q\,K^{\top}}{\sqrt{d}}\right)V")
@torch.no_grad()
def attention(n):
    module = Attention(dim=8, context_dim=6, heads=1).double()
    x, words = torch.randn(1, 5, 8).double(), torch.randn(1, 7, 6).double()
    q, k, v = module.to_q(x), module.to_k(words), module.to_v(words)
    out = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v
    close(module.to_out[0](out), module(x, words))


@formula(
    r"\hat\epsilon \;=\; \epsilon_{\text{uncond}}"
    r" \;+\; g \,\bigl(\epsilon_{\text{cond}} - \epsilon_{\text{uncond}}\bigr)"
)
def guidance(n):
    """What the loop hands to the scheduler, of a UNet that answers with what it was told"""
    from sdscope.pipeline import StableDiffusion

    pipe = StableDiffusion.__new__(StableDiffusion)
    uncond, cond = n.eps, n.x0
    pipe.scheduler, pipe.unet = n.ddim, lambda x, t, words: torch.cat([uncond, cond])
    seen, g = [], 7.5
    pipe.denoise(torch.zeros_like(n.x0), torch.zeros(2 * len(n.x0), 77, 8), 3, g, seen.append)
    close(seen[0]["noise"], uncond + g * (cond - uncond))


@formula(r"x_{t-1} = \sqrt{\bar\alpha_{t-1}}\;\hat x_0 + \sqrt{1 - \bar\alpha_{t-1}}\;\epsilon_\theta")
def ddim_step(n):
    """ "t - 1" is the next time that is visited: a stride, not 1, away"""
    x_t, ddim = n.ddim.add_noise(n.x0, n.eps, torch.tensor([T])), DDIM({"prediction_type": "epsilon"})
    ddim.set_timesteps(25)
    a_prev = ddim.alphas_cumprod[T - 40].double()
    close(ddim.step(n.eps, torch.tensor(T), x_t).prev_sample, a_prev.sqrt() * n.x0 + (1 - a_prev).sqrt() * n.eps)


@formula(
    r"\mu_\theta = \frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\,\epsilon_\theta\right)"
)
def ddpm_mean(n):
    """diffusers' DDPM with all 1000 steps and the posterior's mean: what it gives before its own noise"""
    from diffusers import DDPMScheduler

    ddpm = DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear", clip_sample=False, variance_type="fixed_small")
    ddpm.set_timesteps(1000)
    x_t = n.ddim.add_noise(n.x0, n.eps, torch.tensor([T]))
    beta = ddpm.betas[T].double()
    mean = (x_t - beta / (1 - n.a).sqrt() * n.eps) / (1 - beta).sqrt()
    noise = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(1), dtype=x_t.dtype)
    after = ddpm.step(n.eps, T, x_t, generator=torch.Generator().manual_seed(1)).prev_sample
    close(after - ddpm._get_variance(T).sqrt() * noise, mean)


@formula(r"x \;-\; (\sigma - \sigma_{\text{down}})\,\bar\epsilon \;+\; \sigma_{\text{up}}\,z")
def one_step_for_all(n):
    """A step of TwoNumbers after one before it, by the two formulas of the slide: of this and of what is in it"""
    two_numbers(n, gamma=2.0, mu=0.5)


@formula(
    r"\bar\epsilon = \gamma\,\epsilon + (1 - \gamma)\,\epsilon_{\text{before}}"
    r" \qquad \sigma' = \sigma^{\mu}\,\sigma_{\text{down}}^{1 - \mu}"
)
def what_is_in_it(n):
    two_numbers(n, gamma=1.4, mu=0.2)


def two_numbers(n, gamma, mu):
    from sdscope.samplers import TwoNumbers

    ours, before = TwoNumbers({"prediction_type": "epsilon"}, gamma, mu), n.eps.flip(-1)
    ours.set_timesteps(25)
    sigma, sigma_next = (((1 - a) / a) ** 0.5 for a in (n.a, ours.alphas_cumprod[T - 40].double()))
    ours.step(before, torch.tensor(T + 40), n.x0)
    x = n.x0 + sigma * n.eps
    after = ours.step(n.eps, torch.tensor(T), n.a.sqrt() * x, [torch.Generator().manual_seed(1)]).prev_sample

    down = (sigma_next / sigma**mu) ** (1 / (1 - mu))
    close(sigma**mu * down ** (1 - mu), sigma_next)
    up, mean = (sigma_next**2 - down**2) ** 0.5, gamma * n.eps + (1 - gamma) * before
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    close(after / ours.alphas_cumprod[T - 40].sqrt(), x - (sigma - down) * mean + up * z)


def test_the_losses(numbers):
    """The loss that Postcard learned by, of v, is the one on the slide, of the noise, divided by alpha bar"""
    from sdscope.postcard.training.diffusion import DiffusionLoss

    n, words, guess = numbers, torch.randn(1, 77, 8), torch.randn(1, 4, 8, 8, dtype=torch.float64)
    z_t = n.ddim.add_noise(n.x0, n.eps, torch.tensor([T]))
    v = lambda eps: (eps - (1 - n.a).sqrt() * z_t) / n.a.sqrt()
    asked = []
    unet = lambda *given: asked.extend(given) or v(guess)
    loss = DiffusionLoss(torch.nn.Identity(), torch.nn.Identity())
    loss.text_encoder.forward, loss.unet.forward = lambda ids: (words,), unet
    got = loss(z_t, torch.tensor([T]), None, n.ddim.get_velocity(n.x0, n.eps, torch.tensor([T])))
    close(got.double(), ((n.eps - guess) ** 2).mean() / n.a)
    assert asked[0] is z_t and asked[2] is words  # z_t, t, tau(y)


def close(a, b):
    torch.testing.assert_close(a, b.to(a), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("latex", FORMULAS)
def test_formula(latex, numbers):
    FORMULAS[latex](numbers)


def test_every_formula_on_a_slide_is_computed_here():
    assert on_the_slides() == set(FORMULAS)

"""Code of the slides on real torch: the kernel behind the deck's server, and who may use it."""

import base64
import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

import live
import sdscope.unet
import serve
from sdscope import StableDiffusion

ROOT = Path(__file__).parents[1]
SMALL = {"prompt": "a ship", "seed": 1, "num_inference_steps": 2, "height": 64, "width": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deck")
    (folder / "ja").mkdir()
    for page in folder, folder / "ja":
        (page / "index.html").write_text("the deck")
    return folder


@contextlib.contextmanager
def talk(folder, code="import serve; serve.main()"):
    """(the process of `make talk`, its port), once it answers"""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); {code}"
    process = subprocess.Popen(
        [sys.executable, "-c", code, folder, "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},  # as in conftest
    )  # fmt: skip
    try:
        while not serve.answers(port):
            assert process.poll() is None
            time.sleep(0.05)
        yield process, port
    finally:
        process.kill()


@pytest.fixture(scope="module")
def port(folder):
    """Of a server with a kernel. Killed in the end, it takes that with it, and has told nobody its key."""
    with talk(folder, "import live, serve; live.PATIENCE = 5; serve.main()") as (process, port):  # on a busy machine
        key = re.match(r"live-\d+=([\w-]{43});", cookies(port)[0])[1]
        yield port
        kernel = int(cell(port, PID)[0])
        assert key not in " ".join(psutil.Process(kernel).cmdline())
        process.kill()
        assert f"localhost:{port}/" in (told := process.communicate()[0]) and key not in told
        assert "Traceback" not in told
        assert gone(kernel)


@pytest.fixture(scope="module")
def pipe():
    return StableDiffusion.from_pretrained("postcard", device="cpu")


def send(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("localhost", port, timeout=100)
    connection.request(method, path, body, headers or {})
    return connection.getresponse()


def cookies(port, host=None, path="/"):
    answer = send(port, "GET", path, headers={"Host": host or f"localhost:{port}"})
    assert answer.status == 200 and answer.read() == b"the deck"
    return answer.headers.get_all("Set-Cookie") or []


def page(port, **changes):
    """The headers of what the deck's page asks for, with some changes (None: left out)"""
    cookie = "; ".join(cookie.partition(";")[0] for cookie in cookies(port))
    headers = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}", "Cookie": cookie}
    return {name: value for name, value in (headers | changes).items() if value is not None}


def begin(port, **task):
    body = json.dumps({"changes": [], "settings": SMALL, **task})
    answer = send(port, "POST", "/live/run", body, page(port))
    assert answer.status == 200
    return answer


def run(port, **task):
    """(what was printed, the steps, the end)"""
    events = [json.loads(line) for line in begin(port, **task)]
    ends = [event for event in events if {"done", "failed"} & set(event)]
    assert len(ends) == 1
    steps = [event["step"] for event in events if "step" in event]
    return "".join(event.get("print", "") for event in events), steps, ends[0]


def shown(module, region):
    """A region as a slide shows it"""
    lines = (ROOT / f"src/sdscope/{module}.py").read_text().splitlines()
    first, last = (
        next(i for i, x in enumerate(lines) if x.strip() == f"# {m} {region}") for m in ("region", "endregion")
    )
    return textwrap.dedent("\n".join(x for x in lines[first + 1 : last] if "region " not in x))


def change(module, region, old="", new=""):
    assert old in shown(module, region)
    return {"module": module, "region": region, "code": shown(module, region).replace(old, new)}


def picture(end):
    image = end["done"]["picture"]
    return np.array(Image.frombytes("RGBA", (image["width"], image["height"]), base64.b64decode(image["rgba"])))[
        ..., :3
    ]


def image(end):
    kind, data = end["done"]["value"]["image"].removeprefix("data:image/").split(";base64,")
    opened = Image.open(io.BytesIO(base64.b64decode(data)))
    assert opened.format.lower() == kind
    return opened


def far(a, b):
    return np.abs(np.asarray(a, "float") - np.asarray(b, "float")).mean()


def test_code_as_it_is_paints_what_the_pipeline_paints(port, pipe):
    regions = [change("pipeline", "denoise"), change("pipeline", "decode"), change("unet", "transformer_block")]
    printed, steps, end = run(port, changes=regions)
    assert far(picture(end), pipe(**SMALL)) < 1
    assert [(s["i"], s["t"], s["latents"]["dims"], s["picture"]["width"]) for s in steps] == [
        (0, 501, [4, 8, 8], 64), (1, 1, [4, 8, 8], 64)]  # fmt: skip
    x0 = np.frombuffer(base64.b64decode(steps[1]["pred_x0"]["data"]), "float32").reshape(1, 4, 8, 8)
    assert far(pipe.decode(torch.tensor(x0))[0], picture({"done": steps[1]})) < 1
    assert printed == "" and end["done"]["steps"] == 2 and end["done"]["value"] is None


def test_a_changed_loop_is_run_and_the_next_run_is_as_it_was(port, pipe):
    loop = change(
        "pipeline",
        "denoise",
        "noise = noise_uncond + guidance_scale * (noise_cond - noise_uncond)",
        "noise = noise_cond; print(i)",
    )
    printed, _, end = run(port, changes=[loop])
    assert printed == "0\n1\n"
    assert far(picture(end), pipe(**SMALL, guidance_scale=1.0)) < 1 < far(picture(end), pipe(**SMALL))
    assert far(picture(run(port)[2]), pipe(**SMALL)) < 1


def test_a_changed_attention_is_that_of_the_real_networks(port, pipe, monkeypatch):
    edited = change("unet", "attend", "attention(q, k, v)", "attention(0 * q, k, v)")
    end = run(port, changes=[edited, change("scheduler", "step")])[2]
    scope = dict(vars(sdscope.unet))
    exec(edited["code"], scope)
    monkeypatch.setattr(sdscope.unet.Attention, "forward", scope["forward"])
    expected = pipe(**SMALL)
    monkeypatch.undo()
    assert far(picture(end), expected) < 1 < far(picture(end), pipe(**SMALL))


def test_regions_that_painting_does_not_call_are_shown_at_work(port):
    add_noise = change("scheduler", "add_noise", "alpha_prod_t = ", "print(timesteps.item()); alpha_prod_t = ")
    printed, _, end = run(port, changes=[add_noise])
    assert printed.split() == ["0", "200", "400", "600", "800", "999"] and image(end).width > image(end).height
    as_it_is, doubled = (
        [float(line.split()[-1]) for line in run(port, changes=[c])[0].splitlines()[1:]]
        for c in (
            change("postcard/training/diffusion", "loss"),
            change("postcard/training/diffusion", "loss", "return ", "return 2 * "),
        )
    )
    assert len(as_it_is) == 5 and np.allclose(doubled, np.multiply(2, as_it_is), atol=2e-4)


@pytest.mark.parametrize(("module", "region", "old", "new", "message", "at"), [
    ("pipeline", "denoise", "(noise_cond - noise_uncond)", "(noise_cond - nois)",
     "NameError: name 'nois' is not defined", "nois)"),
    ("pipeline", "denoise", "if guidance_scale > 1:", "if guidance_scale > 1",
     "SyntaxError: expected ':'", "if guidance_scale"),
    ("scheduler", "step", "        alpha_prod_t_prev = self.alphas", "alpha_prod_t_prev = self.alphas",
     "IndentationError: expected an indented block after 'if' statement on line", "alpha_prod_t_prev = self.alphas"),
    ("scheduler", "step", "return DDIMStep(prev_sample, pred_x0)", "if True:",
     "IndentationError: expected an indented block after 'if' statement on line", "if True:"),
    ("unet", "attend", "return self.to_out", "raise SystemExit('no')\n    return self.to_out",
     "SystemExit: no", "SystemExit"),
    ("scheduler", "step", "model_output: Tensor, timestep: Tensor, sample: Tensor", "",
     "TypeError: DDIM.step() takes 1 positional argument but 4 were given", None),
    ("pipeline", "denoise", "latents = step.prev_sample", "latents = latents / 0",
     "NaN or infinity in the latents after step 2", "report("),
    ("pipeline", "get_latents", "weight = self.unet", "weight = input() or self.unet",
     "StdinNotImplementedError: ", "input()"),
    ("pipeline", "nowhere", None, "", "pipeline.py has no region nowhere", None),
    ("../../tools/live", "denoise", None, "", "there is no ../../tools/live.py in sdscope", None),
])  # fmt: skip
def test_an_error_is_one_line_at_its_line_of_the_region(port, module, region, old, new, message, at):
    edited = change(module, region, old, new) if old else {"module": module, "region": region, "code": new}
    failed = run(port, changes=[edited])[2]["failed"]
    assert failed["kind"] == "error" and failed["message"].startswith(message) and "\n" not in failed["message"]
    lines = edited["code"].splitlines()
    assert all("if " in lines[int(n) - 1] for n in re.findall(r"on line (\d+)", failed["message"]))
    line = next((i + 1 for i, x in enumerate(lines) if at and at in x), None)
    assert failed.get("line") == line and failed.get("region") == (region if at else None)


def cell(port, text, **task):
    return run(port, cell=textwrap.dedent(text).strip(), **task)


def test_a_cell_shows_what_it_plots_moves_paints_or_gives(port):
    plot = "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\nprint('plotted')\naxes.plot([1, 2])"
    printed, _, end = cell(port, plot)
    assert printed == "plotted\n" and image(end).format == "PNG" and len(np.unique(image(end))) > 10
    moving = "\nfrom matplotlib.animation import FuncAnimation\nFuncAnimation(figure, lambda i: axes.plot([i, 1]), 3)"
    assert image(cell(port, plot + moving.replace("figure,", "plt.close() or figure,"))[2]).n_frames == 3
    red = "from PIL import Image\nred = Image.new('RGB', (8, 8), 'red')\n"
    assert far(picture(cell(port, red)[2]), [255, 0, 0]) == 0  # what it made, where nothing is its last line
    assert image(cell(port, red + "{'one': red, 'two': red}")[2]).width > 200
    assert cell(port, red + "1 + 1")[2]["done"]["value"] == {"text": "2"}
    assert cell(port, "x = 1\ndisplay({'a': x})")[2]["done"]["value"] == {"text": "{'a': 1}"}


def test_a_notebooks_cell_has_what_those_before_it_give_and_leaves_the_decks_figures_alone(port):
    text = "painted = {style: paint(replace(scene, style=style)) for style in world.STYLES[:2]}\n"
    text += 'fig = figures.trials({"": painted})\n'
    task = dict(cellOf="09_postcard#world_styles")
    scene = 'scene = Scene("sea", "sunset", "clear", "vector", (Thing("ship", "red"),), seed=5)\n'
    before = sorted((ROOT / "public").rglob("*"))
    nothing = '**dict.fromkeys(["prompt", "negative_prompt", "seed", "steps", "guidance"])'
    saved = f'save(fig, "world_styles.webp", alt="two", {nothing})'
    assert image(cell(port, scene + text + saved, **task)[2]).format == "WEBP"
    assert sorted((ROOT / "public").rglob("*")) == before
    failed = cell(port, "x = 1\nprint(replaced)", **task)[2]["failed"]
    assert failed == {
        "kind": "error",
        "message": "NameError: name 'replaced' is not defined",
        "region": None,
        "line": 2,
    }


def test_of_the_cells_before_only_those_are_run_that_are_needed(port):
    text = """
        from live_kernel import cells_before, needed
        names = lambda text, of: print(*(tag for tag, _ in needed(text, cells_before(of))))
        names("image", "01_tour#bit_for_bit")
        names("torch.randn(1)", "06_unet#features")
        names("for t in stride: x = t\\nfig = 1\\nsave(fig)", "05_scheduler#subtract")
        names("def f(x):\\n    return [x * steps for x in x]", "05_scheduler#ddpm")
    """
    lines = cell(port, text)[0].splitlines()
    assert lines[0] == "pipe_call"
    assert lines[1] == "parameters run inside half_way"  # which turns gradients off
    assert lines[2].split()[:2] == ["parameters", "run"] and lines[2].split()[-1] == "timesteps"
    assert lines[3] == "parameters"


def test_every_cell_has_its_names_from_the_cells_that_it_needs(port):
    text = """
        import builtins
        from live_kernel import ROOT, cells_before, json, needed, reads_and_binds
        for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
            for cell in json.loads(path.read_text())["cells"]:
                for tag in set(cell["metadata"].get("tags", [])) - {"install"} if cell["cell_type"] == "code" else ():
                    source, bound = "".join(cell["source"]), {*dir(builtins), "__name__"}
                    for _, part in [*needed(source, cells_before(f"{path.stem}#{tag}")), (tag, source)]:
                        reads, binds = reads_and_binds(part)
                        if reads - bound:
                            print(path.stem, tag, reads - bound)
                        bound |= set(binds)
        print("all of them")
    """
    assert cell(port, text)[0] == "all of them\n"


def test_a_cell_that_paints_has_steps_and_the_settings(port, pipe):
    few = dict(SMALL, num_inference_steps=3)
    text = "painted = pipe(prompt, negative_prompt, size, size, steps, guidance, seed)"
    _, steps, end = cell(port, text, settings={k: v for k, v in few.items() if k != "width"})
    assert [step["i"] for step in steps] == [0, 1, 2] and far(picture(end), pipe(**few)) < 1
    of_a_notebook = "print(prompt, steps, seed, guidance)"
    assert cell(port, of_a_notebook, cellOf="02_encode_prompt#walk", settings=few)[0] == "a ship 3 1 5.0\n"


def test_a_cell_is_run_with_changed_code(port):
    text = "from sdscope.unet import Attention\nprint(Attention.forward(None, 1))"
    edited = {"module": "unet", "region": "attend", "code": "def forward(self, x):\n    return 'changed'"}
    assert cell(port, text, changes=[edited])[0] == "changed\n"
    assert "failed" in cell(port, text)[2]


PID = "import os\nprint(os.getpid(), flush=True)\n"


def pid(answer):
    return int(next(event["print"] for event in map(json.loads, answer) if "print" in event))


def gone(pid):
    """Whether a process ends soon; only something wrong makes this wait long"""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(timeout=30)
    return True


def test_who_leaves_stops_the_run_and_so_does_the_next_one(port):
    left = begin(port, cell=PID + "while True: pass")
    here = pid(left)
    left.close()
    other = begin(port, cell=PID + "while True: pass")
    assert pid(other) == here  # an interrupt was enough
    events = [json.loads(line) for line in begin(port, cell="print('x' * 10**6)")]
    printed = "".join(event.get("print", "") for event in events)
    assert printed == "x" * live.PRINTED and any(event.get("cut") for event in events)
    assert json.loads(other.readlines()[-1])["failed"]["kind"] == "stopped"


def test_memory_that_is_not_there_is_an_error(port):
    message = cell(port, "import torch\nx = torch.empty(2**60)")[2]["failed"]["message"]
    assert "memory" in message or "size" in message


def test_a_kernel_that_dies_is_followed_by_another(port):
    first = int(cell(port, PID)[0])
    assert cell(port, "import os\nos._exit(1)")[2]["failed"]["kind"] == "lost"
    assert int(cell(port, PID)[0]) != first


def test_a_loop_that_heeds_no_interrupt_is_killed(port):
    deaf = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    answer = begin(port, cell=deaf + PID + "while True: pass")
    here = pid(answer)
    answer.close()
    assert gone(here)


def test_the_key_comes_with_the_page_alone_and_no_script_can_read_it(port):
    key, told = cookies(port)
    assert re.fullmatch(rf"live-{port}=[\w-]{{43}}; HttpOnly; SameSite=Strict; Path=/", key)
    assert told == f"kernel-{port}=yes; SameSite=Strict; Path=/"
    assert cookies(port, path="/ja/") == [key, told]
    assert cookies(port, "evil.example") == [] and cookies(port, f"localhost.evil.example:{port}") == []
    for path in ("/index.html.txt", "/live/python", "/live/run", "/live", "/../live.py"):
        answer = send(port, "GET", path)
        assert answer.status == 404 and not answer.headers["Set-Cookie"]


@pytest.mark.parametrize(("changes", "status", "error"), [
    ({}, 200, None),
    ({"Host": "127.0.0.1:80", "Origin": "http://127.0.0.1:80"}, 403, "without the key"),  # another port's
    ({"Origin": None}, 403, "another page"),
    ({"Origin": "http://localhost:1"}, 403, "another page"),
    ({"Origin": "null"}, 403, "another page"),
    ({"Origin": "https://evil.example"}, 403, "another page"),
    ({"Sec-Fetch-Site": "same-site"}, 403, "another page"),
    ({"Sec-Fetch-Site": "same-origin"}, 200, None),
    ({"Host": "evil.example", "Origin": "http://evil.example"}, 403, "not asked for as localhost"),
    ({"Host": "[", "Origin": "http://["}, 403, "not asked for as localhost"),
    ({"Host": "localhost:x", "Origin": "http://localhost:x"}, 403, "not asked for as localhost"),
    ({"Cookie": None}, 403, "without the key"),
    ({"Cookie": "live-PORT=é"}, 403, "key"),
    ({"Cookie": "live-PORT=another"}, 403, "the key of another start"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["python", "run"])
def test_only_the_decks_own_page_is_answered(port, name, changes, status, error):
    changes = {k: v and v.replace("PORT", str(port)) for k, v in changes.items()}
    if (name, status) == ("run", 200):
        pytest.skip("the other tests do so")
    answer = send(port, "POST", f"/live/{name}", "{}", page(port, **changes))
    given = json.loads(answer.read())
    assert answer.status == status and not answer.headers["Access-Control-Allow-Origin"]
    assert error in given["error"] if error else given == {"torch": torch.__version__.partition("+")[0]}


@pytest.mark.parametrize(("method", "path", "body", "status"), [
    ("POST", "/live/", "{}", 404),
    ("POST", "/live/api/kernels", "{}", 404),
    ("POST", "/live/../live/run", "{}", 404),
    ("POST", "/live/run/", "{}", 404),
    ("POST", "/live/run?x=1", "{}", 404),
    ("POST", "/index.html", "{}", 404),
    ("POST", "http://evil.example/live/run", "{}", 404),
    ("GET", "/../../../../../../../../etc/passwd", None, 404),
    ("GET", "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", None, 404),
    ("OPTIONS", "/live/run", None, 501),
    ("PUT", "/live/run", "{}", 501),
    ("POST", "/live/run", "not JSON", 400),
    ("POST", "/live/run", "[" * 200_000, 400),
    ("POST", "/live/run", " " * (live.LARGEST + 1), 413),
])  # fmt: skip
def test_nothing_else_is_there(port, method, path, body, status):
    answer = send(port, method, path, body, page(port))
    assert answer.status == status


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", ""])
def test_a_length_that_is_none(port, length):
    assert send(port, "POST", "/live/run", None, page(port) | {"Content-Length": length}).status == 413


END = b"\r\n\r\n"


@pytest.mark.parametrize(("sent", "status"), [
    (b"GET /%00 HTTP/1.1" + END, 404),
    (b"GET /%ed%a0%80 HTTP/1.1" + END, 404),  # half a letter
    (b"GET /" + b"a" * 300 + b" HTTP/1.1" + END, 404),
    (b"GET / HTTP/9.9" + END, 505),
    (b"\x16\x03\x01 \x00\xff" + END, 400),  # somebody who wants https
    # too long, too many: answered before the end has come
    (b"GET /".ljust(65_537, b"a"), 414),
    (b"GET / HTTP/1.1\r\n" + b"X: ".ljust(65_537, b"a"), 431),
    (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 101, 431),
])  # fmt: skip
def test_what_no_browser_sends_is_answered_all_the_same(port, sent, status):
    """And nothing is told on the terminal: see `port`"""
    with socket.create_connection(("localhost", port), timeout=100) as client:
        client.sendall(sent)
        assert str(status).encode() in client.makefile("rb").read()


def connect(stack, address):
    place = "localhost", int(address.rstrip("/").rpartition(":")[2])
    return stack.enter_context(socket.create_connection(place, timeout=100))


def test_many_are_answered_at_once(folder):
    with serve.serving(folder) as address, contextlib.ExitStack() as stack:
        clients = [connect(stack, address) for _ in range(200)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert {client.recv(12) for client in clients} == {b"HTTP/1.1 200"}


def test_who_is_silent_is_left(folder, monkeypatch):
    monkeypatch.setattr(serve.Handler, "timeout", 0.2)
    with serve.serving(folder) as address, contextlib.ExitStack() as stack:
        silent = connect(stack, address)
        silent.sendall(b"GET / HT")
        assert silent.recv(1) == b""


def test_without_jupyter_the_deck_is_served_all_the_same(folder):
    with talk(folder, "sys.modules['jupyter_client'] = None; import serve; serve.main()") as (process, port):
        assert cookies(port) == []
        assert send(port, "POST", "/live/run", "null", {"Origin": f"http://localhost:{port}"}).status == 404
        process.send_signal(signal.SIGTERM)
        told = [line for line in process.communicate()[0].splitlines() if "torch" in line]
    assert len(told) == 1 and "jupyter_client" in told[0] and process.returncode == 0

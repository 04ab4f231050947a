"""Between the worker (worker.ts) and run.py: numbers and errors across the border of JavaScript and Python."""

import json
from array import array
from types import SimpleNamespace

from pyodide.ffi import can_run_sync, run_sync, to_js
from run import Run, Wrong

LONGEST = 10_000  # characters of a value


def waits():
    """Whether Python has to be rewritten, as it cannot wait for the page"""
    return not can_run_sync()


async def perform(task, sources, ask, tokens, seen):
    """task: JSON with changes, cell, names, info, waits; ask(network, inputs, output), tokens(text) -> promises;
    seen(i, t, latents, pred_x0) -> dict(pixels, width, height) or dict(text), or dict(wrong, region, line)"""
    task = SimpleNamespace(**json.loads(task))

    def passed(x):
        """A tensor -> what the engine takes"""
        return dict(data=array("i", x.data) if x.data.typecode == "q" else x.data, dims=x.shape)

    def tensor(found):
        numbers = array("f")
        numbers.frombytes(found.data.to_bytes())
        torch = run.load("torch")
        return torch.Tensor(numbers, found.dims.to_py(), torch.float32)

    def asked(network, inputs, output):
        return ask(network, js({name: passed(x) for name, x in inputs.items()}), output)

    async def ask_and_wait(*network):
        return tensor(await asked(*network))

    async def tokens_and_wait(text):
        return (await tokens(text)).to_py()

    def step(i, t, latents, pred_x0):
        if getattr(latents, "ndim", 0) == 4:
            seen(int(i), float(t), js(passed(latents[0])), js(None if pred_x0 is None else passed(pred_x0[0])))

    page = SimpleNamespace(info=task.info, seen=step, ask=ask_and_wait, tokens=tokens_and_wait)
    if not task.waits:
        page.ask = lambda *network: tensor(run_sync(asked(*network)))
        page.tokens = lambda text: run_sync(tokens(text)).to_py()
    try:
        run = Run(sources, task.changes, page, task.waits)
        return js(shown(await run.perform(task.cell, task.names)))
    except Wrong as wrong:
        return js(dict(wrong=str(wrong), region=wrong.region, line=wrong.line))


def perform_at_once(*given):
    """The same, where Python can wait in the middle of a function"""
    try:
        perform(*given).send(None)
    except StopIteration as end:
        return end.value


def shown(value):
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    if hasattr(first, "rgba"):
        return dict(pixels=first.rgba(), width=first.width, height=first.height)
    text = "" if value is None else repr(value)
    return dict(text=text if len(text) <= LONGEST else f"{text[:LONGEST]} ...")


def js(x):
    from js import Object

    return to_js(x, dict_converter=Object.fromEntries)

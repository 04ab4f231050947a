"""One run for each prompt and setting: figures that show the same run share it, notebooks too.

    run = figures.Runs(pipe)
    t = run(prompt, seed=seed, steps=steps, guidance=guidance)      # the pipeline paints, under trace(pipe)
    again = run(prompt, seed=seed, steps=steps, guidance=guidance)  # the same trace, without painting
"""

from __future__ import annotations

from ..trace import Trace, trace


class Runs:
    """run(prompt, ...) -> Trace, kept.

    run.made: how often the UNet was called. run.asked: how often, had nothing been kept.
    """

    def __init__(self, pipe):
        self.pipe, self.kept, self.made, self.asked = pipe, {}, 0, 0
        pipe.unet.register_forward_hook(self.count)

    def count(self, *_):
        self.made, self.asked = self.made + 1, self.asked + 1

    def __call__(self, prompt, seed, steps, guidance, negative_prompt="", width=None, height=None,
                 scheduler=None, attention=False, features=False) -> Trace:  # fmt: skip
        key = repr((prompt, seed, steps, guidance, negative_prompt, width, height, scheduler, attention, features))
        if key in self.kept:
            return self.kept[key]
        own, self.pipe.scheduler = self.pipe.scheduler, scheduler or self.pipe.scheduler
        try:
            with trace(self.pipe, attention=attention) as t:
                self.pipe(prompt, negative_prompt, height, width, steps, guidance, seed)
        finally:
            self.pipe.scheduler = own
        self.kept[key] = t
        return t

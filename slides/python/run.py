"""Runs the pipeline with lines of it changed, and tells what is wrong with them by their own numbers.

    run = Run(sources, [dict(module="pipeline", region="denoise", code=...)], page)     # page: ask, tokens, info, seen
    value = run.at_once("pipe(prompt, seed=seed)", dict(prompt="a ship", seed=1))      # Wrong: what is wrong

Every run makes the modules anew, from the real sources and from the stand-ins beside this file: what one run does to
them the next does not see.
"""

import ast
import builtins
import functools
import importlib.util
import inspect
import textwrap
import traceback
import types

import waiting

# Of src/sdscope, as they are:
REAL = ("__init__", "version", "errors", "inputs", "steps", "scheduler", "pipeline", "loading.config")
REAL += ("loading.settings", "loading.tasks")
STANDS_IN = {  # what else is imported -> the file here
    "torch": "torch",
    "rows": "rows",
    "tensor": "tensor",
    "noise": "noise",
    "numpy": "numpy",
    "PIL.Image": "image",
    "sdscope.unet": "networks",
    "sdscope.vae": "networks",
    "sdscope.loading.checkpoint": "networks",
    "sdscope.loading.devices": "networks",
}
PACKAGES = ("PIL", "sdscope", "sdscope.loading")
BEHIND = ("js", "pyodide", "pyodide_js", "_pyodide", "_pyodide_core", "run", "waiting", "glue")  # what Python runs in
ELSEWHERE = "or run it with `make talk`"
CELL = "cell"
CALL = "pipe(prompt, negative_prompt, height, width, num_inference_steps, guidance_scale, seed)"
LONGEST = 100_000  # characters of a change


class Wrong(Exception):
    """What is told of an error: one line; and where it is: in a region or in the cell (None), at its line"""

    def __init__(self, message, region=None, line=None):
        super().__init__(message)
        self.region, self.line = region, line


class Run:
    def __init__(self, sources, changes, page, waits=False):
        self.page, self.waits, self.modules, self.regions = page, waits, {"page": page}, {}
        self.texts = {full(name): sources[name] for name in REAL}
        self.texts |= {file: sources[file] for file in STANDS_IN.values()} | {"PIL": "", "sdscope.loading": ""}
        self.builtins = {**vars(builtins), "__import__": self.give}
        for change in changes:
            self.change(**change)

    # ---------------------------------------------------------------- lines are changed

    def change(self, module, region, code):
        """Puts the code in the place of a region's lines, as far to the right as they stood"""
        name = full(module)
        require(len(code) <= LONGEST, f"this is {len(code):,} characters long; at most {LONGEST:,} are run", region)
        first, last = self.find(name, region)
        for other in self.regions:
            within = other[0] == name and first <= self.find(*other)[0] <= last
            require(not within, f"{other[1]} lies within {region}: change one of the two at a time", region)
        lines = self.texts[name].split("\n")
        old = textwrap.dedent("\n".join(lines[first - 1 : last]))
        indent = " " * (len(lines[first - 1]) - len(old.split("\n")[0]))
        new = code.replace("# region", "#  region").replace("# endregion", "#  endregion")
        lines[first - 1 : last] = textwrap.indent(new, indent).split("\n")
        self.texts[name] = "\n".join(lines)
        self.regions[name, region] = returning(old) - returning(new)

    def find(self, name, region):
        """The first and the last line between the markers"""
        lines = [line.strip() for line in self.texts.get(name, "").split("\n")]
        start, end = f"# region {region}", f"# endregion {region}"
        such = f"there is no region {region} in {name}, or it lies within another that is changed: change one at a time"
        require(start in lines and end in lines, such, region)
        return lines.index(start) + 2, lines.index(end)

    # ---------------------------------------------------------------- modules are made

    def code(self, cell):
        """All modules and the cell, compiled"""
        if self.waits:
            texts = self.texts | {CELL: cell}
            trees = waiting.rewritten({name: ast.parse(text, name) for name, text in texts.items()})
            body = trees.pop(CELL)
            codes = {name: compile(tree, name, "exec") for name, tree in trees.items()}
        else:
            body = ast.parse(cell, CELL)
            codes = {name: compiled(text, name) for name, text in self.texts.items()}
        last = body.body.pop() if body.body and isinstance(body.body[-1], ast.Expr) else None
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        cells = [compile(body, CELL, "exec", flags)]
        cells += [compile(ast.Expression(last.value), CELL, "eval", flags)] if last else []
        return codes, cells

    def load(self, name):
        """A module by its name; it is run when it is first asked for"""
        file = STANDS_IN.get(name, name)
        if file not in self.codes and file not in self.modules:
            raise ModuleNotFoundError(f"{name} is not in this page; {ELSEWHERE[3:]}")
        if file not in self.modules:
            module = self.modules[file] = types.ModuleType(name)
            module.__package__ = name if name in PACKAGES else name.rpartition(".")[0]
            vars(module).update(__builtins__=self.builtins, settled=waiting.settled)
            exec(self.codes[file], vars(module))
        return self.modules[file]

    def give(self, name, globals=None, locals=None, fromlist=(), level=0):
        """In place of __import__: the modules of this run, and Python's own library"""
        name = importlib.util.resolve_name("." * level + name, globals["__package__"]) if level else name
        head = name.partition(".")[0]
        if head in BEHIND:
            raise ModuleNotFoundError(f"{head} is not for code in this page")
        if head not in {known.partition(".")[0] for known in (*STANDS_IN, *PACKAGES, "page")}:
            try:
                return builtins.__import__(name, globals, locals, fromlist)
            except ModuleNotFoundError as error:
                such = f"{error.name} is not in this page's Python; it has: its own library, a small torch, PIL.Image"
                raise ModuleNotFoundError(f"{such}; {ELSEWHERE}") from None
        module = self.load(name)
        for part in fromlist or ():
            if part != "*":
                vars(module)[part] = (
                    self.load(f"{name}.{part}") if f"{name}.{part}" in STANDS_IN else getattr(module, part)
                )
        if fromlist or "." not in name:
            return module
        top = self.load(head)  # import a.b gives a, which has b
        vars(top)[name.partition(".")[2]] = module
        return top

    # ---------------------------------------------------------------- and run

    async def perform(self, cell, names):
        """Runs the cell, in which these names, `pipe` and what belongs to it are known -> its last expression.
        None: the call of the pipe, which nobody sees."""
        self.has_cell, cell = cell is not None, CALL if cell is None else cell
        try:
            require(len(cell) <= LONGEST, f"this is {len(cell):,} characters long; at most {LONGEST:,} are run")
            self.codes, cells = self.code(cell)
            pipeline = self.load("sdscope.pipeline")
            pipeline.report = self.watched(pipeline.report)
            known = vars(types.ModuleType(CELL)) | dict(__builtins__=self.builtins, settled=waiting.settled)
            known |= {name: vars(pipeline)[name] for name in ("StableDiffusion", "Image", "torch")}
            known |= dict(pipe=pipeline.StableDiffusion.from_pretrained("postcard")) | names
            value = None
            for code in cells:
                value = eval(code, known)
                if code.co_flags & inspect.CO_COROUTINE:
                    value = await value
            return value
        except BaseException as error:
            raise self.told(error) from error

    def at_once(self, cell, names):
        """The same, where nothing has to be waited for"""
        try:
            self.perform(cell, names).send(None)
        except StopIteration as end:
            return end.value

    def watched(self, report):
        @functools.wraps(report)
        def watched(callback, i, t, latents, noise_uncond, noise_cond, noise, step):
            self.page.seen(i, t, latents, getattr(step, "pred_original_sample", None))
            return report(callback, i, t, latents, noise_uncond, noise_cond, noise, step)

        return watched

    # ---------------------------------------------------------------- what is wrong

    def told(self, error):
        if isinstance(error, Wrong):
            return error
        text = " ".join("".join(traceback.TracebackException.from_exception(error).format_exception_only()).split())
        if isinstance(error, SyntaxError):
            text = f"{type(error).__name__}: {error.msg}"
        elif type(error).__name__ == "SdscopeError":
            text = str(error)
        elif type(error).__name__ == "JsException":  # of the engine
            text = str(error).removeprefix("Error: ")
        elif isinstance(error, MemoryError):
            text = "there is no memory left for this"
        if "None" in text and (names := set().union(*self.regions.values())):
            text += f" ({', '.join(sorted(names))} returns nothing any more)"
        if "coroutine" in text and self.waits:
            text += " (in this browser a network is called by name and with brackets, or not at all)"
        return Wrong(text if len(text) <= 600 else f"{text[:600]} ...", *self.place(error))

    def place(self, error):
        """The innermost line of a region that was changed, or of the cell -> the region or None, its line there"""
        frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
        if isinstance(error, SyntaxError):
            frames.append((error.filename, error.lineno or 1))
        for name, line in reversed(frames):
            if name == CELL and self.has_cell:
                return None, line
            for module, region in self.regions:
                first, last = self.find(module, region)
                if module == name and (first <= line <= last or isinstance(error, SyntaxError)):
                    return region, min(max(line, first), last) - first + 1
        return next((region for _, region in self.regions), None), None


def full(module):
    return "sdscope" if module == "__init__" else f"sdscope.{module}"


def require(fits, message, region=None):
    if not fits:
        raise Wrong(message, region)


@functools.lru_cache(64)
def compiled(text, name):
    """What is not changed is compiled once"""
    return compile(text, name, "exec")


def returning(code):
    """The functions that end with giving something"""
    try:
        functions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]
    except SyntaxError:
        return set()
    return {f.name for f in functions if isinstance(f.body[-1], ast.Return) and f.body[-1].value}

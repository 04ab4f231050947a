"""For a browser in which Python cannot wait for the page (without JSPI): calls of the networks become awaits.

    def encode(self, texts):                      async def encode(self, texts):
        return self.text_encoder(ids)[0]    ->        return (await settled(self.text_encoder(ids)))[0]

So do, by their names, calls of functions that have become asynchronous, and what has not is given as it is. Lines stay
where they are.
"""

import ast
import inspect

ASKED = {"ask", "tokens", "unet", "text_encoder", "tokenizer", "pipe"}  # what waits, or leads to it
PASSED = {"method", "callback"}  # functions that are arguments in steps.py
ALL = ("networks", "sdscope.pipeline", "sdscope.scheduler", "cell")  # modules in which anything may wait
SOME = {"sdscope.inputs": {"check_texts", "warn_if_truncated"}, "sdscope.steps": {"alone", "report"}}
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef


async def settled(x):
    return await x if inspect.isawaitable(x) else x


def rewritten(trees):
    """{module: its tree} -> the same, waiting"""
    names = ASKED.union(PASSED, *SOME.values())
    functions = [f for module in ALL for f in ast.walk(trees[module]) if isinstance(f, DEFINITIONS)]
    while more := {f.name for f in functions if waits(f.body, names)} - names - {"__call__"}:
        names |= more
    for module in (*ALL, *SOME):
        trees[module] = ast.fix_missing_locations(Waiting(module, names).visit(trees[module]))
    return trees


def waits(nodes, names):
    """Whether anything in there is a call of one of them, functions within apart"""
    for node in nodes:
        if isinstance(node, ast.Call) and called(node) in names:
            return True
        if not isinstance(node, DEFINITIONS | ast.Lambda | ast.ClassDef) and waits(ast.iter_child_nodes(node), names):
            return True
    return False


def called(call):
    return getattr(call.func, "id", None) or getattr(call.func, "attr", None)


class Waiting(ast.NodeTransformer):
    def __init__(self, module, names):
        self.module, self.names, self.inside = module, names, module in ALL

    def visit_FunctionDef(self, node):
        if not self.inside and node.name not in SOME[self.module]:
            return self.generic_visit(node)
        asynchronous = waits(node.body, self.names)
        outside, self.inside = self.inside, True
        node = self.generic_visit(node)
        self.inside = outside
        if not asynchronous:
            return node
        self.refuse(any(isinstance(part, ast.Yield | ast.YieldFrom) for part in ast.walk(node)), node, "a generator")
        return ast.copy_location(ast.AsyncFunctionDef(**dict(ast.iter_fields(node))), node)

    def visit_Call(self, node):
        wanted = self.inside and called(node) in self.names
        node = self.generic_visit(node)
        if not wanted:
            return node
        settled = ast.Call(ast.Name("settled", ast.Load()), [node], [])
        return ast.copy_location(ast.Await(settled), node)

    def visit_Lambda(self, node):
        self.refuse(waits([node.body], self.names), node, "a lambda")
        return node

    def visit_GeneratorExp(self, node):
        self.refuse(waits(ast.iter_child_nodes(node), self.names), node, "a generator: use [...]")
        return self.generic_visit(node)

    def refuse(self, found, node, where):
        if found:
            such = f"in this browser a network cannot be called in {where}"
            raise SyntaxError(such, (self.module, node.lineno, 1, None))

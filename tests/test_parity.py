"""The Japanese deck beside the English one: nothing missing, out of date or built otherwise; each fault is seen."""

import pytest

from notes import labels, seconds
from parity import accept, owed, slides

ENGLISH = """---
layout: split
kicker: Why
clicks: 2
---

# The loop

<<< @/src/sdscope/pipeline.py#denoise python {all|/chunk/}

<Source at="pipeline.py#denoise" :say="['All of it.', 'Two answers.']" />

Of <Fact id="a" /> lines **one** matters, [here](https://arxiv.org/abs/1) and in <Fact id="b" />.

$$
x = \\text{words}
$$

<style>
.a { color: red; }
</style>

<!--
Say (1 minute 20 seconds): It turns.

Click 1: two answers. Click 2: all of it.

Keys: p plays.
-->

---
kicker: Why
---

# The end

<!--
Say (5 seconds): Thank you.

Click: nothing.
-->
"""
JAPANESE = """---
layout: split
kicker: はじめに
clicks: 2
---

# ループ

<<< @/src/sdscope/pipeline.py#denoise python {all|/chunk/}

<Source at="pipeline.py#denoise" :say="['全体。', '2 つの答え。']" />

[ここ](https://arxiv.org/abs/1)と <Fact id="b" />、大事なのは <Fact id="a" /> 行のうち**1 行**だけ。

$$
x = \\text{言葉}
$$

<style>
.a { color: red; }
</style>

<!--
話すこと(1 分 20 秒): 回ります。

クリック 1: 2 つの答え。クリック 2: 全体。

キー: p で再生。
-->

---
kicker: はじめに
---

# 終わり

<!--
話すこと(5 秒): ありがとうございました。

クリック: なし。
-->
"""
MORE = "---\nkicker: Why\n---\n\n# One more\n\n<!--\nSay: For questions.\n-->\n\n"
LOOP, CODE = "01_why 1, ループ: ", "<<< @/src/sdscope/pipeline.py#denoise python {all|/chunk/}"
SOURCE = """<Source at="pipeline.py#denoise" :say="['全体。', '2 つの答え。']" />\n"""
NO_NOTE = LOOP + "has no note: 80 s, say, click 1, click 2, keys"
EN, JA = "slides/pages/en/01_why.md", "slides/pages/ja/01_why.md"


@pytest.fixture
def tree(tmp_path):
    """A deck of one page in two languages, and its READMEs, all up to date"""
    for of, page, title in (("en", ENGLISH, "A talk"), ("ja", JAPANESE, "トーク")):
        folder = tmp_path / "slides/pages" / of
        folder.mkdir(parents=True)
        (folder / "01_why.md").write_text(page)
        entry = f"---\ntitle: {title}\ntheme: none\nsrc: ./slides/pages/{of}/01_why.md\n---\n"
        (tmp_path / f"slides.{of}.md").write_text(entry)
    (tmp_path / "README.md").write_text("# A deck\n")
    (tmp_path / "README.ja.md").write_text("# デッキ\n")
    for page in ("01_why", "README"):
        accept(page, root=tmp_path)
    return tmp_path


def change(tree, file, old, new):
    path = tree / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def insert(tree, file, slide):
    """As the second of the two slides"""
    change(tree, file, "\n---\nkicker", f"\n{slide}---\nkicker")


def told(tree):
    """The lines, without what the Japanese slide has and the English one not"""
    return [line for line in owed(tree) if not line.endswith("the English one not")]


def test_the_deck():
    assert list(owed()) == []


def test_an_up_to_date_deck(tree):
    assert list(owed(tree)) == []
    assert (tree / JA).read_text().startswith("---\nlayout: split\nkicker: はじめに\nclicks: 2\nenglish: ")


@pytest.mark.parametrize(
    "file, old, new, fault",
    [
        (EN, "It turns", "It runs", LOOP + "out of date, English slide 1 has changed: The loop"),
        (JA, "layout: split", "layout: cover", LOOP + "has no layout: split"),
        (JA, "clicks: 2", "clicks: 3", LOOP + "has no clicks: 2"),
        (JA, "py#denoise", "py#decode", LOOP + f"has no {CODE}"),
        (JA, "|/chunk/}", "}", LOOP + f"has no {CODE}"),
        (JA, ", '2 つの答え。'", "", LOOP + 'has no <Source at="pipeline.py#denoise" :say="……" />'),
        (JA, '<Fact id="b" />', "", LOOP + 'has no <Fact id="b" />'),
        (JA, "abs/1", "abs/2", LOOP + "has no ](https://arxiv.org/abs/1)"),
        (JA, "x = ", "y = ", LOOP + "has no $$ x =  $$"),
        (JA, "red", "blue", LOOP + "has no <style> .a { color: red; } </style>"),
        (JA, "1 分 20", "2 分 20", NO_NOTE),
        (JA, "クリック 2: ", "", NO_NOTE),
        (JA, "<!--\n話すこと(5", "話すこと(5", "01_why 2, 終わり: has no note: 5 s, say, clicks"),
        ("slides.ja.md", "theme: none\n", "", "slides.ja.md: has no theme: none"),
        ("README.md", "A deck", "Two decks", "README.ja.md: out of date, README.md has changed"),
    ],
)
def test_a_fault_is_told(tree, file, old, new, fault):
    change(tree, file, old, new)
    assert told(tree) == [fault]


def test_a_link_that_leads_elsewhere_in_both(tree):
    """make address"""
    for file in (EN, JA):
        change(tree, file, "abs/1", "abs/2")
    assert list(owed(tree)) == []


def test_a_part_too_many(tree):
    change(tree, JA, "回ります", '回ります。\n-->\n\n<Figure name="a.png" />\n\n<!--\n続きます')
    assert list(owed(tree)) == [
        NO_NOTE,
        LOOP + 'has <Figure name="a.png" /> note: 80 s, say note: 0 s, click 1, click 2, keys, the English one not',
    ]


def test_parts_in_another_order(tree):
    change(tree, JA, SOURCE, "")
    change(tree, JA, "\n$$\nx", f"\n{SOURCE}\n$$\nx")
    assert list(owed(tree)) == [LOOP + "has its parts in another order"]


@pytest.mark.parametrize(
    "file, fault",
    [
        (EN, "01_why: English slide 2 is missing: One more"),
        (JA, "01_why 2, One more: there is no such English slide"),
    ],
)
def test_a_slide_without_its_other(tree, file, fault):
    insert(tree, file, MORE)
    assert list(owed(tree)) == [fault]


@pytest.mark.parametrize(
    "of, fault",
    [
        ("en", "02_more: English slide 1 is missing: One more"),
        ("ja", "02_more 1, One more: there is no such English slide"),
    ],
)
def test_a_page_without_its_other(tree, of, fault):
    (tree / f"slides/pages/{of}/02_more.md").write_text(MORE)
    assert list(owed(tree)) == [fault]


def test_what_was_translated_anew_is_up_to_date(tree):
    change(tree, EN, "Thank you", "Thanks")
    change(tree, EN, "It turns", "It runs")
    assert len(list(owed(tree))) == 2
    accept("01_why", [2], root=tree)
    assert [line.partition(" out of")[0] for line in owed(tree)] == [LOOP.strip()]
    accept("01_why", root=tree)
    assert list(owed(tree)) == []


def test_a_new_slide_is_accepted(tree):
    insert(tree, EN, MORE)
    insert(tree, JA, MORE.replace("Say: For questions.", "話すこと: 質疑用です。"))
    assert list(owed(tree)) == ["01_why 2, One more: out of date, English slide 2 has changed: One more"]
    accept("01_why", [2], root=tree)
    assert list(owed(tree)) == []


@pytest.mark.parametrize(
    "page, numbers, fault",
    [("1_why", [], "no slides/pages/ja/1_why.md"), ("01_why", [3], "no English slide for slide 3")],
)
def test_what_cannot_be_accepted(tree, page, numbers, fault):
    before = {path: path.read_text() for path in tree.rglob("*.md")}
    with pytest.raises(SystemExit, match=fault):
        accept(page, numbers, root=tree)
    assert {path: path.read_text() for path in tree.rglob("*.md")} == before


def test_slides_with_and_without_headmatter(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("---\nlayout: cover\n---\n\n# One\n\n---\n\n# Two\n\n---\nclicks: 2\n---\n\n# Three\n")
    told = [(slide.head, slide.title) for slide in slides(page)]
    assert told == [("layout: cover", "One"), ("", "Two"), ("clicks: 2", "Three")]


@pytest.mark.parametrize(
    "note, time, found",
    [
        ("Say (1 minute 20 seconds): a.\n\nClick 1: b. Click 2: c.", 80, ["say", "click 1", "click 2"]),
        ("話すこと(1 分 20 秒): あ。\n\nクリック 1: い。クリック 2: う。", 80, ["say", "click 1", "click 2"]),
        ("Say (40 seconds): a.\n\nClick on: b; c.\n\nKeys: p.", 40, ["say", "each", "keys"]),
        ("話すこと(40 秒): あ。\n\nクリックごとに: い → う。\n\nキー: p。", 40, ["say", "each", "keys"]),
        ("Say: For questions.\n\nClick: nothing.", 0, ["say", "clicks"]),
        ("話すこと: 質疑用です。\n\nクリック: なし。", 0, ["say", "clicks"]),
    ],
)
def test_labels_of_notes(note, time, found):
    assert (seconds(note), labels(note)) == (time, found)

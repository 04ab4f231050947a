"""A diffusion model of points, trained on its slide: the loss falls and noise is led to the points; it stops when it is
left. The numbers: tests/engine/toy.test.ts."""

import re

import numpy as np
import pytest

from test_code import go_to
from test_lab import WAIT
from walk import looked, violations

TITLE = "Train one yourself"


@pytest.fixture
def toy(deck):
    go_to(deck, TITLE)
    return deck


def points(page, selector):
    """What a path of dots shows, (n, 2)"""
    path = page.get_attribute(f"#slide-content .toy {selector}", "d")
    return np.array([tuple(map(float, dot)) for dot in re.findall(r"M(\S+) (\S+)h", path)])


def apart(points, others):
    """How far points lie from the nearest of others, in the mean"""
    return np.linalg.norm(points[:, None] - others, axis=-1).min(1).mean()


def wait_for(page, words):
    page.wait_for_selector(f"#slide-content .toy .go:has-text('{words}')", timeout=WAIT)


def begin(page):
    page.click("#slide-content .toy .go button")
    page.wait_for_selector("#slide-content .toy .loss", timeout=WAIT)


def ended(page):
    """Whether nothing computes any more, soon"""
    for _ in range(100):
        if not page.workers:
            return True
        page.wait_for_timeout(50)
    return False


def losses(page):
    """The loss at first and now, and the least that can be"""
    told = page.get_attribute("#slide-content .toy svg[aria-label^='The loss']", "aria-label")
    return [float(number) for number in re.findall(r"\d\.\d+", told)]


def test_points_are_learned(toy):
    page = toy.page
    assert page.workers == []
    noise = points(page, ".noisy")
    begin(page)
    wait_for(page, "Trained in")
    assert ended(page)
    first, last, least = losses(page)
    assert least <= last < least + 0.15 * (first - least)
    given = points(page, ".given")
    assert apart(points(page, ".clean >> nth=1"), given) < 0.1 < apart(noise, given)

    page.keyboard.press("Escape")
    page.keyboard.press(",")
    assert page.get_attribute("#slide-content .toy .stepper input", "aria-valuetext") == "t = 1"
    page.focus("#slide-content .toy .stepper input")
    page.keyboard.press("Home")
    assert np.array_equal(points(page, ".noisy"), noise)
    assert looked(page) == [] and violations(page) == [] and toy.take_problems() == []


def test_it_stops_when_asked_and_when_it_is_left(toy):
    page = toy.page
    no = toy.nav("currentSlideNo")
    begin(page)
    page.click("#slide-content .toy .stop")
    wait_for(page, "Stopped at step")
    assert ended(page)
    begin(page)
    assert len(page.workers) == 1
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => location.hash.startsWith('#/{no + 1}')")
    assert ended(page)
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#slide-content .toy .go button:has-text('Train')")
    assert toy.take_problems() == []


def test_a_drawing_takes_the_place_of_the_points(toy):
    page, no = toy.page, toy.nav("currentSlideNo")
    begin(page)
    box = page.locator("#slide-content .toy .pen").bounding_box()
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    page.mouse.move(middle[0] - 90, middle[1])
    page.mouse.down()
    page.mouse.move(middle[0] + 90, middle[1], steps=30)
    page.mouse.up()
    drawn = points(page, ".pen .clean")
    assert len(drawn) > 50 and abs(drawn[:, 1]).max() < 0.3 and np.ptp(drawn[:, 0]) > 3
    assert ended(page) and page.locator("#slide-content .toy .loss").count() == 0  # what was learned is gone
    assert page.get_by_role("radio", name="draw").get_attribute("aria-checked") == "true"
    assert toy.nav("currentSlideNo") == no and looked(page) == [] and toy.take_problems() == []


def test_by_keyboard(toy):
    page = toy.page
    heart = points(page, ".pen .clean")
    page.get_by_role("radio", name="spiral").focus()
    page.keyboard.press("Enter")
    spiral = points(page, ".pen .clean")
    assert spiral.shape == heart.shape and not np.array_equal(spiral, heart)
    page.get_by_label("Noise", exact=True).focus()
    page.keyboard.press("End")
    assert re.fullmatch(r"t = 9\d\d", page.get_by_label("Noise", exact=True).get_attribute("aria-valuetext"))
    assert apart(points(page, ".pen .noisy"), spiral) > 0.2
    page.get_by_role("radio", name="draw").focus()
    page.keyboard.press("Enter")
    assert page.locator("#slide-content .toy .go button").is_disabled()

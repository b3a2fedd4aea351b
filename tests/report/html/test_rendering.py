"""Pages: escaped, whole in themselves, the same every time, small."""

import re
from html.parser import HTMLParser

import pytest

from tersor.report.html import Formula, Page, Paragraph, Picture, Section, Table, picture, render

HOSTILE = "</script><script>alert('`x`')</script>\"&"


def page(*sections: Section, title: str = "A study") -> Page:
    return Page(title, "of a model", ("4 bits lose more than 8.",), sections, "by tersor")


def drawn(alt: str = "A line that falls") -> Picture:
    return picture(lambda figure: figure.subplots().plot([1, 2], [2, 1]), alt=alt, caption="A line")


class Balanced(HTMLParser):
    """Raises where an element is closed that is not open."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.count += 1
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.count += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_text_is_escaped() -> None:
    table = Table((HOSTILE, "KL"), ((HOSTILE, 1.5),), HOSTILE)
    parts = (Paragraph(HOSTILE), table, Formula((HOSTILE,), HOSTILE), drawn(HOSTILE))
    hostile = Page(
        HOSTILE, HOSTILE, (HOSTILE,), (Section(HOSTILE, HOSTILE, parts, folded=True),), HOSTILE
    )
    html = render(hostile)
    assert "<script>alert" not in html
    assert html.count("<script>") == html.count("</script>") == 1
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert parser.count > 50


def test_a_page_asks_for_nothing() -> None:
    html = render(page(Section("Lines", "", (drawn(), drawn()))))
    links = set(re.findall(r'(?:href|src)="([^"]*)"', html))
    assert all(link == "data:," or link.startswith("#p") for link in links)
    assert not re.search(r"https?://(?!www\.w3\.org)", html)
    assert "@import" not in html
    assert set(re.findall(r"url\(([^)]*)\)", html)) <= {
        f"#{i}" for i in re.findall(r'id="([^"]*)"', html)
    }


def test_ids_of_two_pictures_differ() -> None:
    html = render(page(Section("Lines", "", (drawn(), drawn()))))
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) > 10
    assert len(ids) == len(set(ids))
    assert html.count('role="img"') == 2
    assert html.count('aria-label="A line that falls"') == 2


def test_a_picture_has_letters_that_can_be_read() -> None:
    html = render(page(Section("Lines", "", (drawn(),))))
    found = re.search(r'min-width: (\d+)px; max-width: (\d+)px" viewBox="0 0 (\S+)', html)
    assert found is not None
    least, most, width = map(float, found.groups())
    assert 9 * least / width > 8
    assert 9 * most / width < 16


def test_the_same_page_is_the_same_text() -> None:
    first, second = (render(page(Section("Lines", "", (drawn(),)))) for _ in range(2))
    assert first == second


def test_numbers_keep_their_digits_for_sorting() -> None:
    table = Table(("recipe", "KL", "MB"), (("w4", 0.123456789, 113), ("nf4", None, 113)), "Loss")
    html = render(page(Section("Loss", "", (table,))))
    assert 'data-v="0.1234568"' in html
    assert ">0.1235</td>" in html
    assert ">–</td>" in html
    assert html.count('class="n"') == 2


def test_a_column_without_anything_is_left_out() -> None:
    table = Table(("recipe", "tasks", "MB"), (("w4", None, 113), ("nf4", None, None)), "Loss", (1,))
    html = render(page(Section("Loss", "", (table,))))
    assert "tasks" not in html
    assert html.count('<th scope="col"') == 2
    assert '<tr class="marked"><th scope="row">nf4</th><td>–</td></tr>' in html


def test_a_row_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 columns, but a row of 1"):
        Table(("recipe", "KL"), (("w4",),), "Loss")


def test_ten_thousand_linears_stay_small() -> None:
    row = ("model.layers.99.mlp.experts.99.down_proj", 19.123456, 0.0123456, 4.25, 41.5, 16.25)
    table = Table(tuple("abcdef"), (row,) * 10_000, "All linears")
    html = render(page(Section("All", "", (table,), folded=True)))
    assert len(html.encode()) < 5e6


def test_code_between_backticks() -> None:
    html = render(page(title="`tersor` and a ` alone"))
    assert "<h1><code>tersor</code> and a ` alone</h1>" in html

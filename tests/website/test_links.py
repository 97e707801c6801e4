"""What the site's own look at its links finds, and what it leaves alone."""

import pytest
from _website.links import problems


def page(folder, body, name="index.html", head=""):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<html><head>{head}</head><body>{body}</body></html>", encoding="utf-8")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<a href="gone/">x</a>', "leads nowhere"),
        ('<a href="rules/#gone">x</a>', "names an anchor"),
        ('<a href="#gone">x</a>', "names an anchor"),
        ('<img src="gone.png">', "leads nowhere"),
        ('<a href="http://example.com/a">x</a>', "no whole https address"),
        ('<a href="https://example">x</a>', "no whole https address"),
        ('<img src="https://example.com/a.png">', "from elsewhere"),
        ('<script src="//example.com/a.js"></script>', "from elsewhere"),
        ('<link rel="stylesheet" href="https://example.com/a.css">', "from elsewhere"),
    ],
)
def test_what_is_wrong_is_told_with_its_page(tmp_path, body, said):
    page(tmp_path, "<h1 id='top'>x</h1>", "rules/index.html")
    page(tmp_path, body)
    (found,) = problems(tmp_path)
    assert found.startswith("index.html: ")
    assert said in found


def test_what_is_right_is_silent(tmp_path):
    (tmp_path / "a.svg").write_text("<svg/>", encoding="utf-8")
    page(tmp_path, "<h1 id='top'>x</h1>", "rules/index.html")
    page(
        tmp_path,
        '<a href="rules/">1</a><a href="rules/#top">2</a><a href="#here">3</a><a id="here"></a><img src="a.svg">'
        '<img src="data:image/png;base64,AA"><a href="https://example.com/x#y">4</a><a href="mailto:a@example.com">5</a>',
    )
    assert problems(tmp_path) == []

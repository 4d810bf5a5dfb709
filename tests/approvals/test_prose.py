"""What agents write becomes HTML in which nothing can pose as the page, load from elsewhere or lead into it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.presentation.diffs import diff_lines
from approvals.presentation.markdown import LONGEST, to_html
from console.templatetags.approval_filters import as_path, compared, prose, words


def test_markdown_is_laid_out() -> None:
    html = to_html("# Plan\n\n1. *first*\n2. `second`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\none\ntwo")
    assert html is not None
    for part in ("<h1>Plan</h1>", "<em>first</em>", "<code>second</code>", "<td>1</td>", "one<br />"):
        assert part in html


@pytest.mark.parametrize(
    "evil",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[go](javascript:alert(1))",
        "[go](data:text/html,x)",
        "[go](/admin/logout/)",
        "[go](//192.0.2.1/)",
        "<javascript:alert(1)>",
        "[go]: javascript:alert(1)\n\n[go]",
    ],
)
def test_nothing_in_it_does_anything(evil: str) -> None:
    html = to_html(evil)
    assert html is not None
    assert "<script" not in html
    assert "<img" not in html
    assert "href=" not in html


def test_an_image_is_at_most_a_link() -> None:
    assert "<img" not in (to_html("![p](https://192.0.2.1/p.png)") or "")


def test_a_link_says_where_it_leads_and_tells_the_page_there_nothing() -> None:
    html = to_html("[docs](https://example.org/a?b=c&d)")
    assert html is not None
    assert 'href="https://example.org/a?b=c&amp;d"' in html
    assert 'rel="noopener noreferrer nofollow"' in html
    assert 'title="https://example.org/a?b=c&amp;d"' in html


def test_what_hides_is_spelled_out() -> None:
    assert "\\u202egnp.exe" in (to_html("\u202egnp.exe") or "")
    assert "\\u200b" in (to_html("a\u200bb `c\u200bd`") or "")


def test_a_text_too_long_to_be_laid_out_is_shown_as_it_is_and_what_is_missing_is_counted() -> None:
    assert to_html("x" * (LONGEST + 7)) is None
    assert "⟨7 more characters⟩" in prose("x" * (LONGEST + 7))
    assert "&lt;b&gt;" in prose("<b>" + "x" * LONGEST)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_no_text_whatever_brings_an_element_of_its_own(text: str) -> None:
    html = str(prose(text)).lower()
    for element in ("<script", "<img", "<iframe", "<style", "<form", "<input", "<svg", " onerror=", " style="):
        assert element not in html.replace("&lt;", "")


def test_a_command_breaks_between_its_words_only_and_loses_nothing() -> None:
    drawn = words("rm  -rf\t<build>\n")
    assert drawn == '<span class="w">rm</span>  <span class="w">-rf</span>\t<span class="w">&lt;build&gt;</span>\n'


def test_counted_spaces_stand_out_in_a_command_as_one_word() -> None:
    assert '<span class="w"><span class="escape">⟨401 spaces⟩</span></span>' in words("echo ⟨401 spaces⟩ rm")
    assert words("⟨" * 20_000).count("⟨") == 20_000


def test_a_path_breaks_after_its_slashes_and_is_quoted() -> None:
    assert as_path("/srv/<b>/\u202ea") == ('/<wbr>srv/<wbr>&lt;b&gt;/<wbr><span class="escape">\\u202e</span>a')


def test_a_long_command_breaks_between_its_words_too() -> None:
    assert '<span class="w">web-001</span>' in words("echo " + "web-001 " * 1_000)


def test_of_a_changed_line_the_changed_part_is_marked() -> None:
    lines = diff_lines("status = Char(max_length=12)\n", "status = Char(max_length=24, choices=S)\n")
    changed = [(one.line.kind, one.middle) for one in compared(lines) if one.middle]
    assert changed == [("del", "12"), ("add", "24, choices=S")]
    whole = ["".join((one.before, one.middle, one.after)) for one in compared(lines)]
    assert whole == [line.text for line in lines]

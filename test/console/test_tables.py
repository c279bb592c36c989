"""What a graph says, as HTML: texts that a stranger chose."""

from __future__ import annotations

import re

import pytest

from armlet.client.sight import Sight, StreamSight, Trouble
from armlet.console import tables
from armlet.console.words import Language, Words

SAY = Words(Language.EN)
WITHOUT = re.compile(r"<[^>]*>")


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\x1b[2J", "\x00", "\u200b"])
def test_what_is_hidden_is_written_out_and_turns_nothing_that_follows(mark):
    sight = Sight(
        streams=(StreamSight(f"{mark}side", "good", f"says {mark}", {"received": mark}),),
        troubles=(Trouble(f"a {mark}", f"b {mark}", "bad"),),
    )
    made = tables.streams(sight, SAY) + tables.troubles(sight, SAY)
    assert mark not in WITHOUT.sub("", made)
    assert f"\\{'x' if ord(mark[0]) < 256 else 'u'}{ord(mark[0]):x}"[:3] in made


def test_a_long_text_is_cut_and_no_text_becomes_html():
    trouble = Trouble("<script>", "<b>" + "x" * 1_000_000, "bad")
    made = tables.troubles(Sight(troubles=(trouble,)), SAY)
    assert "<script>" not in made and "&lt;script&gt;" in made and len(made) < 2000

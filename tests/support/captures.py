"""Real posts, captured from X's API: other people's words, which are not part of the project."""

import pytest

from tests.support.broker import ROOT

CAPTURES = ROOT.parent / "shared" / "data" / "x"
"""Where they are, if they are here at all."""

needs_captures = pytest.mark.skipif(not CAPTURES.is_dir(), reason="the captured posts are not here")

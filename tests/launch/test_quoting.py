"""Text in and out of Hydra's grammar of overrides, as Hydra and OmegaConf read it."""

import random
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from davis_exp.launch.quoting import pasted, plain_value, quoted_value

ODD = "a b,=[]{}'\"()$\\/:.1-+#é*%~"


def as_read(written: str) -> object:
    """What a config holds after the override `x=<written>`."""
    value = OverridesParser.create().parse_override(f"x={written}").value()
    return OmegaConf.create({"x": value}).x


@pytest.mark.parametrize(
    "text", ["runs/a b,=[]{}'()$/x", "/x/${y}/z", "/x\\${y}", "it's\\", "", "null", "1.5"]
)
def test_any_text_arrives_as_it_is(text: str) -> None:
    assert as_read(quoted_value(text)) == text
    assert plain_value(quoted_value(text)) == text


def test_random_text_arrives_as_it_is() -> None:
    draw = random.Random(0)
    for _ in range(500):
        text = "".join(draw.choices(ODD, k=draw.randint(0, 9)))
        text = text[:3] + "${" + text[3:] if draw.random() < 0.3 else text
        assert as_read(quoted_value(text)) == text
        assert plain_value(quoted_value(text)) == text


@pytest.mark.parametrize("path", ["runs/x/2026-11-22_14-00-00", "file:///a/b", "/a/b.ckpt"])
def test_a_plain_path_stays_readable(path: str) -> None:
    assert quoted_value(path) == path
    assert as_read(path) == path


@pytest.mark.parametrize(
    ("written", "text"),
    [('"a b"', "a b"), ("a\\ b", "a b"), ("1,2", "1,2"), ("null", "null"), ("007", "007"), ("[a", "[a")],
)
def test_what_users_write_is_read_as_hydra_reads_it(written: str, text: str) -> None:
    assert plain_value(written) == text


@pytest.mark.parametrize("text", ["it's", 'a$b"c', "a b", "${x}", "-x", "plain", "é,[1]=2", "a\\'b"])
def test_what_is_to_be_pasted_arrives_through_the_shell_and_hydra(text: str) -> None:
    (word,) = shlex.split(pasted("name", text))
    key, _, written = word.partition("=")
    assert key == "name"
    assert as_read(written) == text

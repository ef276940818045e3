"""YAML that would take memory, time or the interpreter's stack is refused in words, before it is built."""

import time
import tracemalloc

import pytest
import yaml

from stratalign.errors import UserError
from stratalign.records import StrictLoader, read_mapping

LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
)
MERGES = "\n".join(
    ["a0: &a0 {k: 1}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
)


def read(folder, text):
    file = folder / "recipe.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_mapping(file, "recipe", keys="model and preferences", missing="")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(LAUGHS, "more than 20,000 values", id="aliases of aliases"),
        pytest.param(MERGES, "more than 20,000 values", id="merges of merges"),
        pytest.param("a: &a [1, *a]", "an alias of what it stands in", id="an alias of itself"),
        pytest.param("a: &a {b: *a}", "an alias of what it stands in", id="a mapping in itself"),
        pytest.param("a: " + "[" * 3000 + "]" * 3000, "more than 50 levels", id="brackets"),
        pytest.param("a: " + "{b: " * 3000 + "1" + "}" * 3000, "more than 50 levels", id="braces"),
        pytest.param("a: " + "9" * 5000, "is not a whole number of at most 64 bits", id="decimal digits"),
        pytest.param("a: 0x" + "f" * 5000, "is not a whole number of at most 64 bits", id="hexadecimal digits"),
        pytest.param("a: 9223372036854775808", "is not a whole number of at most 64 bits", id="2^63"),
        pytest.param("a: 2024-13-45", "'2024-13-45' is not a date", id="a 13th month"),
        pytest.param("a: 2024-02-30 25:61:00", "is not a date", id="30 February"),
        pytest.param("a: !!set [x]", "expected a mapping node", id="a list as a set"),
        pytest.param("a: !!int x", "'x' is not a whole number", id="a tag"),
        pytest.param("a: !!float x", "'x' is not a number", id="another tag"),
        pytest.param("a: [" + "1, " * 30_000 + "]", "more than 20,000 values", id="a long list"),
        pytest.param(b"a: " + b"x" * 2_000_000, "larger than 1,000,000 bytes, which no recipe is", id="a large file"),
        pytest.param(b"a: \xff", "is not YAML", id="not UTF-8"),
        pytest.param("[1]: 2", "cannot be a key", id="a list as key"),
    ],
)  # fmt: skip
def test_it_is_refused_with_its_place(tmp_path, text, told):
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(UserError, match=r"recipe\.yaml") as refused:
        read(tmp_path, text)
    assert told in str(refused.value)
    assert len(str(refused.value)) < 600 + len(str(tmp_path))
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()
    assert time.process_time() - began < 60  # against hanging; seconds at most


def test_what_people_write_is_read(tmp_path):
    read_ = read(
        tmp_path, "a: &a {b: 1}\nc: {<<: *a, d: [*a, *a]}\ne: 9223372036854775807\nf: 2024-02-29\ng: 1e-5"
    )
    assert read_["c"] == {"b": 1, "d": [{"b": 1}, {"b": 1}]}
    assert (read_["e"], str(read_["f"]), read_["g"]) == (2**63 - 1, "2024-02-29", 1e-5)
    assert yaml.load("[" * 40 + "]" * 40, Loader=StrictLoader)

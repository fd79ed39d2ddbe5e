"""Which headers hold a key, and which bodies are the same request."""

import pytest

from outbox.idempotency import KeyInvalid, KeyMissing, fingerprint, parse_key


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ('"8e03978e-40d5-43e8-bc93-6894a57f9324"', "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ("  key  ", "key"),
        ("a:b/c==", "a:b/c=="),
        ('"two words"', "two words"),
        (r'"a \"quoted\" \\ key"', r'a "quoted" \ key'),
        ("k" * 255, "k" * 255),
        (f'"{"k" * 255}"', "k" * 255),
    ],
)
def test_a_key_is_a_token_or_a_quoted_string(header: str, key: str) -> None:
    assert parse_key(header=header) == key


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        '""',
        "two words",
        "a,b",
        '"a","b"',
        '"open',
        'open"',
        '"key";parameter=1',
        r'"bad \escape"',
        "k" * 256,
        f'"{"k" * 256}"',
        "clé",
        '"clé"',
        "tab\tkey",
        "null\x00",
    ],
)
def test_other_forms_are_refused(header: str) -> None:
    with pytest.raises(KeyInvalid):
        parse_key(header=header)


def test_a_missing_header_is_refused() -> None:
    with pytest.raises(KeyMissing):
        parse_key(header=None)


def test_the_same_value_has_the_same_fingerprint() -> None:
    first = fingerprint(path="/orders", body={"a": [1, {"b": "é", "c": None}], "d": True})
    second = fingerprint(path="/orders", body={"d": True, "a": [1, {"c": None, "b": "\u00e9"}]})

    assert first == second
    assert len(first) == 32


@pytest.mark.parametrize(
    ("path", "body"), [("/orders", {"a": 2}), ("/orders", {"a": "1"}), ("/orders", [1]), ("/other", {"a": 1})]
)
def test_another_value_or_path_has_another_fingerprint(path: str, body: object) -> None:
    assert fingerprint(path=path, body=body) != fingerprint(path="/orders", body={"a": 1})

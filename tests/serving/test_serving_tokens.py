"""Tokens that were forged, each in a way of its own."""

import time
import uuid

import jwt
import pytest

from credit_default.serving.roles import Role, User
from credit_default.serving.tokens import InvalidToken, Tokens

KEY = "the key of these tests: 32 bytes or more"
GOOD = dict(sub=str(uuid.uuid4()), role="analyst", exp=int(time.time()) + 600)


def without(name):
    return jwt.encode({k: v for k, v in GOOD.items() if k != name}, KEY)


@pytest.mark.parametrize(
    "token",
    [
        without("exp"),
        without("sub"),
        without("role"),
        jwt.encode(GOOD | dict(sub=1), KEY),
        jwt.encode(GOOD | dict(role="root"), KEY),
        jwt.encode(GOOD | dict(exp=1), KEY),
        jwt.encode(GOOD, None, "none"),
        "",
        "x.y.z",
        "\x00\xff",
    ],
)
def test_a_forged_token_is_refused(token):
    with pytest.raises(InvalidToken):
        Tokens(KEY).read(token)


def test_a_previous_key_is_as_long_as_a_new_one():
    with pytest.raises(ValueError, match="32 bytes"):
        Tokens(KEY, previous="hunter2")


def test_what_is_issued_can_be_read():
    token, seconds = Tokens(KEY, minutes=2).issue(User("7c0f", "ada", Role.admin))
    claims = Tokens(KEY).read(token)
    assert (claims.sub, claims.role, seconds) == ("7c0f", Role.admin, 120)

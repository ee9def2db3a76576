"""Tokens, logins and answers that are kept, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import func, null, select, update

from service.roles import Role
from service.store import access
from service.store.access import KeyTaken, NoSuchToken, TokenNameTaken
from service.store.clock import after
from service.store.tables import Answer, Login, Token


def created(yard, name="ada", role=Role.VIEWER, sha256="a" * 64, seconds=None):
    return yard.do(access.create, name, role, sha256, seconds)


def count(yard, table):
    return yard.ask(lambda session: session.scalar(select(func.count()).select_from(table)))


def test_a_token_is_found_by_its_hash_until_it_expires_or_is_revoked(yard):
    token = created(yard, seconds=60.0)
    assert yard.ask(access.bearer, "a" * 64) == token
    assert yard.ask(access.bearer, "b" * 64) is None
    assert yard.ask(access.tokens) == [token]
    yard.do(lambda session: session.execute(update(Token).values(expires=after(-1))))
    assert yard.ask(access.bearer, "a" * 64) is None
    yard.do(access.revoke, "ada")
    assert yard.ask(access.tokens) == []
    with pytest.raises(NoSuchToken):
        yard.do(access.revoke, "ada")


def test_a_name_is_taken_once(yard):
    created(yard)
    with pytest.raises(TokenNameTaken):
        created(yard, sha256="b" * 64)


def test_a_login_ends_with_itself_its_time_its_token_or_the_tokens_time(yard):
    token = created(yard)
    created(yard, "bob", Role.ADMIN, "b" * 64)
    assert yard.do(access.log_in, "c" * 64, "l" * 64) is None
    for login in "lmno":
        assert yard.do(access.log_in, "a" * 64, login * 64) == token
    assert yard.do(access.log_in, "b" * 64, "x" * 64).role is Role.ADMIN
    assert yard.ask(access.logged_in, "l" * 64) == token
    yard.do(access.log_out, "l" * 64)
    assert yard.ask(access.logged_in, "l" * 64) is None
    yard.do(lambda session: session.execute(update(Login).where(Login.sha256 == "m" * 64).values(expires=after(-1))))
    assert yard.ask(access.logged_in, "m" * 64) is None
    yard.do(access.log_in, "a" * 64, "p" * 64)
    assert count(yard, Login) == 4  # what has expired is forgotten
    yard.do(lambda session: session.execute(update(Token).where(Token.name == "ada").values(expires=after(-1))))
    assert yard.ask(access.logged_in, "n" * 64) is None
    yard.do(access.revoke, "ada")
    assert count(yard, Login) == 1
    assert yard.ask(access.logged_in, "x" * 64).name == "bob"


def test_an_answer_is_kept_once_for_each_key_and_told_for_a_day(yard):
    ada = "ada", "k", "r" * 64
    assert yard.ask(access.answered, *ada) is None
    assert yard.do(access.answer, *ada, {"runs": [1]})
    assert not yard.do(access.answer, *ada, {"runs": [2]})
    assert yard.ask(access.answered, *ada) == {"runs": [1]}
    with pytest.raises(KeyTaken):
        yard.ask(access.answered, "ada", "k", "s" * 64)
    assert yard.do(access.answer, "bob", "k", "s" * 64, {"runs": [3]})  # another's keys are his own
    yard.do(access.reword, "ada", "k", {"runs": [1], "notes": ["later"]})
    assert yard.ask(access.answered, *ada) == {"runs": [1], "notes": ["later"]}
    yard.do(lambda session: session.execute(update(Answer).values(created=after(-access.ANSWER_SECONDS - 1))))
    assert yard.ask(access.answered, *ada) is None
    assert yard.do(access.answer, *ada, {"runs": [4]})
    assert count(yard, Answer) == 1
    yard.do(lambda session: session.execute(update(Answer).values(body=null())))  # as early versions were broken off
    assert yard.ask(access.answered, *ada) is None
    assert yard.do(access.answer, *ada, {"runs": [5]})

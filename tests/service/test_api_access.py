"""Who is let in: tokens and their roles, logins, names of the yard, pages of other sites, limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from importlib.metadata import version

import httpx
import pytest
from sqlalchemy import update

from service.client import Client
from service.errors import InputError
from service.origin import TOLD
from service.roles import Role
from service.secrets import hashed
from service.settings import Settings
from service.store import access
from service.store.clock import after
from service.store.tables import Login, Token
from service.web.api import submitting
from service.web.app import HEADERS
from service.web.limits import Rate, TooMany
from service.yard import NoTokens, _check_access
from tests.web import served

SPEC = {"version": 1, "data": {"source": "iris"}, "network": [], "train": {"epochs": 1}}
PAGE = {"Accept": "text/html"}


def settings(tmp_path, url, **changes) -> Settings:
    return Settings(home=tmp_path, database_url=url, broker_url="redis://127.0.0.1:1/0", **changes)


@pytest.fixture
def client(database, database_url, tmp_path) -> Client:
    """Of a yard that asks for tokens."""
    client = Client(settings(tmp_path, database_url, require_tokens=True))
    client.__dict__["database"] = database
    return client


@pytest.fixture
def browser(client: Client) -> Iterator[httpx.Client]:
    with served(client) as made:
        yield made


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def login(browser: httpx.Client, secret: str, **headers: str) -> httpx.Response:
    return browser.post("/login", data={"token": secret}, headers=headers)


@pytest.fixture
def kind() -> str:
    """What the store does is tested on both databases where it stands."""
    return "sqlite"


def test_a_token_lets_in_until_it_is_revoked(browser, client, database):
    assert browser.get("/api/v1/runs").status_code == 401
    secret, _ = client.create_token("ada", Role.VIEWER)
    assert browser.get("/api/v1/runs", headers=bearer(secret)).status_code == 200
    caller = {"name": "ada", "role": "viewer", "csrf": None}
    assert browser.get("/api/v1/caller", headers=bearer(secret)).json() == caller
    client.revoke_token("ada")
    answer = browser.get("/api/v1/runs", headers=bearer(secret))
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:trainyard:wrong-token")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_expires(browser, client, database):
    secret, token = client.create_token("ada", Role.VIEWER, 3600)
    assert token.expires is not None
    assert browser.get("/api/v1/runs", headers=bearer(secret)).status_code == 200
    login(browser, secret)
    assert browser.get("/api/v1/runs").status_code == 200
    with database.write() as session:
        session.query(Token).update({"expires": after(-1)})
    assert browser.get("/api/v1/runs", headers=bearer(secret)).status_code == 401
    assert browser.get("/api/v1/runs").status_code == 401


def test_of_a_token_only_its_hash_is_kept_and_names_are_taken_once(client, database):
    secret, _ = client.create_token("ada", Role.ADMIN)
    with database.read() as session:
        row = session.query(Token).one()
        assert row.sha256 == hashed(secret)
        assert secret not in repr(vars(row))
    for name, role, seconds in (
        ("ada", "viewer", None),
        ("a b", "viewer", None),
        ("x", "king", None),
        ("x", "admin", 0),
    ):
        with pytest.raises(InputError):
            client.create_token(name, role, seconds)
    with pytest.raises(access.NoSuchToken):
        client.revoke_token("bob")
    assert [token.name for token in client.tokens()] == ["ada"]


ASKS = [  # method, path, body, and the least role that may
    ("GET", "/runs", None, Role.VIEWER),
    ("GET", "/caller", None, Role.VIEWER),
    ("POST", "/check", {"spec": SPEC}, Role.SUBMITTER),
    ("POST", "/runs", {"spec": SPEC}, Role.SUBMITTER),
    ("POST", "/runs/1/clone", {}, Role.SUBMITTER),
    ("POST", "/runs/1/replay", {}, Role.SUBMITTER),
    ("POST", "/runs/cancel", {"runs": [9]}, Role.SUBMITTER),
    ("POST", "/runs/pause", {"runs": [9]}, Role.SUBMITTER),
    ("POST", "/runs/resume", {"runs": [9]}, Role.SUBMITTER),
    ("POST", "/runs/retry", {"runs": [9]}, Role.SUBMITTER),
    ("PATCH", "/runs", {"runs": [9], "note": "x"}, Role.SUBMITTER),
    ("POST", "/runs/remove", {"runs": [9]}, Role.ADMIN),
    ("POST", "/runs/prune", {"dry_run": True}, Role.ADMIN),
    ("POST", "/runs/export", {"runs": [9]}, Role.VIEWER),
    ("POST", "/runs/import", None, Role.SUBMITTER),
    ("POST", "/notify/test", None, Role.ADMIN),
    ("POST", "/workers/w/scale", {"slots": 1}, Role.ADMIN),
    ("POST", "/workers/w/drain", None, Role.ADMIN),
    ("POST", "/workers/w/stop", None, Role.ADMIN),
    ("POST", "/workers/w/trust", None, Role.ADMIN),
    ("GET", "/tokens", None, Role.ADMIN),
    ("POST", "/tokens", {"name": "new"}, Role.ADMIN),
    ("DELETE", "/tokens/nobody", None, Role.ADMIN),
]


def test_each_role_may_do_what_it_is_for_and_no_more(browser, client):
    secrets = {role: client.create_token(role, role)[0] for role in Role}
    for method, path, body, least in ASKS:
        for role in Role:
            answer = browser.request(method, f"/api/v1{path}", json=body, headers=bearer(secrets[role]))
            assert (answer.status_code == 403) == (not role.includes(least)), (role, path, answer.text)
    answer = browser.get("/api/v1/tokens", headers=bearer(secrets[Role.VIEWER]))
    assert answer.json()["detail"] == "a viewer may not do that; it takes the role admin"


def test_every_operation_that_is_described_is_asked_for_in_a_role(browser, client):
    """An operation that is added and left open would be missed by the test above."""
    secret, _ = client.create_token("ada", Role.VIEWER)
    described = browser.get("/api/v1/openapi.json", headers=bearer(secret)).json()["paths"]
    writes = {
        (method.upper(), path) for path, operations in described.items() for method in operations if method != "get"
    }
    asked = {
        (method, path.replace("/1/", "/{run}/").replace("/w/", "/{worker}/").replace("/nobody", "/{name}"))
        for method, path, _, _ in ASKS
        if method != "GET"
    }
    assert writes == asked | {("POST", "/runs/with-data")}
    answer = browser.post("/api/v1/runs/with-data", data={}, headers=bearer(secret))
    assert answer.status_code == 403


def test_a_run_knows_who_submitted_it_by_the_token_and_where_by_what_they_tell(browser, client):
    secret, _ = client.create_token("ada", Role.SUBMITTER)
    told = {"folder": "/home/ada/nets", "commit": "1a2b3c4d", "branch": "main", "dirty": True, "python": "3.12.1"}
    answer = browser.post("/api/v1/runs", json={"spec": SPEC, "origin": told}, headers=bearer(secret))
    origin = client.origin(answer.json()["runs"][0])
    assert origin == told | {"user": "ada", "host": "127.0.0.1", "trainyard": version("trainyard")}
    assert set(submitting.Origin.model_fields) == set(TOLD)
    wrong = {"user": "bob", "host": "lab-1", "branch": "a\x1b[2J", "commit": "HEAD", "folder": "x" * 1001}
    for name, value in wrong.items():
        body = {"spec": SPEC, "origin": {name: value}}
        assert browser.post("/api/v1/runs", json=body, headers=bearer(secret)).status_code == 422


def test_pages_send_people_to_the_login_and_programs_a_sentence(browser):
    page = browser.get("/", headers=PAGE)
    assert (page.status_code, page.headers["location"]) == (303, "/login")
    assert browser.get("/").json()["detail"].startswith("a token is needed")
    assert browser.get("/metrics").status_code == 401
    assert browser.get("/healthz").status_code == 200
    form = browser.get("/login", headers=PAGE)
    assert (form.status_code, form.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert {name: form.headers[name] for name in HEADERS} == HEADERS


def test_a_browser_logs_in_and_out_and_its_page_shows_a_secret_with_what_it_sends(browser, client, database):
    secret, _ = client.create_token("ada", Role.ADMIN)
    answer = login(browser, secret)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=lax", "path=/"))
    assert "secure" not in cookie
    with database.read() as session:
        assert session.query(Login).one().sha256 == hashed(browser.cookies["trainyard"])
    caller = browser.get("/api/v1/caller").json()
    assert (caller["name"], caller["role"]) == ("ada", "admin")
    asked = {"runs": [9]}
    answer = browser.post("/api/v1/runs/cancel", json=asked)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:trainyard:not-from-page")
    assert browser.post("/api/v1/runs/cancel", json=asked, headers={"X-CSRF-Token": "x"}).status_code == 403
    shown = {"X-CSRF-Token": caller["csrf"]}
    assert browser.post("/api/v1/runs/cancel", json=asked, headers=shown).status_code == 200
    kept = browser.cookies["trainyard"]
    assert browser.post("/logout").headers["location"] == "/login"
    assert browser.get("/api/v1/caller").status_code == 401
    browser.cookies.set("trainyard", kept)
    assert browser.get("/api/v1/caller").status_code == 401  # the login is gone, not only the cookie


def test_a_login_leads_to_the_page_that_was_wanted_and_to_no_other_site(browser, client):
    secret, _ = client.create_token("ada", Role.VIEWER)
    wanted = "/runs?where=tag+%3D+%27a%26b%27&select=2"
    page = browser.get(wanted, headers=PAGE)
    form = browser.get(page.headers["location"], headers=PAGE)
    (hidden,) = re.findall(r'name="next" value="([^"]*)"', form.text)
    wrong = browser.post("/login", data={"token": "nonsense", "next": unescape(hidden)})
    assert f'value="{hidden}"' in wrong.text
    answer = browser.post("/login", data={"token": secret, "next": unescape(hidden)})
    assert (answer.status_code, answer.headers["location"]) == (303, wanted)
    again = browser.get(page.headers["location"], headers=PAGE)  # from a link of another site, with the cookie
    assert (again.status_code, again.headers["location"]) == (303, wanted)
    for other in ("//evil.example/", "/\\evil.example", "https://evil.example", "evil", "/a\r\nX: y", ""):
        answer = browser.post("/login", data={"token": secret, "next": other})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_login_ends_with_its_token(browser, client):
    secret, _ = client.create_token("ada", Role.VIEWER)
    login(browser, secret)
    assert browser.get("/api/v1/runs").status_code == 200
    client.revoke_token("ada")
    assert browser.get("/api/v1/runs").status_code == 401
    client.create_token("ada", Role.VIEWER)
    assert browser.get("/api/v1/runs").status_code == 401


def test_an_address_that_tries_many_wrong_tokens_has_to_wait(browser, client):
    secret, _ = client.create_token("ada", Role.VIEWER)
    wrong = [login(browser, "nonsense") for _ in range(6)]
    assert {answer.status_code for answer in wrong} == {401}
    assert "this token is not valid" in wrong[0].text
    tried = [browser.get("/api/v1/runs", headers=bearer("nonsense")).status_code for _ in range(5)]
    assert tried == [401] * 4 + [429]
    answer = login(browser, secret)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "set-cookie" not in answer.headers
    assert browser.get("/api/v1/runs", headers=bearer(secret)).status_code == 200  # behind a proxy all come from there


def test_whom_a_request_says_it_comes_from_is_not_believed(browser):
    tried = [
        browser.get("/api/v1/runs", headers=bearer("nonsense") | {"X-Forwarded-For": f"10.1.1.{number}"}).status_code
        for number in range(11)
    ]
    assert tried == [401] * 10 + [429]


def test_what_somebody_is_told_by_token_is_kept_by_no_proxy(browser, client):
    secret, _ = client.create_token("ada", Role.VIEWER)
    for path in ("/runs", "/api/v1/runs"):
        assert browser.get(path, headers=bearer(secret)).headers["cache-control"] == "private, no-cache"
    assert browser.get("/static/style.css", headers=bearer(secret)).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/runs/99999999999999999999", "/runs/3000000000/inside", "/runs/-1/log"])
def test_a_number_that_no_run_has_is_no_fault_of_the_yard(browser, client, path):
    secret, _ = client.create_token("ada", Role.VIEWER)
    assert browser.get(path, headers=bearer(secret)).status_code == 404


@pytest.mark.parametrize("path", ["/api/v1/runs/1/steps?name=%00", "/api/v1/tokens/a%00b", "/runs?where=%00"])
def test_an_address_with_a_character_that_no_text_has_is_refused(browser, client, path):
    secret, _ = client.create_token("ada", Role.ADMIN)
    for ask in (browser.get, browser.delete):
        answer = ask(path, headers=bearer(secret))
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:trainyard:no-address")


@pytest.mark.parametrize("secure", [False, True])
def test_a_page_of_another_site_can_neither_send_nor_log_in(browser, client, secure):
    secret, _ = client.create_token("ada", Role.ADMIN)
    own = f"http{'s' if secure else ''}://{browser.base_url.netloc.decode()}"  # a proxy may speak TLS for the yard
    others = [("Origin", "https://evil.example"), ("Origin", "null")]
    others += [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site")]
    for headers in ({name: value} for name, value in others):
        assert login(browser, secret, **headers).status_code == 403
        answer = browser.post("/api/v1/runs/cancel", json={"runs": [9]}, headers=headers | bearer(secret))
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:trainyard:other-site")
    assert login(browser, secret, Origin=own).status_code == 303


def test_a_name_that_was_pointed_at_the_yard_is_refused(database_url, tmp_path):
    client = Client(settings(tmp_path, database_url, web_names="yard.example, b.example"))
    with served(client) as browser:
        for host in ("evil.example", "evil.example:8750", "127.0.0.1.evil.example", "[", "a@b", "localhost."):
            answer = browser.get("/api/v1/runs", headers={"Host": host})
            assert (answer.status_code, answer.json()["type"]) == (400, "urn:trainyard:wrong-host"), host
        for host in ("127.0.0.1:1", "localhost", "LOCALHOST:8750", "[::1]:8750", "192.168.1.7", "yard.example:443"):
            assert browser.get("/api/v1/runs", headers={"Host": host}).status_code == 200, host


def test_a_yard_of_this_machine_asks_for_nothing_but_minds_what_is_shown(database_url, tmp_path):
    client = Client(settings(tmp_path, database_url))
    secret, _ = client.create_token("ada", Role.VIEWER)
    with served(client) as browser:
        assert browser.get("/api/v1/caller").json() == {"name": None, "role": "admin", "csrf": None}
        assert browser.get("/api/v1/caller", headers=bearer(secret)).json()["role"] == "viewer"
        assert browser.get("/api/v1/caller", headers=bearer("nonsense")).status_code == 401
        assert browser.get("/api/v1/caller", headers={"Authorization": "Basic YTpi"}).status_code == 401
        browser.cookies.set("trainyard", "nonsense")
        assert browser.get("/api/v1/caller").status_code == 200  # of a yard that was here before


def test_prometheus_reads_without_a_token_where_that_is_wanted(database_url, tmp_path):
    client = Client(settings(tmp_path, database_url, require_tokens=True, open_metrics=True))
    with served(client) as browser:
        assert [browser.get(path).status_code for path in ("/metrics", "/targets", "/api/v1/runs")] == [200, 200, 401]


def test_another_address_wants_a_token_before_it_is_served(database_url, tmp_path):
    mine, all_of_them = ("127.0.0.2", "::1", "localhost"), ("0.0.0.0", "::", "lab-1")
    for host, exposed in [(host, False) for host in mine] + [(host, True) for host in all_of_them]:
        client = Client(settings(tmp_path, database_url, host=host))
        assert client.settings.asks_for_tokens is exposed
        if exposed:
            with pytest.raises(NoTokens, match="trainyard tokens create NAME --role admin"):
                _check_access(client)
        else:
            _check_access(client)
    client.create_token("bob", Role.ADMIN, 60.0)
    exposed = Client(settings(tmp_path, database_url, host="0.0.0.0"))
    _check_access(exposed)
    with exposed.database.write() as session:
        session.execute(update(Token).values(expires=after(-1)))
    with pytest.raises(NoTokens, match="asks for a token, and there is none that is valid"):
        _check_access(exposed)
    client.create_token("ada", Role.ADMIN)
    _check_access(exposed)


def test_the_token_of_the_settings_is_made_and_replaced(database_url, database, tmp_path):
    for secret in ("a" * 24, "a" * 24, "b" * 24):
        client = Client(settings(tmp_path, database_url, host="0.0.0.0", admin_token=secret))
        client.__dict__["database"] = database
        _check_access(client)
        with database.read() as session:
            assert access.bearer(session, hashed(secret)).role is Role.ADMIN
    assert [token.name for token in client.tokens()] == ["admin"]
    assert secret not in repr(client.settings)


def test_one_that_asks_too_often_has_to_wait_and_others_do_not(database_url, tmp_path):
    client = Client(settings(tmp_path, database_url, requests_per_second=0.5))
    secret, _ = client.create_token("ada", Role.VIEWER)
    with served(client) as browser:
        assert [browser.get("/healthz").status_code for _ in range(2)] == [200, 429]
        answer = browser.get("/healthz")
        assert (answer.headers["content-type"], answer.headers["retry-after"]) == ("application/problem+json", "2")
        assert browser.get("/healthz", headers=bearer(secret)).status_code == 200


def test_a_rate_refills_with_time():
    now = 0.0
    rate = Rate(0.5, 2, lambda: now)
    rate.take("a")
    rate.take("a")
    rate.take("b")
    with pytest.raises(TooMany) as refused:
        rate.take("a")
    assert refused.value.retry_seconds == 2
    now = 2.0
    rate.look("a")
    rate.take("a")
    with pytest.raises(TooMany):
        rate.look("a")
    Rate(0, 0).take("a")

"""`trainyard tokens`: who may use the page and the API from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import context
from service.cli.context import JsonOption
from service.cli.output import hint, print_json, print_table
from service.display import age
from service.roles import Role

if TYPE_CHECKING:
    from service.store.access import TokenRecord

app = typer.Typer(help="Who may use the page and the API from elsewhere.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is.", show_default=False)]


@app.command()
def create(
    name: NameArgument,
    role: Annotated[Role, typer.Option(help="What its bearer may do.")] = Role.VIEWER,
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION", help="After which it is no longer valid, such as 90d.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a token and print it, once: only a hash of it is kept. A viewer may ask everything, a submitter may submit
    runs and act on them, an admin may do all the rest.

    Example: trainyard tokens create ada --role submitter --expires 90d
    """
    secret, token = context.client().create_token(name, role, None if expires is None else _seconds(expires))
    if json:
        print_json({"token": secret, **token.json()})
        return
    print(secret)
    hint(f"keep it safe, it is not shown again; {name} is {_article(role)} {role}, {_until(token)}")


def _seconds(text: str) -> float:
    from service.errors import InputError
    from service.expressions.values import duration

    seconds = duration(text)
    if seconds is None:
        raise InputError(f"--expires '{text}' is no duration; write it as '90 days' or '12 h'")
    return seconds


def _article(role: Role) -> str:
    return "an" if role is Role.ADMIN else "a"


def _until(token: TokenRecord) -> str:
    return "until it is revoked" if token.expires is None else f"until {token.expires:%Y-%m-%d %H:%M} UTC"


@app.command("list")
def list_tokens(json: JsonOption = False) -> None:
    """List the tokens there are, without their secrets.

    Example: trainyard tokens list
    """
    tokens = context.client().tokens()
    if json:
        print_json([token.json() for token in tokens])
        return
    rows = (
        (
            token.name,
            token.role,
            age(token.created),
            "-" if token.expires is None else f"{token.expires:%Y-%m-%d %H:%M}",
        )
        for token in tokens
    )
    print_table(["TOKEN", "ROLE", "CREATED", "EXPIRES"], rows)
    if not tokens:
        hint("no token; `trainyard tokens create NAME --role admin` makes one")


@app.command()
def revoke(name: NameArgument) -> None:
    """Make a token invalid at once, and end what was logged in with it.

    Example: trainyard tokens revoke ada
    """
    context.client().revoke_token(name)
    print(f"the token {name} is revoked")

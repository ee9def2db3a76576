"""Who may come in, and who has."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from service.client import Client
from service.client.granting import LONGEST_TOKEN
from service.roles import Role
from service.web.access import caller_of, needs
from service.web.api.models import Model, Time
from service.web.problems import answers


class Caller(Model):
    """Who sends the requests. Without a token the name is null: such a yard takes everybody for an admin."""

    name: str | None
    role: Role
    csrf: str | None = Field(description="what a logged-in page sends as X-CSRF-Token with all that it asks to be done")


class NewToken(BaseModel):
    name: str = Field(max_length=64, examples=["ada"])
    role: Role = Role.VIEWER
    seconds: float | None = Field(
        None, strict=True, gt=0, le=LONGEST_TOKEN, description="for which it is valid; null: without end"
    )


class Token(Model):
    name: str
    role: Role
    created: Time
    expires: Time | None


class MadeToken(Token):
    token: str = Field(description="the secret, which is not shown again")


class Tokens(Model):
    tokens: list[Token]


def router(client: Client) -> APIRouter:
    api = APIRouter(tags=["tokens"])
    admin = [Depends(needs(Role.ADMIN))]

    @api.get("/caller", operation_id="show_caller", response_model=Caller, responses=answers())
    def show(request: Request) -> dict[str, Any]:
        """Who you are here, and what you may do."""
        caller = caller_of(request)
        return {"name": caller.name, "role": caller.role, "csrf": caller.csrf}

    @api.get("/tokens", operation_id="list_tokens", response_model=Tokens, dependencies=admin, responses=answers())
    def list_tokens() -> dict[str, Any]:
        """The tokens there are, without their secrets."""
        return {"tokens": [token.json() for token in client.tokens()]}

    @api.post(
        "/tokens", operation_id="create_token", response_model=MadeToken, status_code=201, dependencies=admin,
        responses=answers(409, 413),
    )  # fmt: skip
    def create(new: NewToken) -> dict[str, Any]:
        """Make a token. Its secret is in this answer and nowhere else."""
        secret, token = client.create_token(new.name, new.role, new.seconds)
        return {"token": secret, **token.json()}

    @api.delete(
        "/tokens/{name}", operation_id="revoke_token", status_code=204, dependencies=admin, responses=answers(404)
    )
    def revoke(name: Annotated[str, Path(max_length=64)]) -> None:
        """Make a token invalid at once, and end what was logged in with it."""
        client.revoke_token(name)

    return api

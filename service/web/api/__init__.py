"""The HTTP API, version 1: what `service.Client` offers, for the page and for programs elsewhere."""

from service.web.api.app import PREFIX, api_app

__all__ = ["PREFIX", "api_app"]

"""The pages for people: each is one question to the yard, written as HTML, and brought up to date by its script."""

from service.web.pages.router import add_pages

__all__ = ["add_pages"]

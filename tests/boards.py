"""The expressions of every board and of every alert, and what they ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
BOARDS = sorted((DEPLOY / "grafana/boards").glob("*.json"))
ALERTS = DEPLOY / "alerts.yml"
WORDS = {"and", "or", "unless", "bool"}


def board_expressions(**choices: str) -> dict[str, str]:
    """Of every panel of every board, with Grafana's own variables filled in, and with what a person has chosen."""
    variables = {"$__rate_interval": "1m"} | {f"${name}": value for name, value in choices.items()}
    found: dict[str, str] = {}
    for file in BOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                expression = target["expr"]
                for name, value in variables.items():
                    expression = expression.replace(name, value)
                found[f"{file.stem}, {panel['title']}, {target['refId']}"] = expression
    return found


def alert_rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def alert_expressions() -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for rule in alert_rules()}


def selectors(expression: str) -> Iterator[tuple[str, str]]:
    """Every time series that an expression names, with the labels that it asks for."""
    bare = re.sub(r"\[[^]]*\]|\b(by|without|on|ignoring|group_\w+) *\([^)]*\)|\boffset \w+", " ", expression)
    for name, labels in re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?! *\()(?:\{([^}]*)\})?", bare):
        if name not in WORDS:
            yield name, labels


def equalities(labels: str) -> dict[str, str]:
    """The values that `a="b", c=~"d"` wants exactly."""
    return dict(re.findall(r'(\w+)="([^"]*)"', labels))

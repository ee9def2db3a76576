"""What a Grafana board is made of, as plain values: panels in lines of 24 columns, with units, limits, explanations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SOURCE = {"type": "prometheus", "uid": "trainyard-prometheus"}  # as provisioning/datasources names it
COLUMNS = 24
NEUTRAL: Mapping[float | None, str] = {None: "blue"}
LINKS = {  # from each board to the others
    "type": "dashboards",
    "title": "Trainyard",
    "tags": ["trainyard"],
    "asDropdown": False,
    "includeVars": False,
    "keepTime": True,
    "targetBlank": False,
    "icon": "external link",
    "url": "",
}
Queries = Mapping[str, str]  # legend -> expression


@dataclass(frozen=True)
class Panel:
    """`limits`: from which value on which colour; None is the lowest. `{{label}}` in a legend is filled in."""

    title: str
    description: str
    queries: Queries
    unit: str = "short"
    limits: Mapping[float | None, str] | None = None
    width: int = COLUMNS // 2

    height = 8
    kind = "timeseries"

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": {"unit": self.unit, **self.field()}, "overrides": []},
            "options": self.options(),
            "targets": [
                {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
                for place, (legend, expression) in enumerate(self.queries.items())
            ],
        }

    def field(self) -> dict[str, Any]:
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True)
class Number(Panel):
    """The last value in large figures. `words` are shown in place of values."""

    words: Mapping[int, str] | None = None
    width: int = 4

    height = 4
    kind = "stat"

    def field(self) -> dict[str, Any]:
        texts = {str(value): {"text": word, "index": value} for value, word in (self.words or {}).items()}
        return {
            "color": {"mode": "thresholds"},
            "thresholds": _thresholds(self.limits or NEUTRAL),
            "mappings": [{"type": "value", "options": texts}] if texts else [],
        }

    def options(self) -> dict[str, Any]:
        return {
            "colorMode": "value",
            "graphMode": "none" if self.words else "area",
            "textMode": "auto",
            "justifyMode": "center",
            "orientation": "vertical",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }


@dataclass(frozen=True)
class Curves(Panel):
    """Values over time; `stacked` where their sum means something. The limits are drawn as lines."""

    stacked: bool = False

    def field(self) -> dict[str, Any]:
        custom = {
            "lineWidth": 1,
            "fillOpacity": 25 if self.stacked else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if self.limits else "off"},
        }
        limits = {"thresholds": _thresholds(self.limits)} if self.limits else {}
        return {"min": 0, "custom": custom, **limits}

    def options(self) -> dict[str, Any]:
        return {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }


@dataclass(frozen=True)
class Choice:
    """A variable of a board: the values of a label, one or several of them."""

    name: str
    metric: str
    several: bool

    def json(self) -> dict[str, Any]:
        query = f"label_values({self.metric}, {self.name})"
        chosen = {"selected": True, "text": ["All"], "value": ["$__all"]} if self.several else {}
        return {
            "name": self.name,
            "label": self.name.capitalize(),
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"query": query, "refId": "values"},
            "refresh": 2,  # whenever the range of time changes
            "sort": 1,
            "multi": self.several,
            "includeAll": self.several,
            "allValue": ".*" if self.several else None,
            "current": chosen,
        }


@dataclass(frozen=True)
class Board:
    name: str
    title: str
    description: str
    lines: Sequence[Sequence[Panel]]
    choices: Sequence[Choice] = ()

    def json(self) -> dict[str, Any]:
        return {
            "uid": f"trainyard-{self.name}",
            "title": f"Trainyard: {self.title}",
            "description": self.description,
            "tags": ["trainyard"],
            "schemaVersion": 39,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "links": [LINKS],
            "templating": {"list": [choice.json() for choice in self.choices]},
            "annotations": {"list": [_alerts()]},
            "panels": self._panels(),
        }

    def _panels(self) -> list[dict[str, Any]]:
        placed: list[dict[str, Any]] = []
        y = 0
        for line in self.lines:
            x = 0
            for panel in line:
                placed.append(panel.json(len(placed) + 1, x, y))
                x += panel.width
            if x > COLUMNS:
                raise ValueError(f"{self.name}: the line with '{line[0].title}' is {x} columns wide, of {COLUMNS}")
            y += max(panel.height for panel in line)
        return placed


def _thresholds(limits: Mapping[float | None, str]) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in limits.items()]}


def _alerts() -> dict[str, Any]:
    """Marks on every curve where one of our alerts fired."""
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": 'ALERTS{alertstate="firing", service="trainyard"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{queue}} {{worker}} {{instance}}",
        "step": "30s",
    }

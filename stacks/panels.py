"""Graphs of Grafana: from title, queries and unit to its JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

Json = dict[str, object]

# Grafana brings what is older up to date by itself; dashboards of the pinned chart have the same.
SCHEMA_VERSION = 39
# The data source's, as the chart names it.
SOURCE = {"type": "prometheus", "uid": "prometheus"}
# Grafana's grid has 24 columns: https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/view-dashboard-json-model/
COLUMNS, HEIGHT = 24, 8


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One graph: queries by what their lines are called. Above `limit` a line is in the red."""

    title: str
    about: str
    queries: dict[str, str]
    unit: str
    width: int = 8
    limit: float | None = None
    stacked: bool = False


def dashboard(title: str, uid: str, panels: Sequence[Panel]) -> Json:
    """The panels from left to right, as Grafana reads them; `uid` is its address."""
    return {
        "title": title,
        "uid": uid,
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["churn"],
        "timezone": "utc",
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "editable": False,
        "panels": [_panel(i + 1, panel, place) for i, (panel, place) in enumerate(zip(panels, _places(panels), strict=True))],
    }


def _places(panels: Sequence[Panel]) -> list[Json]:
    """Where each panel stands: from left to right, and below when a row is full."""
    places: list[Json] = []
    x = y = 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y = 0, y + HEIGHT
        places.append({"x": x, "y": y, "w": panel.width, "h": HEIGHT})
        x += panel.width
    return places


def _panel(number: int, panel: Panel, place: Json) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    custom: Json = {"fillOpacity": 10, "showPoints": "never"}
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
        custom["thresholdsStyle"] = {"mode": "line"}
    if panel.stacked:
        custom["stacking"] = {"mode": "normal"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "gridPos": place,
        "datasource": SOURCE,
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for i, (legend, expr) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }

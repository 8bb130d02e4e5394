"""Alerts and dashboard of `deploy/` are on what a bridge measures, and Prometheus reads them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from test_docs_operations import PAGE, alerts, names_in, series

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "alerts.yml"
DASHBOARD = json.loads((DEPLOY / "grafana.json").read_text(encoding="utf-8"))
OPERATIONS = PAGE.read_text(encoding="utf-8")
TARGETS = {"job", "instance"}  # labels that Prometheus adds
PROCESS = {"worker"}  # of several workers: each has its own series

promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")


def expressions():
    """Each query of the dashboard, with the text of its legend."""
    return [
        (target["expr"], target["legendFormat"])
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    ]


def labels_in(expression):
    """The labels that an expression selects or groups by."""
    grouped = re.findall(r"\b(?:by|without) \(([^)]*)\)", expression)
    selected = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression)
    return {name for one in grouped for name in one.split(", ")} | set(selected)


def check_rules(path):
    subprocess.run(["promtool", "check", "rules", path], check=True)  # noqa: S603, S607


def test_the_file_of_alerts_is_the_page_s_table():
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    shown = [{key: rule[key] for key in ("alert", "expr", "for")} for rule in group["rules"]]
    assert shown == alerts(OPERATIONS)
    for rule in group["rules"]:
        for text in rule["annotations"].values():
            assert text in re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", OPERATIONS)


@promtool
def test_prometheus_reads_the_alerts():
    check_rules(RULES)


@promtool
def test_prometheus_reads_its_configuration():
    path = DEPLOY / "prometheus.yml"
    subprocess.run(["promtool", "check", "config", "--syntax-only", path], check=True)  # noqa: S603, S607


def test_the_dashboard_is_on_series_and_labels_of_the_page():
    known = series(OPERATIONS)
    for expression, legend in expressions():
        names = names_in(expression)
        assert names, expression
        assert names <= known.keys(), expression
        labels = set.union(*(known[name] for name in names)) | {"le"} | TARGETS
        labels |= PROCESS if any(name.startswith("process_") for name in names) else set()
        assert labels_in(expression) <= labels, expression
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels_in(expression) | TARGETS, legend


def test_the_dashboard_shows_every_series_but_those_that_others_contain():
    shown = {name for expression, _ in expressions() for name in names_in(expression)}
    left_out = {
        "ws_bridge_responses_running",
        "ws_bridge_blocks",
        "ws_bridge_metrics_refused_total",
    }
    left_out |= {"process_virtual_memory_bytes", "process_start_time_seconds"}
    assert set(series(OPERATIONS)) - shown == left_out


def test_the_dashboard_s_panels_have_their_own_ids_and_places():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@promtool
def test_prometheus_reads_every_query_of_the_dashboard(tmp_path):
    """As a rule each: what Grafana replaces stands for a time, a name, or any model."""
    values = {"$__rate_interval": "5m", "$job": "ws-bridge", "$model": ".*"}
    rules = []
    for number, (expression, _) in enumerate(expressions()):
        for variable, value in values.items():
            expression = expression.replace(variable, value)  # noqa: PLW2901 - step by step
        assert "$" not in expression
        rules.append({"record": f"panel:{number}", "expr": expression})
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML
    check_rules(path)

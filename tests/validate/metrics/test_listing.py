"""`geoforecast metrics`: every metric with its equation and source."""

import json

from click.testing import CliRunner

from geoforecast.cli import cli
from geoforecast.validate.metrics.listing import describe_metrics, find_metric
from geoforecast.validate.metrics.pooled import metric_names, metrics


def test_every_metric_is_listed_with_equation_and_source():
    notes = describe_metrics()
    for kind in ("continuous", "event", "binary", "categorical"):
        assert tuple(one.name for one in notes if one.kind == kind) == metric_names(kind)
    shown = CliRunner().invoke(cli, ["metrics"], catch_exceptions=False).stdout
    assert max(map(len, shown.splitlines())) <= 100
    words = " ".join(shown.split())
    for one in notes:
        assert one.formula
        assert one.source
        for text in (one.name, one.title, " ".join(one.formula.split()), one.source):
            assert text in words
    told = json.loads(CliRunner().invoke(cli, ["metrics", "--json"]).stdout)
    assert [one["name"] for one in told] == [one.name for one in notes]


def test_names_of_metrics_are_found_again():
    for name, kind in {
        "rmse": "continuous",
        "echo": "temporal",
        "csi": "binary",
        "csi_0.1": "event",
        "csi_-2.5": "event",
        "far_1e-05": "event",
        "frequency-bias-5": "event",
        "fss_0.1_5px": "fraction",
        "macro_f1": "categorical",
    }.items():
        found, of = find_metric(name)
        assert of == kind
        assert found in metrics(kind)
        assert name.replace("-", "_").startswith(found.name)
    for name in ("rmse_0.1", "csi_", "fss_0.1", "fss_0.1_4px", "rmse_skill", "interval_width", ""):
        assert find_metric(name) is None

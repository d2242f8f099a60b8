"""quality.xml: what was verified, and how good it is, as ISO 19115-3 with ISO 19157 in it.

One report stands for a metric of a band, with a result for each lead, and one for each criterion
of a standard. Nothing in it depends on when it was written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from geoforecast.forecast.kinds import BINARY, CATEGORICAL
from geoforecast.raster.globe import footprint
from geoforecast.raster.stac import iso, projection
from geoforecast.validate.metrics.classes import EVENT
from geoforecast.validate.metrics.fractions import FRACTION
from geoforecast.validate.metrics.one_class import ONE_CLASS
from geoforecast.validate.records.account import Account, Score, scores_of, unscored
from geoforecast.validate.records.iso_xml import (
    Element,
    boolean,
    citation,
    code,
    e,
    identifier,
    real,
    save,
    text,
)
from geoforecast.validate.verdict.standards import NOT_APPLICABLE, PASS, Check

OURS = "geoforecast"
NAMESPACE = "geoforecast/metrics"  # of the names in metrics.csv
ALIGNMENT = "alignment"
POSITION = "DQ_AbsoluteExternalPositionalAccuracy"
CLASSES = "DQ_ThematicClassificationCorrectness"
NUMBERS = "DQ_QuantitativeAttributeAccuracy"
OMISSION = "DQ_CompletenessOmission"


def write_quality(path: Path, account: Account) -> None:
    """Write the whole document.

    Args:
        path: where it goes.
        account: what was found.
    """
    save(path, metadata(account))


def metadata(account: Account) -> Element:
    """The metadata of what was verified, with its quality.

    Source:
        ISO 19115-3:2016 (mdb 2.0) and ISO 19157-2:2016 (mdq 1.0).
    """
    return e(
        "mdb:MD_Metadata",
        e("mdb:metadataIdentifier", identifier(account.name, OURS)),
        e("mdb:defaultLocale", _locale()),
        e(
            "mdb:metadataScope",
            e("mdb:MD_MetadataScope", e("mdb:resourceScope", code("mcc:MD_ScopeCode", "dataset"))),
        ),
        e("mdb:contact", _contact("pointOfContact")),
        e("mdb:dateInfo", _date(account)),
        e("mdb:metadataStandard", citation("ISO 19115-3:2016")),
        e("mdb:spatialRepresentationInfo", _grid(account)),
        _reference_system(account),
        e("mdb:identificationInfo", _identification(account)),
        e("mdb:dataQualityInfo", _quality(account)),
        e("mdb:resourceLineage", _lineage(account)),
    )


def _locale() -> Element:
    return e(
        "lan:PT_Locale",
        e("lan:language", code("lan:LanguageCode", "eng")),
        e("lan:characterEncoding", code("lan:MD_CharacterSetCode", "utf8")),
    )


def _reference_system(account: Account) -> Element | None:
    """The CRS by its code, else as WKT; None if there is none."""
    spatial = projection(account.grid)
    known = spatial["code"]
    crs = known.removeprefix("EPSG:") if known else spatial["wkt2"]
    if not crs:
        return None
    named = identifier(crs, "EPSG" if known else "WKT")
    return e(
        "mdb:referenceSystemInfo",
        e("mrs:MD_ReferenceSystem", e("mrs:referenceSystemIdentifier", named)),
    )


def _contact(role: str) -> Element:
    return e(
        "cit:CI_Responsibility",
        e("cit:role", code("cit:CI_RoleCode", role)),
        e("cit:party", e("cit:CI_Organisation", text("cit:name", OURS))),
    )


def _date(account: Account) -> Element:
    """The last time that is verified, not the clock: the same validation is the same file."""
    return e(
        "cit:CI_Date",
        e("cit:date", e("gco:DateTime", iso(account.end))),
        e("cit:dateType", code("cit:CI_DateTypeCode", "creation")),
    )


def _grid(account: Account) -> Element:
    height, width = account.grid.shape
    return e(
        "msr:MD_GridSpatialRepresentation",
        e("msr:numberOfDimensions", e("gco:Integer", "2")),
        *(
            e(
                "msr:axisDimensionProperties",
                e(
                    "msr:MD_Dimension",
                    e("msr:dimensionName", code("msr:MD_DimensionNameTypeCode", name)),
                    e("msr:dimensionSize", e("gco:Integer", str(size))),
                ),
            )
            for name, size in (("row", height), ("column", width))
        ),
        e("msr:cellGeometry", code("msr:MD_CellGeometryCode", "area")),
        boolean("msr:transformationParameterAvailability", False),
    )


def _identification(account: Account) -> Element:
    bands = ", ".join(account.bands)
    return e(
        "mri:MD_DataIdentification",
        e("mri:citation", citation(f"Forecasts of {bands} by the run '{account.run}'")),
        text("mri:abstract", " ".join(account.sentences)),
        e("mri:pointOfContact", _contact("processor")),
        e(
            "mri:spatialRepresentationType",
            code("mcc:MD_SpatialRepresentationTypeCode", "grid"),
        ),
        e("mri:extent", _extent(account)),
    )


def _extent(account: Account) -> Element:
    """Where, in degrees of WGS 84 if that can be said, and when."""
    period = e(
        "gml:TimePeriod",
        e("gml:beginPosition", iso(account.start)),
        e("gml:endPosition", iso(account.end)),
        **{"gml:id": "test-block"},
    )
    outline = footprint(account.grid)
    return e(
        "gex:EX_Extent",
        None if outline is None else e("gex:geographicElement", _box(*outline.bbox)),
        e("gex:temporalElement", e("gex:EX_TemporalExtent", e("gex:extent", period))),
    )


def _box(west: float, south: float, east: float, north: float) -> Element:
    edges = {
        "westBoundLongitude": west,
        "eastBoundLongitude": east,
        "southBoundLatitude": south,
        "northBoundLatitude": north,
    }
    return e(
        "gex:EX_GeographicBoundingBox",
        *(e(f"gex:{name}", e("gco:Decimal", f"{edge:.7f}")) for name, edge in edges.items()),
    )


def _lineage(account: Account) -> Element:
    statement = f"{account.origin.lineage}, steps of {account.step}; {account.kind} targets."
    return e(
        "mrl:LI_Lineage",
        text("mrl:statement", statement),
        e("mrl:scope", _scope()),
    )


def _quality(account: Account) -> Element:
    return e(
        "mdq:DQ_DataQuality",
        e("mdq:scope", _scope("all pixels and steps that were scored")),
        e(
            "mdq:standaloneQualityReport",
            e(
                "mdq:DQ_StandaloneQualityReportInformation",
                e("mdq:reportReference", citation("Forecast verification", "report.html")),
                text("mdq:abstract", " ".join(account.sentences)),
            ),
        ),
        *(e("mdq:report", report) for report in _reports(account)),
    )


def _reports(account: Account) -> Iterator[Element]:
    """One for each metric of a band, for what could not be scored, and for each criterion."""
    units, how = _Units(), account.origin.method
    classes = {}
    for score in scores_of(account):
        name = classes[score.band, score.name] = _class_of(score)
        measure = _measure(score.name, score.title, f"{score.formula}. {score.source}")
        results = [
            _value(row.value, row.reason, _where(row.band, row.lead), score.unit, units)
            for row in score.rows
        ]
        yield _element(name, measure, results, how)
    for band in account.bands:
        shares = unscored(account.summary, band)
        if shares:
            measure = _measure(
                "unscored_share", "share not scored", "of the observed pixels, those not scored"
            )
            results = [_value(share, "", _where(band, lead), "1", units) for lead, share in shares]
            yield _element(OMISSION, measure, results, how)
    for check in account.checks:
        name = classes.get((check.band, check.metric), NUMBERS)
        yield _criterion(check, name, units, how)


def _criterion(check: Check, name: str, units: _Units, how: str) -> Element:
    """What a standard asks, the figure, and whether it passes."""
    where = f"{check.band}, mean over all leads"
    results = [_value(check.value, check.reason, where, "", units)]
    if check.verdict != NOT_APPLICABLE:
        skill = "unknown" if math.isnan(check.skill) else f"{check.skill:.3f}"
        words = (
            f"{check.title} is asked to be {check.wanted}; {check.skill_metric} skill over "
            f"persistence on the same pixels: {skill}"
        )
        results.append(
            e(
                "mdq:DQ_ConformanceResult",
                e("mdq:resultScope", _scope(where)),
                e("mdq:specification", citation(f"geoforecast standard '{check.standard}'")),
                text("mdq:explanation", words),
                boolean("mdq:pass", check.verdict == PASS),
            )
        )
    measure = _measure(
        f"{check.standard}/{check.title}", check.title, f"standard '{check.standard}', {where}"
    )
    return _element(name, measure, results, how)


def _class_of(score: Score) -> str:
    if score.name.startswith(ALIGNMENT):
        return POSITION
    return CLASSES if score.kind in (BINARY, CATEGORICAL, ONE_CLASS, EVENT, FRACTION) else NUMBERS


def _element(name: str, measure: Element, results: list[Element], how: str) -> Element:
    return e(
        f"mdq:{name}",
        e("mdq:measure", measure),
        e(
            "mdq:evaluationMethod",
            e(
                "mdq:DQ_FullInspection",
                text("mdq:evaluationMethodDescription", how),
                e(
                    "mdq:evaluationMethodType",
                    code("mdq:DQ_EvaluationMethodTypeCode", "directExternal"),
                ),
            ),
        ),
        *(e("mdq:result", result) for result in results),
    )


def _measure(name: str, title: str, words: str) -> Element:
    return e(
        "mdq:DQ_MeasureReference",
        e("mdq:measureIdentification", identifier(name, NAMESPACE)),
        text("mdq:nameOfMeasure", title),
        text("mdq:measureDescription", words),
    )


def _where(band: str, lead: int) -> str:
    return f"{band}, lead {lead}"


def _scope(words: str = "") -> Element:
    described = e("mcc:MD_ScopeDescription", text("mcc:other", words)) if words else None
    return e(
        "mcc:MD_Scope",
        e("mcc:level", code("mcc:MD_ScopeCode", "dataset")),
        None if described is None else e("mcc:levelDescription", described),
    )


def _value(value: float, reason: str, where: str, unit: str, units: _Units) -> Element:
    """A number, with its unit where that is said, or in words why there is none."""
    scope = e("mdq:resultScope", _scope(where))
    if not math.isfinite(value):
        return e("mdq:DQ_DescriptiveResult", scope, text("mdq:statement", reason or "no value"))
    return e(
        "mdq:DQ_QuantitativeResult",
        scope,
        e("mdq:value", e("gco:Record", real(value))),
        units.of(unit) if unit else None,
    )


class _Units:
    """Units of values; each is defined where it comes first, and pointed at from then on."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def of(self, unit: str) -> Element:
        """What a value is in; ``1`` for plain numbers."""
        if unit in self._names:
            return e("mdq:valueUnit", **{"xlink:href": f"#{self._names[unit]}"})
        self._names[unit] = f"unit-{len(self._names)}"
        return e(
            "mdq:valueUnit",
            e(
                "gml:UnitDefinition",
                e("gml:identifier", unit, codeSpace=OURS),
                e("gml:name", unit),
                **{"gml:id": self._names[unit]},
            ),
        )

"""quality.xml and item.json: well-formed, in the order of the schemas, and true of metrics.csv."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from geoforecast.raster.grid import Grid
from geoforecast.settings import ValidateSettings
from geoforecast.validate import writing
from geoforecast.validate.origin import Origin
from geoforecast.validate.records.account import Account, scores_of, unscored
from geoforecast.validate.records.iso_xml import NAMESPACES
from geoforecast.validate.records.item import told, write_item
from geoforecast.validate.records.quality import write_quality
from geoforecast.validate.result import ValidateResult
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.verdict.standards import Check
from geoforecast.validate.verdict.summary import LeadSummary
from geoforecast.validate.writing import write_validation

# What may stand in each element, in this order, as the published XSDs of ISO 19115-3 (mdb 2.0, cit
# 2.0, msr 2.0, mrl 2.0, others 1.0), ISO 19157-2 (mdq 1.0) and GML 3.2 have it: ? at most once, *
# any number, + at least once. What we never write is left out, but for what would be required.
GRAMMAR = """
mdb:MD_Metadata metadataIdentifier? defaultLocale? metadataScope* contact+ dateInfo+
  metadataStandard* spatialRepresentationInfo* referenceSystemInfo* identificationInfo+
  dataQualityInfo* resourceLineage*
mdb:MD_MetadataScope resourceScope name?
mcc:MD_Identifier authority? code codeSpace? version? description?
mcc:MD_Scope level extent* levelDescription*
mcc:MD_ScopeDescription other
lan:PT_Locale language country? characterEncoding
cit:CI_Responsibility role extent* party+
cit:CI_Organisation name? contactInfo*
cit:CI_Date date dateType
cit:CI_Citation title alternateTitle* date* edition? identifier* onlineResource*
cit:CI_OnlineResource linkage protocol? name? description?
msr:MD_GridSpatialRepresentation scope? numberOfDimensions axisDimensionProperties* cellGeometry
  transformationParameterAvailability
msr:MD_Dimension dimensionName dimensionSize resolution?
mrs:MD_ReferenceSystem referenceSystemIdentifier? referenceSystemType?
mri:MD_DataIdentification citation abstract purpose? pointOfContact* spatialRepresentationType*
  temporalResolution* topicCategory* extent*
gex:EX_Extent description? geographicElement* temporalElement*
gex:EX_GeographicBoundingBox extentTypeCode? westBoundLongitude eastBoundLongitude
  southBoundLatitude northBoundLatitude
gex:EX_TemporalExtent extent
gml:TimePeriod identifier? name* beginPosition endPosition
gml:UnitDefinition description? identifier name* quantityType?
mdq:DQ_DataQuality scope standaloneQualityReport? report+
mdq:DQ_StandaloneQualityReportInformation reportReference abstract elementReport*
mdq:DQ_QuantitativeAttributeAccuracy measure? evaluationMethod? result+
mdq:DQ_ThematicClassificationCorrectness measure? evaluationMethod? result+
mdq:DQ_AbsoluteExternalPositionalAccuracy measure? evaluationMethod? result+
mdq:DQ_CompletenessOmission measure? evaluationMethod? result+
mdq:DQ_MeasureReference measureIdentification? nameOfMeasure* measureDescription?
mdq:DQ_FullInspection dateTime* evaluationMethodDescription? evaluationMethodType?
mdq:DQ_QuantitativeResult dateTime? resultScope? value+ valueUnit?
mdq:DQ_DescriptiveResult dateTime? resultScope? statement
mdq:DQ_ConformanceResult dateTime? resultScope? specification explanation? pass
mrl:LI_Lineage statement? scope? source*
"""
# Elements that hold text: what it must look like.
TEXTS = {
    "gco:CharacterString": r".+",
    "gco:Boolean": r"true|false",
    "gco:Integer": r"\d+",
    "gco:Real": r"-?\d+(\.\d+)?(e[-+]?\d+)?",
    "gco:Decimal": r"-?\d+\.\d+",
    "gco:DateTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "gml:beginPosition": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "gml:endPosition": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "gml:identifier": r".+",
    "gml:name": r".+",
}
# What a property holds, where it is not plain text of the schema's basic types or a code.
HOLDS = {
    "metadataIdentifier": "mcc:MD_Identifier",
    "contact": "cit:CI_Responsibility",
    "pointOfContact": "cit:CI_Responsibility",
    "dateInfo": "cit:CI_Date",
    "spatialRepresentationInfo": "msr:MD_GridSpatialRepresentation",
    "referenceSystemInfo": "mrs:MD_ReferenceSystem",
    "identificationInfo": "mri:MD_DataIdentification",
    "dataQualityInfo": "mdq:DQ_DataQuality",
    "resourceLineage": "mrl:LI_Lineage",
    "report": "mdq:DQ_",
    "measure": "mdq:DQ_MeasureReference",
    "evaluationMethod": "mdq:DQ_FullInspection",
    "result": "mdq:DQ_",
    "resultScope": "mcc:MD_Scope",
    "value": "gco:Record",
    "specification": "cit:CI_Citation",
    "pass": "gco:Boolean",
    "geographicElement": "gex:EX_GeographicBoundingBox",
    "temporalElement": "gex:EX_TemporalExtent",
}
HREF = f"{{{NAMESPACES['xlink']}}}href"
IDENTIFIER = f"{{{NAMESPACES['gml']}}}id"
PREFIXES = {uri: prefix for prefix, uri in NAMESPACES.items()}


def short(tag: str) -> str:
    uri, local = tag[1:].split("}")
    return f"{PREFIXES[uri]}:{local}"


def rules() -> dict[str, re.Pattern[str]]:
    """For each element the pattern of its children's names, each followed by a blank."""
    lines = re.sub(r"\n  +", " ", GRAMMAR.strip()).splitlines()
    made = {}
    for line in lines:
        name, *children = line.split()
        prefix = name.partition(":")[0]
        parts = [re.fullmatch(r"(\w+)([?*+]?)", child) for child in children]
        made[name] = re.compile("".join(f"(?:{prefix}:{p[1]} ){p[2]}" for p in parts if p))
    return made


def check_structure(root: ET.Element) -> int:
    """Every element against the grammar; returns how many there are."""
    grammar, count = rules(), 0
    for element in root.iter():
        name, count = short(element.tag), count + 1
        children = [short(child.tag) for child in element]
        local = name.partition(":")[2]
        if name in TEXTS:
            assert re.fullmatch(TEXTS[name], element.text or "", re.DOTALL), (name, element.text)
        elif "codeListValue" in element.attrib:
            assert element.text == element.attrib["codeListValue"]
            assert element.attrib["codeList"].endswith(f"#{local}")
        elif name in grammar:
            assert grammar[name].fullmatch("".join(f"{child} " for child in children)), (
                name,
                children,
            )
        else:  # a property, which holds one object or points at one
            assert local[0].islower() or name == "gco:Record", name
            assert len(children) == (HREF not in element.attrib), name
            assert not (element.text or "").strip(), name
            assert not children or children[0].startswith(HOLDS.get(local, "")), name
    return count


def find(element: ET.Element, path: str) -> list[ET.Element]:
    return element.findall(path, NAMESPACES)


def text(element: ET.Element, path: str) -> str:
    (found,) = find(element, path)
    return found.text or ""


@pytest.fixture(scope="module")
def judged(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> ValidateResult:
    """A validation with a standard and events, without pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "draw_pictures", lambda *_: ())
        settings = ValidateSettings(tile=16, standard="general", events=(0.45,))
        return write_validation(tmp_path_factory.mktemp("judged") / "run", engine, settings)


@pytest.fixture(scope="module")
def root(judged: ValidateResult) -> ET.Element:
    return ET.parse(judged.quality_path).getroot()


def make_account(**changes: Any) -> Account:
    row = MetricRow("forecast", "b", 1, "rmse", 0.25, 9)
    base = Account(
        run="default",
        fingerprint="f0",
        kind="continuous",
        grid=Grid(CRS.from_epsg(32633).to_wkt(), Affine(20, 0, 5e5, 0, -20, 5.1e6), (5, 7)),
        bands=("b",),
        units=("K",),
        start=np.datetime64("2024-06-09"),
        end=np.datetime64("2024-07-27T12:00"),
        step="16 d",
        origin=Origin("", "", "", "", "Compared.", "Made by hand"),
        rows=(row,),
        summary=(LeadSummary("b", 1, 0.25, 0.5, "", 0.1, 0.1, 0.1, 7, 9, 100, 0.75),),
        checks=(),
        sentences=("b: good.",),
    )
    return dataclasses.replace(base, **changes)


def written(path: Path, account: Account) -> ET.Element:
    write_quality(path, account)
    found = ET.parse(path).getroot()
    check_structure(found)
    return found


def test_the_order_of_the_schemas_is_kept(root: ET.Element) -> None:
    assert check_structure(root) > 1000
    assert short(root.tag) == "mdb:MD_Metadata"


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (".//mdb:contact", "remove"),
        (".//mdq:DQ_QuantitativeResult/mdq:value", "remove"),
        (".//mdq:DQ_ConformanceResult/mdq:pass", "remove"),
        (".//mdq:DQ_QuantitativeAttributeAccuracy/mdq:measure", "last"),
        (".//gex:EX_GeographicBoundingBox/gex:westBoundLongitude", "last"),
    ],
)
def test_the_checker_notices(root: ET.Element, path: str, change: str) -> None:
    broken = ET.fromstring(ET.tostring(root))
    (element, *_) = find(broken, path)
    parent = next(one for one in broken.iter() if element in list(one))
    parent.remove(element)
    if change == "last":
        parent.append(element)
    with pytest.raises(AssertionError):
        check_structure(broken)


def test_the_numbers_are_those_of_the_table(root: ET.Element, judged: ValidateResult) -> None:
    value = {(r.band, r.metric, r.lead): r for r in judged.rows if r.method == "forecast"}
    seen = set()
    for report in find(root, ".//mdq:report"):
        name = text(report, ".//mdq:measureIdentification//mcc:code/*")
        for result in find(report, "*/mdq:result/*"):
            band, _, where = text(result, "mdq:resultScope//mcc:other/*").partition(", ")
            if not where.startswith("lead ") or name == "unscored_share":
                continue
            row = value[band, name, int(where[5:])]
            seen.add((band, name, row.lead))
            if row.reason:
                assert text(result, "mdq:statement/*") == row.reason
            else:
                assert float(text(result, "mdq:value/gco:Record/gco:Real")) == row.value
    told_of = {name for _, name, _ in seen}
    assert {"rmse", "ssim", "moran", "echo", "csi_0.45", "rmse_skill_vs_persistence"} <= told_of
    assert len(seen) == 6 * len(told_of)  # two bands and three leads of each


def test_each_metric_is_an_element_of_its_kind(root: ET.Element) -> None:
    kinds = {
        text(report, ".//mdq:measureIdentification//mcc:code/*"): short(report[0].tag)
        for report in find(root, ".//mdq:report")
    }
    assert kinds["rmse"] == kinds["nse"] == "mdq:DQ_QuantitativeAttributeAccuracy"
    assert kinds["csi_0.45"] == kinds["fss_0.45_5px"] == "mdq:DQ_ThematicClassificationCorrectness"
    assert kinds["alignment"] == "mdq:DQ_AbsoluteExternalPositionalAccuracy"
    assert kinds["general/alignment (px)"] == "mdq:DQ_AbsoluteExternalPositionalAccuracy"
    assert kinds["unscored_share"] == "mdq:DQ_CompletenessOmission"


def test_scores_of_a_class_are_of_classification(class_result: ValidateResult) -> None:
    root = ET.parse(class_result.quality_path).getroot()
    told = {
        text(report, ".//mdq:measureIdentification//mcc:code/*"): (
            short(report[0].tag),
            text(report, ".//mdq:nameOfMeasure/*"),
        )
        for report in find(root, ".//mdq:report")
    }
    kind = "mdq:DQ_ThematicClassificationCorrectness"
    assert told["f1_class_3"] == (kind, "F1 of class 3")
    assert told["recall_class_unknown"] == (kind, "recall of class unknown")


def test_conformance_is_that_of_the_standard(root: ET.Element, judged: ValidateResult) -> None:
    found = [text(one, "mdq:pass/*") for one in find(root, ".//mdq:DQ_ConformanceResult")]
    told_of = [check for check in judged.standard if check.verdict != "not applicable"]
    assert found == ["true" if check.verdict == "pass" else "false" for check in told_of]
    assert {"true", "false"} == set(found)
    words = text(find(root, ".//mdq:DQ_ConformanceResult")[0], "mdq:explanation/*")
    assert "is asked to be < 0.15; RMSE skill over persistence on the same pixels: 0.000" in words


def test_units_are_defined_once_and_pointed_at(root: ET.Element) -> None:
    names = [one.attrib[IDENTIFIER] for one in root.iter() if IDENTIFIER in one.attrib]
    assert len(names) == len(set(names))
    units = {
        one.attrib[IDENTIFIER]: text(one, "gml:identifier")
        for one in find(root, ".//gml:UnitDefinition")
    }
    assert {"1", "K", "(K)²", "%", "dB"} <= set(units.values())
    for report in find(root, ".//mdq:report"):
        name = text(report, ".//mdq:measureIdentification//mcc:code/*")
        for unit in find(report, ".//mdq:valueUnit"):
            band = text(report, "*/mdq:result[1]/*/mdq:resultScope//mcc:other/*").partition(",")[0]
            pointed = unit.attrib.get(HREF, "#").removeprefix("#")
            what = units[pointed] if pointed else text(unit, "*/gml:identifier")
            if name == "rmse":
                assert what == ("K" if band == "LST" else "1")


def test_a_unit_is_defined_where_a_value_is_in_it(tmp_path: Path) -> None:
    """Not where there would be one, for then it would be pointed at and nowhere."""
    rows = [
        MetricRow("forecast", "b", 1, "alignment", math.nan, 9, "too smooth"),
        MetricRow("forecast", "b", 2, "alignment", 0.5, 9),
        MetricRow("forecast", "b", 3, "alignment", 0.25, 9),
    ]
    found = written(tmp_path / "a.xml", make_account(rows=tuple(rows)))
    (first, second) = find(found, ".//mdq:DQ_AbsoluteExternalPositionalAccuracy//mdq:valueUnit")
    (unit,) = find(first, "gml:UnitDefinition")
    assert text(unit, "gml:name") == "px"
    assert second.attrib[HREF] == f"#{unit.attrib[IDENTIFIER]}"


def test_where_and_when(root: ET.Element, engine: Any) -> None:
    west, east, south, north = (
        float(text(root, f".//gex:{name}/gco:Decimal"))
        for name in (
            *("westBoundLongitude", "eastBoundLongitude"),
            *("southBoundLatitude", "northBoundLatitude"),
        )
    )
    assert (west, east) == pytest.approx((15.0, 15.008), abs=1e-3)
    assert (south, north) == pytest.approx((46.0494, 46.0536), abs=1e-3)
    assert text(root, ".//gml:beginPosition") == "2024-06-09T00:00:00Z"
    assert text(root, ".//gml:endPosition") == "2024-07-27T00:00:00Z"
    assert text(root, ".//mdb:dateInfo//gco:DateTime") == "2024-07-27T00:00:00Z"
    assert text(root, ".//mrs:referenceSystemIdentifier//mcc:code/*") == "32633"
    sizes = [text(one, "msr:dimensionSize/*") for one in find(root, ".//msr:MD_Dimension")]
    assert sizes == [str(side) for side in engine.cube.grid.shape]


def test_the_same_validation_is_the_same_file(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.xml", "b.xml")]
    for path in paths:
        write_quality(path, make_account())
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_names_are_escaped_and_places_may_be_unknown(tmp_path: Path) -> None:
    nowhere = Grid("", Affine(1, 0, 0, 0, -1, 0), (5, 7))
    found = written(tmp_path / "a.xml", make_account(run="<&>", grid=nowhere, units=("µm & <K>",)))
    assert find(found, ".//gex:EX_GeographicBoundingBox") == []
    assert find(found, ".//mdb:referenceSystemInfo") == []
    assert "'<&>'" in text(found, ".//mri:citation//cit:title/*")
    assert find(found, ".//gml:UnitDefinition/gml:name")[0].text == "µm & <K>"
    write_item(tmp_path / "item.json", make_account(run="<&>", grid=nowhere), [])
    assert json.loads((tmp_path / "item.json").read_text())["geometry"] is None


def test_parts_and_other_methods_are_no_part_of_it(tmp_path: Path) -> None:
    rows = make_account().rows
    more = (
        dataclasses.replace(rows[0], part="season summer", value=9.0),
        dataclasses.replace(rows[0], method="persistence", value=8.0),
        dataclasses.replace(rows[0], metric="interval_width", value=7.0),
    )
    account = make_account(rows=rows + more)
    assert [score.rows for score in scores_of(account)] == [rows]
    assert [score.name for score in scores_of(account)] == ["rmse"]
    found = written(tmp_path / "a.xml", account)
    assert [one.text for one in find(found, ".//gco:Real")] == ["0.25", "0.25"]  # and the unscored
    assert told(account)["geoforecast:scores"] == {"b": {"rmse": [0.25]}}


def test_what_could_not_be_scored() -> None:
    account = make_account()
    assert unscored(account.summary, "b") == [(1, 0.25)]
    unknown = dataclasses.replace(account.summary[0], scored_share=math.nan)
    assert unscored([unknown], "b") == []


def test_criteria_that_cannot_be_told_are_said_in_words(tmp_path: Path) -> None:
    check = Check(
        *("ndvi", "b", "MAE", "mae", "<= 0.05", "not applicable", "this band is in K"),
        *(math.nan, math.nan, math.nan, "RMSE"),
    )
    account = make_account(checks=(check,))
    found = written(tmp_path / "a.xml", account)
    assert find(found, ".//mdq:DQ_ConformanceResult") == []
    (report,) = find(found, ".//mdq:report")[-1:]
    assert text(report, ".//mdq:statement/*") == "this band is in K"
    properties = told(account)
    assert properties["geoforecast:standard"] == "ndvi"
    assert properties["geoforecast:criteria"][0]["value"] is None


# ---- item.json ------------------------------------------------------------------------------


def test_the_item_is_valid_and_its_files_are_there(judged: ValidateResult) -> None:
    item = pystac.Item.from_file(str(judged.item_path))
    # As pystac's own validator does with the schemas that it carries: no network.
    JsonSchemaSTACValidator().validate_core(
        stac_dict=item.to_dict(),
        stac_object_type=item.STAC_OBJECT_TYPE,
        stac_version=pystac.get_stac_version(),
    )
    assert {"report", "quality", "metrics", "table"} < set(item.assets)
    for asset in item.assets.values():
        assert asset.href.startswith("./")
        assert Path(str(asset.get_absolute_href())).is_file()
    cogs = [asset for asset in item.assets.values() if asset.media_type == pystac.MediaType.COG]
    assert {Path(str(cog.get_absolute_href())) for cog in cogs} == set(judged.maps)
    with rasterio.open(str(cogs[0].get_absolute_href())) as dataset:
        assert list(dataset.shape) == item.properties["proj:shape"]


def test_the_item_holds_scores_place_and_time(judged: ValidateResult) -> None:
    item = json.loads(judged.item_path.read_text())
    properties = item["properties"]
    assert properties["start_datetime"] == "2024-06-09T00:00:00Z"
    assert properties["end_datetime"] == "2024-07-27T00:00:00Z"
    assert properties["datetime"] is None
    assert item["bbox"] == pytest.approx([15.0, 46.0494, 15.008, 46.0536], abs=1e-3)
    assert properties["proj:code"] == "EPSG:32633"
    assert properties["description"] == judged.sentence
    assert properties["geoforecast:run"] == "default"
    assert properties["geoforecast:leads"] == [1, 2, 3]
    assert properties["geoforecast:units"] == {"NDVI": "", "LST": "K"}
    rmse = [
        row.value
        for row in judged.rows
        if (row.method, row.band, row.metric) == ("forecast", "LST", "rmse")
    ]
    assert properties["geoforecast:scores"]["LST"]["rmse"] == rmse
    assert len(properties["geoforecast:criteria"]) == len(judged.standard) == 10


def test_without_a_standard_there_are_no_criteria(result: ValidateResult) -> None:
    properties = json.loads(result.item_path.read_text())["properties"]
    assert not {"geoforecast:standard", "geoforecast:criteria"} & set(properties)
    assert find(ET.parse(result.quality_path).getroot(), ".//mdq:DQ_ConformanceResult") == []

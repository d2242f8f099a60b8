"""What came out of a stack: measured cheaply, judged by stated rules, shown on one page."""

from geoforecast.stack.quality.report import QualityResult, write_quality

__all__ = ["QualityResult", "write_quality"]

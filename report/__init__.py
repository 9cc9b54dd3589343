"""From incidents to documents that people read and sign."""

PROFILES = {
    "risk": "report.profiles.risk:build",
    "first": "report.profiles.first:build",
}
"""风险报告; 应急响应报告（首报）."""

FORMATS = {
    "json": "report.formats.json:render",
    "markdown": "report.formats.markdown:render",
    "html": "report.formats.html:render",
    "docx": "report.formats.docx:render",
}

__all__ = ["FORMATS", "PROFILES"]

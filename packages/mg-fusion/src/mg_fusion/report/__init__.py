"""The report: a run folder as one self-contained HTML page. Needs the extra ``report`` (jinja2)."""

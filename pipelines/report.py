"""Stage ``report``: the records of all entries of a profile in, reports/<profile>/ out."""

from __future__ import annotations

from genbench.config.layout import Layout
from genbench.config.params import Params
from genbench.files import replace_directory
from genbench.report.build import write_report

__all__ = ["run"]


def run(params: Params) -> None:
    """Write the report; the former one stays in place until the new one is whole."""
    with replace_directory(Layout.of(params).report.path) as folder:
        write_report(params, folder)

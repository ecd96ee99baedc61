"""The report of a run: one data object with a published schema, and what people read that is made from it alone.

A domain part: knows no store, no plan and no executor. `msm.results` composes the object; here it becomes HTML and model cards.
Invariant: everything shown is in `report.json`; specs, documents and answers are data, escaped wherever they are shown.
"""

from msm.report.model import Report

__all__ = ["Report"]

"""The report of a run that has just finished: kept with the run, and written where the user finds it.

Neighbours: `session` calls it once the results are kept, `msm.results.publish` does the work, `msm report` makes the same at any time.
Invariant: what describes a run never fails it.
"""

from msm.local.accept import Accepted
from msm.local.status import RunStatus
from msm.results.compose import compose
from msm.results.publish import files_of, keep_report, write_report
from msm.results.survey import Survey


def publish_report(accepted: Accepted, seen: Survey, status: RunStatus) -> str:
    """Keep and write the report; returns what the user should know, mostly nothing."""
    try:
        report = compose(seen, accepted.uid, status.phase.value, status.rows)
        files = files_of(report)
        keep_report(accepted.store, accepted.uid, report, files)
        write_report(accepted.workspace.report(accepted.uid), files)
    except Exception as error:  # hours of work are committed and their results kept; whatever broke, `msm report` says it again
        return f"no report was written ({type(error).__name__}: {error}); `msm report {accepted.uid}` tries again"
    return ""

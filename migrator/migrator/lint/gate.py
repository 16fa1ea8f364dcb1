"""Lint before a phase is carried out: what needs no scratch database, on exactly the file that is about to run."""

from migrator.answer import log_line
from migrator.lint.findings import Finding, SqlFile, judged
from migrator.lint.phases import phase_findings
from migrator.lint.squawk import SquawkMissing, squawk_findings
from migrator.scripts import Script
from migrator.stops import Reason, Refused


def static_findings(file: SqlFile) -> list[Finding]:
    """Both looks at the text, with the file's waivers applied. Raise SquawkMissing where squawk cannot be asked."""
    return judged(file, [*phase_findings(file), *squawk_findings(file)])


def refuse_unfit(script: Script) -> None:
    """Raise Refused for the first finding that breaks its phase's promise."""
    file = SqlFile(script.label, script.text)
    try:
        found = static_findings(file)
    except SquawkMissing as missing:
        # An image of somebody's own may lack it. A phase is not held up for that: CI has asked all the rules.
        log_line("warning", "linted without squawk's rules", file=file.name, cause=str(missing))
        found = judged(file, phase_findings(file))
    for finding in found:
        if finding.waived:
            place = f"{finding.file}:{finding.line}"
            log_line("warning", "lint rule waived", file=place, rule=finding.rule, because=finding.waived)
        elif finding.refuses:
            raise Refused(
                Reason.LINT_REFUSED,
                f"{finding.file} line {finding.line}: {finding.message} ({finding.rule})",
                f"{finding.mend}; or, where it is meant, write `-- lint: allow {finding.rule} because ...` above it",
                version=script.version.text,
            )

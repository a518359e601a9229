# SPDX-License-Identifier: Apache-2.0
"""What both programs say of their configuration."""

from __future__ import annotations

import sys

from guestagent.conf import check

#: Exit codes: stopped as asked; a wrong configuration; anything else.
OK, BAD_CONFIG, FAILED = 0, 2, 1


def report(prog: str, findings: check.Findings) -> int:
    """Print the answer to ``--check-config``; return the exit code."""
    for line in findings.warnings:
        print(f'{prog}: warning: {line}', file=sys.stderr)
    if not findings.problems:
        print('OK')
        return OK
    return complain(prog, check.Wrong(findings.problems), BAD_CONFIG)


def complain(prog: str, error: Exception, code: int) -> int:
    """Print an error, a line for each problem; return ``code``."""
    problems = error.problems if isinstance(error, check.Wrong) else [str(error)]
    for problem in problems:
        print(f'{prog}: {" ".join(problem.split())}', file=sys.stderr)
    return code

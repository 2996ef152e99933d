"""`conformance`: the kit against a source plugin, check by check, with a report that a person can read (D9)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from controller.cli.context import EXIT_ERROR, Format, Output, told_errors
from controller.cli.render import cell, emit, show, table_of
from controller.clock import CLOCK
from controller.logs import escape_controls
from controller.plugins.registry import load_registry
from controller.rollout.conformance import (
    Finding,
    Verdict,
    find_subject,
    report_of,
    run_checks,
    summary_of,
    with_options,
)
from controller.rollout.conformance.checks import choose_checks
from controller.rollout.conformance.suite import DEADLINE_SECONDS

_COLUMNS = (
    ("VERDICT", "verdict"),
    ("PROMISE", "promise"),
    ("CHECK", "check"),
    ("SECONDS", "took"),
    ("MEANS", "title"),
)


def conformance(
    kind: Annotated[str, typer.Argument(help="Kind of the source, as workloads name it.")],
    check: Annotated[list[str] | None, typer.Option(help="Only this check; repeatable.")] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="NAME=VALUE", help="What the subject is told, such as image=…; repeatable."),
    ] = None,
    deadline_seconds: Annotated[
        float, typer.Option(min=0.001, help="Longest time that a check may take.")
    ] = DEADLINE_SECONDS,
    output: Format = Output.TABLE,
) -> None:
    """Check that a source keeps the deployer contract, on its real provider.

    Exits 0 when every check passed, 1 when one failed or could not be made.
    """
    with told_errors():
        chosen = choose_checks(check or [])
        make_subject = with_options(find_subject(kind, load_registry()), with_ or [])
        findings: list[Finding] = []
        console = Console(stderr=True, highlight=False)
        with console.status("") if console.is_terminal else nullcontext() as status:
            for number, each in enumerate(chosen):
                if status:
                    status.update(Text(f"{number + 1} of {len(chosen)}: {each.title}"))
                findings += run_checks(
                    make_subject, checks=[each], deadline_seconds=deadline_seconds, monotonic=CLOCK.monotonic
                )
    if output is Output.TABLE:
        _show(findings)
    else:
        emit(report_of(kind, findings), output)
    if not all(each.kept for each in findings):
        raise typer.Exit(EXIT_ERROR)


def _show(findings: Sequence[Finding]) -> None:
    """The table, then what is to be mended, then the sum."""
    rows = [
        {
            "verdict": each.verdict,
            "promise": each.promise,
            "check": each.check,
            "took": f"{each.duration_seconds:.2f}",
            "title": each.title,
        }
        for each in findings
    ]
    show(table_of(rows, _COLUMNS))
    for each in findings:
        if each.verdict is not Verdict.PASSED:
            show(Text(), Text.assemble(cell(each.verdict), f" {each.check} ({each.promise})"), Text(_told(each)))
    counts = (f"{count} {verdict}" for verdict, count in summary_of(findings).items() if count)
    show(Text(), Text(", ".join(counts) or "no checks"))


def _told(finding: Finding) -> str:
    detail = f"  {escape_controls(finding.detail)}"
    return f"{detail}\n  → {finding.remedy}" if finding.remedy else detail

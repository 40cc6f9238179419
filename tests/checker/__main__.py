"""`python -m tests.checker`: judge the stack that the CITYFEED_ variables name, as it is now."""

import os
import sys
from pathlib import Path

from rich.console import Console

from schemas.settings import load
from tests.checker.stack import as_table, judge_stack
from tests.service_stack import ServiceStack

report = judge_stack(ServiceStack(load(os.environ), Path()))
Console().print(as_table(report))
for example in report.examples:
    print(example)
sys.exit(0 if report.is_good else 1)

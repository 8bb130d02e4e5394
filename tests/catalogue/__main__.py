"""The command line: writes docs/faults.md; exit status 1 if something does not fit."""

import sys

from catalogue.table import PAGE, page, problems, shown


def main() -> int:
    found = shown()
    PAGE.write_text(page(found), encoding="utf-8")
    wrong = list(problems(found))
    sys.stdout.write("".join(f"{one}\n" for one in wrong))
    return 1 if wrong else 0


sys.exit(main())

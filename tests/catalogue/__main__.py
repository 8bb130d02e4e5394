"""The command line: writes the README's section anew; exit status 1 if something does not fit."""

import sys

from catalogue.table import README, problems, replaced, section, shown


def main() -> int:
    found = shown()
    readme = README.read_text(encoding="utf-8")
    README.write_text(replaced(readme, section(found)), encoding="utf-8")
    wrong = list(problems(found))
    sys.stdout.write("".join(f"{one}\n" for one in wrong))
    return 1 if wrong else 0


sys.exit(main())

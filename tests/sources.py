"""What source files name, read from their syntax."""

import ast
from pathlib import Path


def imports(source: str, home: Path) -> list[str]:
    """The modules a file names, at its top or anywhere else.

    ``home`` is the folder of the packages that are looked into: what is imported from a package
    there is a module of it, from any other module a name in it.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [f"{module}.{alias.name}" for alias in node.names]
            found += names if (home / module.replace(".", "/")).is_dir() else [module]
    return found

"""Measures the package's structure, or checks the rules that it follows: `house.py [--check] [--json]`.

The rules: imports are at most 6 % of the lines, no class name is defined twice, a Protocol has at least two
implementations (for one in `ports/`, the tests' own counts), and SQL stands in `.sql` files only. import-linter checks
layers and circles.
"""

from __future__ import annotations

import ast
import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "generation_worker"

MOST_IMPORTS = 6.0
"""Percent of the package's lines."""
LONG_FILE = 500
LONG_FUNCTION = 40

SQL = re.compile(
    r"\s*(?:--.*\n\s*)*(?:SELECT\s|INSERT\s+INTO\s|UPDATE\s+\S+\s+SET\s|DELETE\s+FROM\s|WITH\s+\w+\s+AS\s|"
    r"(?:CREATE|DROP|TRUNCATE|REVOKE|EXPLAIN|COPY|LOCK|ANALYZE)\s|(?:UN)?LISTEN\s+\S*$|NOTIFY\s+\S+\s*(?:,|$)|DO\s+\$|"
    r"SET\s+(?:LOCAL|SESSION)\s)"
)
"""How a statement begins that is sent from Python."""
REMEDY = re.compile(r"\s*(?:ALTER|GRANT|VACUUM|SET\s+\w+\s*(?:=|TO))\s")
"""How a statement begins that `doctor` advises and does not send."""
ADVISES = f"{PACKAGE}/doctor/"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of Python with something in it."""

    path: str
    text: str
    tree: ast.Module = field(repr=False)

    @classmethod
    def read(cls, file: Path) -> Module:
        text = file.read_text()
        return cls(str(file.relative_to(ROOT)), text, ast.parse(text))

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @cached_property
    def imports(self) -> int:
        """Lines of import statements, wherever they stand."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in found)

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    def sql(self) -> Iterator[tuple[int, str]]:
        """The statements in it, with their lines: texts that are no docstring and begin as SQL does."""
        docstrings = {id(node.value) for node in ast.walk(self.tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Constant) or id(node) in docstrings:
                continue
            text = node.value.decode(errors="replace") if isinstance(node.value, bytes) else node.value
            if not isinstance(text, str):
                continue
            if SQL.match(text) or (REMEDY.match(text) and not self.path.startswith(ADVISES)):
                yield node.lineno, " ".join(text.split())[:60]


@dataclass(frozen=True)
class Shape:
    """What a class offers: a Protocol is implemented by every class that has all of its names."""

    module: str
    name: str
    bases: tuple[str, ...]
    members: frozenset[str]

    @property
    def is_protocol(self) -> bool:
        return "Protocol" in self.bases


def read(folder: str) -> list[Module]:
    files = sorted((ROOT / folder).rglob("*.py"))
    return [module for module in map(Module.read, files) if module.text.strip()]


def shapes(modules: list[Module]) -> list[Shape]:
    return [
        Shape(module.path, node.name, tuple(map(_base_name, node.bases)), frozenset(_members(node)))
        for module in modules
        for node in module.classes
    ]


def _base_name(base: ast.expr) -> str:
    inner = base.value if isinstance(base, ast.Subscript) else base
    return inner.attr if isinstance(inner, ast.Attribute) else getattr(inner, "id", "")


def _members(node: ast.ClassDef) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            yield part.name
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id
        elif isinstance(part, ast.Assign):
            yield from (target.id for target in part.targets if isinstance(target, ast.Name))
        elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
            yield part.attr  # self.name = … in a method


def implementations(protocol: Shape, candidates: list[Shape]) -> list[Shape]:
    """The classes that have every public name of the Protocol, of their own or from a class that they derive from."""
    by_name = {shape.name: shape for shape in candidates}
    wanted = {name for name in _all_members(protocol, by_name) if not name.startswith("_") or name == "__call__"}
    return [
        shape for shape in candidates if not shape.is_protocol and wanted and wanted <= _all_members(shape, by_name)
    ]


def _all_members(shape: Shape, by_name: dict[str, Shape]) -> frozenset[str]:
    inherited = [_all_members(by_name[base], by_name) for base in shape.bases if base in by_name and base != shape.name]
    return shape.members.union(*inherited)


def lonely_protocols(package: list[Shape], tests: list[Shape]) -> list[str]:
    """The Protocols that have fewer than two implementations."""
    lonely: list[str] = []
    for protocol in package:
        if protocol.is_protocol:
            known = package + tests if protocol.module.startswith(f"{PACKAGE}/ports/") else package
            found = implementations(protocol, known)
            if len(found) < 2:
                lonely.append(f"{protocol.module}: {protocol.name} has {len(found)} implementation(s)")
    return lonely


def defined_twice(package: list[Shape]) -> list[str]:
    places: dict[str, list[str]] = defaultdict(list)
    for shape in package:
        places[shape.name].append(shape.module)
    return [f"class {name} in {', '.join(modules)}" for name, modules in sorted(places.items()) if len(modules) > 1]


def measure() -> dict[str, float]:
    """The figures of the table in docs/decisions.md, in its order."""
    modules = read(PACKAGE)
    lines = sorted(module.lines for module in modules)
    functions = sorted(_size(function) for module in modules for function in module.functions)
    package = shapes(modules)
    return {
        "modules": len(modules),
        "lines": sum(lines),
        "file median": statistics.median(lines),
        "file p90": lines[len(lines) * 9 // 10],
        "file longest": lines[-1],
        f"files over {LONG_FILE} lines": sum(size > LONG_FILE for size in lines),
        "function median": statistics.median(functions),
        "function p90": functions[len(functions) * 9 // 10],
        f"functions over {LONG_FUNCTION} lines %": _percent(sum(s > LONG_FUNCTION for s in functions), len(functions)),
        "import lines %": _percent(sum(module.imports for module in modules), sum(lines)),
        "Protocols": sum(shape.is_protocol for shape in package),
        "class names defined twice": len(defined_twice(package)),
        "SQL statements in Python": sum(1 for module in modules for _ in module.sql()),
    }


def violations() -> list[str]:
    """What breaks a rule, each with its place."""
    modules = read(PACKAGE)
    package = shapes(modules)
    share = _percent(sum(module.imports for module in modules), sum(module.lines for module in modules))
    found = [f"imports are {share} % of the lines, more than {MOST_IMPORTS} %"] if share > MOST_IMPORTS else []
    found += defined_twice(package)
    found += lonely_protocols(package, shapes(read("tests")))
    found += [f"{m.path}:{line}: SQL in Python: {text}" for m in modules for line, text in m.sql()]
    return found


def _size(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1)


def main(arguments: list[str]) -> int:
    if "--check" in arguments:
        found = violations()
        print("\n".join(found) or "The house is in order.")
        return 1 if found else 0
    figures = measure()
    if "--json" in arguments:
        print(json.dumps(figures, indent=2))
    else:
        print("\n".join(f"{name:<30} {value:>8,g}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

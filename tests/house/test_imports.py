"""Who imports whom within the package: nobody in a circle, whether at the top, within a function or for types only."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import richness

PACKAGE = Path(richness.__file__).parent


def list_modules(package: Path) -> dict[str, Path]:
    """Every module's name -> its file; a package's is its ``__init__``."""
    files = {path.relative_to(package.parent).with_suffix(""): path for path in package.rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in files.items()}


def list_imports(module: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules among ``modules`` that one names in an import, wherever in its text."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            names = {f"{source}.{name.name}" for name in node.names}
            # What is no module is a name that the source itself defines.
            found |= {name if name in modules else source for name in names}
    return found & modules.keys() - {module}


def order_of(package: Path) -> list[str]:
    """The modules, each after those that it imports.

    Raises:
        CycleError: some import one another; its second argument lists them.
    """
    modules = list_modules(package)
    graph = {module: list_imports(module, path, modules) for module, path in modules.items()}
    return list(TopologicalSorter(graph).static_order())


def test_no_modules_import_one_another():
    try:
        order = order_of(PACKAGE)
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}. Put what they share into a module below them.")
    assert order.index("richness.rng") < order.index("richness.cli")


@pytest.mark.parametrize(
    "late",
    ["import made.b", "from made import b", "from made.b import name", "from . import b", "from .b import name"],
)
def test_a_circle_is_found_wherever_the_import_stands(tmp_path: Path, late: str):
    made = tmp_path / "made"
    made.mkdir()
    (made / "__init__.py").write_text("")
    (made / "a.py").write_text(f"def act():\n    {late}\n")
    (made / "b.py").write_text("name = 1\n")
    assert {"made.a", "made.b"} < set(order_of(made))
    (made / "b.py").write_text("if TYPE_CHECKING:\n    from made import a\n")
    with pytest.raises(CycleError):
        order_of(made)

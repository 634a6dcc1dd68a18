"""Imports go one way, and the command line starts without heavy libraries."""

import ast
import subprocess
import sys
from pathlib import Path

import safevla

SOURCE = Path(safevla.__file__).parent
ORDER = [
    *(
        "types",
        "config",
        "runs",
        "trackers",
        "progress",
        "scale",
        "registry",
        "world",
        "safety",
        "tasks",
        "policy",
    ),
    *(
        "rollout",
        "players",
        "pretrain",
        "elicit",
        "constrain",
        "assure",
        "settings",
        "verbs",
        "specifying",
        "exporting",
        "align",
        "demo",
    ),
    *("bench", "doctor", "listing", "api", "cli"),
]


def imports_at_any_level(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("safevla."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "safevla":
            yield from (alias.name for alias in node.names if (SOURCE / alias.name).exists())
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("safevla."))


def test_imports_point_one_way():
    wrong = []
    for path in SOURCE.rglob("*.py"):
        part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        assert part in ORDER, f"{part} has no place in the order of imports"
        for target in imports_at_any_level(path):
            if ORDER.index(target) > ORDER.index(part):
                wrong.append(f"{path.relative_to(SOURCE)} imports {target}")
    assert not wrong, wrong


def test_light_modules_import_no_heavy_library():
    code = (
        "import sys, safevla.cli, safevla.config, safevla.types\n"
        "heavy = {'torch', 'mujoco', 'numba', 'scipy', 'matplotlib', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

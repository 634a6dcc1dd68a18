"""What README and docs say is true of the code: tables, links, commands, names."""

import ast
import importlib
import importlib.util
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from safevla.cli import VERBS, parse_flags, resolve
from safevla.safety.specification_file import from_dict

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("update_tables", ROOT / "docs" / "update_tables.py")
update_tables = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(update_tables)

DOCUMENTS = [*update_tables.documents(ROOT), ROOT / "results" / "README.md"]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
EACH = pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


@EACH
def test_tables_are_what_the_data_says(path):
    text = path.read_text()
    assert update_tables.rewrite(text, ROOT / "results") == text, "run: python docs/update_tables.py"
    assert text.count("<!-- table:") == text.count("<!-- /table -->")


@EACH
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings], target


@EACH
def test_commands_are_accepted(path):
    for block in blocks(path, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["safevla"]:
                verb = VERBS[words[1]]
                overrides = parse_flags(words[2:], verb.config)
                overrides.pop("config", None)
                overrides.pop("resume", None)
                resolve(verb.config, overrides)
            elif words[:1] == ["make"]:
                target = next(word for word in words[1:] if "=" not in word)
                assert f"\n{target}: " in (ROOT / "Makefile").read_text(), line
            elif words[:1] == ["python"] and words[1].endswith(".py"):
                assert (ROOT / words[1]).is_file(), line


@EACH
def test_python_is_valid_and_its_imports_exist(path):
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("safevla"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "safevla":
                assert hasattr(importlib.import_module("safevla"), node.attr), node.attr


@EACH
def test_specifications_load(path):
    for block in blocks(path, "toml"):
        assert from_dict(tomllib.loads(block), source=path.name).names


def test_every_verb_has_a_guide():
    assert {path.stem for path in (ROOT / "docs" / "guides").glob("*.md")} >= set(VERBS)


def test_nothing_of_the_machine_that_wrote_it_is_in_the_text():
    for path in DOCUMENTS:
        assert not re.search(r"(?<![\w.])/(work|tmp|root|home)/", path.read_text()), path


ALIGN = {
    "command": "safevla align",
    "code": "1.0",
    "machine": {"cores": 2},
    "seeds": [0, 1],
    "rows": [
        {"task": "ObjNav", "policy": name, "episodes": 120, "success": [0.5, 0.4, 0.6], "cost": cost,
         "cost/corner": cost, "worst": 12.0}
        for name, cost in (("rl", [3.0, 2.0, float("nan")]), ("isa", [1.0, 0.5, 1.5]))
    ],
    "comparison": {"cost": [-2.0, -3.0, -1.0], "success": [0.01, -0.02, 0.04], "cost_change": -0.667,
                   "success_p": 0.5, "first": "isa", "second": "rl"},
}  # fmt: skip


def test_tables_of_results(tmp_path):
    (tmp_path / "align.json").write_text(json.dumps(ALIGN))
    lines = update_tables.content("align", tmp_path).splitlines()
    assert lines[0] == "| policy | SR | CC | worst | episodes |"
    assert lines[2] == "| rl | 0.50 [0.40, 0.60] | 3.00 | 12 | 120 |"
    assert lines[-1] == "*`safevla align`; code 1.0; machine cores 2; seeds 0, 1*"
    assert "| corner | 3.00 | 1.00 [0.50, 1.50] |" in update_tables.content("align/costs", tmp_path)
    assert "| CC | −2.00 [−3.00, −1.00] |" in update_tables.content("align/comparison", tmp_path)
    assert "| mean CC, relative | −66.70 % |" in update_tables.content("align/comparison", tmp_path)
    assert "Not recorded" in update_tables.content("align/stages", tmp_path)
    assert "Not measured yet" in update_tables.content("imitation", tmp_path)


def test_flat_rows_become_a_table_and_bad_files_are_told(tmp_path):
    rows = [{"who": "a|b", "speed": 1234.5, "on": True}, {"who": "c", "steps": 16000, "speed": 0.125}]
    (tmp_path / "speed.json").write_text(json.dumps({"command": "x", "rows": rows}))
    text = "<!-- table:speed -->\nold\n<!-- /table -->"
    new = update_tables.rewrite(text, tmp_path)
    assert "| who | speed | on | steps |" in new
    assert "| a\\|b | 1,234 | yes |  |" in new
    assert "| c | 0.12 |  | 16,000 |" in new
    assert update_tables.rewrite(new, tmp_path) == new
    rows = [{"group": "far", "recall": 0.25}, {"group": "near", "recall": 1.0}]
    (tmp_path / "speed.json").write_text(json.dumps({"rows": rows, "all": {"ap": 0.5}}))
    assert "| recall |\n|---|\n| 0.25 |" in update_tables.content("speed/far", tmp_path)
    assert "| `ap` | 0.50 |" in update_tables.content("speed/all", tmp_path)
    (tmp_path / "speed.json").write_text("{")
    with pytest.raises(ValueError, match=r"speed.json does not give the table speed"):
        update_tables.rewrite(text, tmp_path)
    with pytest.raises(ValueError, match="there is no verb fly"):
        update_tables.content("settings/fly", tmp_path)

"""The report: one self-contained HTML page and its Markdown twin, made from the recorded episodes alone."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa

from safevla.assure import figures
from safevla.assure.evaluate import (
    compare_all,
    facts_of,
    policies_of,
    scenarios_hash,
    summarise,
    summarise_classes,
    summarise_descriptions,
    tasks_of,
)
from safevla.assure.findings import (
    COLUMNS,
    MEANINGS,
    Findings,
    archive_cells,
    archive_sentence,
    class_cells,
    comparison_cells,
    constraint_cells,
    description_cells,
    headline,
    interval,
    number,
    plain,
)
from safevla.assure.statistics import Interval
from safevla.assure.video import Video
from safevla.elicit.archive import RiskArchive

HTML_NAME, MARKDOWN_NAME = "report.html", "report.md"
_COMPARISONS = (("isa", "rl"), ("isa", "imitation"), ("rl", "imitation"))


def write_report(
    out_dir: str | Path,
    table: pa.Table,
    *,
    training: Mapping[str, str | Path] | None = None,
    videos: Sequence[Video] = (),
    archive: RiskArchive | str | Path | None = None,
    specification: Any = None,
    budgets: Mapping[str, float] | None = None,
    provenance: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Write `report.html` and `report.md` into a folder.

    Args:
        out_dir: folder; made if it does not exist.
        table: episodes as `evaluate` returns them.
        training: policy -> its metrics.jsonl.
        videos: shown in this order.
        archive: the risk archive or its file.
        specification: a Specification, shown with its texts and hash.
        budgets: constraint -> allowed mean cost; by default the last ones that the training of isa logged,
            then those of the specification.
        provenance: shown as it is: command, code, machine, seeds and the like.
        seed: of the bootstrap.

    Returns:
        The path of the HTML page.

    Raises:
        ValueError: the table is empty, or a metrics or archive file cannot be read.
    """
    findings = collect(
        table,
        training=training,
        videos=videos,
        archive=archive,
        specification=specification,
        budgets=budgets,
        provenance=provenance,
        seed=seed,
    )
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKDOWN_NAME).write_text(markdown(findings), encoding="utf-8")
    (folder / HTML_NAME).write_text(html(findings), encoding="utf-8")
    return folder / HTML_NAME


def collect(
    table: pa.Table,
    *,
    training: Mapping[str, str | Path] | None = None,
    videos: Sequence[Video] = (),
    archive: RiskArchive | str | Path | None = None,
    specification: Any = None,
    budgets: Mapping[str, float] | None = None,
    provenance: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Findings:
    """Work out what a report says; arguments and errors as in `write_report`."""
    if table.num_rows == 0:
        raise ValueError("there are no episodes to report; run the evaluation first")
    lines = {name: read_metrics(path) for name, path in (training or {}).items()}
    policies = policies_of(table)
    pairs = [pair for pair in _COMPARISONS if set(pair) <= set(policies)]
    # Where they have other names: each with the first.
    pairs = pairs or [(name, policies[0]) for name in policies[1:]]
    return Findings(
        table=table,
        rows=summarise(table, seed=seed, aggregations=getattr(specification, "aggregations", None)),
        classes=summarise_classes(table, seed=seed),
        descriptions=summarise_descriptions(table),
        comparisons=compare_all(table, pairs, seed=seed),
        training={name: metrics for name, metrics in lines.items() if metrics},
        budgets=dict(budgets) if budgets is not None else _find_budgets(lines, specification),
        videos=videos,
        archive=archive if archive is None or isinstance(archive, RiskArchive) else RiskArchive.load(archive),
        specification=specification,
        provenance=_provenance(table, specification, provenance or {}),
    )


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read a metrics.jsonl; a line that is no JSON object raises ValueError naming it."""
    lines = []
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot read metrics {path}: {error.strerror}") from error
    for place, line in enumerate(text.splitlines(), start=1):
        try:
            lines.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {place}: not a line of metrics ({error})") from error
    return lines


def _find_budgets(lines: Mapping[str, Sequence[Mapping[str, Any]]], specification: Any) -> dict[str, float]:
    found = dict(getattr(specification, "budgets", {}))
    logged = lines.get("isa", [])
    if logged:
        last = logged[-1]
        found |= {
            key.removeprefix("budget/"): value for key, value in last.items() if key.startswith("budget/")
        }
    return {name: float(value) for name, value in found.items()}


def _provenance(table: pa.Table, specification: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    own = {
        "code": ", ".join(sorted(set(table["code"].to_pylist()))),
        "episodes": table.num_rows,
        "tasks": ", ".join(tasks_of(table)),
        "scenarios": f"{len(set(table['scenario'].to_pylist()))}, set {scenarios_hash(table)}",
        **{name: text for name, text in facts_of(table).items() if name in ("sets", "size_classes") and text},
        "evaluation seed": ", ".join(map(str, sorted(set(table["seed"].to_pylist())))),
        "training seed": ", ".join(map(str, sorted(table["training_seed"].drop_null().unique().to_pylist())))
        or "not known",
        "actions": ", ".join(sorted(set(table["mode"].to_pylist()))),
        "specification": ", ".join(sorted(set(table["specification"].to_pylist()))),
    }
    if specification is not None:
        own["specification"] = f"{specification.name}, {own['specification']}"
    return own | dict(given)


def markdown(findings: Findings) -> str:
    """Return the Markdown twin: headline, tables, archive, provenance."""
    title, detail = headline(findings)
    parts = [f"# {title}", detail, "## Policies", markdown_table(findings.rows), MEANINGS]
    if findings.classes:
        parts += ["## Size of homes", _pipe(*class_cells(findings.classes))]
    if findings.descriptions:
        parts += ["## Described targets", _pipe(*description_cells(findings.descriptions))]
    parts += ["## Cost per constraint", _pipe(*constraint_cells(findings))]
    if findings.comparisons:
        parts += ["## Paired differences", _pipe(*comparison_cells(findings.comparisons))]
    if findings.archive is not None:
        parts += [
            "## Elicited risks",
            archive_sentence(findings.archive),
            _pipe(*archive_cells(findings.archive)),
        ]
    parts += [
        "## Provenance",
        "\n".join(f"- {key}: {plain(value)}" for key, value in findings.provenance.items()),
    ]
    return "\n\n".join(parts) + "\n"


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of `summarise` as Markdown, as README and docs show it."""
    several = len({row["task"] for row in rows}) > 1
    head = [*(["task"] if several else []), "policy", *(name for name, _ in COLUMNS), "worst", "episodes"]
    body = []
    for row in rows:
        cells = [f"{number(row[key].value)} {interval(row[key])}".strip() for _, key in COLUMNS]
        names = [row["task"], row["policy"]] if several else [row["policy"]]
        body.append([*names, *cells, f"{row['worst']:g}", str(row["episodes"])])
    return _pipe(head, body)


def _pipe(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in body])


# --- HTML ------------------------------------------------------------------------------------------------


def html(findings: Findings) -> str:
    """Return the page: no script, no link, nothing loaded from anywhere."""
    css = importlib.resources.files("safevla.assure").joinpath("report.css").read_text(encoding="utf-8")
    title, detail = headline(findings)
    parts = [
        '<p class="kicker">safevla report</p>',
        f'<h1>{escape(title)}</h1><p class="lead">{escape(detail)}</p>',
        _tiles(findings),
        "<h2>Policies</h2>",
        f'<p class="note">{escape(MEANINGS)}</p>',
        _policy_tables(findings),
        _classes(findings),
        _descriptions(findings),
        _comparisons(findings),
        _constraints(findings),
        _distribution(findings),
        _training(findings),
        _videos(findings),
        _archive(findings),
        _provenance_section(findings),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{css}</style></head>\n<body><main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main></body></html>\n"
    )


def _table(head: Sequence[str], body: Iterable[str], left: Iterable[int] = ()) -> str:
    """Put rows of ready cells under a head; columns in `left` hold text."""
    texts = set(left)
    cells = "".join(
        f'<th class="text">{escape(name)}</th>' if index in texts else f"<th>{escape(name)}</th>"
        for index, name in enumerate(head)
    )
    inner = f"<thead><tr>{cells}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f'<div class="scroll"><table>{inner}</table></div>'


def _value(found: Interval, *, signed: bool = False, mark: str = "") -> str:
    """Return a cell: the value, its interval below."""
    bounds = interval(found, signed=signed)
    below = f'<span class="interval">{bounds}</span>' if bounds else ""
    return f'<td><b class="{mark}">{number(found.value, signed=signed)}</b>{below}</td>'


def _tiles(findings: Findings) -> str:
    main = {row["policy"]: row for row in findings.main_rows()}
    if not {"isa", "rl"} <= set(main):
        return ""
    tiles = []
    for label, key in (
        ("cost (CC), rl → isa", "cost"),
        ("success (SR), rl → isa", "success"),
        ("success at no cost, rl → isa", "safe_success"),
        ("worst 5 % (CVaR95), rl → isa", "cvar95"),
    ):
        before, after = main["rl"][key], main["isa"][key]
        tiles.append(
            f'<div class="tile"><div class="label">{label}</div><div class="figure"><span class="from">'
            f"{number(before.value)} →</span> {number(after.value)}</div>"
            f'<div class="detail">{interval(before)} → {interval(after)}</div></div>'
        )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _policy_tables(findings: Findings) -> str:
    colours = figures.policy_colours(policies_of(findings.table))
    head = ["policy", *(name for name, _ in COLUMNS), "worst", "cost per step", "cost per metre", "episodes"]
    parts = []
    tasks = list(dict.fromkeys(row["task"] for row in findings.rows))
    for task in tasks:
        body = []
        for row in (row for row in findings.rows if row["task"] == task):
            dot = f'<span class="dot" style="background:{colours[row["policy"]]}"></span>'
            name = dot + escape(row["policy"])
            cells = "".join(_value(row[key]) for _, key in COLUMNS)
            rates = "".join(
                f"<td>{number(row[key].value, 3)}</td>" for key in ("cost_per_step", "cost_per_metre")
            )
            chosen = ' class="chosen"' if row["policy"] == "isa" else ""
            body.append(
                f"<tr{chosen}><td>{name}</td>{cells}<td>{row['worst']:g}</td>{rates}<td>{row['episodes']}</td></tr>"
            )
        title = f"<h3>{escape('All tasks' if task == 'all' else task)}</h3>" if len(tasks) > 1 else ""
        parts.append(title + _table(head, body))
    return "".join(parts) + _quadrants(findings)


def _quadrants(findings: Findings) -> str:
    head = [
        "policy",
        "succeeded, safe",
        "succeeded, unsafe",
        "failed, safe",
        "failed, unsafe",
        "r(success, CC)",
    ]
    keys = ("success_safe", "success_unsafe", "failure_safe", "failure_unsafe")
    body = [
        f"<tr><td>{escape(row['policy'])}</td>"
        + "".join(f"<td>{row['quadrants'][key]}</td>" for key in keys)
        + _value(row["r_success_cost"])
        + "</tr>"
        for row in findings.main_rows()
    ]
    return f"<details><summary>Success and safety together</summary>{_table(head, body)}</details>"


def _classes(findings: Findings) -> str:
    if not findings.classes:
        return ""
    head, _ = class_cells(findings.classes)
    body = [
        f"<tr><td>{row['size_class']}</td><td>{escape(row['policy'])}</td>"
        + "".join(_value(row[key]) for _, key in COLUMNS)
        + f"<td>{row['worst']:g}</td><td>{row['episodes']}</td></tr>"
        for row in findings.classes
    ]
    return f"<h3>Size of homes</h3>{_table(head, body)}"


def _descriptions(findings: Findings) -> str:
    if not findings.descriptions:
        return ""
    head, _ = description_cells(findings.descriptions)
    body = [
        f"<tr><td>{row['description']}</td><td>{escape(row['policy'])}</td>"
        + "".join(_value(row[key]) for key in ("success", "distractor"))
        + f"<td>{row['episodes']}</td></tr>"
        for row in findings.descriptions
    ]
    return f"<h3>Described targets</h3>{_table(head, body)}"


def _comparisons(findings: Findings) -> str:
    if not findings.comparisons:
        return ""
    head = ["difference", "CC", "SR", "safe success", "p of SR (McNemar, Holm)"]
    body = []
    for row in findings.comparisons:
        # lower cost is better, higher success is; a colour only where the interval excludes zero
        cells = []
        for key, better in (("cost", -1), ("success", 1), ("safe_success", 1)):
            found = row[key]
            mark = ("good" if found.value * better > 0 else "bad") if found.excludes_zero else ""
            cells.append(_value(found, signed=True, mark=mark))
        names = f"{row['first']} − {row['second']}"
        body.append(f"<tr><td>{escape(names)}</td>{''.join(cells)}<td>{row['success_p_holm']:.2g}</td></tr>")
    return (
        '<h3>Paired differences</h3><p class="note">Every policy met the same scenarios; differences are '
        "taken scenario by scenario. Coloured where the 95 % interval excludes zero.</p>" + _table(head, body)
    )


def _constraints(findings: Findings) -> str:
    head, rows = constraint_cells(findings)
    marks = {"met": "good", "not met": "bad"}
    body = []
    for cells in rows:
        row = [f"<td>{escape(cells[0])}</td>"]
        for cell in cells[1:]:
            value, _, bounds = cell.partition(" [")
            state = "undecided" if cell.startswith("undecided") else cell
            if state in {*marks, "undecided"}:
                row.append(f'<td class="text"><b class="{marks.get(state, "open")}">{escape(cell)}</b></td>')
            else:
                below = f'<span class="interval">[{escape(bounds)}</span>' if bounds else ""
                row.append(f"<td><b>{escape(value)}</b>{below}</td>")
        body.append(f"<tr>{''.join(row)}</tr>")
    texts = [len(head) - 1] if findings.budgets else []
    note = (
        '<p class="note">Mean number of violations in an episode. A budget is met when the whole interval of '
        "isa lies within it, and not met when the whole interval lies above. Where a budget bounds the worst "
        "episodes instead of the mean of all, they have a row of their own.</p>"
    )
    return "<h2>Cost per constraint</h2>" + (note if findings.budgets else "") + _table(head, body, texts)


def _distribution(findings: Findings) -> str:
    exceedance = figures.exceedance_figure(findings.table)
    left = (
        f"<figure>{exceedance}<figcaption>How often an episode costs more than x. Below the dashed line are "
        "the worst 5 %, which a mean hides. A policy without any cost has no line.</figcaption></figure>"
    )
    right = ""
    if any((row["first"], row["second"]) == ("isa", "rl") for row in findings.comparisons):
        right = (
            f"<figure>{figures.pairs_figure(findings.table, 'isa', 'rl')}<figcaption>One dot a scenario, "
            "on scales that are linear up to 2.</figcaption></figure>"
        )
    return f'<h2>Distribution of cost</h2><div class="figures">{left}{right}</div>'


def _training(findings: Findings) -> str:
    if not findings.training:
        return ""
    curves = figures.training_figure(findings.training)
    return (
        f"<h2>Training</h2><figure>{curves}<figcaption>Mean of the "
        "episodes of each iteration (faint) and its running mean. Training draws from the domain and the "
        "risk archive, so these costs are not comparable with the tables above.</figcaption></figure>"
    )


def _videos(findings: Findings) -> str:
    if not findings.videos:
        return ""
    return "<h2>Side by side</h2>" + "".join(video.html() for video in findings.videos)


def _archive(findings: Findings) -> str:
    if findings.archive is None:
        return ""
    head, rows = archive_cells(findings.archive)
    body = [
        "<tr>"
        + "".join(
            f'<td class="text">{escape(c)}</td>' if i > 3 else f"<td>{escape(c)}</td>"
            for i, c in enumerate(row)
        )
        + "</tr>"
        for row in rows
    ]
    sentence = escape(archive_sentence(findings.archive))
    return f'<h2>Elicited risks</h2><p class="note">{sentence}</p>{_table(head, body, (4, 5))}'


def _provenance_section(findings: Findings) -> str:
    items = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{_code(key, plain(value))}</dd>"
        for key, value in findings.provenance.items()
    )
    constraints = getattr(findings.specification, "constraints", {})
    body = [
        f'<tr><td>{escape(name.replace("_", " "))}</td><td class="text">{escape(item.text)}</td>'
        f"<td>{escape(item.unit)}</td></tr>"
        for name, item in constraints.items()
    ]
    rules = _table(["constraint", "what is forbidden", "severity in"], body, (1,)) if body else ""
    return f"<h2>Provenance</h2><dl>{items}</dl>{rules}"


def _code(key: str, value: str) -> str:
    return f"<code>{escape(value)}</code>" if key == "command" else escape(value)

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from synthetic import CONSTRAINTS, described_table, synthetic_table

from safevla.assure import evaluate, figures, report
from safevla.assure.findings import headline, interval, number, verdict_words
from safevla.assure.statistics import Interval, Verdict
from safevla.assure.video import Video
from safevla.elicit.archive import RiskArchive
from safevla.safety.specification import load_specification


def write_metrics(folder, name, iterations=12):
    generator = np.random.default_rng(0)
    lines = []
    for index in range(iterations):
        line = {"iteration": index, "steps": 1000 * (index + 1), "rollout/success": 0.5, "rollout/cost": 3.0}
        for constraint in CONSTRAINTS:
            line[f"rollout/cost/{constraint}"] = float(generator.random())
            line[f"budget/{constraint}"] = 0.3 + 0.01 * index
            line[f"multiplier/{constraint}"] = 0.1 * index if name == "isa" else 0.0
        lines.append(json.dumps(line))
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    archive = RiskArchive(CONSTRAINTS, ("ObjNav",))
    archive.episodes, archive.violating = 40, 10
    path = report.write_report(
        folder,
        synthetic_table(),
        training={name: write_metrics(folder, name) for name in ("rl", "isa")},
        videos=[Video(b"not really", "video/mp4", 'a <caption> & "more"')],
        archive=archive.save(folder / "archive.jsonl"),
        specification=load_specification("safevla"),
        provenance={"command": "safevla align --seed 0 <x>", "machine": {"cores": 2}},
    )
    return path.read_text(), (folder / "report.md").read_text()


class _Page(HTMLParser):
    """Collects what a browser would fetch, the ids, and whether every element is closed."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self):
        super().__init__()
        self.fetched, self.ids, self.open, self.cells = [], [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.fetched += [values[key] for key in ("src", "href", "xlink:href", "data") if values.get(key)]
        self.ids += [values["id"]] if "id" in values else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells.append(data)


def test_the_page_is_well_formed_and_loads_nothing(written):
    html, _ = written
    page = _Page()
    page.feed(html)
    assert page.open == []
    assert all(target.startswith(("#", "data:")) for target in page.fetched)
    assert "<script" not in html and "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    # references inside of the figures still lead somewhere
    wanted = {target[1:] for target in page.fetched if target.startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", html))
    assert wanted <= set(page.ids)
    assert html.count("<svg") == 3


def test_the_page_says_what_the_table_says(written):
    html, text = written
    table = synthetic_table()
    rows = {row["policy"]: row for row in evaluate.summarise(table)}
    difference = evaluate.compare(table, "isa", "rl")["cost"]
    for document in (html, text):
        assert (
            f"{rows['isa']['cost'].value:.2f} against {rows['rl']['cost'].value:.2f} per episode" in document
        )
        assert number(difference.low, signed=True) in document
        assert number(rows["rl"]["cvar95"].value) in document
        assert "0123456789abcdef" in document  # specification hash
        assert evaluate.scenarios_hash(table) in document
    for policy in rows:
        assert f"| {policy} | {number(rows[policy]['success'].value)}" in text
    # budgets are the last ones that isa was trained with
    assert "| 0.41 |" in text


def test_a_budget_of_the_tail_has_a_row_and_a_verdict_of_its_own(tmp_path):
    specification = load_specification("safevla").with_budgets(
        {"corner": 9.0, "blind_spot": 0.3, "critical_point": 50.0, "dangerous_equipment": 0.0}
    )
    specification = specification.with_aggregations(
        {"corner": "cvar80", "critical_point": "worst", "dangerous_equipment": "worst"}
    )
    table = synthetic_table(60)
    report.write_report(tmp_path, table, specification=specification)
    lines = (tmp_path / "report.md").read_text().split("## Cost per constraint")[1].splitlines()
    rows = {cells[1].strip(): cells for cells in (line.split("|") for line in lines) if len(cells) > 5}
    costs = np.sort(evaluate.numbers(evaluate.select(table, policy="isa"), "cost/corner"))
    tail, mean = rows["corner, mean of the worst 20 %"], rows["corner"]
    assert f" {np.mean(costs[-12:]):.2f} [" in tail[4] and f" {costs.mean():.2f} [" in mean[4]
    assert mean[-3:-1] == [" – ", " – "] and tail[-3:-1] == [" 9.00 ", " met "]
    assert rows["blind spot"][-3] == " 0.30 "
    assert "undecided, none of 60 exceeds it, so at most 6 % do" in rows["critical point, worst"][-2]
    assert rows["dangerous equipment, worst"][-2] == " not met "
    page = (tmp_path / "report.html").read_text()
    assert "critical point, worst" in page and "so at most 6 % do" in page


def test_homes_of_several_classes_are_told_apart(tmp_path):
    table = synthetic_table(episodes=30, policies=("rl", "isa"))
    assert evaluate.summarise_classes(table) == []
    classes = ["L" if seed % 3 == 0 else "S" for seed in table["house_seed"].to_pylist()]
    index = table.column_names.index("size_class")
    mixed = table.set_column(index, table.schema.field(index), [classes])
    rows = evaluate.summarise_classes(mixed)
    assert [row["size_class"] for row in rows] == ["S", "S", "L", "L"]
    for row in rows:
        own = [
            one
            for one in mixed.to_pylist()
            if (one["size_class"], one["policy"]) == (row["size_class"], row["policy"])
        ]
        assert row["episodes"] == len(own) == (10 if row["size_class"] == "L" else 20)
        assert row["cost"].value == pytest.approx(np.mean([one["cost"] for one in own]))
        assert row["success"].value == pytest.approx(np.mean([one["success"] for one in own]))
    page = report.write_report(tmp_path, mixed).read_text()
    assert "<h3>Size of homes</h3>" in page
    text = (tmp_path / "report.md").read_text().partition("## Size of homes")[2].partition("##")[0]
    assert sum(line.startswith(("| S |", "| L |")) for line in text.splitlines()) == 4


def test_described_targets_have_a_table_of_their_own(tmp_path):
    table = described_table()
    for row in evaluate.summarise_descriptions(table):
        own = [
            one
            for one in table.to_pylist()
            if one["policy"] == row["policy"]
            and one["which"].startswith("" if row["description"] == "all" else row["description"])
            and one["which"]
        ]
        assert row["episodes"] == len(own) == (20 if row["description"] == "all" else 10)
        for key in ("success", "distractor"):
            assert row[key].value == pytest.approx(np.mean([one[key] for one in own]))
    page = report.write_report(tmp_path, table).read_text()
    assert "<h3>Described targets</h3>" in page
    text = (tmp_path / "report.md").read_text().partition("## Described targets")[2].partition("##")[0]
    assert sum(line.startswith(("| colour |", "| in |", "| all |")) for line in text.splitlines()) == 6
    plain = report.write_report(tmp_path / "plain", synthetic_table()).read_text()
    assert "Described targets" not in plain


def test_training_curves_show_what_a_budget_bounds():
    line = {
        "steps": 1,
        "rollout/success": 0.5,
        "rollout/cost": 2.0,
        "rollout/cost/a": 1.0,
        "rollout/cost/b": 1.0,
    }
    lines = [line | {"rollout/cvar95/b": 7.0, "budget/a": 0.5, "budget/b": 5.0, "multiplier/b": 1.0}] * 3
    drawn = figures.training_figure({"rl": lines, "isa": lines})
    assert ">cvar95: b<" in drawn and ">cost: a<" in drawn and ">cost: b<" not in drawn


def test_text_is_escaped(written):
    html, _ = written
    assert "a &lt;caption&gt; &amp; &quot;more&quot;" in html
    assert "&lt;x&gt;" in html and "<x>" not in html


def test_figures_take_the_ink_of_the_page(written):
    html, _ = written
    assert "currentColor" in html and figures._INK not in html


def test_the_same_input_gives_the_same_bytes(tmp_path):
    one = report.write_report(tmp_path / "one", synthetic_table(30))
    two = report.write_report(tmp_path / "two", synthetic_table(30))
    assert one.read_bytes() == two.read_bytes()


def test_a_report_needs_nothing_but_a_table(tmp_path):
    path = report.write_report(tmp_path, synthetic_table(20, policies=("imitation",)))
    html = path.read_text()
    assert "Training" not in html and "Side by side" not in html and "Elicited" not in html
    with pytest.raises(ValueError, match="no episodes to report"):
        report.write_report(tmp_path, synthetic_table(20).slice(0, 0))


def _headline(tmp_path, first_cost, second_cost):
    rows = []
    for row in synthetic_table(40, policies=("rl", "isa")).to_pylist():
        cost = first_cost(row["house_seed"]) if row["policy"] == "isa" else second_cost(row["house_seed"])
        rows.append(row | {f"cost/{name}": 0.0 for name in CONSTRAINTS} | {"cost": cost, "cost/corner": cost})
    path = report.write_report(tmp_path, evaluate.make_table(rows, CONSTRAINTS))
    return re.search(r"<h1>(.*?)</h1>", path.read_text()).group(1)


def test_the_headline_claims_only_what_the_interval_allows(tmp_path):
    assert "cuts the cumulative cost by 50 %" in _headline(
        tmp_path, lambda h: 1.0 + h % 2, lambda h: 2.0 + 2 * (h % 2)
    )
    assert "raised the cumulative cost" in _headline(tmp_path, lambda h: 5.0 + h % 3, lambda h: 2.0)
    undecided = _headline(tmp_path, lambda h: 3.0 * (h % 4 == 0), lambda h: 3.5 * (h % 4 == 1))
    assert "do not decide" in undecided


def test_damaged_metrics_are_one_clear_line(tmp_path):
    path = write_metrics(tmp_path, "isa", 3)
    path.write_text(path.read_text() + "{half a li")
    with pytest.raises(ValueError, match=r"isa.jsonl, line 4: not a line of metrics"):
        report.read_metrics(path)
    with pytest.raises(ValueError, match="cannot read metrics"):
        report.read_metrics(tmp_path / "nowhere.jsonl")


def test_numbers_for_reading():
    assert number(-1.234) == "−1.23"
    assert number(0.5, signed=True) == "+0.50"
    assert number(-0.001, signed=True) == "0.00"
    assert number(float("nan")) == "–"
    assert interval(Interval(1.0, -0.5, 2.0), signed=True) == "[−0.50, +2.00]"
    assert interval(Interval(1.0, float("nan"), float("nan"))) == ""
    assert verdict_words(Verdict("undecided", 1234)) == "undecided, about 1,200 more episodes"
    assert verdict_words(Verdict("met", 0)) == "met"


def test_headline_without_isa_lists_the_policies(tmp_path):
    findings = report.collect(synthetic_table(20, policies=("imitation", "inactive")))
    title, _ = headline(findings)
    assert title.startswith("imitation: success ")
    assert "inactive: success 0.00, cost 0.00" in title


def test_policies_of_other_names_are_compared_with_the_first():
    def pairs(*policies):
        table = synthetic_table(20, policies=policies)
        return [(row["first"], row["second"]) for row in report.collect(table).comparisons]

    assert pairs("inactive", "rl") == [("rl", "inactive")]
    assert pairs("imitation", "isa", "inactive") == [("isa", "imitation")]
    assert pairs("inactive") == []


def test_running_mean():
    assert figures.smooth(np.arange(5.0), 1) == pytest.approx([0.5, 1.0, 2.0, 3.0, 3.5])
    assert figures.smooth(np.zeros(0)).size == 0

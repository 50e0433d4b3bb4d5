"""The tables of the benchmarks say what is missed, and measuring a few rows loses no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import tables
from bench.contention import CONTENTION, Seen
from bench.durable import table_of
from bench.targets import targets

CASES = {case.name: case for case in CONTENTION}


def test_the_table_of_targets_says_what_is_missed() -> None:
    measured = {
        "client": [{"target ms": 0.6, "CPU ms": 0.7}],
        "compare": [{"workload": "100 sends", "ratio p50": 1.4}],
        "contention": [
            CASES["one key, 8 processes, 25 calls each"].row(Seen(4, 200, [0.1] * 200)),
            CASES["fan-in of 1,000 remote calls"].row(Seen(2, 1000, tries=1.5)),
        ],
        "durable": [
            {"work": "10 steps", "$, ours": 9.0, "$, durable function": 90.0},
            {"work": "wait of 5 s", "$, ours": 40.0, "$, durable function": 20.0},
        ],
        "growth": [{"of": "messages of one invocation", "slope of requests": 1, "slope of CPU": 1.2}],
        "memory": [{"RSS MB": 70.0}, {"RSS MB": 90.0}, {"RSS MB": 74.5}],
    }
    rows = targets(measured)

    assert [(row["row"], row["target"], row["met"]) for row in rows] == [
        ("CPU ms of the client for a request", 0.6, "no"),
        ("one key, 8 processes, 25 calls each", "per second ≥ 100, 99 % within s ≤ 1", "no"),
        ("fan-in of 1,000 remote calls", "tries ≤ 2, s ≤ 3", "yes"),
        ("messages of one invocation: slope of requests", 1.02, "yes"),
        ("messages of one invocation: slope of CPU", 1.1, "no"),
        ("RSS of a server under load, grown since the first tenth: MB", 5, "yes"),
        ("100 sends: time against Restate", 1.5, "yes"),
        ("10 steps: price against a durable function", 1, "yes"),
        ("wait of 5 s: price against a durable function", 1, "no"),
    ]
    limits = {row["row"]: row["limit"] for row in rows}
    assert limits["fan-in of 1,000 remote calls"] == "tries 0.05"
    assert [(row["row"], row["missed by"]) for row in rows if row["why"]] == [
        ("CPU ms of the client for a request", "17%"),
        ("one key, 8 processes, 25 calls each", "see today"),
        ("messages of one invocation: slope of CPU", "9%"),
        ("wait of 5 s: price against a durable function", "100%"),
    ]
    assert [row["why"] for row in rows if row["why"]][:2] == ["not known", "not known"]
    assert {row["missed by"] for row in rows if row["met"] == "yes"} == {""}


def test_a_workload_shows_what_its_case_took() -> None:
    took = {"requests": 11, "write units": 13, "read units": 0, "CPU ms": 1.2, "$ a million": 10.5}
    case = {"case": "10 steps in sequence", "limit": 11, "budget": 11, "over budget": "", **took}
    measured = {
        "costs": [{**case, "memory requests": 11, "dynamodb requests": 11}],
        "compare": [{"workload": "10 steps", "ratio p50": 0.9}],
    }
    rows = targets(measured)
    assert [row["row"] for row in rows] == [
        "10 steps in sequence", "10 steps in sequence: $ a million", "10 steps: time against Restate",
    ]  # fmt: skip
    assert [{name: row[name] for name in took} for row in rows] == [took] * 3


def test_the_table_of_targets_takes_tables_of_all_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "stamp", lambda: "then")
    tables.show("client", [{"target ms": 0.6, "CPU ms": 0.3}])
    one = tables.kept()
    assert (one.machine, one.measured) == (tables.MACHINE, ["then"])
    assert "machine" not in targets(one.rows)[0]

    monkeypatch.setattr(tables, "stamp", lambda: "now")
    first = tables.MACHINE
    monkeypatch.setattr(tables, "MACHINE", "another")
    tables.show("engine", [{"work": "a step", "target ms": 0.1, "CPU ms": 0.2}])
    both = tables.kept()
    assert (both.machine, both.measured) == (f"machine 1: {first}; machine 2: another", ["then", "now"])
    assert [row["machine"] for row in targets(both.rows)] == [1, 2]
    tables.show("targets", targets(both.rows), of=both)
    assert f"\n{both.machine}\n\nMeasured: then; now\n" in (tmp_path / "targets.md").read_text()
    assert tables.kept() == both


def test_two_sides_of_a_workload_are_one_row() -> None:
    counted = {"workload": "10 steps", "operations": 0, "dynamodb": 0}
    sides = [
        {**counted, "side": "durable", "p50 ms": 140.0, "operations": 11, "$ state": 88.0, "$": 89.4},
        {**counted, "side": "ours", "p50 ms": 26.0, "dynamodb": 11, "$ state": 9.4, "$": 9.7},
    ]

    assert [list(row.values()) for row in table_of(sides)] == [["10 steps", 11, 11, 140.0, 26.0, 88.0, 9.4, 89.4, 9.7]]


@pytest.mark.parametrize(
    ("seen", "met"),
    [
        (Seen(2, 200, [0.1] * 200), "yes"),
        (Seen(2.1, 200, [0.1] * 200), "no"),
        (Seen(2, 200, [1.1] * 200), "no"),
        (Seen(2, 200, [0.1] * 199, unanswered=1), "no"),
    ],
)
def test_contention_meets_its_target_if_all_of_it_is_met(seen: Seen, met: str) -> None:
    assert CASES["one key, 8 processes, 25 calls each"].row(seen)["met"] == met
    assert CASES["one key, 4 processes, 25 calls each"].row(seen)["met"] == ""


def test_a_row_that_is_measured_alone_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "stamp", lambda: "then")
    path = tmp_path / "sdk.json"
    tables.show("sdk", [{"case": "a", "s": 1}, {"case": "b", "s": 1}, {"case": "b", "s": 2}, {"case": "c", "s": 1}])
    monkeypatch.setattr(tables, "stamp", lambda: "now")
    tables.show("sdk", [{"case": "b", "s": 3, "met": "yes"}, {"case": "d", "s": 4}], partial=True)

    kept = [("a", 1), ("b", 3), ("c", 1), ("d", 4)]
    assert [(row["case"], row["s"]) for row in json.loads(path.read_text())["rows"]] == kept
    assert path.with_suffix(".md").read_text().count("\n| ") == 2 + len(kept)
    assert f"\n{tables.MACHINE}\n\nMeasured: then; now, in part\n" in path.with_suffix(".md").read_text()

    path.write_text(json.dumps({"machine": "another", "rows": [{"case": "a", "s": 1}]}))
    tables.show("sdk", [{"case": "b", "s": 3}], partial=True)
    assert len(json.loads(path.read_text())["rows"]) == 1

    tables.show("sdk", [{"case": "b", "s": 3}])
    assert [row["case"] for row in json.loads(path.read_text())["rows"]] == ["b"]

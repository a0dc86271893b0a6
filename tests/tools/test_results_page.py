"""The table of results: what the page and the README say is what the shipped rows say."""

import math

import pytest

from tools.pages import results as make
from tutorial_dssm import experiments
from tutorial_dssm.experiments import measures, tables
from tutorial_dssm.experiments.comparisons import summarise
from tutorial_dssm.experiments.search import load_search, search_table

KEYS = [m.key for m in measures.MEASURES]


def row(run: str, seed: int, value: float) -> dict:
    return {"run": run, "seed": seed, "steps": 3000, "seconds": 90.0, **dict.fromkeys(KEYS, value)}


ROWS = [row("ekvae-constrained", seed, 0.9 + 0.01 * seed) for seed in (1, 0, 2)] + [
    row("dks-constrained", 0, 0.5)
]


# ---------------------------------------------------------------- what stands in the repository


def test_rows_are_complete():
    rows = experiments.load_results()
    assert len({(r["run"], r["seed"]) for r in rows}) == len(rows), "a run and seed occur twice"
    for r in rows:
        assert r["run"] in experiments.named_runs() and {"seed", "steps", "seconds", *KEYS} <= set(
            r
        )
        assert all(math.isfinite(r[key]) for key in KEYS)
    for run in (
        "ekvae-constrained",
        "dks-constrained",
        "dks-elbo-learned-noise",
        "ekvae-elbo-learned-noise",
    ):
        assert sorted(r["seed"] for r in rows if r["run"] == run) == list(range(5)), (
            f"{run}: seeds 0 to 4, once each"
        )


def test_search_rows_are_complete():
    trials = load_search()
    for trial in trials:
        assert set(trial) >= {
            "model",
            "settings",
            "seed",
            "steps",
            "r2_sin",
            "r2_cos",
            "r2_velocity",
            "mse_open_loop",
        }
        assert all(-1 <= trial[key] <= 1 for key in ("r2_sin", "r2_cos", "r2_velocity"))
    assert search_table(trials).count("\n") >= 2


# ---------------------------------------------------------------- how it is made


def test_summary_is_mean_sample_deviation_and_worst():
    s = summarise(ROWS, "ekvae-constrained", "r2_velocity")
    assert s.mean == pytest.approx(0.91) and s.sd == pytest.approx(0.01) and s.seeds == 3
    assert s.worst == 0.9  # more is better: the smallest
    # less is better: the largest
    assert summarise(ROWS, "ekvae-constrained", "mse_open_loop").worst == 0.92
    assert math.isnan(summarise(ROWS, "ekvae-constrained", "rate").worst)
    assert math.isnan(summarise(ROWS, "dks-constrained", "r2_velocity").sd)
    with pytest.raises(ValueError, match="no row"):
        summarise(ROWS, "dks-elbo", "r2_velocity")


def test_page_holds_the_command_of_every_number():
    page = make.page(ROWS)
    assert "for seed in 0 1 2; do" in page and "train ekvae-constrained --seed $seed" in page
    assert "evaluate runs/ekvae-constrained-seed$seed --json" in page
    assert tables.summary_table(ROWS) in page and tables.summary_table(ROWS) in make.readme_part(
        ROWS
    )
    assert page.index("dks-constrained") < page.index(
        "ekvae-constrained"
    )  # the order of the experiments
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    assert (
        len(lines) == 2
        and "0.910 ± 0.010 (0.900)" in lines[1]
        and "0.500" in lines[0]
        and "±" not in lines[0]
    )
    seeds = [
        line.split("|")[1].strip()
        for line in page.splitlines()
        if line.startswith(("| 0", "| 1", "| 2"))
    ]
    assert seeds == ["0", "0", "1", "2"]


def test_tables_have_as_many_cells_in_each_line():
    for table in (
        tables.summary_table(ROWS),
        tables.summary_table(ROWS, KEYS),
        tables.seed_table(ROWS, "ekvae-constrained"),
    ):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_search_table_counts_seeds_that_found_angle_and_velocity():
    trial = {
        "model": "DKS",
        "settings": "a",
        "steps": 10,
        "r2_sin": 0.99,
        "r2_cos": 0.99,
        "mse_open_loop": None,
    }
    table = search_table(
        [trial | {"seed": 0, "r2_velocity": 0.96}, trial | {"seed": 1, "r2_velocity": 0.1}]
    )
    assert "1 of 2" in table and "0.100 to 0.960" in table and table.rstrip().endswith("| – |")


@pytest.mark.parametrize(
    "value, digits, sign, text",
    [
        (0.12345, 3, "", "0.123"),
        (0.5, 1, "+", "+0.5"),
        (-2.0, 0, "+", "-2"),
        (3.2e28, 4, "", "3.2e+28"),
        (None, 2, "", "–"),
        (math.inf, 2, "", "–"),
    ],
)
def test_numbers(value, digits, sign, text):
    assert tables.number(value, digits, sign) == text

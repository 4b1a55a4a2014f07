"""The `churn` command from its outside: what it prints, refuses and leaves alone."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from tests.training.conftest import Bucket
from tests.training.released import of_another_contract
from training import bundle, cli
from training.data import Table
from training.home import Home
from training.ingest import ingest
from training.sample import sample, write_sample
from training.tracking import MODEL, tracking_uri

CHURN = "from training.cli import main; main()"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, output and errors of the command."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def churn(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["churn", "--home", str(home.root), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return churn


@pytest.fixture
def trained(trained_home: Home, home: Home) -> Home:
    shutil.copytree(trained_home.var, home.var)
    return home


def made(home: Home) -> list[str]:
    """Everything below the home, its table left out."""
    return sorted(str(path.relative_to(home.root)) for path in home.root.rglob("*") if path.is_file() and path.suffix != ".csv")


SAYS_WHAT_IS_LOADED = """
import sys
from training.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code
print(sorted({"pandas", "mlflow", "sklearn", "pyarrow", "optuna", "matplotlib", "onnx"} & {*sys.modules}))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["releases"]], ids=" ".join)
def test_what_needs_no_model_is_said_at_once(arguments: list[str], tmp_path: Path):
    command = [sys.executable, "-c", SAYS_WHAT_IS_LOADED, "--home", str(tmp_path), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("[]\n")


def test_the_help_names_every_command():
    ended = subprocess.run([sys.executable, "-c", CHURN, "--help"], capture_output=True, text=True, check=True)
    named = "fetch sample validate ingest train evaluate report bundle publish serve score promote rollback approve releases"
    for name in [*named.split(), "experiment"]:
        assert f" {name} " in ended.stdout


def good() -> pd.DataFrame:
    return sample(60, 0)[0]


def spoilt(column: str, value: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        cells = good().astype(object)[column].tolist()
        cells[6] = value
        return csv(good().assign(**{column: pd.Series(cells, dtype=object)}), folder)

    return write


def csv(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_csv(folder / "bad.csv", index=False)
    return folder / "bad.csv"


def one_class(folder: Path) -> Path:
    return csv(good().assign(churned=False), folder)


def same_id(folder: Path) -> Path:
    ids = good()["customer_id"].tolist()
    ids[6] = ids[2]
    return csv(good().assign(customer_id=ids), folder)


def content(name: str, written: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(written)
        return folder / name

    return write


def truncated(folder: Path) -> Path:
    write_sample(folder / "bad.parquet", rows=60, seed=0)
    whole = (folder / "bad.parquet").read_bytes()
    (folder / "bad.parquet").write_bytes(whole[: len(whole) // 2])
    return folder / "bad.parquet"


def a_folder(folder: Path) -> Path:
    (folder / "bad").mkdir()
    return folder / "bad"


def silent_url(folder: Path) -> str:
    del folder
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}/bad.csv"


BAD = {
    "a missing column": (lambda folder: csv(good().drop(columns="contract"), folder), ["contract", "present"]),
    "an extra column": (lambda folder: csv(good().assign(age=3), folder), ["age", "a field of the contract"]),
    "a wrong type": (spoilt("tenure_months", "long"), ["tenure_months", "7", "'long'", "number"]),
    "an unknown category": (spoilt("contract", "weekly"), ["contract", "7", "'weekly'", "one of month-to-month"]),
    "a negative tenure": (spoilt("tenure_months", -1), ["tenure_months", "7", "'-1'", "0 to 600"]),
    "not a number": (spoilt("monthly_charges_usd", "NaN"), ["monthly_charges_usd", "7", "number"]),
    "infinity": (spoilt("monthly_charges_usd", "inf"), ["monthly_charges_usd", "7", "'inf'", "number"]),
    "an empty file": (content("bad.csv", b""), ["is empty"]),
    "one class only": (one_class, ["churned", "only false", "both true and false"]),
    "not UTF-8": (content("bad.csv", b"customer_id,gender\n1,\xe9\n"), ["not UTF-8", "0xe9", "line 2"]),
    "truncated Parquet": (truncated, ["truncated or not Parquet"]),
    "a directory": (a_folder, ["not a table that `churn ingest` finished"]),
    "a URL that does not answer": (silent_url, ["cannot be read"]),
    "no file": (lambda folder: folder / "bad.csv", ["is not there"]),
    "the same id twice": (same_id, ["customer_id", "7", "unique, but row 3 has it"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_refused_with_one_message_and_leaves_nothing(case: str, run: Run, home: Home, tmp_path: Path):
    write, told = BAD[case]
    table = write(tmp_path)
    code, out, err = run("train", table)
    assert (code, out) == (2, "")
    assert err.startswith(str(table))
    for word in told:
        assert word in err
    assert "Traceback" not in err
    assert made(home) == []


@pytest.mark.parametrize(("answers", "breaks_off"), [(1, False), (1_000_000, True)], ids=["between two files", "within a file"])
def test_a_store_that_goes_down_while_a_table_is_read_leaves_nothing(
    answers: int, breaks_off: bool, run: Run, home: Home, bucket: Bucket
):
    location = ingest(Table(sample(300, 0)[0]), "s3://lake").location
    bucket.answers, bucket.breaks_off = answers, breaks_off
    code, out, err = run("train", location)
    assert (code, out) == (2, "")
    assert err.startswith(location)
    assert err.endswith("see to it, then repeat\n")
    assert len(err.splitlines()) == 1
    assert made(home) == []


def test_rows_that_are_wholly_the_same_are_removed_and_counted(run: Run, tmp_path: Path):
    frame = good()
    twins = frame.iloc[:2].assign(customer_id=["other-1", "other-2"])
    table = csv(pd.concat([frame, frame.iloc[:3], twins], ignore_index=True), tmp_path)
    code, out, _ = run("validate", table, "--min-class", 0)
    assert code == 0
    assert "65 rows, 3 of them removed as wholly identical" in out


def test_an_export_that_differs_is_refused_by_a_gate(run: Run, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_sample(tmp_path / "table.csv", rows=300, seed=0)
    monkeypatch.setattr(bundle, "PARITY_TOLERANCE", 1e-12)
    code, out, err = run("train", tmp_path / "table.csv", "--trials", 1)
    assert (code, out) == (1, "")
    assert "differs from the fitted one by" in err
    assert "at most 1e-12 may be served" in err
    assert not home.candidate.exists()
    assert not (home.var / "bundles").exists()
    assert statuses(home) == {"FAILED": 1, "FINISHED": 3}


def statuses(home: Home) -> dict[str, int]:
    client = MlflowClient(tracking_uri(home))
    assert client.search_registered_models(f"name = '{MODEL}'") == []
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = [run.info.status for run in client.search_runs(experiments)]
    return {status: found.count(status) for status in sorted({*found})}


def test_what_the_machine_refuses_is_one_message_and_a_failed_run(run: Run, home: Home, tmp_path: Path):
    write_sample(tmp_path / "table.csv", rows=300, seed=0)
    home.var.mkdir(parents=True)
    # Not a folder, so that nothing can be written in it.
    (home.var / "evidence").touch()
    code, out, err = run("train", tmp_path / "table.csv", "--trials", 1)
    assert (code, out) == (2, "")
    assert err.startswith(str(home.var / "evidence"))
    assert err.endswith("make room or give access, then repeat\n")
    assert "MLflow" not in err
    assert not home.candidate.exists()
    assert statuses(home) == {"FAILED": 1, "FINISHED": 3}


def full(bytes_: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))


@pytest.mark.parametrize("command", ["train", "report"])
def test_on_a_full_disk_there_is_one_message_and_what_was_there_stays(command: str, trained: Home):
    table = [] if command == "report" else [str(trained.var / "sample.csv")]
    before = {name: (trained.root / name).read_bytes() for name in made(trained) if "mlflow" not in name}
    ended = subprocess.run(
        [sys.executable, "-c", CHURN, "--home", str(trained.root), command, *table],
        preexec_fn=full(800),
        # Coverage has no room either.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert "make room or give access" in ended.stderr
    assert {name: (trained.root / name).read_bytes() for name in made(trained) if "mlflow" not in name} == before


def test_evaluate_judges_the_last_bundle_and_report_shows_it(run: Run, trained: Home):
    digest = trained.candidate.read_text().strip()
    for kept in (trained.evidence(digest), trained.evaluation(digest), trained.report(digest)):
        kept.unlink()
    code, _, err = run("report")
    assert code == 2
    assert f"run `churn evaluate TABLE --bundle {digest}`" in err
    code, out, _ = run("evaluate", trained.var / "sample.csv")
    assert code == 0
    assert "on 300 test rows: AUC 0." in out
    assert f"report {trained.report(digest)}" in out
    assert trained.evidence(digest).exists()
    assert run("report", digest)[:2] == (0, f"{trained.report(digest)}\n")


def test_evaluate_names_the_regression_tests_that_fail_and_promote_refuses_the_bundle(run: Run, trained: Home):
    table = trained.var / "sample.csv"
    code, out, _ = run("evaluate", table)
    assert code == 0
    assert "40 of 40 regression tests passed\n" in out
    frame = pd.read_csv(table)
    inverted = frame.assign(churned=~frame["churned"])
    inverted.to_csv(trained.var / "inverted.csv", index=False)
    _, out, _ = run("evaluate", trained.var / "inverted.csv")
    assert " of 40 regression tests passed, not:\n  slice 'contract=" in out
    code, _, err = run("promote", "--created-by", "ada@example.com")
    assert code == 1
    assert "behaviour: champion 1.0.0" in err
    assert "fails slice 'contract=two-year' by required fields: mean probability 0." in err


def test_evaluate_compares_with_what_is_live_in_its_business_case(run: Run, trained: Home):
    cheaper = ("--offer-cost-usd", 30)
    assert run("evaluate", trained.var / "sample.csv", *cheaper)[0] == 0
    assert run("promote", "--created-by", "ada@example.com", *cheaper)[0] == 0
    code, out, _ = run("evaluate", trained.var / "sample.csv")
    assert code == 0
    assert "against the live champion +0.0000 (+0.0000 to +0.0000)" in out
    evaluation = json.loads(trained.evaluation(trained.candidate.read_text().strip()).read_bytes())
    assert evaluation["business_case"]["offer_cost_usd"] == 30


def test_train_and_evaluate_take_the_business_case_that_promote_takes(run: Run, trained: Home):
    table = trained.var / "sample.csv"
    case = ("--offer-cost-usd", 20, "--offer-acceptance", 0.5, "--margin-usd-per-month", 50, "--horizon-months", 4)
    for command in (("train", table, "--trials", 1, "--only", "logistic-regression"), ("evaluate", table)):
        assert run(*command, *case)[0] == 0
        digest = trained.candidate.read_text().strip()
        evaluation = json.loads(trained.evaluation(digest).read_bytes())
        assert list(evaluation["business_case"].values()) == [20, 0.5, 50, 4]
        assert json.loads(trained.evidence(digest).read_bytes())["threshold"] == 0.2
        trained.evaluation(digest).unlink()
        code, out, err = run(*command, "--offer-cost-usd", 0)
        assert (code, out) == (2, "")
        assert err.startswith("the business case is wrong: ")
    assert run("promote", "--created-by", "ada@example.com", *case, "--drift-index-max", 0.5, "--model-age-max-days", 30)[0] == 0
    limits = json.loads(trained.release("local").read_bytes())["alert_limits"]
    assert limits == {"drift_index_max": 0.5, "model_age_max_days": 30}


def test_a_candidate_that_is_no_text_is_named(run: Run, trained: Home):
    trained.candidate.write_bytes(b"\xff")
    code, _, err = run("bundle")
    assert code == 2
    assert err.startswith(f"{trained.candidate} is not UTF-8: ")
    assert run("promote", "--created-by", "ada@example.com")[0] == 2


@pytest.mark.parametrize("role", ["champion", "shadow"])
def test_only_a_challenger_has_a_weight(role: str, run: Run, trained: Home):
    code, _, err = run("promote", "--created-by", "ada@example.com", "--role", role, "--weight", 30)
    assert code == 2
    assert err.startswith("--weight is 30, but only a challenger")
    assert not trained.release("local").exists()


def test_without_the_live_champion_it_says_how_to_begin_anew(run: Run, trained: Home):
    table = trained.var / "sample.csv"
    assert run("promote", "--created-by", "ada@example.com")[0] == 0
    champion = trained.bundle(trained.candidate.read_text().strip())
    champion.rename(champion.with_name("elsewhere"))
    code, out, err = run("train", table, "--trials", 1, "--only", "logistic-regression")
    assert (code, out) == (2, "")
    assert f"or remove {trained.release('local')} to begin without one" in err
    trained.release("local").unlink()
    assert run("train", table, "--trials", 1, "--only", "logistic-regression")[0] == 0


def test_with_a_live_champion_of_another_contract_nothing_is_compared(run: Run, trained: Home):
    assert run("promote", "--created-by", "ada@example.com")[0] == 0
    code, out, _ = run("evaluate", trained.var / "sample.csv")
    assert (code, "against the live champion" in out) == (0, True)
    of_another_contract(trained, "local")
    code, out, _ = run("evaluate", trained.var / "sample.csv")
    assert (code, "against the live champion" in out) == (0, False)
    assert out.startswith("the champion of local is of contract 999999999999, this code of ")


def test_bundle_verifies_and_shows_the_card(run: Run, trained: Home):
    code, out, _ = run("bundle")
    assert code == 0
    assert "every file and 32 golden rows are as they should be" in out
    assert "# Customer churn: " in out
    model = trained.bundle(trained.candidate.read_text().strip()) / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    code, _, err = run("bundle")
    assert code == 2
    assert "model.onnx was changed" in err


@pytest.mark.parametrize("command", [["report"], ["bundle"], ["evaluate", "TABLE"]], ids=" ".join)
def test_before_any_training_it_says_to_train(command: list[str], run: Run, tmp_path: Path):
    write_sample(tmp_path / "table.csv", rows=60, seed=0)
    code, _, err = run(*[str(tmp_path / "table.csv") if word == "TABLE" else word for word in command])
    assert code == 2
    assert "no bundle was trained yet; run `churn train TABLE`" in err


def test_a_release_is_said_to_be_written_also_where_mlflow_then_fails(run: Run, trained: Home):
    (trained.var / "mlflow.db").write_bytes(b"no database " * 100)
    code, out, err = run("promote", "--created-by", "ada@example.com")
    assert code == 2
    assert f"{trained.release('local')}: written" in out
    assert "MLflow at sqlite" in err
    assert err.endswith("the release stands without it; the same command marks it there later\n")
    assert trained.release("local").exists()


def test_a_promoted_bundle_carries_alias_and_version(run: Run, trained: Home):
    assert run("promote", "--created-by", "ada@example.com")[0] == 0
    version = MlflowClient(tracking_uri(trained)).get_model_version_by_alias(MODEL, "champion")
    assert version.tags["bundle_digest"] == trained.candidate.read_text().strip()
    assert version.tags["version"] == "1.0.0"


def test_a_server_that_is_down_is_bad_input_and_nothing_is_written(
    run: Run, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_sample(tmp_path / "table.csv", rows=300, seed=0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as free:
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    # After `run` was made, which takes the variable away.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    code, out, err = run("train", tmp_path / "table.csv", "--trials", 1)
    assert (code, out) == (2, "")
    assert err.startswith(f"MLflow at {uri} does not do its part")
    assert made(home) == []


CONTRACT_LINE = "    # Last: `matrix` pairs"
NEW_FIELD = '    support_calls: Annotated[int, _about("Support calls", "SupportCalls", "calls", (0, 99), (1, 3))] | None = None\n'


def test_a_new_field_of_the_contract_is_one_line_all_the_way_to_the_page(tmp_path: Path):
    checkout = Path(cli.__file__).parents[1]
    for name in ("app", "training", "policies"):
        shutil.copytree(checkout / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".venv"))
    contract = tmp_path / "app" / "contract.py"
    text = contract.read_text()
    assert text.count(CONTRACT_LINE) == 1
    contract.write_text(text.replace(CONTRACT_LINE, NEW_FIELD + CONTRACT_LINE))
    home, table = Home(tmp_path / "home"), tmp_path / "table.csv"
    # -P and the folder first: the copy is imported, not the repository.
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {CHURN}"
    for arguments in (["sample", str(table), "--rows", "300"], ["train", str(table), "--trials", "1"]):
        command = [sys.executable, "-P", "-c", program, "--home", str(home.root), *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
    assert "support_calls" in table.read_text()
    digest = home.candidate.read_text().strip()
    assert "20 fields, of which required" in (home.bundle(digest) / "card.md").read_text()
    assert "20 fields, of which required" in home.report(digest).read_text()
    assert "support_calls" in (home.bundle(digest) / "reference.json").read_text()

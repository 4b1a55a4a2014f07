"""Fixtures that more than one folder of tests needs."""

import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from training.home import Home

CHECKOUT = Path(__file__).parents[1]

# How long an example takes says more of the machine than of the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


def pytest_configure(config: pytest.Config) -> None:
    """Exceptions to "warnings are errors", for code that is not ours."""
    # What MLflow does with Pydantic and SQLAlchemy.
    config.addinivalue_line("filterwarnings", "ignore:::mlflow")


@pytest.fixture(scope="session")
def telco_csv() -> Path:
    """The public Telco table, where it is at hand."""
    named = os.environ.get("TELCO_CSV")
    place = Path(named) if named else CHECKOUT / "var" / "telco.csv"
    if place.is_file():
        return place
    pytest.skip("the Telco table is not here: run `churn fetch`, or name a copy in TELCO_CSV")


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a small made-up table, var/sample.csv, that was trained on; who writes to it takes a copy."""
    folder = tmp_path_factory.getbasetemp()
    # Made once for all workers, whose folders lie side by side.
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    home = Home(shared / "trained")
    with (shared / "trained.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.candidate.exists():
            _train(home)
    return home


def _train(home: Home) -> None:
    # Only here: most tests have no use for scikit-learn and MLflow, which take seconds to import.
    from training.data import load_table  # noqa: PLC0415
    from training.sample import write_sample  # noqa: PLC0415
    from training.settings import Settings  # noqa: PLC0415
    from training.train import train  # noqa: PLC0415

    write_sample(home.var / "sample.csv", rows=1500, seed=5)
    train(load_table(str(home.var / "sample.csv")), home, Settings(trials=1))

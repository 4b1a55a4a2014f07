"""Champion against challenger, from the prediction log to the verdict."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.events import Event, OutcomeEvent, PredictionEvent
from app.release import Release, ReleaseError, encode_release
from app.settings import Settings
from app.split import assign
from tests.app.support import ASKED, Place, serving, variant, wait_for
from tests.releases import make_release, make_variant, successor
from tests.training.conftest import Bucket
from tests.training.released import churn
from training.experiment import Experiment, experiment, text
from training.home import Home
from training.locations import TableError

START = datetime(2026, 3, 2, tzinfo=UTC)
CHALLENGER = {"role": "challenger", "bundle_digest": "b" * 64, "version": "1.1.0"}


def two_variants(weight_percent: int = 50) -> tuple[Any, ...]:
    return make_variant(weight_percent=100 - weight_percent), make_variant(weight_percent=weight_percent, **CHALLENGER)


SHADOW = make_variant(role="shadow", weight_percent=0, bundle_digest="e" * 64, version="1.2.0")
RELEASE = make_release(variants=two_variants())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    put(home, RELEASE)
    return home


def put(home: Home, release: Release) -> None:
    for path in (home.release(release.stack), home.past_release(str(release.digest))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_release(release))


def asked(customer: str | None, role: Any, at: int = 0, **changes: Any) -> PredictionEvent:
    told: Any = {
        "prediction_id": f"{customer}-{at}",
        "at": START + timedelta(hours=at),
        "release": str(RELEASE.digest),
        "variant": role,
        "bundle_digest": "a" * 64,
        "version": "1.0.0",
        "customer": msgspec.convert({**ASKED, "customer_id": customer}, PredictionEvent.__annotations__["customer"]),
        "churn_probability": 0.5,
        "decision": "offer",
    }
    return PredictionEvent(**{**told, **changes})


def became(customer: str | None, at: int = 0, *, churned: bool, offered: bool = False, seen: int = 100) -> OutcomeEvent:
    observed_at = START + timedelta(hours=seen)
    return OutcomeEvent(
        prediction_id=f"{customer}-{at}", at=observed_at, churned=churned, offer_made=offered, observed_at=observed_at
    )


def write(home: Home, events: list[Event], name: str = "1") -> None:
    (home.var / "events").mkdir(parents=True, exist_ok=True)
    (home.var / "events" / f"{name}.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(events))


def many(role: Any, customers: int, churned: int, offered: int = 0) -> list[Event]:
    """So many customers of a variant with their outcomes; the first of them left, the last of them got an offer."""
    events: list[Event] = []
    for i in range(customers):
        name = f"{role}{i}"
        events += [asked(name, role), became(name, churned=i < churned, offered=i >= customers - offered)]
    return events


def test_each_variant_has_its_customers_churn_rate_and_realised_profit(home: Home):
    write(home, [*many("champion", 200, 60, 50), *many("challenger", 200, 50, 100), asked("late", "challenger")])
    found = experiment(home, "local")
    assert (found.champion.customers, found.champion.outcomes, found.challenger.customers, found.challenger.outcomes) == (
        200,
        200,
        201,
        200,
    )
    assert (found.champion.churn_rate, found.champion.offer_rate) == (0.3, 0.25)
    assert (found.challenger.churn_rate, found.challenger.offer_rate) == (0.25, 0.5)
    # Who stays brings 40 USD a month for 12, and an offer costs 60, taken or not.
    assert found.champion.profit_usd_per_customer == pytest.approx(0.7 * 480 - 0.25 * 60)
    profit, rate = found.profit_difference_usd_per_customer, found.churn_rate_difference
    assert profit
    assert rate
    assert profit.value == pytest.approx(0.05 * 480 - 0.25 * 60)
    assert rate.value == pytest.approx(-0.05)
    assert profit.low < 0 < profit.high
    assert found.verdict == "undecided"
    assert found.more_customers is not None
    assert found.more_customers > 1000
    assert "not decided yet; if nothing changes, about " in text(found)


@pytest.mark.parametrize(("churned", "verdict"), [(100, "better"), (500, "worse")])
def test_a_difference_that_is_clear_is_decided(churned: int, verdict: str, home: Home):
    write(home, [*many("champion", 1000, 300), *many("challenger", 1000, churned)])
    found = experiment(home, "local")
    assert (found.verdict, found.more_customers) == (verdict, None)
    assert f"verdict: the challenger is {verdict}; at most 1 experiment in 20" in text(found)


def test_what_an_offer_costs_can_make_the_variant_that_keeps_more_the_worse_one(home: Home):
    write(home, [*many("champion", 3000, 900), *many("challenger", 3000, 840, 3000)])
    found = experiment(home, "local")
    assert found.verdict == "worse"
    assert found.churn_rate_difference
    assert found.churn_rate_difference.value < 0


def test_below_a_hundred_outcomes_of_each_nothing_is_said(home: Home):
    write(home, [*many("champion", 99, 99), *many("challenger", 100, 0)])
    found = experiment(home, "local")
    assert (found.verdict, found.profit_difference_usd_per_customer, found.more_customers) == ("undecided", None, None)
    assert text(found).endswith("verdict: not decided yet; a variant has fewer than 100 outcomes")


@pytest.mark.parametrize("missing", ["customers", "outcomes"])
def test_where_customers_or_outcomes_of_one_variant_are_missing_the_verdict_is_withheld(missing: str, home: Home):
    log = [*many("champion", 1000, 300), *many("challenger", 700, 0)]
    if missing == "outcomes":
        log += [asked(f"silent{i}", "challenger") for i in range(300)]
    write(home, log)
    found = experiment(home, "local")
    assert found.verdict == "withheld"
    assert f"verdict: withheld; {missing} of champion and challenger are 1,000 and 700, which is not 50:50 (p = " in text(found)
    assert (found.customers_p_value < 0.001) is (missing == "customers")


def test_a_customer_counts_once_with_its_first_variant_and_its_last_outcome(home: Home):
    write(home, [became("x", 5, churned=True, seen=300), asked("x", "challenger", 5), became("x", 2, churned=False, seen=200)])
    write(home, [asked("x", "champion", 2), asked("x", "champion", 9), became("x", 9, churned=False, seen=250)], "2")
    found = experiment(home, "local")
    assert (found.champion.customers, found.champion.churn_rate, found.challenger.customers) == (1, 1.0, 0)
    assert found.left_out == {
        "customers whom both variants answered, counted with the first": 1,
        "further predictions for the same customers": 2,
        "outcomes that a later one of the same customer replaced": 2,
    }


def test_what_does_not_count_is_told_in_numbers(home: Home):
    log: list[Event] = [asked("a", "champion"), asked("a", "champion"), asked(None, "champion"), asked("b", "shadow")]
    log += [asked("c", "champion", release="f" * 64), became("c", churned=True), became("nobody", churned=True)]
    log += [became("a", churned=True, seen=5), became("a", churned=False, seen=4)]
    write(home, log)
    with (home.var / "events" / "1.jsonl").open("ab") as file:
        file.write(b'{"kind": "prediction", "predic')
    found = experiment(home, "local")
    assert (found.champion.customers, found.champion.outcomes, found.champion.churn_rate) == (1, 1, 1.0)
    assert found.left_out == {
        "lines that are no prediction and no outcome": 1,
        "outcomes of predictions that do not count": 2,
        "outcomes that another one of the same prediction replaced": 1,
        "predictions of other releases": 2,
        "predictions that are in the log already": 1,
        "predictions without a customer_id": 1,
    }
    assert "not counted: predictions of other releases: 2\n" in text(found)


_customers = st.sampled_from("abcdef")
_roles: Any = st.sampled_from(["champion", "challenger"])
_events: Any = st.one_of(
    st.builds(asked, _customers, _roles, st.integers(0, 3)),
    st.builds(became, _customers, st.integers(0, 3), churned=st.booleans(), offered=st.booleans(), seen=st.integers(0, 3)),
)


# An id names one prediction, so it is never logged with two contents; outcomes are reported again and otherwise.
_logs = st.lists(_events, min_size=1, unique_by=lambda event: event if isinstance(event, OutcomeEvent) else event.prediction_id)


@given(_logs, st.randoms())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neither_the_order_of_the_log_nor_repetition_changes_the_result(home: Home, log: list[Event], shuffle: random.Random):
    def found(events: list[Event]) -> Experiment:
        write(home, events[::2])
        write(home, events[1::2], "2")
        return msgspec.structs.replace(experiment(home, "local"), left_out={})

    first = found(log)
    again = [*log, *shuffle.sample(log, len(log) // 2)]
    shuffle.shuffle(again)
    assert found(again) == first


def test_a_release_with_another_image_goes_on_and_one_with_other_weights_begins_anew(home: Home):
    later = successor(RELEASE, variants=two_variants(), reason="a new image")
    put(home, later)
    write(home, [*many("champion", 10, 1), *many("challenger", 10, 1), asked("new", "champion", release=str(later.digest))])
    found = experiment(home, "local")
    assert found.releases == [later.digest, RELEASE.digest]
    assert (found.champion.customers, found.challenger.customers) == (11, 10)
    put(home, successor(later, variants=two_variants(40), reason="fewer"))
    assert experiment(home, "local").champion.customers == 0


def test_a_shadow_takes_no_part(home: Home):
    put(home, successor(RELEASE, variants=(*two_variants(), SHADOW)))
    write(home, many("champion", 3, 1))
    assert experiment(home, "local").champion.customers == 3


@pytest.mark.parametrize("variants", [(make_variant(),), (make_variant(), SHADOW)], ids=["alone", "with a shadow"])
def test_without_a_challenger_there_is_no_experiment(variants: tuple[Any, ...], home: Home):
    put(home, make_release(variants=variants))
    with pytest.raises(ReleaseError, match=r"local\.json has no challenger that .*; run `churn promote --stack local --role"):
        experiment(home, "local")
    with pytest.raises(ReleaseError, match=r"prod\.json has no challenger"):
        experiment(home, "prod")


def test_a_log_in_an_object_store_is_read_and_one_that_fails_is_named(home: Home, bucket: Bucket):
    write(home, many("champion", 3, 1))
    segment = (home.var / "events" / "1.jsonl").read_bytes()
    bucket["/logs/dev/1.jsonl"], bucket["/logs/dev/notes.txt"] = segment, b"no event"
    assert experiment(home, "local", "s3://logs/dev").champion.outcomes == 3
    bucket.answers = 0
    with pytest.raises(TableError, match="s3://logs/dev cannot be read"):
        experiment(home, "local", "s3://logs/dev")


def test_bad_input_is_one_message_and_exit_code_2(home: Home, tmp_path: Path):
    for arguments, told in (
        (["--stack", "dev"], "has no challenger"),
        ([], "var/events is not there; give the folder or URL that holds the files *.jsonl"),
        (["--events", tmp_path.as_uri()], "holds no segment *.jsonl of a prediction log"),
    ):
        ended = churn(home, "experiment", *arguments)
        assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
        assert told in ended.stderr


def test_churn_experiment_reads_what_a_real_process_logged_and_names_no_customer(tmp_path: Path, home: Home):
    place = Place(tmp_path)
    variants = (
        variant(place.add_bundle(), weight_percent=60),
        variant(place.add_bundle(tilt=0.5), "challenger", 40, "1.1.0"),
    )
    release = place.write_release(*variants)
    put(home, release)
    names = [f"customer-{i}" for i in range(1500)]
    settings = Settings(
        release=home.release("dev"),
        bundles=(place.root / "bundles").as_uri(),
        events=(home.var / "events").as_uri(),
        port=0,
        metrics_port=0,
        grace_seconds=2.0,
    )
    with serving(settings, place.root / "log") as server, httpx.Client(base_url=server.url, timeout=30) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200, "the process")
        for start in range(0, len(names), 500):
            customers = [{**ASKED, "customer_id": name} for name in names[start : start + 500]]
            answer = client.post("/v1/predict/batch", json={"customers": customers}).json()
            outcomes = [
                {
                    "prediction_id": each["prediction_id"],
                    # With the challenger nobody leaves.
                    "churned": each["variant"] == "champion" and i % 2 == 0,
                    "offer_made": False,
                    "observed_at": "2026-03-02T12:00:00Z",
                }
                for i, each in enumerate(answer["predictions"])
            ]
            assert client.post("/v1/outcomes", json={"outcomes": outcomes}).status_code == 202
        client.post("/v1/predict", json=ASKED)
        assert server.stop() == 0
    expected = sum(assign(release.variants, name).role == "challenger" for name in names)
    told = churn(home, "experiment", "--stack", "dev", "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert (found["champion"]["customers"], found["challenger"]["customers"]) == (1500 - expected, expected)
    assert (found["challenger"]["outcomes"], found["challenger"]["churn_rate"], found["verdict"]) == (expected, 0.0, "better")
    assert found["left_out"] == {"predictions without a customer_id": 1}
    read = churn(home, "experiment", "--stack", "dev")
    assert "verdict: the challenger is better" in read.stdout
    assert "customer-" not in told.stdout + read.stdout + read.stderr

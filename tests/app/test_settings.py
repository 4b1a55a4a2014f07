import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import Settings, SettingsError

WHOLE = {"CHURN_RELEASE": "/etc/churn/release.json", "CHURN_BUNDLES": "s3://store/bundles", "CHURN_EVENTS": "file:///var/events"}
WORDS = st.text(string.ascii_letters + string.digits + "-_.", min_size=1)
STORES = st.builds("{}{}/{}".format, st.sampled_from(["file:///", "s3://"]), WORDS, WORDS)
SETTINGS = st.builds(
    Settings,
    release=WORDS.map(lambda word: Path("/etc") / word),
    bundles=STORES,
    events=STORES,
    tokens=st.none() | WORDS.map(lambda word: Path("/etc") / word),
    host=WORDS,
    port=st.integers(0, 65_535),
    metrics_port=st.integers(0, 65_535),
    grace_seconds=st.floats(0, 3600, exclude_min=True),
)


def refusal(**changed: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        Settings.load({**WHOLE, **changed})
    return str(refused.value).splitlines()


@given(SETTINGS)
def test_settings_come_back_from_their_environment(settings: Settings):
    assert Settings.load({"PATH": "/bin", **settings.environment()}) == settings


def test_what_is_not_told_has_the_ports_of_the_pod_and_listens_at_home_only():
    settings = Settings.load(WHOLE)
    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 8080, 9090)


def test_every_bad_variable_is_reported_at_once_with_its_value_and_one_to_give():
    with pytest.raises(SettingsError) as refused:
        Settings.load(
            {"CHURN_BUNDLES": "store", "CHURN_PORT": "70000", "CHURN_RELAESE": "/r.json", "CHURN_EVENTS": "s3://log/dev"}
        )
    assert str(refused.value).splitlines() == [
        "CHURN_RELAESE is '/r.json', but there is no such setting; the nearest is CHURN_RELEASE",
        "CHURN_RELEASE is not set; give the path of a release file, such as /etc/churn/release.json",
        "CHURN_BUNDLES is 'store'; give a store such as file:///var/churn/bundles or s3://bucket/bundles",
        "CHURN_PORT is '70000'; give a port from 0 to 65535, such as 8080",
    ]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("CHURN_RELEASE", ["", "a\0b"]),
        ("CHURN_BUNDLES", ["", "/var/bundles", "file://", "file:///", "s3://", "http://store"]),
        ("CHURN_HOST", ["", "a b"]),
        ("CHURN_PORT", ["", "-1", "65536", "80.0", "tcp://10.0.0.1:80"]),
        ("CHURN_GRACE_SECONDS", ["0", "-1", "3601", "nan", "inf", "soon"]),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(name: str, values: list[str]):
    for value in values:
        [line] = refusal(**{name: value})
        assert line.startswith(f"{name} is {value!r}; give ")


def test_a_variable_of_somebody_else_is_left_alone():
    assert Settings.load({**WHOLE, "CHURNED": "1", "PYTHONPATH": "x"}) == Settings.load(WHOLE)

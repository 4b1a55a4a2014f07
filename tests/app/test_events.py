import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app import events
from app.contract import Customer
from app.events import EventLog, OutcomeEvent, PredictionEvent
from tests.app.support import ASKED, Bucket, wait_for

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def prediction(prediction_id: str = "a-1") -> PredictionEvent:
    return PredictionEvent(
        prediction_id=prediction_id,
        at=NOW,
        release="r" * 64,
        variant="champion",
        bundle_digest="b" * 64,
        version="1.0.0",
        customer=Customer(**ASKED),
        churn_probability=0.5,
        decision="offer",
    )


def lines(folder: Path) -> list[str]:
    return [
        json.loads(line)["prediction_id"] for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()
    ]


def test_events_are_on_disk_within_a_second_and_say_what_was_asked_and_answered(tmp_path: Path):
    log = EventLog((tmp_path / "a log").as_uri())
    log.append(prediction())
    log.append(OutcomeEvent(prediction_id="a-1", at=NOW, churned=True, offer_made=False, observed_at=NOW))
    wait_for(lambda: lines(tmp_path / "a log"), "the lines", 1)
    log.close(5)
    [path] = (tmp_path / "a log").iterdir()
    asked, became = map(json.loads, path.read_text().splitlines())
    assert asked["customer"].items() >= ASKED.items()
    assert asked["customer"]["customer_id"] is None
    del asked["customer"]
    assert asked == {
        "kind": "prediction",
        "prediction_id": "a-1",
        "at": "2026-01-31T00:00:00Z",
        "release": "r" * 64,
        "variant": "champion",
        "bundle_digest": "b" * 64,
        "version": "1.0.0",
        "churn_probability": 0.5,
        "decision": "offer",
    }
    assert (
        became.items() >= {"kind": "outcome", "churned": True, "offer_made": False, "observed_at": "2026-01-31T00:00:00Z"}.items()
    )


def test_closing_writes_all_that_was_taken_in_order(tmp_path: Path):
    log = EventLog(tmp_path.as_uri())
    for number in range(5000):
        log.append(prediction(str(number)))
    log.close(10)
    assert lines(tmp_path) == [str(number) for number in range(5000)]
    assert (log.written, log.dropped, log.queued, log.waiting_bytes) == (5000, 0, 0, 0)


def test_segments_end_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "SEGMENT_BYTES", 100)
    log = EventLog(tmp_path.as_uri())
    for number in range(3):
        log.append(prediction(str(number)))
        wait_for(lambda number=number: log.written == number + 1, "the line")
    log.close(5)
    assert len(list(tmp_path.iterdir())) == 3


def test_segments_end_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "SEGMENT_SECONDS", 0.0)
    log = EventLog(tmp_path.as_uri())
    for number in range(2):
        log.append(prediction(str(number)))
        wait_for(lambda number=number: log.written == number + 1, "the line")
    log.close(5)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_queue_drops_what_comes_and_counts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "MAX_QUEUED", 10)
    monkeypatch.setattr(events, "FLUSH_SECONDS", 60)
    log = EventLog(tmp_path.as_uri())
    for number in range(25):
        log.append(prediction(str(number)))
    assert (log.queued, log.dropped) == (10, 15)
    log.close(5)
    assert lines(tmp_path) == [str(number) for number in range(10)]


def test_a_folder_that_cannot_be_written_costs_events_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("in the way")
    log = EventLog((tmp_path / "file" / "log").as_uri())
    log.append(prediction())
    wait_for(lambda: log.dropped == 1, "the loss")
    log.append(prediction())
    wait_for(lambda: log.dropped == 2, "the loss")
    (tmp_path / "file").unlink()
    log.append(prediction("late"))
    log.close(5)
    assert lines(tmp_path / "file" / "log") == ["late"]
    assert [record.message for record in caplog.records] == ["events_lost"]


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path):
    program = f"""
import resource, sys
from tests.app.test_events import *
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
log = EventLog({tmp_path.as_uri()!r})
for number in range(100):
    log.append(prediction(str(number)))
    if number % 10 == 9:
        wait_for(lambda: log.written + log.dropped == number + 1, "a chunk")
log.close(5)
resource.setrlimit(resource.RLIMIT_FSIZE, before)
print(log.written, log.dropped)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    written, dropped = map(int, ended.stdout.split())
    assert written + dropped == 100
    assert min(written, dropped) > 0
    assert len(lines(tmp_path)) == written


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bucket]:
    made = Bucket()
    monkeypatch.setattr(events.tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(events, "RETRY_SECONDS", 0.05)
    with made.open() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield made


def shipped(bucket: Bucket) -> list[str]:
    return [json.loads(line)["prediction_id"] for line in bucket.lines()]


def spool(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "tmp").rglob("*.jsonl"))


def test_finished_segments_are_shipped_and_removed_here(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "SEGMENT_SECONDS", 0.3)
    log = EventLog("s3://log/dev")
    log.append(prediction("first"))
    wait_for(lambda: bucket.objects, "the segment")
    log.append(prediction("second"))
    log.close(10)
    assert sorted(shipped(bucket)) == ["first", "second"]
    assert all(path.startswith("/log/dev/") for path in bucket.objects)
    assert spool(tmp_path) == []


def test_a_segment_that_is_still_written_is_not_shipped(bucket: Bucket):
    log = EventLog("s3://log/dev")
    log.append(prediction())
    wait_for(lambda: log.written == 1, "the line")
    assert log.waiting_bytes > 0
    other = EventLog("s3://log/dev")
    other.close(5)
    assert bucket.objects == {}
    log.close(5)
    assert shipped(bucket) == ["a-1"]


def test_a_store_that_fails_is_asked_again_for_the_same_object(bucket: Bucket, tmp_path: Path):
    bucket.failures = 3
    log = EventLog("s3://log/dev")
    log.append(prediction())
    log.close(5)
    assert spool(tmp_path)
    again = EventLog("s3://log/dev")
    wait_for(lambda: bucket.objects, "what the process before left")
    again.close(5)
    assert shipped(bucket) == ["a-1"]
    assert len(set(bucket.puts)) == 1
    assert spool(tmp_path) == []


def test_what_waits_for_a_store_is_bounded(bucket: Bucket, monkeypatch: pytest.MonkeyPatch):
    bucket.failures = 10_000
    monkeypatch.setattr(events, "SEGMENT_BYTES", 1)
    monkeypatch.setattr(events, "MAX_WAITING_BYTES", 2000)
    log = EventLog("s3://log/dev")
    for number in range(20):
        log.append(prediction())
        wait_for(lambda number=number: log.written + log.dropped == number + 1, "the line")
    assert log.dropped > 0
    assert log.waiting_bytes < 3500
    bucket.failures = 0
    wait_for(lambda: bucket.objects, "the segments", 10)
    log.close(5)


def test_an_empty_segment_is_left_to_its_writer(bucket: Bucket, tmp_path: Path):
    log = EventLog("s3://log/dev")
    log.append(prediction())
    wait_for(lambda: spool(tmp_path), "a segment")
    made_just_now = spool(tmp_path)[0].with_name("20990101T000000Z-0.jsonl")
    made_just_now.touch()
    log.close(5)
    assert spool(tmp_path) == [made_just_now]
    assert len(bucket.objects) == 1


def test_a_segment_that_is_gone_when_it_is_looked_at_waits_no_more(bucket: Bucket, tmp_path: Path):
    log = EventLog("s3://log/dev")
    log.append(prediction())
    [segment] = wait_for(lambda: log.written and spool(tmp_path), "a segment")
    before = log.waiting_bytes
    segment.with_name("gone.jsonl").symlink_to(tmp_path / "nowhere")
    assert log.waiting_bytes == before > 0
    segment.with_name("gone.jsonl").unlink()
    log.close(5)
    assert shipped(bucket) == ["a-1"]


def test_a_segment_is_put_in_one_request_however_large_it_is(bucket: Bucket, tmp_path: Path):
    log = EventLog("s3://log/dev")
    log.append(prediction())
    [segment] = wait_for(lambda: log.written and spool(tmp_path), "a segment")
    whole = segment.read_bytes()
    segment.with_name("20250101T000000Z-0.jsonl").write_bytes(whole * (events.SEGMENT_BYTES // len(whole)))
    log.close(10)
    assert bucket.puts == ["/log/dev/20250101T000000Z-0.jsonl", f"/log/dev/{segment.name}"]


def test_half_a_line_that_a_killed_process_left_is_not_shipped(bucket: Bucket, tmp_path: Path):
    log = EventLog("s3://log/dev")
    log.append(prediction())
    [segment] = wait_for(lambda: log.written and spool(tmp_path), "a segment")
    whole = segment.read_bytes()
    left = segment.with_name("20250101T000000Z-0.jsonl")
    left.write_bytes(whole + whole[:100])
    wait_for(lambda: not left.exists(), "what was left")
    assert shipped(bucket) == ["a-1"]
    log.close(5)

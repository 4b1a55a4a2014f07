import json
import math
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.release import (
    AlertLimits,
    Approval,
    Release,
    ReleaseError,
    Stack,
    decode_release,
    encode_release,
    release_digest,
    sealed,
)
from tests.releases import any_release, approvals, make_evidence, make_release, make_variant


@given(any_release, st.none() | approvals)
def test_a_release_reads_back_as_it_was_written(release: Release, approval: Approval | None):
    release = msgspec.structs.replace(release, approval=approval)
    assert decode_release(encode_release(release), "here") == release


@given(any_release)
def test_a_file_has_sorted_keys_on_lines_of_their_own_and_ends_with_a_line(release: Release):
    text = encode_release(release).decode()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert f'\n  "digest": "{release.digest}",\n' in text


def test_names_are_written_as_people_spell_them():
    written = encode_release(make_release(created_by="zoë@example.com"))
    assert "zoë@example.com".encode() in written


@given(any_release, approvals)
def test_the_digest_is_that_of_everything_but_itself_and_the_approval(release: Release, approval: Approval):
    assert release.digest == release_digest(release)
    assert release_digest(msgspec.structs.replace(release, approval=approval, digest=None)) == release.digest
    later = msgspec.structs.replace(release, reason=release.reason + "!")
    assert release_digest(later) != release.digest


@pytest.mark.parametrize("figure", [math.nan, math.inf])
def test_a_figure_that_json_has_no_number_for_is_neither_digested_nor_written(figure: float):
    wrong = msgspec.structs.replace(make_release(), variants=(make_variant(threshold=figure),))
    with pytest.raises(ValueError, match="not JSON compliant"):
        release_digest(wrong)
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_release(wrong)


def test_the_digest_of_a_known_release_stays_what_it_is():
    # From before evidence had a behaviour, which is left out and not null.
    old = make_variant(evidence=make_evidence(behaviour=msgspec.UNSET))
    known = make_release(reason="größer", variants=(old,))
    assert known.digest == "daef0d02122892119ea6e36b42ec83942b28a04586c0d43705af7c4354b35c9a"
    assert b"behaviour" not in encode_release(known)
    assert decode_release(encode_release(known), "releases/local.json") == known


def test_limits_of_alerts_are_the_usual_ones_in_a_file_from_before_there_were_any():
    old = encode_release(make_release())
    assert b"alert_limits" not in old
    assert decode_release(old, "here").limits == AlertLimits()
    own = AlertLimits(drift_index_max=0.5, model_age_max_days=30)
    assert decode_release(encode_release(make_release(alert_limits=own)), "here").limits == own


def test_sealing_takes_an_approval_away_because_it_was_for_another_digest():
    approved = msgspec.structs.replace(make_release(), approval=Approval(approver="eve@example.com", signature="s"))
    changed = sealed(msgspec.structs.replace(approved, reason="another"))
    assert changed.approval is None
    assert changed.digest == release_digest(changed)


@given(st.data())
def test_a_file_with_any_flipped_byte_is_refused_or_says_the_same(data: st.DataObject):
    good = make_release()
    content = bytearray(encode_release(good))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    said = said_of(bytes(content))
    assert said == good or str(said).startswith("here ")


def said_of(content: bytes) -> Release | ReleaseError:
    try:
        return decode_release(content, "here")
    except ReleaseError as exc:
        return exc


@pytest.mark.parametrize(
    ("stack", "remedy"),
    [("local", "remove it, then run `churn promote` again"), ("dev", "restore it from git"), ("prod", "restore it from git")],
)
def test_a_release_that_was_edited_by_hand_is_named_with_both_digests_and_the_way_out(stack: Stack, remedy: str):
    good = make_release(stack=stack)
    edited = encode_release(good).replace(b'"first"', b'"other"')
    expected = release_digest(msgspec.structs.replace(good, reason="other"))
    with pytest.raises(ReleaseError) as caught:
        decode_release(edited, "releases/dev.json")
    assert str(caught.value) == (
        f"releases/dev.json carries digest {good.digest}, but its content has {expected}: it was edited by hand; {remedy}"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 100_000, ""),
        (b'{"stack": "moon"}', "Invalid enum value 'moon' - at `$.stack`"),
        (b'{"surprise": 1}', "unknown field `surprise`"),
    ],
    ids=["empty", "a list", "not text", "deep", "an unknown stack", "an unknown field"],
)
def test_what_is_no_release_is_refused_with_the_file_and_the_place(content: bytes, why: str):
    with pytest.raises(ReleaseError) as caught:
        decode_release(content, "releases/dev.json")
    assert str(caught.value).startswith("releases/dev.json is not a release: ")
    assert why in str(caught.value)


def test_a_release_without_champion_is_refused():
    shadow = make_variant(role="shadow", weight_percent=0)
    with pytest.raises(ReleaseError, match=r"^here has no champion among its variants; one of them must have role champion$"):
        decode_release(encode_release(make_release(variants=(shadow,))), "here")


def test_the_champion_is_found_wherever_it_stands():
    shadow, champion = make_variant(role="shadow", weight_percent=0), make_variant(bundle_digest="b" * 64)
    release = make_release(variants=(shadow, champion))
    assert release.champion == champion
    assert decode_release(encode_release(release), "here").champion == champion


MANY_READ_FIRST = """
import sys, threading
from app.release import decode_release

content = sys.stdin.buffer.read()
sys.setswitchinterval(1e-6)
start = threading.Barrier(16)

def read():
    start.wait()
    decode_release(content, "here")

threads = [threading.Thread(target=read) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_many_threads_may_read_their_first_release_at_once():
    content = encode_release(make_release())
    assert subprocess.run([sys.executable, "-c", MANY_READ_FIRST], input=content, check=False).returncode == 0

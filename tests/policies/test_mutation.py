"""What somebody could change in a stack is caught, or listed with the reason why it may pass."""

import tomllib

from tests.policies.mutation import HARMLESS, Entry, Mutant, changed, changes, field_of, harmless, leaves, main, survey


def test_every_kind_of_change_is_caught_or_listed():
    # One change of each kind of field; `make mutants` makes all of them, and tells of entries that nothing needs.
    outcome, unlisted, _ = survey(once=True)
    assert unlisted == {}
    assert outcome["caught"] > 1000


def test_the_list_gives_a_reason_for_each_kind_of_field():
    listed = tomllib.loads(HARMLESS.read_text())["harmless"]
    assert len(listed) < 180
    assert not [each for each in listed if each["field"] == "*"]
    assert len({(each["type"], each["field"], *each.get("operators", ()), *each.get("stacks", ())) for each in listed}) == len(
        listed
    )
    assert all(each["reason"] for each in listed)


def test_an_entry_covers_its_kind_of_field_alone():
    entry = Entry(type="aws:*", field="rules[].days", operators=("widen",), stacks=("dev",))
    mutant = Mutant(type="aws:x", name="x", field="rules[].days", operator="widen", at=0, entry=None)
    assert entry.covers(mutant, "dev")
    assert not entry.covers(mutant, "prod")
    assert not Entry(type="aws:*", field="rules[].day", operators=(), stacks=()).covers(mutant, "dev")


def test_operators_change_a_leaf_into_what_would_be_taken():
    assert [name for name, _ in changes("10.0.0.0/16", ("cidr",), {})] == ["drop", "widen"]
    assert dict(changes("Deny", ("Effect",), {}))["widen"] == "Allow"
    assert dict(changes(30, ("days",), {})) | {"drop": None} == {"drop": None, "age": 1, "widen": 3001}
    others = {"bucket.arn": ["${bucket/a.arn}", "${bucket/b.arn}"]}
    assert dict(changes("${bucket/a.arn}", ("bucket",), others))["re-point"] == "${bucket/b.arn}"


def test_a_change_leaves_the_rest_as_it_is():
    given = {"a": [{"b": 1}, {"b": 2}]}
    places = [place for place, _ in leaves(given)]
    assert [field_of(place) for place in places] == ["a[].b", "a[].b"]
    assert changed(given, places[1], 3) == {"a": [{"b": 1}, {"b": 3}]}
    assert given == {"a": [{"b": 1}, {"b": 2}]}


def test_the_list_is_read_as_it_is_written():
    assert len(harmless()) == len(tomllib.loads(HARMLESS.read_text())["harmless"])
    assert callable(main)

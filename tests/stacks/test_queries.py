from tests.stacks.queries import Selector, selectors


def test_metrics_are_told_from_functions_words_labels_and_numbers():
    expr = 'sum by (le) (rate(a_total{x="1",y=~"b|c"}[5m])) / on (field) group_left () (k:r:5m > 1e-05) and time() - 0.5 * d'
    found = set(selectors(expr))
    assert found == {Selector("a_total", (("x", "=", "1"), ("y", "=~", "b|c"))), Selector("k:r:5m", ()), Selector("d", ())}


def test_a_selector_reads_the_series_that_its_matchers_name():
    [selector] = selectors('a{x=~"b.*",y!="c"}')
    assert selector.selects({"x": "bc", "y": "d"})
    assert not selector.selects({"x": "bc", "y": "c"})
    assert not selector.selects({"x": "ab"})

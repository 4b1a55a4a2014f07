"""`python -m bench.without [events] [metrics]`: the service with these features taken out, to see what they cost."""

import sys

from app import service
from app.__main__ import main
from app.events import EventLog
from app.metrics import Drift, Latency, Metrics

FEATURES = ("events", "metrics")


def _nothing(*_: object, **__: object) -> None:
    pass


if __name__ == "__main__":
    if "events" in sys.argv[1:]:
        EventLog.append = _nothing
        service.PredictionEvent = _nothing  # pyright: ignore[reportAttributeAccessIssue]  # not to be made either
    if "metrics" in sys.argv[1:]:
        Latency.observe = Metrics.predicted = Drift.see = _nothing
    sys.exit(main())

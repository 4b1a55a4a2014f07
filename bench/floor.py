"""The floor: a Starlette application that reads the body and answers a constant, run exactly as `python -m app` is.

`python bench/floor.py PORT LENGTH`. What it takes, no service on this stack can undercut.
"""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

CONTENT = b"x" * int(sys.argv[2])


async def answer(request: Request) -> Response:
    """The constant."""
    await request.body()
    return Response(CONTENT, media_type="application/json")


app = Starlette(routes=[Route("/v1/predict", answer, methods=["POST"])])
uvicorn.run(
    app,
    host="127.0.0.1",
    port=int(sys.argv[1]),
    http="httptools",
    loop="uvloop",
    ws="none",
    log_config=None,
    access_log=False,
    server_header=False,
    timeout_keep_alive=75,
)

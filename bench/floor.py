"""The floor: a Starlette application that reads the body and answers a constant, run exactly as `python -m app` is.

`python bench/floor.py PORT`, of FLOOR_BYTES letters. It pays for a web server and a framework, and for nothing else.
"""

import os
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

CONTENT = b"x" * int(os.environ["FLOOR_BYTES"])


async def answer(request: Request) -> Response:
    """The constant."""
    await request.body()
    return Response(CONTENT, media_type="application/json")


app = Starlette(routes=[Route("/v1/predict", answer, methods=["POST"])])
if __name__ == "__main__":
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

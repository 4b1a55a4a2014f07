"""What one commit says of itself, by its own code: its contract, and the plan of each of its stacks.

`review.py` runs this file by its path, with the commit's folder before all others on the path of modules: of the code around it
nothing is imported, and of the commit only what every commit has, its command `stacks.plan` and its contract.
"""

import contextlib
import gc
import io
import json
import sys
import traceback
from pathlib import Path
from typing import Any


def contract() -> dict[str, Any]:
    """The fields of the commit's customer record and their digest."""
    # Here and below, as what cannot be imported is to be told like what cannot be planned.
    import msgspec  # noqa: PLC0415

    from app.contract import CONTRACT_DIGEST, FIELDS  # noqa: PLC0415

    return {"digest": CONTRACT_DIGEST, "fields": msgspec.to_builtins(FIELDS)}


def plans() -> dict[str, Any]:
    """By stack: the exit code of its plan, the plan where there is one, and what refuses it."""
    # One process for all: the providers' SDKs take longer to import than any stack to plan, and no stack sees another's.
    from stacks.config import stacks  # noqa: PLC0415
    from stacks.plan import main  # noqa: PLC0415

    def planned(stack: str) -> dict[str, Any]:
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main([stack, "--json"])
        except Exception:  # noqa: BLE001 - a program may end in any way, and the other stacks are still to be read
            return {"code": 2, "plan": None, "said": traceback.format_exc().splitlines()[-1:]}
        plan = json.loads(out.getvalue())[stack] if code in (0, 1) else None
        return {"code": code, "plan": plan, "said": err.getvalue().splitlines()}

    return {stack: planned(stack) for stack in stacks()}


if __name__ == "__main__":
    # To look through the SDKs' objects for garbage, again and again, would be a quarter of all that this takes.
    gc.disable()
    Path(sys.argv[1]).write_text(json.dumps({"contract": contract(), "stacks": plans()}))

"""What a Pulumi program declares, without an engine, a cloud or credentials."""

import asyncio
import contextvars
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import msgspec
from pulumi.runtime import rpc, set_all_config, set_mocks
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.settings import ROOT
from pulumi.runtime.stack import run_in_stack

PROJECT = "churn"
# What resources learn of themselves only when they are made; a reference such as ${bucket/lake.arn} stands for it.
LEARNT = ("address", "arn", "bucket", "name", "prefixListId", "repositoryUrl")


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One declared resource; `parent` and `provider` are the `key` of another, or empty."""

    type: str
    name: str
    parent: str
    provider: str
    protect: bool
    retain_on_delete: bool
    inputs: dict[str, Any]

    @property
    def key(self) -> str:
        """What tells it from all others of its stack."""
        return f"{self.type} {self.name}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one stack declares, in an order that does not depend on when it was declared."""

    stack: str
    outputs: dict[str, Any]
    resources: tuple[Resource, ...]


def record(program: Callable[[], object], stack: str, config: Mapping[str, str]) -> Plan:
    """Run `program` to its end, every registration included. Raises what the program raises."""
    # The engine's settings are context variables: in a context of their own, no run sees another's.
    return contextvars.copy_context().run(_record, program, stack, dict(config))


def _record(program: Callable[[], object], stack: str, config: dict[str, str]) -> Plan:
    set_all_config(config)
    recorder = _Recorder(_References())
    # The mock monitor gives each of its threads an event loop and closes none: here it has one thread, whose loop is ours.
    loop = asyncio.new_event_loop()
    thread = ThreadPoolExecutor(max_workers=1, initializer=asyncio.set_event_loop, initargs=(loop,))

    def run() -> None:
        program()

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(thread)
        # Here, as set_mocks registers a root resource on whatever event loop there is, and on another one it never ends.
        set_mocks(recorder.mocks, project=PROJECT, stack=stack, preview=False, monitor=recorder)
        # The program gets a root of its own, as on the engine; that one is finished and takes no outputs any more.
        ROOT.set(None)
        await run_in_stack(run)

    try:
        asyncio.run(main())
    finally:
        loop.close()
    return Plan(stack=stack, outputs=recorder.outputs, resources=tuple(sorted(recorder.declared, key=lambda each: each.key)))


class _References(Mocks):
    """Answers for AWS with references to what is not known yet."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        reference = f"{args.typ.rsplit(':', 1)[-1][:1].lower()}{args.typ.rsplit(':', 1)[-1][1:]}/{args.name}"
        learnt: dict[str, Any] = {output: f"${{{reference}.{output}}}" for output in LEARNT}
        learnt["masterUserSecrets"] = [{"secretArn": f"${{{reference}.secretArn}}"}]
        return f"${{{reference}.id}}", learnt | cast("dict[str, Any]", args.inputs)  # pyright: ignore[reportUnknownMemberType] - untyped there

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        """The only question that the program asks of AWS is whose account it is in."""
        return {"aws:index/getCallerIdentity:getCallerIdentity": {"accountId": "${account.id}"}}[args.token], []


class _Recorder(MockMonitor):
    def __init__(self, mocks: Mocks) -> None:
        super().__init__(mocks)
        self.declared: list[Resource] = []
        self.outputs: dict[str, Any] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the engine's name
        answer: Any = super().RegisterResource(request)  # pyright: ignore[reportUnknownMemberType] - untyped there
        if request.type != "pulumi:pulumi:Stack":
            self.declared.append(
                Resource(
                    type=request.type,
                    name=request.name,
                    parent=_key(request.parent),
                    provider=_key(request.provider.rpartition("::")[0]),
                    protect=request.protect,
                    retain_on_delete=request.retainOnDelete,
                    inputs=_plain(rpc.deserialize_properties(request.object)),
                )
            )
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - the engine's name
        if "::pulumi:pulumi:Stack::" in request.urn:
            self.outputs |= _plain(rpc.deserialize_properties(request.outputs))
        return super().RegisterResourceOutputs(request)  # pyright: ignore[reportUnknownMemberType] - untyped there


def _key(urn: str) -> str:
    if not urn or "::pulumi:pulumi:Stack::" in urn:
        return ""
    chain, name = urn.split("::")[2:]
    return f"{chain.rpartition('$')[2]} {name}"


def _plain(value: Any) -> Any:
    """The value with its keys in order, secrets masked and JSON documents as structure."""
    if rpc.is_rpc_secret(value):
        return "[secret]"
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in sorted(cast("dict[str, Any]", value).items())}
    if isinstance(value, list):
        return [_plain(each) for each in cast("list[Any]", value)]
    if isinstance(value, str) and value.startswith('{"'):
        return _plain(json.loads(value))
    # Numbers travel as floats.
    return int(value) if isinstance(value, float) and value.is_integer() else value

"""What a Pulumi program declares, without an engine, a cloud or credentials."""

import asyncio
import contextvars
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import msgspec
from pulumi import ResourceOptions, ResourceTransform, ResourceTransformArgs, ResourceTransformResult
from pulumi.runtime import rpc, set_all_config, set_mocks
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.settings import ROOT
from pulumi.runtime.stack import run_in_stack

from stacks import eks_children
from stacks.eks_children import Child, children
from stacks.learnt import learnt, reference

PROJECT = "churn"
# What brings objects of others, which are not in a plan.
CHART = "kubernetes:helm.sh/v3:Release"


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One declared resource; `parent`, `provider` and what it waits for are the `key` of another, or empty."""

    type: str
    name: str
    parent: str
    provider: str
    protect: bool
    retain_on_delete: bool
    inputs: dict[str, Any]
    waits_for: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()

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
    """Answers for AWS and Kubernetes with references to what is not known yet."""

    def __init__(self) -> None:
        self.transforms: dict[str, list[ResourceTransform]] = {}

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """What the resource was given comes back, the rest stands for itself."""
        if args.transforms:
            self.transforms[args.name] = args.transforms
        given = cast("dict[str, Any]", args.inputs)  # pyright: ignore[reportUnknownMemberType] - untyped there
        return f"${{{reference(args.typ, args.name)}.id}}", learnt(args.typ, args.name) | given

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        """The only question that the program asks of AWS is whose account it is in."""
        return {"aws:index/getCallerIdentity:getCallerIdentity": {"accountId": "${account.id}"}}[args.token], []


class _Recorder(MockMonitor):
    def __init__(self, references: _References) -> None:
        super().__init__(references)
        self.references = references
        self.declared: list[Resource] = []
        self.outputs: dict[str, Any] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the engine's name
        answer: Any = super().RegisterResource(request)  # pyright: ignore[reportUnknownMemberType] - untyped there
        if request.type != "pulumi:pulumi:Stack":
            inputs: dict[str, Any] = rpc.deserialize_properties(request.object)
            self.declared.append(
                Resource(
                    type=request.type,
                    name=request.name,
                    parent=_key(request.parent),
                    provider=_provider(request.provider),
                    protect=request.protect,
                    retain_on_delete=request.retainOnDelete,
                    inputs=_inputs(request.type, inputs),
                    waits_for=tuple(sorted({_key(each) for each in request.dependencies})),
                    ignores=tuple(request.ignoreChanges),
                )
            )
            if request.type == eks_children.COMPONENT:
                cluster = self._construct(request, answer.urn, inputs)
                answer.object["eksCluster"] = cluster
                answer.object["core"]["cluster"] = cluster
        return answer

    def _construct(self, request: Any, urn: str, inputs: dict[str, Any]) -> dict[str, str]:
        """Declare what the component's own provider would; the cluster that is an output of it, by reference."""
        urns = {"": urn}
        provider = _provider(request.providers.get("aws", ""))
        for child in children(request.name, inputs):
            urns[child.name] = self.make_urn(urns[child.parent], child.type, child.name)
            self._declare(child, urns, provider, self.references.transforms.get(request.name, []))
        made = self.resources[urns[f"{request.name}-eksCluster"]]
        return {rpc._special_sig_key: rpc._special_resource_sig, "urn": made.urn, "id": made.id}  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - what the wire has for a resource

    def _declare(self, child: Child, urns: dict[str, str], provider: str, transforms: list[ResourceTransform]) -> None:
        inputs = child.inputs
        for transform in transforms:
            result = transform(ResourceTransformArgs(True, child.type, child.name, inputs, ResourceOptions()))
            inputs = cast("dict[str, Any]", result.props) if isinstance(result, ResourceTransformResult) else inputs
        identifier, state = self.references.new_resource(MockResourceArgs(child.type, child.name, inputs))
        urn = urns[child.name]
        self.resources[urn] = MockMonitor.ResourceRegistration(urn, identifier or "", state)
        self.declared.append(
            Resource(
                type=child.type,
                name=child.name,
                parent=_key(urns[child.parent]),
                provider=provider if child.type.startswith("aws:") else "",
                protect=False,
                retain_on_delete=False,
                inputs=_inputs(child.type, inputs),
            )
        )

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - the engine's name
        if "::pulumi:pulumi:Stack::" in request.urn:
            self.outputs |= _plain(rpc.deserialize_properties(request.outputs))
        return super().RegisterResourceOutputs(request)  # pyright: ignore[reportUnknownMemberType] - untyped there


def _key(urn: str) -> str:
    if not urn or "::pulumi:pulumi:Stack::" in urn:
        return ""
    chain, name = urn.split("::")[2:]
    return f"{chain.rpartition('$')[2]} {name}"


def _provider(reference: str) -> str:
    return _key(reference.rpartition("::")[0])


def _inputs(kind: str, inputs: dict[str, Any]) -> dict[str, Any]:
    # A text in a Kubernetes object is one, whatever is in it.
    return _plain(inputs, documents=not kind.startswith("kubernetes:"))


def _plain(value: Any, *, documents: bool = True) -> Any:
    """The value with its keys in order and secrets masked; `documents`: JSON texts, as AWS takes policies, as structure."""
    if rpc.is_rpc_secret(value):
        return "[secret]"
    if isinstance(value, dict):
        return {key: _plain(each, documents=documents) for key, each in sorted(cast("dict[str, Any]", value).items())}
    if isinstance(value, list):
        return [_plain(each, documents=documents) for each in cast("list[Any]", value)]
    if documents and isinstance(value, str) and value.startswith('{"'):
        return _plain(json.loads(value))
    # Numbers travel as floats.
    return int(value) if isinstance(value, float) and value.is_integer() else value

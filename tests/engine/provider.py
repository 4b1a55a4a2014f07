"""AWS, pulumi-eks and Kubernetes as Pulumi's engine meets them, without any of them: what is declared exists at once."""
# ruff: noqa: N802, ARG002 - the names and arguments are those of Pulumi's protocol

import itertools
from threading import Lock
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import plugin_pb2, provider_pb2
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderServicer
from pulumi.runtime.proto.resource_pb2 import RegisterResourceOutputsRequest, RegisterResourceRequest
from pulumi.runtime.proto.resource_pb2_grpc import ResourceMonitorStub
from pulumi.runtime.rpc import UNKNOWN, _special_resource_sig, _special_sig_key  # what the wire has for a resource

from stacks.eks_children import CLUSTER, children
from stacks.learnt import learnt
from stacks.replacing import OF_OBJECTS, REPLACING

# What RDS keeps to itself when it makes a database: nobody may ever come to see it.
PASSWORD = "kept-by-rds-0123456789"  # noqa: S105 - made up, so that it can be looked for
ANSWERS = {"aws:index/getCallerIdentity:getCallerIdentity": {"accountId": "123456789012"}}

# What an update makes anew of itself: `ComputedIf` in terraform-provider-aws, internal/service/ec2/ec2_launch_template.go.
CHANGING = {"aws:ec2/launchTemplate:LaunchTemplate": ("latestVersion",)}

Properties = dict[str, Any]


class Simulated(ResourceProviderServicer):
    """One provider for all packages; a request says of which type it is."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        # Two threads that import one module of the SDK at a time find it half made.
        self._importing = Lock()

    def _learnt(self, kind: str, name: str) -> Properties:
        with self._importing:
            return learnt(kind, name)

    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: object
    ) -> provider_pb2.ProviderHandshakeResponse:
        # Not outputs: values come as they are. The engine wants whoever makes components to know of secrets.
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, accept_resources=True)

    def GetPluginInfo(self, request: Empty, context: object) -> plugin_pb2.PluginInfo:
        # Above any that an SDK asks for.
        return plugin_pb2.PluginInfo(version="999.0.0")

    def Attach(self, request: plugin_pb2.PluginAttach, context: object) -> Empty:
        return Empty()

    def CheckConfig(self, request: provider_pb2.CheckRequest, context: object) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: object) -> provider_pb2.DiffResponse:
        return self.Diff(request, context)

    def Configure(self, request: provider_pb2.ConfigureRequest, context: object) -> provider_pb2.ConfigureResponse:
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True, acceptResources=True)

    def Invoke(self, request: provider_pb2.InvokeRequest, context: object) -> provider_pb2.InvokeResponse:
        answer = provider_pb2.InvokeResponse()
        # A word of Python, so no attribute.
        getattr(answer, "return").update(ANSWERS[request.tok])
        return answer

    def Check(self, request: provider_pb2.CheckRequest, context: object) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def Diff(self, request: provider_pb2.DiffRequest, context: object) -> provider_pb2.DiffResponse:
        old, new = MessageToDict(request.old_inputs), MessageToDict(request.news)
        changed = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
        places = REPLACING.get(request.type, ()) + (OF_OBJECTS if request.type.startswith("kubernetes:") else ())
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            replaces=[place for place in places if _at(old, place) != _at(new, place)],
        )

    def Construct(self, request: provider_pb2.ConstructRequest, context: object) -> provider_pb2.ConstructResponse:
        """The component and what is below it, registered as its own provider would."""
        with grpc.insecure_channel(request.monitorEndpoint) as channel:
            monitor = ResourceMonitorStub(channel)
            component = RegisterResourceRequest(
                type=request.type, name=request.name, parent=request.parent, object=request.inputs, acceptResources=True
            )
            urns = {"": monitor.RegisterResource(component).urn}
            state = self._learnt(request.type, request.name)
            for child in children(request.name, MessageToDict(request.inputs)):
                made = monitor.RegisterResource(
                    RegisterResourceRequest(
                        type=child.type,
                        name=child.name,
                        parent=urns[child.parent],
                        custom=not child.type.startswith("eks:"),
                        object=_struct(child.inputs),
                        provider=request.providers["aws"] if child.type.startswith("aws:") else "",
                        acceptResources=True,
                    )
                )
                urns[child.name] = made.urn
                if child.type == CLUSTER:
                    cluster = {_special_sig_key: _special_resource_sig, "urn": made.urn, "id": made.id or UNKNOWN}
                    # As long as there is none, nothing is known of it but that it will be.
                    known = state if made.id else dict.fromkeys(state, UNKNOWN)
                    state = known | {"eksCluster": cluster}
            monitor.RegisterResourceOutputs(RegisterResourceOutputsRequest(urn=urns[""], outputs=_struct(state)))
        return provider_pb2.ConstructResponse(urn=urns[""], state=_struct(state))

    def Create(self, request: provider_pb2.CreateRequest, context: object) -> provider_pb2.CreateResponse:
        made = self._learnt(request.type, request.name)
        if request.type == "aws:rds/instance:Instance":
            made["password"] = PASSWORD
        if request.preview:
            return provider_pb2.CreateResponse(
                properties=_struct(dict.fromkeys(made, UNKNOWN) | MessageToDict(request.properties))
            )
        identity = f"{request.name}-{next(self._numbers):04x}"
        return provider_pb2.CreateResponse(id=identity, properties=_struct(made | MessageToDict(request.properties)))

    def Update(self, request: provider_pb2.UpdateRequest, context: object) -> provider_pb2.UpdateResponse:
        given = MessageToDict(request.old_inputs)
        kept = {key: value for key, value in MessageToDict(request.olds).items() if key not in given}
        anew = UNKNOWN if request.preview else f"{next(self._numbers)}"
        changed = dict.fromkeys(CHANGING.get(request.type, ()), anew)
        return provider_pb2.UpdateResponse(properties=_struct(kept | changed | MessageToDict(request.news)))

    def Cancel(self, request: Empty, context: object) -> Empty:
        return Empty()

    def Delete(self, request: provider_pb2.DeleteRequest, context: object) -> Empty:
        return Empty()


def _struct(properties: Properties) -> Struct:
    struct = Struct()
    struct.update(properties)
    return struct


def _at(properties: Properties, path: str) -> Any:
    """The value at a dotted path, None where there is none; unknown where a part of the way is."""
    value: Any = properties
    for key in path.split("."):
        if not isinstance(value, dict):
            return value
        value = value.get(key)
    return value

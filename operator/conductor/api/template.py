"""How much of a pod template the operator itself reads, and that it has the form which Kubernetes gives it.

The API server is asked about the whole template by dry-run, but only once the template is recorded and rendered;
what is read until then may not be of another type. Nulls count as nothing, as charts render them.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetPydanticSchema, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

JsonObject = dict[str, Any]


class _Shape(BaseModel):
    """Strict about what is read here, and silent about everything else."""

    model_config = ConfigDict(extra="allow", strict=True, alias_generator=to_camel, populate_by_name=True)


class _Named(_Shape):
    name: str | None = None
    optional: bool | None = None


class _Source(_Shape):
    config_map: _Named | None = None


class _Projected(_Shape):
    sources: list[_Source] | None = None


class _Volume(_Source):
    projected: _Projected | None = None


class _ValueFrom(_Shape):
    config_map_key_ref: _Named | None = None


class _Variable(_Shape):
    value_from: _ValueFrom | None = None


class _EnvFrom(_Shape):
    config_map_ref: _Named | None = None


class _Port(_Shape):
    name: str | None = None
    container_port: int | None = None
    protocol: str | None = None


class _Lifecycle(_Shape):
    pre_stop: JsonObject | None = None


class _Container(_Shape):
    env: list[_Variable] | None = None
    env_from: list[_EnvFrom] | None = None
    ports: list[_Port] | None = None
    lifecycle: _Lifecycle | None = None
    volume_mounts: list[JsonObject] | None = None


class _SecurityContext(_Shape):
    run_as_user: int | None = None


class _PodSpec(_Shape):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    volumes: list[_Volume] | None = None
    termination_grace_period_seconds: int | None = None
    security_context: _SecurityContext | None = None


class _Metadata(_Shape):
    labels: dict[str, str | None] | None = None


class _Template(_Shape):
    metadata: _Metadata | None = None
    spec: _PodSpec | None = None


def _as_written(_: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    """Checked against the shape, and kept as the user wrote it."""

    def keep(value: Any, check: core_schema.ValidatorFunctionWrapHandler) -> Any:
        check(value)
        return value

    as_it_is = core_schema.plain_serializer_function_ser_schema(lambda value: value)
    return core_schema.no_info_wrap_validator_function(
        keep, handler.generate_schema(_Template), serialization=as_it_is
    )


PodTemplate = Annotated[
    JsonObject,
    GetPydanticSchema(_as_written),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]

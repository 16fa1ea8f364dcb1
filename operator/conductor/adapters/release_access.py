"""Reads releases, and writes their command annotations, with a person's own kubeconfig (for the CLI)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, cast

import urllib3.exceptions
from kubernetes import client, config

from conductor.api.names import GROUP, PLURAL, VERSION

Json = dict[str, Any]

TIMEOUT_SECONDS = 10
IN_CLUSTER_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


class AccessError(Exception):
    """What went wrong and how to mend it, in one sentence for a person."""


class UnreachableError(AccessError):
    """The API server did not answer; the same call may work a moment later."""


class MissingReleaseError(AccessError):
    """There is no release of that name."""


class ReleaseAccess:
    """Releases as the kubeconfig's user sees them."""

    def __init__(self, api: client.CustomObjectsApi, namespace: str) -> None:
        self._api = api
        self.namespace = namespace

    @classmethod
    def connect(cls, context: str | None = None, namespace: str | None = None) -> ReleaseAccess:
        settings = client.Configuration()
        try:
            config.load_kube_config(context=context, client_configuration=settings)
            own_namespace = context_namespace(context)
        except config.ConfigException as error:
            if context is not None:
                raise AccessError(
                    f"context {context!r} cannot be used ({error}); `kubectl config get-contexts` lists them"
                ) from error
            try:
                config.load_incluster_config(client_configuration=settings)
            except config.ConfigException:
                raise AccessError(
                    f"no cluster is configured ({error}); set KUBECONFIG to a kubeconfig file, "
                    "or put one at ~/.kube/config"
                ) from error
            own_namespace = in_cluster_namespace()
        # A person waits: rather an answer that names the mend than minutes of trying again.
        settings.retries = urllib3.Retry(total=1, backoff_factor=0.2)
        return cls(client.CustomObjectsApi(client.ApiClient(settings)), namespace or own_namespace)

    def get(self, name: str) -> Json:
        try:
            return cast(
                "Json",
                self._api.get_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, PLURAL, name, _request_timeout=TIMEOUT_SECONDS
                ),
            )
        except (client.ApiException, urllib3.exceptions.HTTPError) as error:
            if is_missing_object(error):
                raise MissingReleaseError(self._no_such_release(name)) from error
            raise explained(error, self.namespace) from error

    def releases(self, *, all_namespaces: bool = False) -> list[Json]:
        try:
            if all_namespaces:
                answer = self._api.list_cluster_custom_object(
                    GROUP, VERSION, PLURAL, _request_timeout=TIMEOUT_SECONDS
                )
            else:
                answer = self._api.list_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, PLURAL, _request_timeout=TIMEOUT_SECONDS
                )
        except (client.ApiException, urllib3.exceptions.HTTPError) as error:
            raise explained(error, self.namespace) from error
        return list(cast("Json", answer)["items"])

    def annotate(self, name: str, annotations: dict[str, str]) -> Json:
        body = {"metadata": {"annotations": annotations}}
        try:
            return cast(
                "Json",
                self._api.patch_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, PLURAL, name, body, _request_timeout=TIMEOUT_SECONDS
                ),
            )
        except (client.ApiException, urllib3.exceptions.HTTPError) as error:
            if is_missing_object(error):
                raise MissingReleaseError(self._no_such_release(name)) from error
            raise explained(error, self.namespace) from error

    def config_maps(self, labels: str) -> list[Json]:
        """ConfigMaps of the namespace by a label selector, as they are stored."""
        # Not by CoreV1Api: to load its models takes two seconds of a person's time.
        api = self._api.api_client
        asked = api.param_serialize(
            "GET",
            f"/api/v1/namespaces/{self.namespace}/configmaps",
            query_params=[("labelSelector", labels)],
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        try:
            answer: Any = api.call_api(*asked, _request_timeout=TIMEOUT_SECONDS)
            data = answer.read()
            if answer.status != HTTPStatus.OK:
                raise client.ApiException.from_response(http_resp=answer, body=data.decode(), data=None)
        except (client.ApiException, urllib3.exceptions.HTTPError) as error:
            raise explained(error, self.namespace, "list on configmaps") from error
        return list(cast("Json", json.loads(data))["items"])

    def _no_such_release(self, name: str) -> str:
        there = sorted(item["metadata"]["name"] for item in self.releases())
        if there:
            return f"no release {name!r} in namespace {self.namespace!r}; there: {', '.join(there)}"
        return (
            f"no release {name!r} in namespace {self.namespace!r}, and no other; name the right namespace "
            "with -n, or list all with `status -A`"
        )


def context_namespace(context: str | None) -> str:
    contexts, active = config.list_kube_config_contexts()
    chosen = next((item for item in contexts if item["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")


def in_cluster_namespace() -> str:
    with open(IN_CLUSTER_NAMESPACE, encoding="utf-8") as file:  # noqa: PTH123 - one line of a mounted file
        return file.read().strip()


def is_missing_object(error: Exception) -> bool:
    """True when the kind is known and only the object is not there."""
    if not isinstance(error, client.ApiException) or error.status != 404:
        return False
    return bool(status_body(error).get("details", {}).get("name"))


def status_body(error: client.ApiException) -> Json:
    try:
        body = json.loads(error.body or "")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def explained(
    error: Exception, namespace: str, rights: str = f"get, list and patch on {PLURAL}.{GROUP}"
) -> AccessError:
    if not isinstance(error, client.ApiException):
        reason = getattr(error, "reason", None) or error
        return UnreachableError(
            f"the API server does not answer ({reason}); check the server in your kubeconfig and whether it runs"
        )
    message = status_body(error).get("message") or error.reason
    if error.status == 401:
        return AccessError(f"the API server refused your credentials ({message}); log in again")
    if error.status == 403:
        return AccessError(f"not allowed: {message}; ask for {rights} in namespace {namespace!r}")
    if error.status == 404:
        return AccessError(
            f"this cluster knows no {PLURAL}.{GROUP}; install the operator's chart (charts/conductor), "
            "or choose another cluster with --context"
        )
    return AccessError(f"the API server answered {error.status}: {message}")

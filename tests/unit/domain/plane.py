"""Specs that stories begin from, as a user would write them."""

from typing import Any

from tests.unit.effects.memory_api import managed

Json = dict[str, Any]


def api_component(version: str, replicas: int = 3, **more: Any) -> Json:
    """A component with users, behind the Service `mc-api`."""
    container: Json = {
        "name": "api",
        "image": f"localhost/mc:{version}",
        "ports": [{"name": "http", "containerPort": 8080}],
    }
    return {
        "name": "api",
        "replicas": replicas,
        "services": [{"name": "mc-api", "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}],
        "template": {"spec": {"containers": [container]}},
    } | more


def worker_component(version: str, handover: str = "Exclusive", **more: Any) -> Json:
    """A component without users."""
    template = {"spec": {"containers": [{"name": "worker", "image": f"localhost/mc:{version}"}]}}
    return {"name": "worker", "handover": handover, "replicas": 1, "template": template} | more


def gateway_component(version: str, replicas: int = 2) -> Json:
    """A second component with users, behind the Service `mc-gateway`."""
    component = api_component(version, replicas, name="gateway")
    component["services"] = [
        {"name": "mc-gateway", "ports": [{"name": "web", "port": 443, "targetPort": 8443}]}
    ]
    return component


def spec(version: str = "1.0.0", **more: Any) -> Json:
    """One API component, quick times; `more` replaces whole fields."""
    return {
        "version": version,
        "components": [api_component(version)],
        "traffic": {"current": "blue", "configMap": "mc-traffic"},
        "verification": {
            "http": [{"component": "api", "service": "mc-api", "port": "http", "path": "/executions"}],
        },
        "soak": "10s",
        "metrics": {"prometheus": {"url": "http://prometheus.monitoring.svc:9090"}},
    } | more


FRONT, BACK = "mc-front", "mc-back"
COLOUR_OF_POD = {
    "name": "COLOUR",
    "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['maestro-conductor.io/colour']"}},
}


def pair(version: str, *, by_colour: bool = True, fronts: int = 3, backs: int = 2, **more: Any) -> Json:
    """Two components of which users meet the first, which calls the second: by its colour, or as it always did."""
    front = api_component(version, fronts, name="front")
    front["services"] = [{"name": FRONT, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}]
    url = f"http://{BACK}-$(COLOUR):80" if by_colour else f"http://{BACK}:80"
    called = {"name": "BACK_URL", "value": url}
    front["template"]["spec"]["containers"][0]["env"] = [COLOUR_OF_POD, called] if by_colour else [called]
    back = api_component(version, backs, name="back")
    back["services"] = [{"name": BACK, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}]
    check = {"component": "front", "service": FRONT, "port": "http", "path": "/"}
    return spec(version, components=[back, front], verification={"http": [check]}) | more


def strictly(**more: Any) -> Json:
    """The traffic section of `spec()`, with one edge for a `pair`."""
    return traffic(consistency="Strict", edge=FRONT, **more)


def traffic(**more: Any) -> Json:
    """The traffic section of `spec()`, with more in it."""
    return {"current": "blue", "configMap": "mc-traffic"} | more


def http_route(name: str = "mc", *services: str, **more: Any) -> Json:
    """A route that leads users to Services, a rule each, as a user's chart renders it and the API server stores it."""
    rules = [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/" if index == 0 else f"/{service}"}}],
            "backendRefs": [{"group": "", "kind": "Service", "name": service, "port": 80, "weight": 1}],
        }
        | more
        for index, service in enumerate(services or ("mc-api",))
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "managedFields": [managed("helm")]},
        "spec": {"parentRefs": [{"name": "edge"}], "hostnames": ["mc.example.org"], "rules": rules},
    }


def by_route(*names: str, **more: Any) -> Json:
    """The traffic section of `spec()`, led by routes."""
    routes = [{"name": name} for name in names or ("mc",)]
    return traffic(provider="GatewayAPI", routes=routes, **more)


LOGINS = {"blue": "mc_blue", "green": "mc_green"}


def migrations(version: str, contract: str = "AfterSoak", *, logins: Json | None = LOGINS) -> Json:
    """A migrations section, with a login role per colour unless there are none."""
    return {
        **({"logins": logins} if logins else {}),
        "image": f"localhost/mc-migrations:{version}",
        "databaseSecretRef": {"name": "mc-database", "key": "url"},
        "contract": contract,
    }

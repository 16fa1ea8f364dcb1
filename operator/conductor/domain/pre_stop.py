"""The preStop hook that pods get: what holds their SIGTERM back while users may still come or wait for an answer."""

from typing import Any

from conductor.api.pre_stop import DrainUntil, PreStopHook, Waiter

WAITER = "maestro-drain"
_FOLDER = f"/{WAITER}"
_PROGRAM = f"{_FOLDER}/drain"
_UNTIL = {DrainUntil.SILENCE: "silence", DrainUntil.SETTLED: "settled"}
#: A namespace with quotas takes no container without limits; it copies two megabytes, and asks for less than any pod.
_RESOURCES = {
    "requests": {"cpu": "10m", "memory": "16Mi"},
    "limits": {"cpu": "100m", "memory": "32Mi"},
}


def put_in(pod: dict[str, Any], hook: PreStopHook) -> None:
    """Give each container of a pod spec the hook, but where it has one of its owner's."""
    without = [
        container
        for container in pod.get("containers") or []
        if not (container.get("lifecycle") or {}).get("preStop")
    ]
    ports = _ports(pod)
    for container in without:
        container["lifecycle"] = {**(container.get("lifecycle") or {}), "preStop": _hook(hook, ports)}
    if hook.waiter is not None and without:
        _bring(pod, hook.waiter, without)


def _hook(hook: PreStopHook, ports: list[int]) -> dict[str, Any]:
    if hook.waiter is not None:
        command = [_PROGRAM, "wait", f"-at-most={hook.drain_seconds}s"]
        command += [f"-settle={hook.waiter.settle_seconds}s", f"-until={_UNTIL[hook.waiter.until]}"]
        if ports:
            command.append(f"-ports={','.join(map(str, ports))}")
        return {"exec": {"command": command}}
    if hook.http_get is None:
        return {"sleep": {"seconds": hook.drain_seconds}}
    separator = "&" if "?" in hook.http_get.path else "?"
    path = f"{hook.http_get.path}{separator}seconds={hook.drain_seconds}"
    return {"httpGet": {"path": path, "port": hook.http_get.port}}


def _ports(pod: dict[str, Any]) -> list[int]:
    """TCP ports of the whole pod: its containers share them, and none may end before the others are done."""
    found = {
        port["containerPort"]
        for container in pod.get("containers") or []
        for port in container.get("ports") or []
        if port.get("containerPort") and (port.get("protocol") or "TCP") == "TCP"
    }
    return sorted(found)


def _bring(pod: dict[str, Any], waiter: Waiter, containers: list[dict[str, Any]]) -> None:
    """An image without a shell cannot copy anything in; the waiter copies itself, as a user without any privilege."""
    volume = {"name": WAITER, "emptyDir": {"sizeLimit": "16Mi"}}
    mount = {"name": WAITER, "mountPath": _FOLDER}
    bounds: dict[str, Any] = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if (pod.get("securityContext") or {}).get("runAsUser") != 0:
        bounds["runAsNonRoot"] = True
    installer = {
        "name": WAITER,
        "image": waiter.image,
        "args": ["install", _PROGRAM],
        "securityContext": bounds,
        "resources": _RESOURCES,
        "volumeMounts": [mount],
    }
    pod["volumes"] = [*(pod.get("volumes") or []), volume]
    pod["initContainers"] = [installer, *(pod.get("initContainers") or [])]
    for container in containers:
        container["volumeMounts"] = [*(container.get("volumeMounts") or []), {**mount, "readOnly": True}]

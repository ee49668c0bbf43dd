#!/usr/bin/env python3
"""Renders configs/helm/corelane by Helm's own engine, with the defaults and with each option on.

    tests/packaging/chart.py <directory>

Every document is parsed, checked against the schemas of the oldest and the newest Kubernetes that are
at hand, and looked at for what the chart promises. For each case the directory gets <case>.conf,
<case>.args with the server's further arguments and <case>.probe with a probe's command, a word a line.
Exits with 0 when all is well.
"""

import base64
import copy
import os
import re
import sys

import helm_python
import kubernetes_validate
import yaml

CHART = os.path.join(os.path.dirname(__file__), "../../configs/helm/corelane")
VERSIONS = ["1.25", kubernetes_validate.latest_version()]
LONG = "a-release-with-a-name-as-long-as-helm-lets-one-have-it"[:53]
MONITORED = {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}
THEIRS = {"enabled": True, "existingSecret": "theirs", "existingSecretKey": "redis-password"}

CASES = {
    "default": {},
    "auth-off": {"auth": {"enabled": False}},
    "auth-password": {"auth": {"password": 'with "quotes", $(VARS) and spaces'}},
    "auth-existing": {"auth": THEIRS},
    "persistence-off": {"persistence": {"enabled": False}, "config": ""},
    "persistence-full": {"persistence": {"storageClass": "fast", "size": "20Gi", "annotations": {"a": "b"}}},
    "monitor": {"metrics": MONITORED},
    "monitor-existing": {"metrics": MONITORED, "auth": THEIRS},
    "monitor-open": {"metrics": MONITORED, "auth": {"enabled": False}},
    "metrics-off": {"metrics": {"enabled": False, **MONITORED}},
    "config": {"shards": 2, "config": "maxmemory 100mb\nmaxmemory-policy allkeys-lru\nsave 60 1 300 10"},
    "tls": {"tls": {"enabled": True, "existingSecret": "certificate"}, "metrics": MONITORED},
    "tls-clients": {"tls": {"enabled": True, "existingSecret": "certificate", "requireClientCertificates": True}},
    "long-names": {"name": LONG, "nameOverride": "n" * 63},
    "longer-names": {"fullnameOverride": "f" * 80, "metrics": MONITORED, "auth": THEIRS},
    "account": {"serviceAccount": {"create": False, "name": "other"}},
    "everything": {
        "image": {"repository": "registry.example/corelane", "tag": "1", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "service": {"type": "NodePort", "port": 6390, "annotations": {"a": "b"}},
        "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "4", "memory": "8Gi"}},
        "startupProbe": {"periodSeconds": 1, "failureThreshold": 3},
        "podAnnotations": {"a": "1"}, "podLabels": {"team": "x"}, "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "only", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}]}},
        "priorityClassName": "high", "terminationGracePeriodSeconds": 10,
        "serviceAccount": {"annotations": {"a": "b"}}, "metrics": MONITORED,
    },
}

case = ""


def expect(holds, what):
    if not holds:
        sys.exit(f"{case}: {what}")


def documents(chart, values, name):
    """The chart's objects by kind and name."""
    found = {}
    for path, text in chart.render(values, name=name, namespace="space", is_install=True).items():
        if not path.endswith(".yaml"):
            expect(text.strip(), f"{path} is empty")
            continue
        for document in yaml.safe_load_all(text):
            if document:
                key = document["kind"], document["metadata"]["name"]
                expect(key not in found, f"two of {key}")
                found[key] = document
    return found


def check_schemas():
    """That the schemas would say something."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [], "contaners": 1}}
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(pod, version, strict=True)
        except kubernetes_validate.ValidationError:
            continue
        expect(False, f"Kubernetes {version} takes anything")


def check_object(document):
    name, kind = document["metadata"]["name"], document["kind"]
    # What a StatefulSet gives its pods' labels is longer by eleven characters.
    limit = 52 if kind == "StatefulSet" else 63
    expect(re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", name), f"the name {name} of a {kind}")
    expect(len(name) <= limit, f"{kind} {name} has a name of {len(name)} characters")
    for label in document["metadata"].get("labels", {}).values():
        expect(re.fullmatch("([A-Za-z0-9][-A-Za-z0-9_.]*)?", label) and len(label) <= 63, f"label {label}")
    if kind == "ServiceMonitor":
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            expect(False, f"{kind} {name} is none of Kubernetes {version}: {error}")


def check_container(container):
    context = container["securityContext"]
    expect(context["allowPrivilegeEscalation"] is False and context["readOnlyRootFilesystem"], "rights")
    expect(context["capabilities"]["drop"] == ["ALL"], "capabilities")


def check_pod(pod, values):
    context = pod["securityContext"]
    expect(context["runAsNonRoot"] and context["runAsUser"] == 65532, "the pod runs as root")
    expect(context["seccompProfile"]["type"] == "RuntimeDefault", "no seccomp profile")
    expect(pod["automountServiceAccountToken"] is False, "the pod is given a token")
    for container in pod["containers"]:
        check_container(container)
    server = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    wanted = {"redis": 6379, "metrics": 9121}
    expect(ports == (wanted if values["metrics"]["enabled"] else {"redis": 6379}), f"ports {ports}")
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"]:
        command = server[probe]["exec"]["command"]
        expect(command[:2] == ["/usr/local/bin/corelane", "ping"], f"{probe} runs {command}")
        expect(("--tls" in command) == values["tls"]["enabled"], f"{probe} runs {command}")
    mounted = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    expect(mounted["config"] == "/config" and mounted["data"] == "/data", f"mounts {mounted}")
    expect(("tls" in mounted) == values["tls"]["enabled"], f"mounts {mounted}")
    return server


def check_claim(found, values):
    (stateful,) = [d for (kind, _), d in found.items() if kind == "StatefulSet"]
    volumes = {volume["name"]: volume for volume in stateful["spec"]["template"]["spec"]["volumes"]}
    claims = stateful["spec"].get("volumeClaimTemplates", [])
    wanted = values["persistence"]
    if not wanted["enabled"]:
        expect(not claims and volumes["data"]["emptyDir"] == {}, "data are kept")
        return
    (claim,) = claims
    expect(claim["metadata"]["name"] == "data" and "data" not in volumes, "no claim for /data")
    expect(claim["spec"]["resources"]["requests"]["storage"] == wanted["size"], "the claim's size")
    expect(claim["spec"].get("storageClassName", "") == wanted["storageClass"], "the storage class")


def check_secret(found, values, server):
    """Returns the password that the server is started with, if any."""
    auth = values["auth"]
    environment = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in server.get("env", [])}
    secrets = {name: d for (kind, name), d in found.items() if kind == "Secret"}
    monitors = [d for (kind, _), d in found.items() if kind == "ServiceMonitor"]
    wants_monitor = values["metrics"]["enabled"] and values["metrics"]["serviceMonitor"]["enabled"]
    expect(len(monitors) == int(wants_monitor), f"{len(monitors)} monitors")
    basic = monitors[0]["spec"]["endpoints"][0].get("basicAuth") if monitors else None
    if not auth["enabled"]:
        expect(not environment and not secrets and not basic, "a password that nobody asked for")
        return None
    reference = environment["REDISCLI_AUTH"]
    # Whatever is referred to is either the user's or among what is rendered.
    for used in [reference, *(basic.values() if basic else [])]:
        theirs = (used["name"], used["key"]) == (auth["existingSecret"], auth["existingSecretKey"])
        ours = used["name"] in secrets and used["key"] in secrets[used["name"]]["data"]
        expect(theirs or ours, f"nobody makes {used}")
    if basic:
        expect(basic["password"] == reference, "Prometheus has another password")
    if auth["existingSecret"]:
        expect(reference == {"name": "theirs", "key": "redis-password"}, f"password from {reference}")
        return "theirs"
    password = base64.b64decode(secrets[reference["name"]]["data"][reference["key"]]).decode()
    expect(password == auth["password"] if auth["password"] else len(password) == 32, "the password")
    return password


def check_services(found, name, values):
    services = {n: d["spec"] for (kind, n), d in found.items() if kind == "Service"}
    expect(len(services) == 2, f"services {list(services)}")
    pod = found["StatefulSet", name]["spec"]["template"]["metadata"]["labels"]
    (tests,) = [d["metadata"]["labels"] for (kind, _), d in found.items() if kind == "Pod"]
    for spec in services.values():
        expect(spec["selector"].items() <= pod.items(), "a service does not find the pod")
        expect(not spec["selector"].items() <= tests.items(), "a service takes the test for a server")
    expect(found["StatefulSet", name]["spec"]["serviceName"] in services, "no headless service")
    ports = {port["name"]: port["port"] for port in services[name]["ports"]}
    expect(ports["redis"] == values["service"]["port"], f"ports {ports}")
    for (kind, _), document in found.items():
        if kind == "ServiceMonitor":
            (endpoint,) = document["spec"]["endpoints"]
            expect(endpoint["port"] in ports and endpoint["path"] == "/metrics", f"monitored is {endpoint}")
            expect(document["metadata"]["labels"]["release"] == "prometheus", "the monitor's labels")
            wanted = document["spec"]["selector"]["matchLabels"]
            labels = found["Service", name]["metadata"]["labels"]
            expect(wanted.items() <= labels.items(), "the monitor does not find the service")


def check(chart, values, into):
    values = copy.deepcopy(values)
    found = documents(chart, values, values.pop("name", "release"))
    merged = chart.merge_values(values)
    for document in found.values():
        check_object(document)
    ((_, name),) = [key for key in found if key[0] == "StatefulSet"]
    pod = found["StatefulSet", name]["spec"]["template"]["spec"]
    server = check_pod(pod, merged)
    (tests,) = [d for (kind, _), d in found.items() if kind == "Pod"]
    expect(tests["spec"]["securityContext"]["runAsNonRoot"], "the test runs as root")
    check_container(tests["spec"]["containers"][0])
    check_claim(found, merged)
    check_services(found, name, merged)
    password = check_secret(found, merged, server)
    accounts = [n for (kind, n) in found if kind == "ServiceAccount"]
    expect([pod["serviceAccountName"]] == (accounts or ["other"]), f"accounts {accounts}")
    conf = found["ConfigMap", name]["data"]["corelane.conf"]
    arguments = server["args"]
    expect(arguments[0] == "/config/corelane.conf", f"arguments {arguments}")
    arguments = [word.replace("$(REDISCLI_AUTH)", password or "") for word in arguments[1:]]
    with open(os.path.join(into, case + ".conf"), "w") as file:
        file.write(conf)
    with open(os.path.join(into, case + ".args"), "w") as file:
        file.writelines(word + "\n" for word in arguments)
    with open(os.path.join(into, case + ".probe"), "w") as file:
        file.writelines(word + "\n" for word in server["readinessProbe"]["exec"]["command"])


def main():
    global case
    report = helm_python.lint(CHART, strict=True)
    case = "lint"
    findings = [message for message in report["messages"] if message["severity"] > 1]
    expect(not findings and not report["errors"], f"{findings} {report['errors']}")
    check_schemas()
    with helm_python.Chart.load(CHART) as chart:
        for case, values in CASES.items():
            check(chart, values, sys.argv[1])
        case = "tls-without-secret"
        try:
            documents(chart, {"tls": {"enabled": True}}, "release")
        except helm_python.HelmRenderError as error:
            expect("tls.existingSecret" in str(error), error)
        else:
            expect(False, "it is rendered")
    print(f"{len(CASES)} cases, Helm {helm_python.helm_sdk_version()}, Kubernetes {VERSIONS}")


main()

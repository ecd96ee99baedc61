"""The values of the chart, described once: their types, bounds, defaults and meanings.

Neighbours: `chart_pages` makes of it `values.yaml`, `values.schema.json` (by which helm refuses a wrong value and names it) and the
reference page. Invariant: what a template reads is described here, and the defaults install a working platform once `store.uri` is set.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from msm.api.base import Part

Text = Annotated[str, StringConstraints(max_length=1024)]
ObjectName = Annotated[str, StringConstraints(max_length=253, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")]
NamespaceName = Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
NamespaceOrNone = Annotated[str, StringConstraints(max_length=63, pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$")]
Quantity = Annotated[str, StringConstraints(pattern=r"^([0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?)?$")]
Address = Annotated[str, StringConstraints(max_length=1024, pattern=r"^(https?://[^/@?#]+(/[^@?#]*)?)?$")]
S3Address = Annotated[str, StringConstraints(max_length=1024, pattern=r"^(s3://[^/]+(/.*)?)?$")]
Digest = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64})?$")]
Tag = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$")]
Repository = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([._/-]+[a-z0-9]+)*$")]
Registry = Annotated[str, StringConstraints(max_length=255, pattern=r"^([A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?)?$")]
Strings = dict[str, str]
Free = dict[str, Any]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1, le=100)]


class Image(Part):
    """One image."""

    registry: Registry = ""
    """Registry of this image alone; empty takes `images.registry`."""
    repository: Repository
    """Name in the registry."""
    tag: Tag = ""
    """Tag; empty takes the chart's `appVersion`."""
    digest: Digest = ""
    """Digest, `sha256:…`; where it is given, it is what is pulled, whatever the tag."""


class Images(Part):
    """What runs. `make push REGISTRY=…` publishes the three images and says which tags and digests they have."""

    registry: Registry = ""
    """Registry of all images, such as `registry.example.com/msm`."""
    pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    """When images are pulled; empty leaves it to Kubernetes."""
    pull_secrets: list[ObjectName] = []
    """Secrets with registry credentials. They must be in the release's namespace, and in that of every run."""
    operator: Image = Image(repository="msm-operator")
    """The operator, its preflight and its test."""
    trainer: Image = Image(repository="msm-trainer")
    """What stages run in."""
    serve: Image = Image(registry="docker.io", repository="vllm/vllm-openai", tag="v0.32.0")
    """vLLM for endpoints and EvalDeployments. On a cluster without GPUs: the image `serve` of this project."""


class Store(Part):
    """Where artifacts lie: one prefix of one bucket, for which the operator holds the credential."""

    uri: S3Address = ""
    """`s3://bucket/prefix`. Required, unless `watchNamespaces` is set and every run brings a store of its own."""
    endpoint: Address = ""
    """Address of the S3 server; empty is AWS."""
    region: Text = ""
    """Region, where the server asks for one."""
    secret_name: Annotated[ObjectName, Field(min_length=1)] = "msm-store"
    """An existing Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; in the release's namespace, and in that of every run."""
    ca_config_map: ObjectName = ""
    """An existing ConfigMap with `ca.crt`, for a server with a private authority; in the release's namespace, and in that of every run."""


class Tracking(Part):
    """The MLflow server. Without one, runs are not shown anywhere but in their reports."""

    uri: Address = ""
    """Address of the server, without user, password and path `/api`."""
    secret_name: ObjectName = ""
    """An existing Secret with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; in the release's
    namespace."""


class Hub(Part):
    """The Hugging Face hub."""

    secret_name: ObjectName = ""
    """An existing Secret with `token`; in that of every run (to look up and download), and in the release's (for the check)."""


class Crds(Part):
    """The definitions of MSMRun and EvalDeployment."""

    install: bool = True
    """Whether they are installed and upgraded with the chart. They are kept when it is uninstalled, and so are all runs."""


class ServiceAccount(Part):
    """The operator's ServiceAccount."""

    create: bool = True
    """Whether it is made; else one of this name must be there."""
    name: Annotated[ObjectName, Field(min_length=1)] = "msm-operator"
    """Its name."""
    annotations: Strings = {}
    """Its annotations."""


class Rbac(Part):
    """Roles and bindings."""

    create: bool = True
    """Whether they are made."""
    aggregate: bool = True
    """Whether people who may view, edit or administer a namespace may do the same with its runs."""


class DisruptionBudget(Part):
    """The operator's PodDisruptionBudget; made where there are at least two replicas."""

    enabled: bool = True
    """Whether it is made."""


class Operator(Part):
    """The operator's pods. One replica leads, the others wait with warm caches."""

    replicas: Annotated[int, Field(ge=1, le=5)] = 2
    """How many."""
    lease_seconds: Annotated[int, Field(ge=1, le=300)] = 15
    """How long a leader that is gone is waited for."""
    port: Port = 8081
    """Port of `/livez`, `/readyz` and `/metrics`."""
    resources: Free = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    """Requests and limits."""
    cache_size: Quantity = "4Gi"
    """Room for what is downloaded to look at it, such as tokenizers and wheels."""
    grace_seconds: Annotated[int, Field(ge=1, le=600)] = 45
    """What a pod has to end what it is at."""
    env: Strings = {}
    """Further environment, such as HTTPS_PROXY and NO_PROXY."""
    disruption_budget: DisruptionBudget = DisruptionBudget()
    """The PodDisruptionBudget."""
    spread: bool = True
    """Whether replicas are spread over nodes where that is possible."""
    priority_class_name: ObjectName = ""
    """An existing PriorityClass."""
    node_selector: Strings = {}
    """Labels of the nodes to run on."""
    tolerations: list[Free] = []
    """Tolerations."""
    affinity: Free = {}
    """Affinity."""
    pod_labels: Strings = {}
    """Further labels of its pods."""
    pod_annotations: Strings = {}
    """Annotations of its pods."""


class Stages(Part):
    """The pods of stages."""

    grace_seconds: Annotated[int, Field(ge=30, le=3600)] = 120
    """What a pod has to write a checkpoint before it is killed."""
    shared_memory: Quantity = "8Gi"
    """Size of /dev/shm; counts as memory of the pod."""
    scratch_size: Quantity = ""
    """Limit of a pod's scratch directory; empty sets none. A run may name a volume instead (`execution.scratch`)."""
    resources: dict[str, Free] = {}
    """Requests and limits by kind of stage, such as `{evaluate: {limits: {memory: 8Gi}}}`. GPUs come from the run."""


class Serving(Part):
    """Served models."""

    env: Strings = {}
    """Environment of vLLM, such as `{VLLM_CPU_KVCACHE_SPACE: "4"}` on a processor."""
    eval_gpus: Annotated[int, Field(ge=0, le=64)] = 1
    """GPUs of a server that is made to ask the arms of an eval."""
    runtimes: Literal["auto", "always", "never"] = "auto"
    """Runtimes `msm-vllm-gpu` and `msm-vllm-cpu` for EvalDeployments and InferenceServices that name one; auto: where KServe is there."""


class NetworkPolicy(Part):
    """What pods may reach. Needs a network that enforces NetworkPolicies."""

    enabled: bool = True
    """Whether each run and each EvalDeployment is walled in: reached by its own pods alone, reaching only DNS, its own pods, the store, the
    endpoints that it names, and what `egress` adds."""
    dns: list[Free] = []
    """NetworkPolicy peers that answer DNS; empty allows port 53 anywhere."""
    egress: list[Free] = [
        {
            "to": [
                {
                    "ipBlock": {
                        "cidr": "0.0.0.0/0",
                        "except": ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"],
                    }
                },
                {"ipBlock": {"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]}},
            ],
            "ports": [{"port": 443, "protocol": "TCP"}],
        }
    ]
    """Further egress rules of NetworkPolicy. The default allows https to public addresses, which hosted language models and the hub need; a
    closed network sets `[]`."""
    operator: bool = True
    """Whether the operator's pods are reached at `operator.port` alone."""


class ServiceMonitor(Part):
    """For the Prometheus operator."""

    enabled: bool = False
    """Whether it is made; needs the definitions of the Prometheus operator."""
    interval: Annotated[str, StringConstraints(pattern=r"^[0-9]+(ms|s|m|h)$")] = "30s"
    """How often metrics are read."""
    labels: Strings = {}
    """Labels that the Prometheus looks for."""


class Metrics(Part):
    """Metrics of the operator, in the format of Prometheus."""

    service: bool = True
    """Whether a Service is made for them."""
    service_monitor: ServiceMonitor = ServiceMonitor()
    """A ServiceMonitor of that Service."""


class Preflight(Part):
    """What is looked at before anything is installed or upgraded. A failure ends helm with what is wrong and how to mend it."""

    enabled: bool = True
    """Whether it runs."""
    required: list[Literal["training", "serving", "queues"]] = ["training"]
    """Controllers whose absence ends it: training (PyTorchJob), serving (KServe), queues (Kueue). Of others it only warns."""
    images: list[Literal["trainer", "serve"]] = ["trainer"]
    """Images that are tried on a node. One that is still being pulled after half a minute counts as there."""
    timeout_seconds: Annotated[int, Field(ge=30, le=3600)] = 240
    """When it gives up; less than helm's own `--timeout`."""


class Test(Part):
    """`helm test`: a run of a model of a few thousand parameters."""

    namespace: NamespaceOrNone = ""
    """Where it runs; empty is the first of `watchNamespaces`, else the release's namespace. The store's Secret must be there."""
    timeout_seconds: Annotated[int, Field(ge=60, le=36000)] = 1500
    """How long it may take."""


class Values(Part):
    """Values of the chart msm."""

    watch_namespaces: list[NamespaceName] = []
    """Namespaces whose MSMRuns are followed. Empty follows all of them, with one installation-wide store credential; with names the
    operator has rights in these alone, and runs there may bring stores and registries with their own Secrets."""
    images: Images = Images()
    """What runs."""
    store: Store = Store()
    """Where artifacts lie."""
    tracking: Tracking = Tracking()
    """The MLflow server."""
    hub: Hub = Hub()
    """The Hugging Face hub."""
    mirror: S3Address = ""
    """Where `msm mirror` copied remote inputs to, for closed networks: with it, nothing else outside is asked."""
    gpu_resource: Annotated[str, StringConstraints(min_length=1, max_length=253)] = "nvidia.com/gpu"
    """Name of the GPU resource of the cluster's nodes."""
    operator: Operator = Operator()
    """The operator's pods."""
    stages: Stages = Stages()
    """The pods of stages."""
    serving: Serving = Serving()
    """Served models."""
    network_policy: NetworkPolicy = NetworkPolicy()
    """What pods may reach."""
    metrics: Metrics = Metrics()
    """Metrics of the operator."""
    crds: Crds = Crds()
    """The definitions."""
    service_account: ServiceAccount = ServiceAccount()
    """The operator's ServiceAccount."""
    rbac: Rbac = Rbac()
    """Roles and bindings."""
    preflight: Preflight = Preflight()
    """What is looked at before anything is installed or upgraded."""
    test: Test = Test()
    """`helm test`."""

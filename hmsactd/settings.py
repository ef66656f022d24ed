"""What the daemon is told to be: file, then environment, then flags, each over the one before.

The text under a field is its manual; `hmsactd config --explain` prints it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from hmsactd.definition import duration
from hmsactd.definition.bounds import Bounds
from hmsactd.errors import SettingsRefused
from hmsactd.identity import dev as development

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from hmsactd.definition.read import Defaults

PREFIX = "HMSACTD_"
NESTED = "__"
CONFIG_VARIABLE = "HMSACTD_CONFIG"

FLAGS: dict[tuple[str, ...], str] = {
    ("grpc", "listen"): "--grpc",
    ("http", "listen"): "--http",
    ("data", "directory"): "--data",
}
"""Settings whose flag is shorter than they are."""

KUBERNETES = re.compile(r"HMSACTD_(SERVICE_(HOST|PORT.*)|PORT(_.*)?)")
"""Variables that Kubernetes sets beside a service named "hmsactd", and that nobody means as settings."""

STANDARD = Bounds()


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 lets the machine choose one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Span:
    """A length of time, written "15m"."""

    ms: int

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.ms / 1000

    @property
    def us(self) -> int:
        """The same in microseconds."""
        return self.ms * 1000

    def __str__(self) -> str:
        return duration.spell(self.ms)


ADDRESS_FAULT = 'is not HOST:PORT, such as "127.0.0.1:7400"'


def _address(said: object) -> Address:
    if isinstance(said, Address):
        return said
    if not isinstance(said, str):
        raise ValueError(ADDRESS_FAULT)
    host, colon, port = said.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(ADDRESS_FAULT)
    return Address(host, int(port))


def _span(said: object) -> Span:
    if isinstance(said, Span):
        return said
    if not isinstance(said, str):
        raise ValueError('is not a length of time, such as "10s"')
    return Span(duration.parse(said))


CALLED_FAULT = 'is not the address of a service, such as "https://treasury.gov/steps" or "grpcs://treasury.gov:443"'
CALLED_PORTS = {"https": 443, "http": 80, "grpcs": None, "grpc": None}
"""The schemes by which a service is called, with the port that goes without saying."""


def _called(said: str) -> str:
    """The address of a called service, unless there is something wrong with it."""
    try:
        parts = urlsplit(said)
        port = parts.port or CALLED_PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise ValueError(CALLED_FAULT) from None
    if not parts.hostname or not port or not said.isprintable() or not said.isascii() or " " in said:
        raise ValueError(CALLED_FAULT)
    if "@" in parts.netloc:
        raise ValueError("has a user or a password in it: whatever names the address would tell it")
    if parts.fragment or (parts.scheme.startswith("grpc") and (parts.path.strip("/") or parts.query)):
        raise ValueError("says more than where the service is: gRPC has no path, and nothing has a fragment")
    return said


# NoDecode: what is a class here is a plain text in the environment, and not JSON.
ListenAddress = Annotated[Address, NoDecode, BeforeValidator(_address), PlainSerializer(str)]
Duration = Annotated[Span, NoDecode, BeforeValidator(_span), PlainSerializer(str)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        arbitrary_types_allowed=True,
    )


class Grpc(Section):
    """The gRPC server, for clients and workers."""

    listen: ListenAddress = Address("127.0.0.1", 7400)
    """Where clients and workers connect, HOST:PORT; port 0 takes a free one. Default 127.0.0.1:7400: this machine
    only, because traffic is not encrypted."""
    reflection: bool | None = None
    """Whether the API describes itself to tools such as grpcurl. Default: with `dev` only, since nobody needs it in
    production."""
    message_max_bytes: Annotated[int, Field(ge=65_536, le=64 * 1024 * 1024)] = 4 * 1024 * 1024
    """The largest message, received or sent, in bytes. Default 4 MiB: what every gRPC client takes unless told
    otherwise, and room for sixteen of the largest payloads."""
    pending_max: Count = 10_000
    """Requests that may wait to be accepted, all connections together. Default 10,000: gRPC's own 1,000 answers a
    burst of a thousand clients with CANCELLED, and a waiting request costs a few KiB."""
    requests_max: Count = 20_000
    """Requests with one answer that may be under way at a time, waiting ones included. Beyond it callers are refused
    with RESOURCE_EXHAUSTED. Default 20,000: ten thousand clients that each wait and ask."""


class Http(Section):
    """The HTTP server, for monitoring."""

    listen: ListenAddress = Address("127.0.0.1", 7480)
    """Where /metrics, /healthz and /readyz are, HOST:PORT; port 0 takes a free one. Default 127.0.0.1:7480: this
    machine only, because nobody has to sign in to read them."""


class Data(Section):
    """What is kept, and where."""

    directory: Path = Path("hmsactd-data")
    """The directory that holds the database and the signing keys. Default ./hmsactd-data, where the daemon is started.
    One daemon at a time may use it."""
    store: Literal["sqlite", "memory"] = "sqlite"
    """How operations are kept: "sqlite", in the directory; "memory", for tests, gone at the end. Default "sqlite"."""


class Store(Section):
    """The disk under the data directory."""

    free_bytes_min: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """Room on the disk, in bytes, below which no operations are started; those under way go on, and decisions and
    reports are recorded. Default 64 MiB: enough for some 50,000 further events, and for the journal. 0: until it is
    full."""


class Timeline(Section):
    """The record."""

    outside_seals: Path | None = None
    """A file for the last seal of the log, written after the commit, once a second at most. At a start the log is held
    against it: data that are older than that, as after a restore or by somebody's hand, are refused until you say
    --accept-rollback. Best on another disk, or where the daemon's user can't delete it unseen. Default: none, so that
    an older state of the data is not noticed."""


class DefaultsSection(Section):
    """What a definition gets where it says nothing. Recorded with each start: later changes leave open ones alone."""

    retries: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a failed step is tried again. Default 3: outlasts a restart of the service, with the delays below."""
    retry_delay: Duration = Span(2_000)
    """The delay before the first retry; it doubles from one to the next. Default 2s: a person watching still sees that
    something is done, and a service that just restarted is back."""
    retry_delay_max: Duration = Span(300_000)
    """The longest delay between retries. Default 5m: a service that is back after an hour is noticed soon, and one
    that isn't is not pestered."""
    unattended: Duration = Span(900_000)
    """How long a step may wait for a worker, or a checkpoint for somebody entitled, before that is an event and a
    metric, without any SLA. Default 15m: longer than a deployment, shorter than anybody's patience."""

    @field_validator("retry_delay_max")
    @classmethod
    def _not_below_the_first(cls, said: Span, info: ValidationInfo) -> Span:
        first = info.data.get("retry_delay")
        if first is not None and said.ms < first.ms:
            raise ValueError(f"{said} is shorter than retry_delay, {first}")
        return said


class Workers(Section):
    """Sessions of workers."""

    grace: Duration = Span(10_000)
    """How long a worker may be gone before its calls go to another. Default 10s: a lost connection is back in less,
    and waiting longer makes every crash of a worker slow."""
    max_in_flight: Count = 10_000
    """Calls that one session may have in hand, whatever it asks for. Default 10,000: more than a process does at once,
    and a bound on what one worker's death gives back."""
    sessions_max: Count = 1_000
    """Sessions at a time. Default 1,000: far above any agency's fleet; each costs memory and a stream."""
    sessions_per_principal_max: Count = 200
    """Sessions of one principal at a time. Default 200: more processes than a service runs, and five services that go
    wrong together still leave the others their places."""


class Engine(Section):
    """Operations in memory."""

    idle: Duration = Span(5_000)
    """How long an operation that only waits is kept in memory. Default 5s: the next report of a busy operation finds it
    there, and a million waiting ones cost nothing."""
    mailbox_max: Count = 1_000
    """What one operation may be told and has not heard yet; beyond it callers are asked to try again. Default 1,000:
    no honest burst at one operation is larger."""
    memory_max_bytes: Annotated[int, Field(ge=64 * 1024 * 1024)] | None = None
    """Memory that the process may take, in bytes. At 85 % of it no operations are started until it is below 80 %.
    Default: the limit of the control group (container) or of the process (ulimit -v), if there is one."""


class Jobs(Section):
    """Jobs over many operations."""

    in_flight_max: Annotated[int, Field(ge=1, le=1_000)] = 32
    """Operations that all jobs together may be telling something at a time. Default 32: as many share a commit, and
    other callers wait for no more than that."""
    keep: Duration = Span(30 * 86_400_000)
    """How long a job that has ended is kept, with its results. Default 30d: until whoever asked for it has looked. What
    it did stays on the timelines."""
    kept_max: Count = 200
    """Jobs of a namespace that have ended and are kept, the newest. Default 200: a result takes about 250 bytes, so
    that 200 jobs over ten thousand operations come to half a gigabyte."""


class Streams(Section):
    """Streams that follow timelines."""

    heartbeat: Duration = Span(15_000)
    """How often an idle stream says where the head is. Default 15s: below the half minute after which proxies begin to
    cut silent connections."""


class BoundsSection(Section):
    """What callers may send, and how much. Past a bound, the answer is an error that names it."""

    definition_max_bytes: Count = STANDARD.definition_max_bytes
    """The JSON of a definition, in bytes. Default 512 KiB: a thousand steps, neatly indented, come to about 400."""
    steps_max: Count = STANDARD.steps_max
    """Steps and checkpoints of a flow. Default 1,000: what people can still read; more belongs into several flows."""
    name_max: Count = STANDARD.name_max
    """Characters of the name of a flow, step or checkpoint. Default 64: fits a column of a console."""
    svc_max: Count = STANDARD.svc_max
    """Characters of the name of a service. Default 64, as of a name."""
    role_max: Count = STANDARD.role_max
    """Characters of a role. Default 64, as of a name."""
    retries_max: Annotated[int, Field(ge=0, le=1_000_000)] = STANDARD.retries_max
    """Retries of a step. Default 100: at the longest delay that is a working day, after which a person should look."""
    span_max: Duration = Span(STANDARD.span_max_ms)
    """The longest SLA or timeout. Default ten years (3650d): beyond it somebody has mistaken the unit."""
    depth_max: Annotated[int, Field(ge=1, le=100)] = STANDARD.depth_max
    """Levels of nesting in JSON, definitions and payloads. Default 32: deeper than forms are, shallower than any
    parser's stack."""
    faults_max: Count = STANDARD.faults_max
    """Faults told of one definition; further ones are counted. Default 1,000: one a step."""
    payload_max_bytes: Annotated[int, Field(ge=2, le=16 * 1024 * 1024)] = STANDARD.payload_max_bytes
    """An input or output, in bytes of JSON. Default 256 KiB: data of a case, not its documents, for which a payload
    names a place."""
    comment_max_bytes: Count = STANDARD.comment_max_bytes
    """A comment or reason, in bytes. Default 4 KiB: a page of text."""
    label_key_max: Count = STANDARD.label_key_max
    """Characters of the name of a label. Default 63, as in Kubernetes."""
    label_value_max: Count = STANDARD.label_value_max
    """Characters of the value of a label. Default 255: an e-mail address fits."""
    labels_max: Count = STANDARD.labels_max
    """Labels of an operation. Default 32: each is an entry of an index."""
    key_max: Count = STANDARD.key_max
    """Characters of a business key. Default 255, as of a label's value."""
    request_id_max: Count = STANDARD.request_id_max
    """Characters of a request id. Default 64: a UUID in any spelling fits."""
    page_max: Annotated[int, Field(ge=1, le=10_000)] = STANDARD.page_max
    """Entries of a page of a list; whoever asks for more is refused. Default 1,000: about half a megabyte."""
    streams_per_principal_max: Count = STANDARD.streams_per_principal_max
    """Streams that one principal may have open at a time: watches, exports, bulk starts, workers. Default 200: a
    console per officer of a large office."""
    starts_per_batch_max: Annotated[int, Field(ge=1, le=10_000)] = STANDARD.starts_per_batch_max
    """Starts of one batch of StartOperations. Default 1,000: a commit holds as many, so that more at a time would make
    nothing faster."""
    open_operations_per_namespace_max: Count = STANDARD.open_operations_per_namespace_max
    """Operations of a namespace that may be open at a time. Default 1,000,000: what one daemon has been tried with."""
    job_operations_max: Count = STANDARD.job_operations_max
    """Operations that a job may be given by their ids. Default 10,000: more than anybody ticks; a filter has none."""
    open_jobs_per_namespace_max: Count = STANDARD.open_jobs_per_namespace_max
    """Jobs of a namespace that may be open at a time. Default 20: they share the same places, so that more of them are
    no faster."""

    def bounds(self) -> Bounds:
        """The same for those who keep to them."""
        said = {name: getattr(self, name) for name in type(self).model_fields if name != "span_max"}
        return Bounds(**said, span_max_ms=self.span_max.ms)


SERVICE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
STEP_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
NAMESPACE_NAME = r"^[a-z][a-z0-9_-]{0,62}$"
VARIABLE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _service_name(said: str) -> str:
    if not SERVICE_NAME.fullmatch(said):
        raise ValueError("no service can be called so: a letter, then letters, digits, _, . and -, at most 64")
    return said


class Called(Section):
    """A service that the daemon calls, named by its table: `[services.Treasury]`. No worker may do the same steps."""

    address: str
    """Where it is: "https://HOST/PATH" for JSON over HTTPS, "grpcs://HOST:PORT" for hmsact.v1.StepService over TLS,
    "http" and "grpc" for the same in the clear. Default: none, it has to be said."""
    insecure: bool = False
    """Whether it may be called in the clear on another machine. Default false: payloads are about citizens."""
    namespace: Annotated[str, Field(pattern=NAMESPACE_NAME)] = "default"
    """The namespace whose operations it serves. Default "default"."""
    steps: tuple[str, ...] = ()
    """The steps for which it is called; others of the service are left to workers. Default: every step."""
    deadline: Duration = Span(30_000)
    """How long a call may take, from the first byte sent to the last received; a shorter timeout of the step comes
    first. Default 30s: as long as a person waits for a page, and half of what most gateways allow."""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Calls at a time. Default 16: what a small service bears without being asked."""
    rate: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] | None = None
    """Calls a second at most; also how fast the queue drains after an outage. Default: no limit but `concurrency`."""
    ca_file: Path | None = None
    """The authorities that vouch for it, PEM; no others count then. Default: those that the machine trusts."""
    certificate_file: Path | None = None
    """The certificate by which the daemon shows itself, PEM, with what it needs of its chain. Default: none."""
    key_file: Path | None = None
    """The key of the certificate, PEM, without a passphrase. Default: none; the certificate's file may hold it."""
    proxy: str | None = None
    """The proxy through which it is called, "http://HOST:PORT", for "https" and "http" only. Default: none; what the
    environment says of proxies counts for nothing."""
    secret_file: Path | None = None
    """A file with the secret that signs calls over HTTPS, as Standard Webhooks has it ("whsec_…"). During a rotation
    two, in two lines: each signs. Default: none, calls are not signed."""
    secret_variable: Annotated[str, Field(pattern=VARIABLE_NAME)] | None = None
    """The environment variable with that secret, instead of a file; two are separated by a blank. Default: none."""
    failures_max: Count = 5
    """Calls in a row that come to nothing (no connection, no answer in time) before no more are made until it answers
    again. Default 5: not a single lost packet, and few enough retries spent on an outage."""
    pause: Duration = Span(1_000)
    """How long it is then left alone before it is looked for; the pause doubles each time. Default 1s."""
    pause_max: Duration = Span(60_000)
    """The longest such pause, and the longest that it may ask for (Retry-After). Default 1m: a service that is back is
    called again within a minute."""

    @property
    def is_grpc(self) -> bool:
        """True for gRPC, false for JSON over HTTP."""
        return self.address.startswith("grpc")

    @property
    def is_encrypted(self) -> bool:
        """True over TLS."""
        return self.address.startswith(("https:", "grpcs:"))

    @property
    def place(self) -> Address:
        """The host and port of its address."""
        parts = urlsplit(self.address)
        port = parts.port or CALLED_PORTS[parts.scheme]
        assert parts.hostname is not None and port is not None, "addresses are checked when they are read"
        return Address(parts.hostname, port)

    def serves(self, namespace: str, step: str) -> bool:
        """True if it is called for a step of this name."""
        return namespace == self.namespace and (not self.steps or step in self.steps)

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, said: str) -> str:
        return _called(said)

    @field_validator("insecure")
    @classmethod
    def _encrypted_but_for_loopback(cls, said: bool, info: ValidationInfo) -> bool:
        address = info.data.get("address")
        if address is not None and not said and address.startswith(("http:", "grpc:")):
            host = urlsplit(address).hostname or ""
            if not Address(host, 0).is_loopback:
                raise ValueError(f"{address} is not encrypted, and {host} is another machine: say insecure = true")
        return said

    @field_validator("steps")
    @classmethod
    def _are_names(cls, said: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [step for step in said if not STEP_NAME.fullmatch(step)]
        if wrong:
            raise ValueError(f"{', '.join(map(repr, wrong))}: no step can be called so")
        if len(set(said)) < len(said):
            raise ValueError("name a step twice")
        return said

    @field_validator("deadline", "pause")
    @classmethod
    def _lasts(cls, said: Span) -> Span:
        if said.ms < 1:
            raise ValueError(f"{said} is no time at all")
        return said

    @field_validator("ca_file", "certificate_file")
    @classmethod
    def _over_tls(cls, said: Path | None, info: ValidationInfo) -> Path | None:
        if said is not None and info.data.get("address", "https:").startswith(("http:", "grpc:")):
            raise ValueError("is of no use: the address is not encrypted")
        return said

    @field_validator("key_file")
    @classmethod
    def _of_a_certificate(cls, said: Path | None, info: ValidationInfo) -> Path | None:
        if said is not None and info.data.get("certificate_file", said) is None:
            raise ValueError("is of no use without certificate_file")
        return said

    @field_validator("proxy")
    @classmethod
    def _is_a_proxy(cls, said: str | None, info: ValidationInfo) -> str | None:
        if said is None:
            return None
        if info.data.get("address", "https:").startswith("grpc"):
            raise ValueError("is for https and http only")
        parts = urlsplit(_called(said))
        if parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query:
            raise ValueError('is not a proxy, such as "http://proxy.gov:3128"')
        return said

    @field_validator("secret_file", "secret_variable")
    @classmethod
    def _signs_http(cls, said: Path | str | None, info: ValidationInfo) -> Path | str | None:
        if said is None:
            return None
        if info.data.get("address", "https:").startswith("grpc"):
            raise ValueError("signs calls over https; over grpcs the daemon shows its certificate")
        if info.data.get("secret_file") is not None:
            raise ValueError("says the secret a second time: secret_file says it too")
        return said

    @field_validator("pause_max")
    @classmethod
    def _not_below_the_first(cls, said: Span, info: ValidationInfo) -> Span:
        first = info.data.get("pause")
        if first is not None and said.ms < first.ms:
            raise ValueError(f"{said} is shorter than pause, {first}")
        return said


class Log(Section):
    """What the daemon says of itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written. Default "info": starts, stops and what needs somebody, and no line
    for an event or a request, of which there may be thousands a second."""
    format: Literal["auto", "json", "console"] = "auto"
    """"json" for machines, "console" for people, "auto" for people if it is a terminal. Default "auto"."""


class Shutdown(Section):
    """How the daemon ends."""

    grace: Duration = Span(8_000)
    """How long requests under way may take to end after SIGTERM. Default 8s: the daemon is gone within 10s, before
    Kubernetes and systemd lose patience."""


class Settings(BaseSettings):
    """Everything that can be set. Made by `load`; made directly, it looks at no file and no environment."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        arbitrary_types_allowed=True,
        env_prefix=PREFIX,
        env_nested_delimiter=NESTED,
    )

    dev: bool = False
    """Development: anybody who can reach the ports is whoever they say they are, so that both must be on loopback.
    Default false."""
    test_clock: bool = False
    """A clock that `AdvanceClock` moves forward, with `dev` only. For tests of what takes days. Default false."""
    grpc: Grpc = Grpc()
    http: Http = Http()
    data: Data = Data()
    store: Store = Store()
    timeline: Timeline = Timeline()
    defaults: DefaultsSection = DefaultsSection()
    assign: dict[str, str] = Field(default_factory=dict)
    """To whom ("issuer:subject") the checkpoints of a role go at first. Default: to nobody, whoever has the role may
    claim them; with `dev`, those of fsa.officer go to dev:jdavis@fsa.gov."""
    workers: Workers = Workers()
    services: dict[Annotated[str, AfterValidator(_service_name)], Called] = Field(default_factory=dict)
    """Services that the daemon calls, by name, each a table: `[services.Treasury]`. Default: none, all of them are done
    by workers, which connect."""
    engine: Engine = Engine()
    jobs: Jobs = Jobs()
    streams: Streams = Streams()
    bounds: BoundsSection = BoundsSection()
    log: Log = Log()
    shutdown: Shutdown = Shutdown()

    @property
    def has_reflection(self) -> bool:
        """True if the API describes itself."""
        return self.dev if self.grpc.reflection is None else self.grpc.reflection

    def definition_defaults(self) -> Defaults:
        """What a definition gets where it is silent."""
        # Here, because it brings the JSON Schema with it, which a look at the settings need not wait for.
        from hmsactd.definition.read import Defaults

        said = self.defaults
        return Defaults(
            retries=said.retries,
            retry_delay_ms=said.retry_delay.ms,
            retry_delay_max_ms=said.retry_delay_max.ms,
            unattended_ms=said.unattended.ms,
            assign=self.assign,
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is read, and in which order, is the business of `load`."""
        return (init_settings,)

    @field_validator("test_clock")
    @classmethod
    def _only_in_development(cls, said: bool, info: ValidationInfo) -> bool:
        if said and not info.data.get("dev", True):
            raise ValueError("is for development only: say dev as well")
        return said

    @field_validator("grpc", "http")
    @classmethod
    def _loopback_in_development(cls, said: Grpc | Http, info: ValidationInfo) -> Grpc | Http:
        if info.data.get("dev") and not said.listen.is_loopback:
            raise ValueError(f"listens on {said.listen}, where others can reach it, and with dev anybody is let in")
        return said

    @field_validator("assign")
    @classmethod
    def _assigned_in_development(cls, said: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        """The officer of the examples is there without a line of settings."""
        return development.ASSIGN | said if info.data.get("dev") else said


# -- reading -----------------------------------------------------------------------------------------------------------


def load(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Reads the file (or the one that HMSACTD_CONFIG names) and the environment; raises SettingsRefused.

    `flags` has the shape of the file: `{"grpc": {"listen": "127.0.0.1:7400"}}`.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    file = config or (Path(named) if named else None)
    said = Said(_read(file) if file is not None else {}, _environment(), dict(flags or {}), str(file))
    faults = list(_unknown_variables())
    try:
        settings = Settings(**said.merged())
    except ValidationError as error:
        faults += [_fault(found, said) for found in error.errors()]
        raise SettingsRefused(faults) from error
    if faults:
        raise SettingsRefused(faults)
    return settings


@dataclass(frozen=True, slots=True)
class Said:
    """What was said, and where: the later over the earlier."""

    in_file: dict[str, Any]
    in_environment: dict[str, Any]
    in_flags: dict[str, Any]
    file: str

    def merged(self) -> dict[str, Any]:
        """All of it."""
        return _over(self.in_flags, _over(self.in_environment, self.in_file))

    def place(self, path: tuple[str, ...]) -> str:
        """How whoever said it would name it: as a flag, a variable, or a key of the file."""
        if _has(self.in_flags, path):
            return FLAGS.get(path, "--" + "-".join(path).replace("_", "-"))
        if _has(self.in_environment, path):
            return PREFIX + NESTED.join(path).upper()
        name = ".".join(path)
        return f"{name} in {self.file}" if _has(self.in_file, path) else name


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsRefused([f"{file} can't be read: {error.strerror or error}"]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsRefused([f"{file} is not TOML: {error}"]) from error


def _environment() -> dict[str, Any]:
    try:
        return EnvSettingsSource(Settings)()
    except SettingsError as error:
        raise SettingsRefused([f"the environment can't be used: {error}"]) from error


def _over(upper: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """One set of tables over another; what is no table replaces what is there."""
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        merged[name] = _over(value, below) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def _has(tables: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    here: Any = tables
    for name in path:
        if not isinstance(here, Mapping) or name not in here:
            return False
        here = here[name]
    return True


# -- faults ------------------------------------------------------------------------------------------------------------


def _fault(found: ErrorDetails, said: Said) -> str:
    """One fault as a sentence that begins with its place."""
    path = tuple(str(part) for part in found["loc"] if part != "[key]")
    place = said.place(path)
    if found["type"] == "extra_forbidden":
        return f"{place}: there is no such setting{_meant(path)}"
    if found["type"] == "value_error":
        return f"{place}: {found['ctx']['error']}"
    return f"{place}: {found['msg'][0].lower()}{found['msg'][1:]}"


def _meant(path: tuple[str, ...]) -> str:
    """The known setting that comes closest to an unknown one."""
    *tables, name = path
    close = get_close_matches(name, _names(tables), 1)
    return f", did you mean {'.'.join([*tables, close[0]])}?" if close else ""


def _names(tables: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Settings
    table_of_tables: type[BaseModel] | None = None
    for table in tables:
        if table_of_tables is not None:
            model, table_of_tables = table_of_tables, None
            continue
        field = model.model_fields.get(table)
        *_, kind = (None, *get_args(field.annotation)) if field is not None else (None,)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            # Its keys are names that the operator chooses; what they name has settings.
            table_of_tables = kind
        elif field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        else:
            model = field.annotation
    return list(model.model_fields)


def _unknown_variables() -> Iterator[str]:
    """Variables with our prefix that name no table. Those within a table are found with the table."""
    for variable in sorted(os.environ):
        if not variable.upper().startswith(PREFIX) or variable == CONFIG_VARIABLE or KUBERNETES.fullmatch(variable):
            continue
        table = variable[len(PREFIX) :].lower().split(NESTED)[0]
        if table not in Settings.model_fields:
            yield f"{variable}: there is no such setting (a variable is named like {PREFIX}GRPC{NESTED}LISTEN)"

"""The tables of the settings file that are about the daemon itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from hmsactd.definition.bounds import Bounds
from hmsactd.machine.certificates import Files
from hmsactd.settings.values import Address, Count, Duration, ListenAddress, Section, Span

STANDARD = Bounds()

T = TypeVar("T")


def _with_certificate(said: T, info: ValidationInfo) -> T:
    """What goes with a certificate, unless that is missing, or it is the key and missing itself."""
    has_certificate = info.data.get("certificate_file") is not None
    if said is not None and not has_certificate:
        raise ValueError("is of no use without certificate_file")
    if said is None and info.field_name == "key_file" and has_certificate:
        raise ValueError("has to be said with certificate_file")
    return said


class Mutual(Section):
    """A second address for gRPC, where clients show a certificate: `[grpc.mutual]`."""

    listen: ListenAddress
    """Where workloads connect, HOST:PORT; port 0 takes a free one. Default: none, it has to be said."""
    client_ca_file: Path
    """The authorities, PEM, that sign the certificates of clients. Read again when it changes. Default: none, it has to
    be said; whoever shows no certificate of theirs is not let in."""


class Grpc(Section):
    """The gRPC server, for clients and workers."""

    listen: ListenAddress = Address("127.0.0.1", 7400)
    """Where clients and workers connect, HOST:PORT; port 0 takes a free one. Default 127.0.0.1:7400: this machine
    only. Anywhere else it takes a certificate and somebody who can sign in ([identity])."""
    certificate_file: Path | None = None
    """The certificate of the server with those that lead to its authority, PEM. Read again when it changes. Default:
    none, traffic is not encrypted."""
    key_file: Path | None = None
    """The private key of the certificate, PEM, readable by its owner alone. Default: none."""
    mutual: Mutual | None = None
    """A second address, where clients show a certificate. Default: none."""
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
    streams_max: Count = 10_000
    """Streams that may be open at a time, of all principals together: watches, exports, bulk starts, workers. Beyond it
    callers are refused with RESOURCE_EXHAUSTED. Default 10,000: an idle one takes some 30 KiB."""
    streams_per_connection_max: Count = 1_000
    """Calls that one connection may have open at a time, streams and waits included; a client of gRPC keeps back
    further ones until others end. Default 1,000: five times what one principal may stream, and whoever opens and
    takes back calls as fast as he can keeps others waiting for a tenth of a second and not for seconds. Raise it
    behind a proxy that brings many clients over one connection."""
    connections_max: Count = 10_000
    """Connections at a time, on each address; further ones are closed at once. Default 10,000: five a worker, a
    console and a portal for a large agency, and below the descriptors that a service usually has."""

    def files(self, client_ca: Path | None = None) -> Files | None:
        """The files of its TLS, if it has any."""
        if self.certificate_file is None or self.key_file is None:
            return None
        return Files(self.certificate_file, self.key_file, client_ca)

    @field_validator("key_file", "mutual")
    @classmethod
    def _belongs_to_a_certificate(cls, said: Path | Mutual | None, info: ValidationInfo) -> Path | Mutual | None:
        return _with_certificate(said, info)


class Http(Section):
    """The HTTP server, for monitoring."""

    listen: ListenAddress = Address("127.0.0.1", 7480)
    """Where /metrics, /healthz and /readyz are, HOST:PORT; port 0 takes a free one. Default 127.0.0.1:7480: this
    machine only, where nobody has to sign in. Anywhere else it takes a certificate, and /metrics the permission
    metrics.read."""
    certificate_file: Path | None = None
    """The certificate of the server, PEM. Read again when it changes. Default: none, traffic is not encrypted."""
    key_file: Path | None = None
    """The private key of the certificate, PEM, readable by its owner alone. Default: none."""

    @property
    def files(self) -> Files | None:
        """The files of its TLS, if it has any."""
        if self.certificate_file is None or self.key_file is None:
            return None
        return Files(self.certificate_file, self.key_file)

    @field_validator("key_file")
    @classmethod
    def _belongs_to_a_certificate(cls, said: Path | None, info: ValidationInfo) -> Path | None:
        return _with_certificate(said, info)


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
    completion: Duration = Span(30 * 86_400_000)
    """How long a deferred step may wait to be completed if neither the deferral nor the step says so, by `within`, a
    timeout or an SLA; then the attempt has timed out. Recorded with the deferral. Default 30d: longer than any batch
    or any clerk's leave, and what is lost is still noticed, since silence never is an answer."""
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

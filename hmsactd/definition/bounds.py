"""What may be how large. The numbers are defaults: settings may lower or raise each of them."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of what callers send. Past one of them, the answer is an error that names it.

    Sizes in bytes are those of the UTF-8 text; lengths of names, labels and ids are in characters.
    """

    definition_max_bytes: int = 512 * 1024
    """A thousand steps with every field said, neatly indented, come to about 400 KiB."""
    steps_max: int = 1000
    name_max: int = 64
    svc_max: int = 64
    role_max: int = 64
    retries_max: int = 100
    span_min_ms: int = 1
    span_max_ms: int = 3650 * DAY_MS
    """Ten years, leap days not counted."""
    depth_max: int = 32
    faults_max: int = 1000
    """Faults told of one definition; further ones are counted."""
    payload_max_bytes: int = 256 * 1024
    comment_max_bytes: int = 4096
    label_key_max: int = 63
    label_value_max: int = 255
    labels_max: int = 32
    key_max: int = 255
    request_id_max: int = 64
    page_max: int = 1000
    streams_per_principal_max: int = 200
    starts_per_batch_max: int = 1000
    open_operations_per_namespace_max: int = 1_000_000
    job_operations_max: int = 10_000
    open_jobs_per_namespace_max: int = 20

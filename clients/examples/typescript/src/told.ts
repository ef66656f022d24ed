// How an event reads: `00:01 ELIGIBILITY_CHECK → failed, retry 1/3`.

import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Event } from "./generated/hmsact/v1/event_pb.js";

/** A line for an event, or undefined for a kind that is not narrated: also for every kind that is new. */
export function told(event: Event, startedMs: number): string | undefined {
  const what = happened(event);
  if (what === undefined || !event.time) return undefined;
  const seconds = Math.floor((timestampMs(event.time) - startedMs) / 1000);
  const clock = [Math.floor(seconds / 60), seconds % 60].map((part) => String(part).padStart(2, "0")).join(":");
  return `${clock} ${(event.subject?.name || "operation").toUpperCase()} → ${what}`;
}

function happened({ kind, data, principal }: Event): string | undefined {
  switch (kind) {
    case "step_done":
      return "done";
    case "step_failed":
      return data?.retryTime ? `failed, retry ${data.retry}/${data.retries}` : "failed";
    case "step_stalled":
      return "stalled";
    case "step_skipped":
      return "skipped";
    case "checkpoint_pending":
      return `pending (waiting on ${data?.role.split(".").at(-1)})`;
    case "checkpoint_approved":
    case "checkpoint_rejected":
      return `${kind.slice("checkpoint_".length)} by ${principal?.subject}`;
    case "operation_completed":
    case "operation_rejected":
    case "operation_failed":
    case "operation_cancelled":
      return kind.slice("operation_".length);
    default:
      return undefined;
  }
}

// What a worker has in hand: calls it works on, and reports that are not known to be recorded yet.
//
// A report is kept until the daemon has said what became of it, and is sent again after every new connection: what
// was done must not be lost by a restart of either side.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import {
  type Attempt,
  type Beat,
  BeatSchema,
  type Call,
  type DeferredSchema,
  type Report,
  ReportSchema,
  type Verdict,
  VerdictKind,
  type WorkRequest,
  WorkRequestSchema,
} from "./generated/hmsact/v1/worker_pb.js";

export type Outcome = NonNullable<MessageInitShape<typeof ReportSchema>["outcome"]>;

/** One attempt in hand. While there is no report it is being worked on. */
export interface Held {
  call: Call;
  attempt: Attempt;
  stop: AbortController;
  beating?: NodeJS.Timeout;
  deferred?: MessageInitShape<typeof DeferredSchema>;
  report?: Report;
}

/** A batch is sent when it has reached this size: well below the 4 MiB that gRPC takes by default. */
const BATCH_BYTES = 1024 * 1024;
/** Signs of life that fit into the limit: two may be late before the third is missed. */
const BEATS_PER_LIMIT = 3;
/** The pause before a report that could not be recorded is sent again. */
const AGAIN_MS = 500;

export class Hand {
  /** Is told whenever there is something to be said. */
  onNews = () => {};
  readonly #held = new Map<string, Held>();
  readonly #reports = new Map<string, Report>();
  readonly #beats = new Map<string, Beat>();

  get isEmpty(): boolean {
    return this.#held.size === 0;
  }

  get attempts(): Attempt[] {
    return [...this.#held.values()].map((held) => held.attempt);
  }

  get isWorking(): boolean {
    return [...this.#held.values()].some((held) => !held.report);
  }

  /** Takes a call in hand; undefined if it is there already, since the daemon may hand it out again. */
  take(call: Call): Held | undefined {
    if (!call.attempt || this.#held.has(keyOf(call.attempt))) return undefined;
    const held: Held = { call, attempt: call.attempt, stop: new AbortController() };
    this.#held.set(keyOf(held.attempt), held);
    if (call.heartbeat) {
      held.beating = setInterval(() => this.beat(held), Math.max(durationMs(call.heartbeat) / BEATS_PER_LIMIT, 10));
    }
    return held;
  }

  /** Says that an attempt is still being worked on. */
  beat(held: Held): void {
    if (held.report) return;
    this.#beats.set(keyOf(held.attempt), create(BeatSchema, { attempt: held.attempt }));
    this.onNews();
  }

  /** The work is over: the report goes out with the next batch, and again until there is a verdict. */
  report(held: Held, outcome: Outcome): void {
    clearInterval(held.beating);
    held.report = create(ReportSchema, { attempt: held.attempt, outcome });
    this.#beats.delete(keyOf(held.attempt));
    this.#send(held);
  }

  /** Nobody waits for an attempt any more: its function is told, and what it then does is reported all the same. */
  withdraw(attempt: Attempt | undefined, code: string): void {
    this.#of(attempt)?.stop.abort(new Withdrawn(code));
  }

  /** The daemon has said what became of a report. */
  judge(verdict: Verdict): void {
    const held = this.#of(verdict.attempt);
    if (!held?.report) return;
    if (verdict.kind === VerdictKind.AGAIN) {
      setTimeout(() => this.#send(held), AGAIN_MS);
      return;
    }
    // Recorded, stale or refused: in every case it need not be kept.
    if (verdict.kind === VerdictKind.REFUSED) console.error(`a report was refused: ${verdict.reason} (${verdict.code})`);
    this.#reports.delete(keyOf(held.attempt));
    this.#held.delete(keyOf(held.attempt));
    this.onNews();
  }

  /** After a new connection every report without a verdict goes out again. */
  resend(): void {
    for (const held of this.#held.values()) if (held.report) this.#send(held);
  }

  /** What is to be said now. */
  *batches(): Generator<WorkRequest> {
    let batch = create(WorkRequestSchema, { beats: [...this.#beats.values()] });
    let size = 0;
    const reports = [...this.#reports.values()];
    this.#beats.clear();
    this.#reports.clear();
    for (const report of reports) {
      const bytes = report.outcome.case === "done" ? report.outcome.value.output.length : 0;
      if (size > 0 && size + bytes > BATCH_BYTES) {
        yield batch;
        [batch, size] = [create(WorkRequestSchema), 0];
      }
      batch.reports.push(report);
      size += bytes;
    }
    if (batch.reports.length > 0 || batch.beats.length > 0) yield batch;
  }

  #send(held: Held): void {
    const key = keyOf(held.attempt);
    if (!held.report || this.#held.get(key) !== held) return;
    this.#reports.set(key, held.report);
    this.onNews();
  }

  #of(attempt: Attempt | undefined): Held | undefined {
    return attempt && this.#held.get(keyOf(attempt));
  }
}

/** The reason of the abort signal of a call that was withdrawn. */
export class Withdrawn extends Error {
  constructor(readonly code: string) {
    super(`nobody waits for the attempt any more: ${code}`);
  }
}

function keyOf(attempt: Attempt): string {
  return `${attempt.namespace} ${attempt.operationId} ${attempt.instance} ${attempt.attempt}`;
}

// A worker: it stays connected, does the calls it is given, and reports each until the report is on the record.

import { setTimeout as pause } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { connect, pauses, refusal, type Target } from "./daemon.js";
import {
  WorkerService,
  type WorkRequest,
  WorkRequestSchema,
  type WorkResponse,
} from "./generated/hmsact/v1/worker_pb.js";
import { Hand, type Held, type Outcome, Withdrawn } from "./hand.js";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** One attempt of one step, as the function that does it gets it. */
export interface StepCall {
  operationId: string;
  step: string;
  /** From 1. Every attempt after a failure or a loss has a number of its own. */
  attempt: number;
  /** The same for every attempt of the step: hand it to whatever must not happen twice. */
  idempotencyKey: string;
  input: Json;
  /** What earlier steps returned, by name. */
  outputs: Record<string, Json>;
  /** Aborted when nobody waits for the attempt any more. */
  signal: AbortSignal;
  /** Lets go of the step when the function returns: whoever has the token that this returns completes it, days later. */
  defer: (withinMs?: number) => string;
}

export type StepFunction = (call: StepCall) => Promise<Json> | Json;

/** Throw it to say how a step failed. Whatever else is thrown fails the step, too, and its retries apply. */
export class StepError extends Error {
  constructor(
    message: string,
    readonly how: { code?: string; permanent?: boolean; retryAfterMs?: number } = {},
  ) {
    super(message);
  }
}

export interface WorkerOptions extends Target {
  svc: string;
  steps: Record<string, StepFunction>;
  maxInFlight?: number;
}

const WELCOME_MS = 15_000;
/** How long a worker that leaves tries to reach a daemon that is gone, to report what it has done. */
const PARTING_MS = 30_000;
const MESSAGE_MAX = 1000;
/** The daemon will not have this worker, however often it asks. Everything else passes. */
const FATAL = [
  Code.InvalidArgument,
  Code.NotFound,
  Code.FailedPrecondition,
  Code.PermissionDenied,
  Code.Unauthenticated,
  Code.Unimplemented,
];

export class Worker {
  readonly #hand = new Hand();
  readonly #options: WorkerOptions;
  #session = "";
  #outputMax = 256 * 1024;
  #leavingSince = 0;
  #isDraining = false;

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  /** Works until SIGTERM or Ctrl-C: then it takes nothing more, finishes what it has, reports it, and returns. */
  async run(): Promise<void> {
    const leave = () => this.leave();
    process.once("SIGTERM", leave).once("SIGINT", leave);
    try {
      await this.serve();
    } finally {
      process.off("SIGTERM", leave).off("SIGINT", leave);
    }
  }

  /** Takes no further calls; `serve` returns when what is in hand has been reported. */
  leave(): void {
    this.#leavingSince ||= Date.now();
    this.#hand.onNews();
  }

  /** Works until it is told to leave. Throws what the daemon says if it will not have this worker. */
  async serve(): Promise<void> {
    using connection = connect(this.#options);
    const client = createClient(WorkerService, connection.transport);
    let delays = pauses();
    while (!(this.#leavingSince && this.#hand.isEmpty)) {
      const conversation = new Conversation();
      try {
        await this.#converse(client, conversation);
      } catch (error) {
        if (!(error instanceof ConnectError)) throw error;
        if (FATAL.includes(error.code)) throw error;
        console.error(`${this.#options.svc}: ${refusal(error)}; trying again`);
      } finally {
        conversation.end();
      }
      if (this.#leavingSince && !this.#hand.isWorking && Date.now() - this.#leavingSince > PARTING_MS) return;
      // The pauses grow while it is not welcome.
      if (conversation.wasWelcome) delays = pauses();
      if (!(this.#leavingSince && this.#hand.isEmpty)) await pause(delays.next().value);
    }
  }

  // -- one connection ---------------------------------------------------------------------------------------------

  async #converse(client: Client<typeof WorkerService>, conversation: Conversation): Promise<void> {
    this.#isDraining = false;
    this.#hand.onNews = () => conversation.ring();
    const late = setTimeout(() => conversation.end(), WELCOME_MS);
    try {
      for await (const heard of client.work(this.#say(conversation), { signal: conversation.signal })) {
        if (heard.welcome) clearTimeout(late);
        this.#hear(heard, conversation);
      }
    } finally {
      clearTimeout(late);
    }
  }

  /** What this worker says in one connection: hello first, and nothing more before it is welcome. */
  async *#say(conversation: Conversation): AsyncGenerator<WorkRequest> {
    const { svc, steps, maxInFlight = 32 } = this.#options;
    const hello = { svc, steps: Object.keys(steps), maxInFlight, session: this.#session, inHand: this.#hand.attempts };
    yield create(WorkRequestSchema, { hello });
    let hasSaidSo = false;
    for (;;) {
      await conversation.news();
      if (conversation.isOver) return;
      if (!conversation.wasWelcome) continue;
      if (this.#leavingSince && !hasSaidSo) {
        hasSaidSo = true;
        yield create(WorkRequestSchema, { leaving: true });
      }
      yield* this.#hand.batches();
      // With nothing more to say it ends its side; the daemon has the last word.
      if (this.#isDraining || (this.#leavingSince && this.#hand.isEmpty)) return;
    }
  }

  #hear(heard: WorkResponse, conversation: Conversation): void {
    if (heard.welcome) {
      console.error(`${this.#options.svc}: serving ${Object.keys(this.#options.steps).join(", ")}`);
      this.#session = heard.welcome.session;
      this.#outputMax = Number(heard.welcome.payloadMaxBytes) || this.#outputMax;
      for (const attempt of heard.welcome.gone) this.#hand.withdraw(attempt, "LOST");
      this.#hand.resend();
      conversation.wasWelcome = true;
      conversation.ring();
    }
    for (const verdict of heard.verdicts) this.#hand.judge(verdict);
    for (const withdrawn of heard.withdrawn) this.#hand.withdraw(withdrawn.attempt, withdrawn.code);
    for (const call of heard.calls) {
      const held = this.#hand.take(call);
      if (held) void this.#perform(held);
    }
    if (heard.drain) {
      this.#isDraining = true;
      conversation.ring();
    }
  }

  // -- one call ---------------------------------------------------------------------------------------------------

  /** Does a call. Whatever its function does, there is a report of it. */
  async #perform(held: Held): Promise<void> {
    try {
      const step = this.#options.steps[held.call.step];
      if (!step) throw new StepError(`this worker does no step called ${held.call.step}`, { code: "STEP_UNKNOWN" });
      const output = await step(callOf(held));
      this.#hand.report(held, held.deferred ? { case: "deferred", value: held.deferred } : this.#done(output));
    } catch (error) {
      this.#hand.report(held, failed(error));
    }
  }

  #done(value: Json): Outcome {
    const output = new TextEncoder().encode(JSON.stringify(value ?? null));
    if (output.length > this.#outputMax) {
      const message = `the output has ${output.length} bytes of JSON, more than the ${this.#outputMax} the daemon takes`;
      throw new StepError(message, { code: "OUTPUT_TOO_LARGE", permanent: true });
    }
    return { case: "done", value: { output } };
  }
}

/** One connection of a worker: whether it is welcome, and a bell that rings when there is something to be said. */
class Conversation {
  wasWelcome = false;
  readonly #over = new AbortController();
  #hasRung = true;
  #wake = () => {};

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  get isOver(): boolean {
    return this.#over.signal.aborted;
  }

  ring(): void {
    this.#hasRung = true;
    this.#wake();
  }

  /** Returns when the bell has rung since it was last heard. */
  async news(): Promise<void> {
    if (!this.#hasRung) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#hasRung = false;
  }

  end(): void {
    this.#over.abort();
    this.ring();
  }
}

function callOf(held: Held): StepCall {
  const { call, attempt, stop } = held;
  const read = (text: Uint8Array): Json => (text.length ? JSON.parse(new TextDecoder().decode(text)) : null);
  return {
    operationId: attempt.operationId,
    step: call.step,
    attempt: attempt.attempt,
    idempotencyKey: call.idempotencyKey,
    input: read(call.input),
    outputs: Object.fromEntries(Object.entries(call.outputs).map(([name, text]) => [name, read(text)])),
    signal: stop.signal,
    defer: (withinMs) => {
      if (!call.completionToken) throw new StepError("the daemon takes no deferred steps: it is older than that");
      held.deferred = withinMs === undefined ? {} : { within: durationFromMs(withinMs) };
      return call.completionToken;
    },
  };
}

function failed(error: unknown): Outcome {
  if (error instanceof StepError) {
    const { code = "ERROR", permanent = false, retryAfterMs } = error.how;
    const retryAfter = retryAfterMs === undefined ? {} : { retryAfter: durationFromMs(retryAfterMs) };
    return { case: "failed", value: { message: error.message.slice(0, MESSAGE_MAX), code, permanent, ...retryAfter } };
  }
  const isWithdrawn = error instanceof Withdrawn || (error instanceof Error && error.cause instanceof Withdrawn);
  if (isWithdrawn) {
    return { case: "failed", value: { message: "stopped, since nobody waited any more", code: "CANCELLED", permanent: true } };
  }
  return { case: "failed", value: { message: String(error).slice(0, MESSAGE_MAX), code: "ERROR" } };
}

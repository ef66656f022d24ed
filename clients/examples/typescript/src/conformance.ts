// The test build that `hmsactd conformance --worker NAME` plays against: the steps of docs/implementing.md.

import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { connect } from "./daemon.js";
import { WorkerService } from "./generated/hmsact/v1/worker_pb.js";
import { type Json, StepError, Worker } from "./worker.js";

type Input = { [name: string]: Json };

/** What was done for an idempotency key. A real service keeps it in its database, with what it did. */
const receipts = new Map<string, string>();

const worker = new Worker({
  svc: process.argv[2] ?? "Conformance",
  maxInFlight: 4,
  steps: {
    echo: ({ input }) => input,

    slow: async ({ input, attempt, signal }) => {
      console.log(`slow ${attempt}: begun`);
      const run = randomUUID();
      try {
        await pause(Number((input as Input)["seconds"] ?? 0) * 1000, undefined, { signal });
      } catch (error) {
        console.log(`slow ${attempt}: stopped`);
        throw error;
      }
      return { run };
    },

    fail: ({ input, attempt }) => {
      const { until = 1, permanent = false, code = "ERROR", message = "failed as asked" } = input as Input;
      if (attempt < Number(until) || permanent) {
        throw new StepError(String(message), { code: String(code), permanent: Boolean(permanent) });
      }
      return { attempt };
    },

    once: ({ input, attempt, idempotencyKey }) => {
      const receipt = receipts.get(idempotencyKey) ?? randomUUID();
      receipts.set(idempotencyKey, receipt);
      // It was done, and the attempt fails all the same: the next one must not do it again.
      if (attempt < Number((input as Input)["until"] ?? 1)) throw new StepError(receipt, { code: "AFTERWARDS" });
      return { receipt };
    },

    later: ({ input, attempt, defer }) => {
      const token = defer();
      // A real service keeps the token in its database, and another process completes the step from there.
      setTimeout(() => void complete(token, { attempt }), Number((input as Input)["seconds"] ?? 0) * 1000);
      return null;
    },
  },
});

async function complete(completionToken: string, output: Json): Promise<void> {
  using connection = connect({});
  const done = { output: new TextEncoder().encode(JSON.stringify(output)) };
  const requestId = randomUUID();
  await createClient(WorkerService, connection.transport).completeStep({
    requestId,
    completionToken,
    outcome: { case: "done", value: done },
  });
}

await worker.run();

// A caller: starts a loan-forgiveness operation, watches it, lets an officer decide, and prints what came of it.
//
//   node dist/caller.js [--flow FILE] [--input FILE] [--request-id ID] [--yes] [--every-event]

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline/promises";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { connect, isPassing, pauses, refusal } from "./daemon.js";
import { CheckpointService } from "./generated/hmsact/v1/checkpoint_pb.js";
import { OperationService, OperationState } from "./generated/hmsact/v1/operation_pb.js";
import { TimelineService } from "./generated/hmsact/v1/timeline_pb.js";
import { told } from "./told.js";
import { watch } from "./watch.js";

const LOAN_FORGIVENESS = {
  name: "loan_forgiveness",
  steps: [
    { step: "validate_form", svc: "FSA" },
    { step: "eligibility_check", svc: "IRS", sla: "2m" },
    { checkpoint: "human_review", role: "fsa.officer" },
    { step: "update_balance", svc: "Treasury" },
    { step: "notify_applicant", svc: "Email" },
  ],
};
const OFFICER = "dev:jdavis@fsa.gov";
const PATIENCE = 20;

const { values: options } = parseArgs({
  options: {
    flow: { type: "string" },
    input: { type: "string" },
    "request-id": { type: "string" },
    yes: { type: "boolean" },
    "every-event": { type: "boolean" },
  },
});

async function main(): Promise<number> {
  using connection = connect();
  const operations = createClient(OperationService, connection.transport);
  const timelines = createClient(TimelineService, connection.transport);
  const definition = options.flow ? await readFile(options.flow) : Buffer.from(JSON.stringify(LOAN_FORGIVENESS));
  const input = options.input ? await readFile(options.input) : new Uint8Array();
  // Whoever repeats a request with the same id starts nothing twice; a portal keeps it with the citizen's form.
  const requestId = options["request-id"] ?? randomUUID();
  const { operationId } = await insist(() => operations.startOperation({ definition, input, requestId }));
  console.log(`Operation ID: ${operationId}`);

  let startedMs = 0;
  for await (const event of watch(timelines, operationId)) {
    if (event.time) startedMs ||= timestampMs(event.time);
    const line = options["every-event"] ? `${event.sequence} ${event.kind}` : told(event, startedMs);
    if (line) console.log(line);
    if (event.kind === "checkpoint_pending") await decide(operationId, event.subject?.name ?? "");
  }

  const { operation } = await insist(() => operations.getOperation({ operationId }));
  if (operation?.output.length) console.log(`Output: ${new TextDecoder().decode(operation.output)}`);
  return operation?.state === OperationState.COMPLETED ? 0 : 1;
}

/** Shows an officer what is to be decided, asks, and approves what was shown, and nothing else. */
async function decide(operationId: string, checkpoint: string): Promise<void> {
  using connection = connect({ token: OFFICER });
  const checkpoints = createClient(CheckpointService, connection.transport);
  const shown = await insist(() => checkpoints.getCheckpoint({ operationId, checkpoint }));
  // The history of an operation is told from its beginning: this one may have been decided long ago.
  if (!shown.mayDecide) return;
  console.log(`${checkpoint} releases ${shown.releases.join(", ")}`);
  if (!options.yes && !(await isApproved(checkpoint))) return;
  const requestId = randomUUID();
  await insist(() => checkpoints.approveCheckpoint({ operationId, checkpoint, requestId, seen: shown.digest }));
}

async function isApproved(checkpoint: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    console.log(`Decide it with: hmsact --token ${OFFICER} approve OPERATION ${checkpoint}`);
    return false;
  }
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await terminal.question(`Approve ${checkpoint}? [y/N] `);
  terminal.close();
  return answer.trim().toLowerCase() === "y";
}

/** Repeats a request while the daemon is away. Only for what reads, or carries a request id. */
async function insist<T>(request: () => Promise<T>): Promise<T> {
  const delays = pauses();
  for (let attempt = 1; ; attempt++) {
    try {
      return await request();
    } catch (error) {
      if (!isPassing(error) || attempt === PATIENCE) throw error;
      await pause(delays.next().value);
    }
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof ConnectError)) throw error;
  console.error(refusal(error));
  process.exitCode = 1;
}

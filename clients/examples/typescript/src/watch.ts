// Watching an operation: every event once and in order, whatever becomes of the daemon meanwhile.

import { setTimeout as pause } from "node:timers/promises";
import type { Client } from "@connectrpc/connect";
import { isPassing, pauses } from "./daemon.js";
import type { Event } from "./generated/hmsact/v1/event_pb.js";
import type { TimelineService } from "./generated/hmsact/v1/timeline_pb.js";

/** The events of an operation, history first, then live, until it is final. */
export async function* watch(timelines: Client<typeof TimelineService>, operationId: string): AsyncGenerator<Event> {
  let after = "";
  let delays = pauses();
  for (;;) {
    try {
      for await (const { frame } of timelines.watchOperation({ operationId, after })) {
        // A heartbeat brings a cursor, too; kinds of frames that are not known here are skipped.
        if (frame.case === undefined) continue;
        after = frame.value.cursor;
        delays = pauses();
        if (frame.case === "event") yield frame.value;
      }
      return;
    } catch (error) {
      if (!isPassing(error)) throw error;
      await pause(delays.next().value);
    }
  }
}

// How the daemon is reached: its address, who is calling, and what it says when it refuses.

import { Code, ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { BadRequestSchema, ErrorInfoSchema } from "./generated/google/rpc/error_details_pb.js";

export interface Target {
  /** HOST:PORT; HMSACT_ADDRESS when left out. Plain text on this machine, TLS to any other. */
  address?: string | undefined;
  /** Says who is calling; HMSACT_TOKEN when left out. */
  token?: string | undefined;
}

export interface Connection extends Disposable {
  transport: Transport;
}

/** A transport to the daemon. It connects when it is used, and again after every absence of the daemon. */
export function connect(target: Target = {}): Connection {
  const address = target.address ?? process.env["HMSACT_ADDRESS"] ?? "127.0.0.1:7400";
  const token = target.token ?? process.env["HMSACT_TOKEN"];
  const isLocal = /^(localhost|127\.[\d.]+|\[::1\]):\d+$/.test(address);
  const baseUrl = `${isLocal ? "http" : "https"}://${address}`;
  // A connection that has died without a word is noticed while a stream is open.
  const sessionManager = new Http2SessionManager(baseUrl, { pingIntervalMs: 30_000, pingTimeoutMs: 10_000 });
  const identify: Interceptor = (next) => (request) => {
    if (token) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const transport = createGrpcTransport({ baseUrl, sessionManager, interceptors: [identify] });
  return { transport, [Symbol.dispose]: () => sessionManager.abort() };
}

/** A daemon that is killed cuts its streams in several ways; Canceled is one of them, since nothing here is cancelled. */
const PASSING = [Code.Unavailable, Code.ResourceExhausted, Code.DeadlineExceeded, Code.Aborted, Code.Internal, Code.Canceled];

/** True for what passes by itself: the daemon is away, going down, or has too much to do. */
export function isPassing(error: unknown): error is ConnectError {
  return error instanceof ConnectError && PASSING.includes(error.code);
}

/** What the daemon said: a sentence, the reason for machines, and every fault of the request at its place. */
export function refusal(error: ConnectError): string {
  const [info] = error.findDetails(ErrorInfoSchema);
  const faults = error.findDetails(BadRequestSchema).flatMap((request) => request.fieldViolations);
  const head = `${error.rawMessage} (${info?.reason ?? Code[error.code]})`;
  return [head, ...faults.map((fault) => `  ${fault.field}: ${fault.description} (${fault.reason})`)].join("\n");
}

/** The pauses between attempts to connect, in milliseconds: 0.1 s, doubling up to 5 s, never two clients in step. */
export function* pauses(): Generator<number, never> {
  for (let most = 100; ; most = Math.min(most * 2, 5_000)) yield most * (0.5 + Math.random() / 2);
}

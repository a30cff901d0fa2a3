/** The inbound side of Express, and of whatever has its middleware: the requests and responses are those of node:http. */

import type { IncomingMessage, ServerResponse } from "node:http";

import { type Caller, type Context, isPublic, PUBLIC, verify, within } from "./context.js";
import { AgentError } from "./errors.js";
import { defaultProcess, type HeaderPairs, type LocalProcess } from "./process.js";

export type ExpressLike = (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void;

/**
 * Serves verified requests alone, each within its context: `app.use(verified())` before all that needs a caller. Paths below `publicPaths` are
 * served without a caller, to GET and HEAD. Each answer has an `X-Correlation-ID`.
 */
export function verified(options: { process?: LocalProcess; publicPaths?: readonly string[] } = {}): ExpressLike {
  return (request, response, next) => {
    // Express shortens `url` below a mounted router.
    const path = (request as { originalUrl?: string }).originalUrl ?? request.url ?? "/";
    const method = request.method ?? "GET";
    if (isPublic(method, path.split("?")[0]!, options.publicPaths ?? PUBLIC)) return next();
    const headers: HeaderPairs = [];
    for (let at = 0; at + 1 < request.rawHeaders.length; at += 2) headers.push([request.rawHeaders[at]!, request.rawHeaders[at + 1]!]);
    const peer = request.socket.remoteAddress;
    const inbound = { headers, method, path, ...(peer === undefined ? {} : { peer }) };
    let end: (() => void) | undefined;
    let isEnded = response.closed;
    response.once("close", () => {
      isEnded = true;
      end?.();
    });
    let isPassedOn = false;
    const passOn = (error?: unknown) => {
      isPassedOn = true;
      next(error);
    };
    const serve = ({ context, caller }: { context: Context; caller: Caller }) => {
      end = () => context.close();
      // The requester has gone, or another middleware has answered.
      if (isEnded || response.headersSent) return end();
      request.headers["x-correlation-id"] = caller.correlation_id;
      response.setHeader("x-correlation-id", caller.correlation_id);
      within(context, passOn);
    };
    const fail = (error: unknown) => {
      if (isEnded || response.headersSent) return;
      if (error instanceof AgentError) refuse(error, response);
      else passOn(error);
    };
    verify(inbound, options.process ?? defaultProcess()).then(serve, fail).catch((error: unknown) => {
      end?.();
      if (!isPassedOn) return passOn(error);
      // `next` has thrown, and must not run twice.
      response.destroy();
      process.emitWarning(error instanceof Error ? error : String(error));
    });
  };
}

/**
 * Answers for a call that was not made, where the handler does not: `app.use(answerFailures)` after all routes.
 */
export function answerFailures(error: unknown, _request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void): void {
  if (!(error instanceof AgentError) || response.headersSent) return next(error);
  refuse(error, response);
}

function refuse({ response: answer }: AgentError, response: ServerResponse): void {
  response.statusCode = answer.status;
  for (const [name, value] of answer.headers) response.appendHeader(name, value);
  response.end(answer.body);
}

/** Outbound calls by `fetch`, and by every SDK that takes one: MCP (`{ fetch: onBehalf() }`), A2A (`{ fetchImpl: onBehalf() }`). */

import { current, type Sent } from "./context.js";
import type { HeaderPairs } from "./process.js";

export interface OnBehalfOptions {
  /** The fetch that sends. */
  fetch?: typeof globalThis.fetch;
}

/**
 * A `fetch` that makes every call on behalf of the caller of the request. One serves all requests. It follows no redirect. A target that
 * refuses the token is asked once more with another, if `sts-agent` says so.
 */
export function onBehalf(options: OnBehalfOptions = {}): typeof globalThis.fetch {
  const send = options.fetch ?? globalThis.fetch;
  return async (input, init) => {
    const context = current();
    const isRequest = input instanceof Request;
    const method = (init?.method ?? (isRequest ? input.method : "GET")).toUpperCase();
    const url = isRequest ? input.url : String(input);
    const headers: HeaderPairs = [...new Headers(init?.headers ?? (isRequest ? input.headers : undefined))];
    const body = init?.body ?? (isRequest ? input.body : undefined);
    const signal = init?.signal ?? (isRequest ? input.signal : undefined);
    const known = bytes(body);
    const call = { method, url, headers, body: known };
    const redirect = init?.redirect === "error" ? "error" : "manual";
    const answer = ({ headers }: Sent): Promise<Response> => {
      const request = { ...init, method, headers, redirect, ...(signal ? { signal } : {}) } as RequestInit;
      if (body !== undefined && body !== null) Object.assign(request, { body, ...(known === undefined ? { duplex: "half" } : {}) });
      return send(url, request);
    };
    const first = await context.send(call);
    const response = await answer(first);
    if (response.status !== 401) return response;
    const second = await context.sendAgain(call, first, 401, [...response.headers]);
    if (second === undefined) return response;
    await response.body?.cancel();
    return answer(second);
  };
}

/** The bytes of a body that can be sent again; undefined for a stream. */
function bytes(body: unknown): Uint8Array | undefined {
  if (body === undefined || body === null) return new Uint8Array();
  if (typeof body === "string") return Buffer.from(body);
  if (body instanceof URLSearchParams) return Buffer.from(body.toString());
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  return undefined;
}

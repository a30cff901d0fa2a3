/** Outbound calls by undici: `new Agent().compose(onBehalfDispatch())`. */

import type { Dispatcher } from "undici";

import { current } from "./context.js";
import { Misconfigured } from "./errors.js";
import type { HeaderPairs } from "./process.js";

/** A dispatcher that makes every call on behalf of the caller of the request. */
export function onBehalfDispatch(): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    // The context is that of the caller of `request`. The dispatch itself waits for the headers.
    const context = current();
    const url = target(options);
    const body = typeof options.body === "string" || options.body instanceof Uint8Array ? Buffer.from(options.body) : undefined;
    context.headers(options.method, url, pairs(options.headers), body).then(
      (headers) => dispatch({ ...options, headers: headers.flat() }, handler),
      (error: Error) => failed(handler, error),
    );
    return true;
  };
}

/** The URL of the call. The path is that of the request line, and never names another origin. */
function target({ origin, path }: Dispatcher.DispatchOptions): string {
  if (!origin || !URL.canParse(String(origin))) throw new Misconfigured("a call needs an origin, such as https://inventory.shop.example");
  if (!path.startsWith("/")) throw new Misconfigured(`the path of a call begins with "/", unlike ${JSON.stringify(path)}`);
  return new URL(origin).origin + path;
}

function failed(handler: Dispatcher.DispatchHandler, error: Error): void {
  if (handler.onResponseError) handler.onResponseError(undefined as never, error);
  else handler.onError?.(error);
}

function pairs(headers: Dispatcher.DispatchOptions["headers"]): HeaderPairs {
  if (!headers) return [];
  if (Array.isArray(headers)) {
    const flat = headers as string[];
    return flat.flatMap((name, at): HeaderPairs => (at % 2 === 0 ? [[name, flat[at + 1] ?? ""]] : []));
  }
  const entries = Symbol.iterator in headers ? [...(headers as Iterable<[string, string | string[] | undefined]>)] : Object.entries(headers);
  return entries.flatMap(([name, value]): HeaderPairs => {
    const values = Array.isArray(value) ? value : value === undefined ? [] : [value];
    return values.map((one) => [name, String(one)]);
  });
}

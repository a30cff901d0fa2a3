/**
 * The context of a call: the verified caller on whose behalf it is made.
 *
 * A context belongs to its request. Work that a request starts inherits nothing that it could use after its end: work that outlives the request
 * is given its context by `carry`, in as many words.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { createHash } from "node:crypto";

import { AgentError, NoContext } from "./errors.js";
import { defaultProcess, type HeaderPairs, type LocalProcess } from "./process.js";

/** A user or an agent, under the issuer that names it. */
export interface Principal {
  readonly sub: string;
  readonly iss?: string;
}

/** The verified caller of a request. */
export interface Caller {
  readonly kind: "user" | "service_account";
  readonly subject: Principal;
  readonly issuer: string;
  readonly actor?: Principal;
  readonly prior_actors: readonly Principal[];
  readonly tenant_id?: string;
  readonly scope: readonly string[];
  readonly roles: readonly string[];
  readonly possession: string;
  readonly txn?: string;
  readonly jti?: string;
  readonly acr?: string;
  readonly expires_at: number;
  readonly correlation_id: string;
  readonly idempotency_key?: string;
}

/** A permission for actions of one type, within limits (RFC 9396). */
export interface AuthorizationDetail {
  readonly type: string;
  readonly locations?: readonly string[];
  readonly actions?: readonly string[];
  readonly datatypes?: readonly string[];
  readonly identifier?: string;
  readonly limits?: Readonly<Record<string, number>>;
}

type OfCall = ({ inbound: HeaderPairs } | { without_user: { tenant_id?: string } }) & { authorization_details?: readonly AuthorizationDetail[] };

/** A call before it has the headers of `sts-agent`. The body is undefined for a stream, which can be sent once. */
export interface Call {
  method: string;
  url: string;
  headers: HeaderPairs;
  body: Uint8Array | undefined;
}

/** The headers of a call, and the kind of its credential. */
export interface Sent {
  headers: HeaderPairs;
  credential: string;
}

/** The context of the calls of one request. */
export class Context {
  readonly caller: Caller | undefined;
  readonly #process: LocalProcess;
  readonly #ofCall: OfCall;
  readonly #outer: Context | undefined;
  #isOpen = true;

  constructor(process: LocalProcess, ofCall: OfCall, caller: Caller | undefined, outer?: Context) {
    this.#process = process;
    this.#ofCall = ofCall;
    this.caller = caller;
    this.#outer = outer;
  }

  /** All headers of a call, which replace those that it has. */
  async headers(method: string, url: string, headers: HeaderPairs = [], body?: Uint8Array): Promise<HeaderPairs> {
    return (await this.send({ method, url, headers, body })).headers;
  }

  /** The headers and the credential to send for a call. */
  async send(call: Call): Promise<Sent> {
    this.check();
    const { method, url, headers, body } = call;
    // The digest is for the idempotency key of the call alone.
    const isKeyed = body !== undefined && this.caller?.idempotency_key !== undefined;
    const digest = isKeyed ? { body_sha256: createHash("sha256").update(body).digest("hex") } : {};
    return (await this.#process.ask("/v1/headers", { method, url, headers, ...digest, ...this.#ofCall })) as Sent;
  }

  /** The headers for one repetition of a call that its target refused; undefined if that answer is the outcome. */
  async sendAgain({ method, url, headers, body }: Call, first: Sent, status: number, answer: HeaderPairs): Promise<Sent | undefined> {
    this.check();
    const refusal = { url, headers: first.headers, answer: { status, headers: answer }, ...this.#ofCall };
    try {
      const { repeat } = (await this.#process.ask("/v1/forget", refusal)) as { repeat: boolean };
      if (!repeat || body === undefined) return undefined;
      this.check();
      return (await this.#process.ask("/v1/headers", { method, url, headers, again: first, ...this.#ofCall })) as Sent;
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      process.emitWarning(`no other token for a call whose target refused its token: ${error.message}`);
      return undefined;
    }
  }

  /** Fails if the request has ended. */
  check(): void {
    if (!this.#isOpen) throw new NoContext("the request of this context has ended: give work that outlives it its context by carry()");
    this.#outer?.check();
  }

  /** The same context, whose calls request these authorization details. It ends with this one. */
  requesting(details: readonly AuthorizationDetail[]): Context {
    this.check();
    return new Context(this.#process, { ...this.#ofCall, authorization_details: details }, this.caller, this);
  }

  /** The same context, for work that outlives the request. The caller's token bounds its life. */
  carried(): Context {
    this.check();
    return new Context(this.#process, this.#ofCall, this.caller);
  }

  /** Ends the context: calls that still have it fail. */
  close(): void {
    this.#isOpen = false;
  }
}

const storage = new AsyncLocalStorage<Context>();

/** The context of this code. Throws `NoContext` outside of a request, and after its end. */
export function current(): Context {
  const context = storage.getStore();
  if (context === undefined) throw new NoContext("no request: calls are made within one, by carry() after it, or by withoutUser()");
  context.check();
  return context;
}

/** The verified caller of the request. Throws `NoContext` where there is none. */
export function caller(): Caller {
  const found = current().caller;
  if (found === undefined) throw new NoContext("this context has no verified caller");
  return found;
}

/** Runs a function with this context as the current one. Does not end it. */
export function within<T>(context: Context, work: () => T): T {
  return storage.run(context, work);
}

/** Gives a function the present context, to keep after the request. The context ends with what the function returns. */
export function carry<A extends unknown[], T>(work: (...values: A) => T): (...values: A) => T {
  const context = current().carried();
  return (...values) => ended(context.carried(), () => work(...values));
}

/** Runs work that no user asked for, such as a scheduled run. */
export function withoutUser<T>(tenantId: string | undefined, work: () => T, process: LocalProcess = defaultProcess()): T {
  return ended(new Context(process, { without_user: tenantId === undefined ? {} : { tenant_id: tenantId } }, undefined), work);
}

/**
 * Runs work whose calls request exactly these authorization details (RFC 9396), in place of those of their route. Each set of details has a
 * token of its own. An empty array requests none.
 */
export function withAuthorizationDetails<T>(details: readonly AuthorizationDetail[], work: () => T): T {
  return ended(current().requesting(details), work);
}

/** Runs a function with a context, and ends the context when the function has, or its promise. */
function ended<T>(context: Context, work: () => T): T {
  let outcome: T;
  try {
    outcome = storage.run(context, work);
  } catch (error) {
    context.close();
    throw error;
  }
  if (outcome instanceof Promise) return outcome.finally(() => context.close()) as T;
  context.close();
  return outcome;
}

/** An inbound request, as `sts-agent` verifies it. */
export interface Inbound {
  headers: HeaderPairs;
  method: string;
  path: string;
  peer?: string;
}

/** Verifies an inbound request. Returns its context, and its headers as they were verified. */
export async function verify(request: Inbound, process: LocalProcess): Promise<{ context: Context; caller: Caller; inbound: HeaderPairs }> {
  const answer = (await process.ask("/v1/verify", request)) as { caller: Caller; inbound: HeaderPairs };
  return { context: new Context(process, { inbound: answer.inbound }, answer.caller), ...answer };
}

/** True for a path that is served without a caller: to GET and HEAD, below one of the prefixes. */
export function isPublic(method: string, path: string, prefixes: readonly string[]): boolean {
  const parts = path.split("/").slice(1);
  const isPlain = !/[%\\]/.test(path) && parts.every((part, at) => part !== "." && part !== ".." && (part !== "" || at === parts.length - 1));
  return (method === "GET" || method === "HEAD") && isPlain && prefixes.some((prefix) => path.startsWith(prefix));
}

/** What is served without a caller by default, such as the card of an A2A agent. */
export const PUBLIC: readonly string[] = ["/.well-known/"];

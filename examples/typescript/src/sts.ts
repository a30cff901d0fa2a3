// The agent's half of agent-sts: verifies the token of a caller, and exchanges it for the next call (RFC 8693).

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import { createLocalJWKSet, createRemoteJWKSet, errors, jwtVerify, type JWTPayload } from "jose";

const STS = "http://127.0.0.1:8080";
const DEMO_ISSUER = "https://login.demo.example";
const demoKeys = createLocalJWKSet(JSON.parse(readFileSync("sts-dev/demo-issuer.jwks.json", "utf8")));
const stsKeys = createRemoteJWKSet(new URL(`${STS}/oauth2/jwks`));

/** An answer other than 200: 401, 403, 424 or 503. */
export class Failure extends Error {
  constructor(readonly status: number, readonly code: string, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** The actors of a token, the current one outermost (RFC 8693 §4.1). */
interface Act {
  sub: string;
  act?: Act;
}

export interface Claims extends JWTPayload {
  act?: Act;
  scope?: string;
  tenant_id?: string;
}

export interface Caller {
  token: string;
  claims: Claims;
}

/** Verifies the token of a user. The first agent of a chain calls this. */
export function verifyUser(headers: IncomingHttpHeaders): Promise<Caller> {
  return unauthorizedUnless(async () => {
    const token = bearer(headers);
    const options = { issuer: DEMO_ISSUER, audience: "demo-web-app", requiredClaims: ["exp", "iat", "sub"] };
    const { payload } = await jwtVerify<Claims>(token, demoKeys, { ...options, algorithms: ["ES256"] });
    return { token, claims: payload };
  });
}

/** Verifies the token of an agent. Every other agent of the chain calls this, with its own audience. */
export function verifyAgent(headers: IncomingHttpHeaders, audience: string): Promise<Caller> {
  return unauthorizedUnless(async () => {
    const token = bearer(headers);
    const options = { issuer: STS, audience, typ: "at+jwt", requiredClaims: ["exp", "iat", "sub", "jti", "act"] };
    const { payload } = await jwtVerify<Claims>(token, stsKeys, { ...options, algorithms: ["ES256"] });
    return { token, claims: payload };
  });
}

/** Gets a token for one call of `agent` to `audience`, on behalf of the user of the received token. */
export async function exchange(token: string, agent: string, audience: string, correlationId: string): Promise<string> {
  const secret = readFileSync(`sts-dev/${agent}.secret`, "utf8").trim();
  const answer = await send(`${STS}/oauth2/token`, {
    method: "POST",
    headers: {
      "Authorization": `Basic ${Buffer.from(`${agent}:${secret}`).toString("base64")}`,
      "X-Correlation-ID": correlationId,
    },
    body: new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token: token,
      subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
      audience,
    }),
  });
  if ([400, 401, 403].includes(answer.status)) {
    const { error } = await answer.json();
    const message = `exchange for ${audience} refused: ${error}, correlation id ${correlationId}`;
    throw new Failure(403, "forbidden", message);
  }
  if (!answer.ok) throw new Failure(424, "failed_dependency", `the service answered ${answer.status}`);
  return (await answer.json()).access_token;
}

/** Sends a request within ten seconds. Follows no redirect: a token goes to the address that was meant, and to no other. */
export async function send(url: string, request: RequestInit): Promise<Response> {
  try {
    return await fetch(url, { ...request, redirect: "error", signal: AbortSignal.timeout(10_000) });
  } catch (cause) {
    throw new Failure(424, "failed_dependency", `no answer from ${url}`, { cause });
  }
}

export function requireScope(claims: Claims, scope: string): void {
  if (!claims.scope?.split(" ").includes(scope)) throw new Failure(403, "forbidden", `the token has no scope ${scope}`);
}

/** The id that joins all hops of one user request in the audit log. */
export function correlation(headers: IncomingHttpHeaders): string {
  return headers["x-correlation-id"]?.toString() ?? randomUUID();
}

/** The agents of the chain, the current one first. */
export function acting(claims: Claims): string {
  const names: string[] = [];
  for (let act = claims.act; act; act = act.act) names.push(act.sub);
  return names.join(", called by ");
}

function bearer(headers: IncomingHttpHeaders): string {
  const [scheme, token] = headers.authorization?.split(" ") ?? [];
  if (scheme?.toLowerCase() !== "bearer" || !token) throw new Failure(401, "invalid_token", "no bearer token");
  return token;
}

async function unauthorizedUnless(verify: () => Promise<Caller>): Promise<Caller> {
  try {
    return await verify();
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    // Without the keys of the service a token can be neither accepted nor refused: that is an outage.
    const isRefused = cause instanceof errors.JOSEError && !["ERR_JOSE_GENERIC", "ERR_JWKS_TIMEOUT"].includes(cause.code);
    if (!isRefused) throw new Failure(503, "unavailable", `no keys: ${cause}`, { cause });
    throw new Failure(401, "invalid_token", `the caller's token was refused: ${cause}`, { cause });
  }
}

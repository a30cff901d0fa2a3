/** The targets of calls, and the ends of requests: with a stand-in for `sts-agent`. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, request as send, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";

import { Hono } from "hono";
import type { Dispatcher } from "undici";

import { type Context, current, LocalProcess, Misconfigured, NoContext, onBehalf, verified, verifiedHono, withoutUser } from "../src/index.js";
import { isPublic, PUBLIC } from "../src/context.js";
import { onBehalfDispatch } from "../src/undici.js";
import { type Answer, StandIn } from "./stand_in.js";

const standIn = new StandIn();
const agent = standIn.process;

before(() => standIn.start());
after(() => standIn.stop());

const HEADERS = { status: 200, body: { headers: [["authorization", "Bearer exchanged"]], credential: "exchanged" } };

test("the path of an undici call names no other origin", async () => {
  standIn.answer = () => HEADERS;
  const call = (path: string, origin: string | undefined = "https://inventory.shop.example") =>
    withoutUser(
      undefined,
      () =>
        new Promise<Dispatcher.DispatchOptions>((resolve, reject) => {
          const dispatch = onBehalfDispatch()((options) => {
            resolve(options);
            return true;
          });
          try {
            dispatch({ method: "GET", path, ...(origin === undefined ? {} : { origin }) }, { onError: reject });
          } catch (error) {
            reject(error);
          }
        }),
      agent,
    );
  for (const path of ["//payments.shop.example/x", "/\\payments.shop.example/x", "/x?y=//payments.shop.example/"]) {
    const { origin, path: sent } = await call(path);
    assert.deepEqual([origin, sent], ["https://inventory.shop.example", path]);
    assert.equal(standIn.asked.at(-1)?.question.url, `https://inventory.shop.example${path}`);
  }
  const asked = standIn.asked.length;
  for (const path of ["https://payments.shop.example/x", "\\\\payments.shop.example/x", "@payments.shop.example/x", ".payments.example/", "", "*"]) {
    await assert.rejects(call(path), Misconfigured, path);
  }
  await assert.rejects(call("/x", ""), Misconfigured);
  assert.equal(standIn.asked.length, asked);
});

test("the process knows the first attempt of a repetition, and may refuse it", async () => {
  const headers = (token: string) => ({ headers: [["authorization", `Bearer ${token}`], ["idempotency-key", "order-7"]], credential: "exchanged" });
  const rows: [Answer, number][] = [
    [{ status: 403, body: { error: "refused", code: "invalid_token", message: "only a weaker credential is left" } }, 1],
    [{ status: 503, body: { error: "unavailable", message: "no token is available now" } }, 1],
    [{ status: 200, body: headers("second") }, 2],
  ];
  for (const [again, calls] of rows) {
    standIn.asked.length = 0;
    standIn.answer = (path, question) => {
      if (path === "/v1/forget") return { status: 200, body: { repeat: true } };
      return "again" in question ? again : { status: 200, body: headers("first") };
    };
    let sent = 0;
    const refusing: typeof globalThis.fetch = async () => {
      sent += 1;
      return new Response("of the target", { status: 401, headers: { "www-authenticate": 'Bearer error="invalid_token"' } });
    };
    const call = () => onBehalf({ fetch: refusing })("https://inventory.shop.example/stock", { method: "POST", body: "{}" });
    const response = await withoutUser(undefined, call, agent);
    assert.deepEqual([response.status, await response.text(), sent], [401, "of the target", calls]);
    assert.deepEqual(standIn.asked.map(({ path }) => path), ["/v1/headers", "/v1/forget", "/v1/headers"]);
    const [first, forget, second] = standIn.asked.map(({ question }) => question);
    assert.deepEqual([forget!.headers, second], [headers("first").headers, { ...first, again: headers("first") }]);
  }
});

const CALLER = {
  kind: "user",
  subject: { iss: "https://login.example", sub: "alice" },
  issuer: "https://login.example",
  prior_actors: [],
  scope: [],
  roles: [],
  possession: "bearer",
  expires_at: 4_000_000_000,
  correlation_id: "request-7",
};
const VERIFIED = { status: 200, body: { caller: CALLER, inbound: [["authorization", "Bearer of-alice"]] } };

/** An application of Hono whose body is streamed, and the context of its request. */
function streaming(pull: (controller: ReadableStreamDefaultController) => void) {
  const seen: Context[] = [];
  const app = new Hono().use(verifiedHono({ process: agent })).get("/", () => {
    seen.push(current());
    return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));
  });
  return { app, context: () => seen[0]! };
}

test("a context of hono ends with the body of its answer, however that ends", async () => {
  standIn.answer = () => VERIFIED;
  const part = (controller: ReadableStreamDefaultController) => controller.enqueue(new TextEncoder().encode("part"));
  const head = streaming(part);
  await head.app.request("/", { method: "HEAD" });
  assert.throws(() => head.context().check(), NoContext);

  const cancelled = streaming(part);
  const reader = (await cancelled.app.request("/")).body!.getReader();
  await reader.read();
  cancelled.context().check();
  await reader.cancel();
  assert.throws(() => cancelled.context().check(), NoContext);

  const failing = streaming(() => {
    throw new Error("the source of the body failed");
  });
  await assert.rejects((await failing.app.request("/")).text(), /the source/);
  assert.throws(() => failing.context().check(), NoContext);

  const whole = streaming((controller) => controller.close());
  await (await whole.app.request("/")).text();
  assert.throws(() => whole.context().check(), NoContext);
});

test("a context of hono ends also with an answer that cannot be changed, or cannot be given", async () => {
  standIn.answer = () => VERIFIED;
  for (const [answer, status] of [[Response.redirect("https://inventory.shop.example/", 302), 302], [Response.error(), 500]] as const) {
    const seen: Context[] = [];
    const app = new Hono().use(verifiedHono({ process: agent })).onError((_error, c) => c.text("", 500));
    app.get("/", () => {
      seen.push(current());
      return answer;
    });
    const got = await app.request("/");
    assert.equal(got.status, status);
    if (status === 302) assert.equal(got.headers.get("x-correlation-id"), "request-7");
    assert.throws(() => seen[0]!.check(), NoContext);
  }
});

type Next = (error?: unknown) => void;

/** Serves a middleware of Express, and returns its port. */
async function serving(listener: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: (server.address() as AddressInfo).port, stop: () => (server.closeAllConnections(), server.close()) };
}

test("a request whose requester is gone before it is verified is not served", async () => {
  let passedOn = 0;
  let answer = () => {};
  const held = new Promise<void>((resolve) => (answer = resolve));
  let asked = () => {};
  const isAsked = new Promise<void>((resolve) => (asked = resolve));
  standIn.answer = async () => {
    asked();
    await held;
    return VERIFIED;
  };
  let closed = () => {};
  const isClosed = new Promise<void>((resolve) => (closed = resolve));
  const middleware = verified({ process: agent });
  const served = await serving((request, response) => {
    response.once("close", closed);
    middleware(request, response, () => (passedOn += 1));
  });
  const requester = send({ port: served.port, host: "127.0.0.1" }).on("error", () => {});
  requester.end();
  await isAsked;
  requester.destroy();
  await isClosed;
  answer();
  // The next answer comes after the one that was held.
  await withoutUser(undefined, () => current().headers("GET", "https://inventory.shop.example/"), agent).catch(() => {});
  await new Promise(setImmediate);
  assert.equal(passedOn, 0);
  served.stop();
});

test("a context of express ends with the socket of its request", async () => {
  standIn.answer = () => VERIFIED;
  const middleware = verified({ process: agent });
  let serve: (context: Context) => void = () => {};
  const isServed = new Promise<Context>((resolve) => (serve = resolve));
  let closed = () => {};
  const isClosed = new Promise<void>((resolve) => (closed = resolve));
  const served = await serving((request, response) =>
    middleware(request, response, () => {
      response.once("close", closed);
      serve(current());
    }),
  );
  const requester = send({ port: served.port, host: "127.0.0.1" }).on("error", () => {});
  requester.end();
  const context = await isServed;
  context.check();
  requester.destroy();
  await isClosed;
  assert.throws(() => context.check(), NoContext);
  served.stop();
});

test("an application that throws is not run twice, and its error is no unhandled rejection", async () => {
  standIn.answer = () => VERIFIED;
  const middleware = verified({ process: agent });
  const errors: unknown[] = [];
  let context: Context | undefined;
  const next: Next = (error) => {
    errors.push(error);
    context = current();
    throw new Error("of the application");
  };
  const served = await serving((request, response) => middleware(request, response, next));
  const warned = once(process, "warning");
  await assert.rejects(fetch(`http://127.0.0.1:${served.port}/`));
  assert.match(String((await warned)[0]), /of the application/);
  assert.deepEqual(errors, [undefined]);
  assert.throws(() => context!.check(), NoContext);
  served.stop();
});

test("a place on another machine is refused, and a name is no address", () => {
  for (const place of ["192.0.2.1:9009", "example.com:9009", "localhost:9009", "agent.sock", "127.0.0.1"]) {
    assert.throws(() => new LocalProcess(place), Misconfigured, place);
  }
});

test("no path that leads out of a public folder is public", () => {
  const at = (path: string, method = "GET") => isPublic(method, path, PUBLIC);
  assert.deepEqual([at("/.well-known/agent-card.json"), at("/.well-known/a/"), at("/.well-known/a", "HEAD"), at("/.well-known/a", "POST")], [true, true, true, false]);
  for (const path of ["/", "/.well-known", "/.well-known/..", "/.well-known/.", "/.well-known/../stock", "/.well-known//stock", "/x/.well-known/y", "/.well-known/%2e%2e", "/.well-known/..\\stock", "/.well-known/a\\..\\..\\stock"]) {
    assert.equal(at(path), false, path);
  }
});

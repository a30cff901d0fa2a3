/** Against the real server and `sts-agent`. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { type AgentCard, type Message, Role } from "@a2a-js/sdk";
import { ClientFactory, JsonRpcTransportFactory } from "@a2a-js/sdk/client";
import { AgentEvent, type AgentExecutor, DefaultRequestHandler, InMemoryTaskStore } from "@a2a-js/sdk/server";
import { jsonRpcHandler, UserBuilder } from "@a2a-js/sdk/server/express";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import express from "express";
import { Hono } from "hono";
import { Agent, request as undiciRequest } from "undici";

import { answerFailures, caller, carry, LocalProcess, NoContext, NoRoute, onBehalf, Refused, Unavailable, verified, verifiedHono, withoutUser } from "../src/index.js";
import { onBehalfDispatch } from "../src/undici.js";
import { agent, asUser, claims, described, STOCK, target } from "./world.js";

const CALLS = 10_000;
const tokens = described.tokens;
const http = onBehalf({ fetch: target });

interface Seen {
  user: string;
  actor: string;
  headers: [string, string][];
}

async function get(fetched: typeof globalThis.fetch, url = STOCK, init: RequestInit = {}): Promise<Seen> {
  return (await (await fetched(url, init)).json()) as Seen;
}

/** Serves on the port of the target, as long as the work takes. */
async function serving<T>(listener: RequestListener, work: () => Promise<T>): Promise<T> {
  const server = createServer(listener).listen(Number(new URL(described.target).port), "127.0.0.1");
  await once(server, "listening");
  try {
    return await work();
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test("the calls of two users through one client never swap", async () => {
  const share = CALLS / 200;
  const works = Array.from({ length: 100 }, () => ["alice", "bob"]).flat().map((user) =>
    asUser(user, async () => {
      assert.equal(caller().subject.sub, user);
      let seen = 0;
      for (let number = 0; number < share; number += 1) {
        if ((await get(http, `${STOCK}/${number}`)).user === user) seen += 1;
        await new Promise(setImmediate);
      }
      return seen;
    }),
  );
  const outcomes = await Promise.all(works);
  assert.deepEqual(outcomes, outcomes.map(() => share));
  assert.equal(outcomes.length * share, CALLS);
});

test("the exchanged token goes out alone", async () => {
  const stray = { Authorization: "Bearer of-another", "X-Tenant-ID": "evil", Cookie: "session=1", Accept: "text/plain" };
  const { user, actor, headers } = await asUser("alice", () => get(http, STOCK, { headers: stray }));
  const sent = Object.fromEntries(headers);
  assert.deepEqual([user, actor, sent["x-tenant-id"], sent.accept, sent.cookie], ["alice", "coordinator", "acme", "text/plain", undefined]);
  assert.ok(sent["x-correlation-id"]);
});

test("without a request no call is made", async () => {
  await assert.rejects(get(http), NoContext);
  assert.throws(() => caller(), NoContext);
  assert.throws(() => carry(() => 1), NoContext);
});

test("work that outlives its request needs its context in as many words", async () => {
  let end = () => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  const later = async () => {
    await ended;
    return (await get(http)).user;
  };
  const [inherited, carried] = await asUser("alice", async () => [later().catch((error: unknown) => error), carry(later)] as const);
  end();
  assert.ok((await inherited) instanceof NoContext);
  assert.equal(await carried(), "alice");
  assert.equal(await asUser("bob", carried), "alice");
});

test("a call that is refused is not made", async () => {
  await asUser("alice", async () => {
    await assert.rejects(get(http, "https://payroll.shop.example/"), NoRoute);
  });
  await assert.rejects(withoutUser("acme", () => get(http), agent), (error) => error instanceof Refused && error.code === "login_required");
  const gone = new LocalProcess("/nowhere/agent.sock");
  await assert.rejects(withoutUser("acme", () => get(http), gone), Unavailable);
});

test("a target that refuses the token gets another once", async () => {
  const seen: (string | null)[] = [];
  const refusing: typeof globalThis.fetch = async (_input, init) => {
    seen.push(new Headers(init?.headers).get("authorization"));
    return new Response(null, { status: 401, headers: { "www-authenticate": 'Bearer error="invalid_token"' } });
  };
  const response = await asUser("alice", () => onBehalf({ fetch: refusing })(STOCK, { method: "POST", body: "{}" }));
  assert.equal(response.status, 401);
  assert.equal(seen.length, 2);
  assert.notEqual(seen[0], seen[1]);
});

test("express serves verified requests alone, and calls on behalf of their callers", async () => {
  const app = express().use(verified({ process: agent }));
  app.get("/stock", async (_request, response) => {
    response.send((await get(http)).user);
  });
  app.get("/.well-known/agent-card.json", (_request, response) => {
    response.send("card");
  });
  app.get("/payroll", async (_request, response) => {
    response.send((await get(http, "https://payroll.shop.example/")).user);
  });
  app.use(answerFailures);
  await serving(app, async () => {
    const ask = (path: string, token?: string) => fetch(new URL(path, described.target), token ? { headers: { authorization: `Bearer ${token}` } } : {});
    assert.equal(await (await ask("stock", tokens.alice)).text(), "alice");
    const answers = await Promise.all(Array.from({ length: 20 }, (_, at) => ask("stock", at % 2 ? tokens.alice : tokens.bob)));
    assert.deepEqual(await Promise.all(answers.map((answer) => answer.text())), answers.map((_, at) => (at % 2 ? "alice" : "bob")));
    assert.ok(answers[0]?.headers.get("x-correlation-id"));
    for (const token of [undefined, "not.a.token", tokens.expired, tokens.elsewhere]) {
      const answer = await ask("stock", token);
      assert.equal(answer.status, 401);
      assert.ok(answer.headers.has("www-authenticate"));
    }
    const failed = await ask("payroll", tokens.alice);
    assert.deepEqual([failed.status, ((await failed.json()) as { code: string }).code], [500, "MISCONFIGURED"]);
    assert.equal((await ask(".well-known/agent-card.json")).status, 200);
    assert.equal((await ask(".well-known/%2e%2e/stock")).status, 401);
  });
});

test("hono serves verified requests alone, and calls on behalf of their callers", async () => {
  const app = new Hono().use(verifiedHono({ process: agent })).get("/stock", async (c) => c.text((await get(http)).user));
  app.get("/payroll", async (c) => c.text((await get(http, "https://payroll.shop.example/")).user));
  const failed = await app.request("/payroll", { headers: { authorization: `Bearer ${tokens.alice}` } });
  assert.deepEqual([failed.status, ((await failed.json()) as { code: string }).code], [500, "MISCONFIGURED"]);
  const ask = (token?: string) => app.request("/stock", token ? { headers: { authorization: `Bearer ${token}` } } : {});
  const answer = await ask(tokens.bob);
  assert.equal(await answer.text(), "bob");
  assert.ok(answer.headers.get("x-correlation-id"));
  for (const token of [undefined, tokens.expired]) assert.equal((await ask(token)).status, 401);
});

test("undici calls on behalf of the caller", async () => {
  const dispatcher = new Agent().compose(onBehalfDispatch());
  const listener: RequestListener = (request, response) => {
    response.end(claims(request.headers.authorization).sub);
  };
  await serving(listener, async () => {
    const call = async () => (await undiciRequest(described.target, { dispatcher, headers: { authorization: "Bearer of-another" } })).body.text();
    assert.deepEqual(await Promise.all([asUser("alice", call), asUser("bob", call)]), ["alice", "bob"]);
    await assert.rejects(call(), NoContext);
    const elsewhere = () => undiciRequest("https://payroll.shop.example/", { dispatcher });
    await asUser("alice", () => assert.rejects(elsewhere(), NoRoute));
  });
  await dispatcher.close();
});

test("an mcp server and client of the official sdk act for the user of each call, in one session", async () => {
  const app = express().use(verified({ process: agent })).use(express.json());
  const mcp = new McpServer({ name: "warehouse", version: "1.0.0" });
  mcp.registerTool("who", {}, async () => ({ content: [{ type: "text", text: `${caller().subject.sub} by ${caller().actor?.sub}` }] }));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: () => crypto.randomUUID() });
  await mcp.connect(transport as Parameters<typeof mcp.connect>[0]);
  app.all("/mcp", (request, response) => transport.handleRequest(request, response, request.body));
  await serving(app, async () => {
    const client = new Client({ name: "coordinator", version: "1.0.0" });
    const way = new StreamableHTTPClientTransport(new URL("mcp", described.target), { fetch: onBehalf() });
    await asUser("alice", () => client.connect(way as Parameters<typeof client.connect>[0]));
    const who = async () => ((await client.callTool({ name: "who" })).content as { text: string }[])[0]?.text;
    const users = ["alice", "bob", "bob", "alice", "bob"];
    const answers = await Promise.all(users.map((user) => asUser(user, who)));
    assert.deepEqual(answers, users.map((user) => `${user} by coordinator`));
    await assert.rejects(who(), NoContext);
    await client.close();
  });
});

test("an a2a agent and client of the official sdk act for the user of each message", async () => {
  const url = described.target;
  const card: AgentCard = {
    name: "inventory",
    description: "Knows the stock",
    version: "1.0",
    provider: undefined,
    supportedInterfaces: [{ url, protocolBinding: "JSONRPC", tenant: "", protocolVersion: "1.0" }],
    capabilities: { streaming: false, extensions: [] },
    securitySchemes: {},
    securityRequirements: [],
    defaultInputModes: ["text/plain"],
    defaultOutputModes: ["text/plain"],
    skills: [],
    signatures: [],
  };
  const message = (role: Role, value: string): Message => ({
    messageId: crypto.randomUUID(),
    contextId: "",
    taskId: "",
    role,
    parts: [{ content: { $case: "text", value }, metadata: undefined, filename: "", mediaType: "text/plain" }],
    metadata: undefined,
    extensions: [],
    referenceTaskIds: [],
  });
  const executor: AgentExecutor = {
    async execute(_context, bus) {
      await new Promise(setImmediate);
      bus.publish(AgentEvent.message(message(Role.ROLE_AGENT, `${caller().subject.sub} by ${caller().actor?.sub}`)));
      bus.finished();
    },
    async cancelTask() {},
  };
  const requestHandler = new DefaultRequestHandler(card, new InMemoryTaskStore(), executor);
  const app = express().use(verified({ process: agent }));
  app.use(jsonRpcHandler({ requestHandler, userBuilder: UserBuilder.noAuthentication }));
  const transports = [new JsonRpcTransportFactory({ fetchImpl: onBehalf() })];
  const client = await new ClientFactory({ transports }).createFromAgentCard(card);
  const ask = async () => {
    const answer = await client.sendMessage({ tenant: "", message: message(Role.ROLE_USER, "tea"), configuration: undefined, metadata: undefined });
    const part = "parts" in answer ? answer.parts[0]?.content : undefined;
    return part?.$case === "text" ? part.value : JSON.stringify(answer);
  };
  await serving(app, async () => {
    const users = ["alice", "bob", "bob", "alice"];
    const answers = await Promise.all(users.map((user) => asUser(user, ask)));
    assert.deepEqual(answers, users.map((user) => `${user} by coordinator`));
    await assert.rejects(ask());
  });
});

/** The contract of all languages, `sts-agent/contract.json`: what a call carries for each answer of the process, and that none is made else. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { Hono } from "hono";

import {
  type AgentResponse,
  ApprovalRequired,
  carry,
  onBehalf,
  Refused,
  type RequiredApproval,
  Unavailable,
  verifiedHono,
  withAuthorizationDetails,
  withoutUser,
} from "../src/index.js";
import { StandIn } from "./stand_in.js";

type Pairs = [string, string][];

interface Contract {
  decisions: [string, string, string, string, string, string][];
  answers: Record<string, { status: number; body: { headers?: Pairs; error?: string; code?: string; response?: AgentResponse } }>;
  approvals: { status: number; body: { code: string; approval: RequiredApproval; response: AgentResponse } }[];
  refusals: { status: number; body: { response: AgentResponse } }[];
  headers: { given: Pairs; sent: Pairs }[];
}

const path = process.env.AGENT_STS_CONTRACT;
if (path === undefined) throw new Error("run by `cargo test -p sts-tests --test it -- packages`");
const contract = JSON.parse(readFileSync(path, "utf8")) as Contract;
const standIn = new StandIn();
const agent = standIn.process;
let answer: { status: number; body: unknown };
standIn.answer = () => answer;

before(() => standIn.start());
after(() => standIn.stop());

const sent: Pairs[] = [];
const http = onBehalf({
  fetch: async (_input, init) => {
    sent.push([...new Headers(init?.headers)] as Pairs);
    return new Response();
  },
});
const call = (headers: Pairs = []) => withoutUser(undefined, () => http("https://inventory.shop.example/stock", { headers }), agent);

test("there are the 288 rows of the decision table", () => {
  assert.equal(new Set(contract.decisions.map((row) => row.slice(0, 5).join())).size, 288);
  assert.deepEqual([...new Set(contract.decisions.map((row) => row[5]))].sort(), Object.keys(contract.answers).sort());
});

test("every row of the decision table is sent as decided, or not at all", async () => {
  for (const row of contract.decisions) {
    answer = contract.answers[row[5]]!;
    const { headers, error, code, response } = contract.answers[row[5]]!.body;
    sent.length = 0;
    if (headers !== undefined) {
      await call();
      assert.deepEqual(sent, [[...headers].sort()], row.join());
      continue;
    }
    const failed = await call().then(() => undefined, (thrown: unknown) => thrown);
    assert.ok(failed instanceof (error === "unavailable" ? Unavailable : Refused), row.join());
    assert.deepEqual([sent, failed.code, failed.response], [[], code, response], row.join());
  }
});

test("a call that a person must approve is not sent", async () => {
  for (const row of contract.approvals) {
    answer = row;
    sent.length = 0;
    const failed = await call().then(() => undefined, (thrown: unknown) => thrown);
    assert.ok(failed instanceof ApprovalRequired);
    const { code, approval, response } = row.body;
    assert.deepEqual([sent, failed.code, failed.approval, failed.response], [[], code, approval, response]);
    assert.equal(failed.response.status, 412);
  }
  assert.ok(contract.approvals.length > 0);
});

test("the calls of a piece of work request its details, and those after it none", async () => {
  const details = [{ type: "mcp_tool", actions: ["refund"], limits: { amount: 50 } }];
  answer = { status: 200, body: { headers: [], credential: "exchanged" } };
  const before = standIn.asked.length;
  const get = () => http("https://inventory.shop.example/stock");
  let kept: () => Promise<unknown> = get;
  const work = async () => {
    await withAuthorizationDetails(details, async () => {
      await get();
      kept = carry(get);
      await withAuthorizationDetails([], get);
    });
    await get();
  };
  await withoutUser(undefined, work, agent);
  await kept();
  const requested = standIn.asked.slice(before).map(({ question }) => question.authorization_details ?? "those of the route");
  assert.deepEqual(requested, [details, [], "those of the route", details]);
});

test("every header rule is asked and obeyed", async () => {
  for (const { given, sent: expected } of contract.headers) {
    answer = { status: 200, body: { headers: expected, credential: "exchanged" } };
    sent.length = 0;
    await call(given);
    const asked = standIn.asked.at(-1)?.question.headers as Pairs;
    const names = new Set(asked.map(([name]) => name.toLowerCase()));
    assert.ok(given.every(([name]) => names.has(name.toLowerCase())));
    // A `Headers` joins what is repeated.
    assert.deepEqual(sent, [[...new Headers(expected)]]);
  }
});

test("every refusal is the answer, and the application is not reached", async () => {
  let reached = 0;
  const app = new Hono().use(verifiedHono({ process: agent })).get("/", (c) => {
    reached += 1;
    return c.text("");
  });
  for (const refusal of contract.refusals) {
    answer = refusal;
    const response = await app.request("/");
    const expected = refusal.body.response;
    assert.deepEqual([response.status, await response.text()], [expected.status, expected.body]);
    for (const [name, value] of expected.headers) assert.equal(response.headers.get(name), value);
  }
  assert.equal(reached, 0);
  assert.ok(contract.refusals.length > 3);
});

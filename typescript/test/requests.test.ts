/** The targets of calls: with a stand-in for `sts-agent`. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Dispatcher } from "undici";

import { Misconfigured, withoutUser } from "../src/index.js";
import { onBehalfDispatch } from "../src/undici.js";
import { StandIn } from "./stand_in.js";

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

/** The real server and `sts-agent`, which the file that AGENT_STS_WORLD names describes. */

import { readFileSync } from "node:fs";

import { LocalProcess } from "../src/index.js";
import { verify, within } from "../src/context.js";

interface Described {
  socket: string;
  target: string;
  tokens: Record<string, string>;
}

const path = process.env.AGENT_STS_WORLD;
if (path === undefined) throw new Error("run by `cargo test -p sts-tests --test it -- packages`");
export const described = JSON.parse(readFileSync(path, "utf8")) as Described;
export const agent = new LocalProcess(described.socket);
export const STOCK = "https://inventory.shop.example/stock";

/** Runs work within a verified request of a user. */
export async function asUser<T>(user: string, work: () => Promise<T>): Promise<T> {
  const headers: [string, string][] = [["authorization", `Bearer ${described.tokens[user]}`]];
  const { context } = await verify({ headers, method: "GET", path: "/" }, agent);
  try {
    return await within(context, work);
  } finally {
    context.close();
  }
}

/** The claims of the token in an `Authorization` value. */
export function claims(authorization: string | null | undefined): { sub: string; act: { sub: string }; aud: string } {
  const payload = (authorization ?? "").replace("Bearer ", "").split(".")[1] ?? "";
  return JSON.parse(Buffer.from(payload, "base64url").toString());
}

/** A target that answers with the token's user and actor, and all headers. */
export const target: typeof globalThis.fetch = async (_input, init) => {
  const headers = new Headers(init?.headers);
  const token = claims(headers.get("authorization"));
  return Response.json({ user: token.sub, actor: token.act.sub, headers: [...headers] });
};

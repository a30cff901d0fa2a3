/** Questions to the local process: HTTP/1.1 over a unix socket or loopback. */

import { readFile } from "node:fs/promises";
import { Agent, request, type RequestOptions } from "node:http";

import { Misconfigured, ofAnswer, Unavailable } from "./errors.js";

export type HeaderPairs = [string, string][];

const DEFAULT_PLACE = "/run/agent-sts/agent.sock";
const TIMEOUT_MS = 30_000;

/**
 * The local process `sts-agent`.
 *
 * `place` is what its `--listen` says: the path of a socket, or a loopback address; without it the variable `STS_AGENT`, or
 * `/run/agent-sts/agent.sock`. A loopback address needs the bearer file, or the variable `STS_AGENT_BEARER_FILE`.
 */
export class LocalProcess {
  readonly #options: RequestOptions;
  readonly #place: string;
  readonly #bearerFile: string | undefined;
  readonly #isSocket: boolean;

  constructor(place = process.env.STS_AGENT ?? DEFAULT_PLACE, bearerFile = process.env.STS_AGENT_BEARER_FILE) {
    const agent = new Agent({ keepAlive: true, maxFreeSockets: 32 });
    const plain = place.replace(/^http:\/\//, "").replace(/\/$/, "");
    this.#place = place;
    this.#bearerFile = bearerFile;
    this.#isSocket = place.startsWith("unix:") || plain.includes("/");
    if (this.#isSocket) {
      this.#options = { agent, socketPath: place.replace(/^unix:/, "") };
    } else {
      const address = /^(127\.0\.0\.1|\[::1\]):(\d+)$/.exec(plain);
      if (!address) throw new Misconfigured(`"${place}" is neither the path of a socket nor an address of this machine alone`);
      this.#options = { agent, host: address[1]!.replace(/[[\]]/g, ""), port: Number(address[2]) };
    }
  }

  /** The answer to a question; an error of this package for any other than 2xx. */
  async ask(path: string, question: object): Promise<unknown> {
    const body = Buffer.from(JSON.stringify(question));
    const headers: Record<string, string> = { "content-type": "application/json", "content-length": String(body.length) };
    if (!this.#isSocket) headers.authorization = `Bearer ${await this.#bearer()}`;
    for (;;) {
      const outcome = await this.#send(path, headers, body);
      // The process closes connections that wait: another one tells if it is there.
      if (outcome === "stale") continue;
      const answer = parsed(outcome.text);
      if (outcome.status < 200 || outcome.status > 299) throw ofAnswer(outcome.status, answer);
      return answer;
    }
  }

  async #bearer(): Promise<string> {
    if (this.#bearerFile === undefined) throw new Misconfigured("a loopback address needs the bearer file: STS_AGENT_BEARER_FILE");
    try {
      return (await readFile(this.#bearerFile, "utf8")).trim();
    } catch (cause) {
      throw new Unavailable("the bearer file cannot be read", { cause });
    }
  }

  #send(path: string, headers: Record<string, string>, body: Buffer): Promise<"stale" | { status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const sent = request({ ...this.#options, path, method: "POST", headers, timeout: TIMEOUT_MS });
      let isTimedOut = false;
      const failed = (cause: Error) => {
        if (sent.reusedSocket && !isTimedOut) return resolve("stale");
        reject(new Unavailable(`sts-agent cannot be reached at ${this.#place}: ${cause.message}`, { cause }));
      };
      sent.on("error", failed);
      sent.on("timeout", () => {
        isTimedOut = true;
        sent.destroy(new Error("no answer in time"));
      });
      sent.on("response", (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (part: string) => (text += part));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
        response.on("error", failed);
      });
      sent.end(body);
    });
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

let standard: LocalProcess | undefined;

/** The process that the environment names. */
export function defaultProcess(): LocalProcess {
  return (standard ??= new LocalProcess());
}

/** A stand-in for `sts-agent`, for the tests that need no server. */

import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { LocalProcess } from "../src/index.js";

export interface Answer {
  status: number;
  body: unknown;
}

/** Gives one answer to every question, until a test sets another. */
export class StandIn {
  readonly process: LocalProcess;
  answer: (path: string, question: Record<string, unknown>) => Answer | Promise<Answer> = () => ({ status: 404, body: {} });
  readonly asked: { path: string; question: Record<string, unknown> }[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), "sts"));
  readonly #server: Server;

  constructor() {
    this.process = new LocalProcess(join(this.#folder, "agent.sock"));
    this.#server = createServer((request, response) => {
      let text = "";
      request.on("data", (part) => (text += part));
      request.on("end", async () => {
        const [path, question] = [request.url ?? "", JSON.parse(text)];
        this.asked.push({ path, question });
        const { status, body } = await this.answer(path, question);
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
      });
    });
  }

  async start(): Promise<void> {
    this.#server.listen(join(this.#folder, "agent.sock"));
    await once(this.#server, "listening");
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
    rmSync(this.#folder, { recursive: true });
  }
}

// Serves one handler at /stock, and turns what may go wrong into answers.

import { createServer, type IncomingHttpHeaders } from "node:http";
import { Failure } from "./sts.js";

export function serve(handler: (headers: IncomingHttpHeaders) => Promise<string>, port: number): void {
  const server = createServer(async (request, response) => {
    if (request.method !== "GET" || request.url !== "/stock") {
      response.writeHead(404).end();
      return;
    }
    try {
      response.end(await handler(request.headers));
    } catch (error) {
      console.error(error instanceof Error ? error.message : error);
      const { status, code } = error instanceof Failure ? error : { status: 500, code: "internal_error" };
      if (status === 401) response.setHeader("WWW-Authenticate", 'Bearer error="invalid_token"');
      response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify({ error: code }));
    }
  });
  server.listen(port, "127.0.0.1", () => console.log(`listening on 127.0.0.1:${port}`));
}

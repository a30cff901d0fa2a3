/** The inbound side of Hono, and of whatever answers a `Request` with a `Response`. */

import { isPublic, PUBLIC, verify, within } from "./context.js";
import { AgentError } from "./errors.js";
import { defaultProcess, type HeaderPairs, type LocalProcess } from "./process.js";

interface HonoContext {
  req: { raw: Request };
  res: Response;
  error?: Error | undefined;
}

/** As `verified`, for Hono: `app.use(verifiedHono())`. */
export function verifiedHono(options: { process?: LocalProcess; publicPaths?: readonly string[] } = {}) {
  return async (c: HonoContext, next: () => Promise<void>): Promise<Response | undefined> => {
    const { method, headers: given, url } = c.req.raw;
    const { pathname, search } = new URL(url);
    if (isPublic(method, pathname, options.publicPaths ?? PUBLIC)) {
      await next();
      return undefined;
    }
    const headers: HeaderPairs = [...given];
    let verifiedRequest;
    try {
      verifiedRequest = await verify({ headers, method, path: pathname + search }, options.process ?? defaultProcess());
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      return answered(error);
    }
    const { context, caller } = verifiedRequest;
    try {
      await within(context, next);
      // A call that was not made, and that the handler does not answer for.
      if (c.error instanceof AgentError) c.res = answered(c.error);
      // The body of an answer to HEAD is not read. Any other may make calls after the handler has returned.
      const body = method === "HEAD" ? null : c.res.body;
      if (body === null) context.close();
      // The headers of an answer that was fetched cannot be changed.
      if (c.res.status >= 200) c.res = new Response(body && ending(body, () => context.close()), c.res);
      c.res.headers.set("x-correlation-id", caller.correlation_id);
    } catch (error) {
      context.close();
      throw error;
    }
    return undefined;
  };
}

/** The same body, which calls `end` when it is read, fails or is cancelled. */
function ending(body: ReadableStream<Uint8Array>, end: () => void): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
    try {
      const { done, value } = await reader.read();
      if (!done) return controller.enqueue(value);
      end();
      controller.close();
    } catch (error) {
      end();
      throw error;
    }
  };
  const cancel = async (reason: unknown) => {
    end();
    await reader.cancel(reason);
  };
  return new ReadableStream({ pull, cancel }, { highWaterMark: 0 });
}

function answered({ response: { status, headers, body } }: AgentError): Response {
  return new Response(body, { status, headers });
}

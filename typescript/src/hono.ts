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
    } catch (error) {
      context.close();
      throw error;
    }
    // A call that was not made, and that the handler does not answer for.
    if (c.error instanceof AgentError) c.res = answered(c.error);
    c.res.headers.set("x-correlation-id", caller.correlation_id);
    // A streamed body may make calls after the handler has returned.
    if (c.res.body === null) {
      context.close();
    } else {
      const end = new TransformStream({ flush: () => context.close() });
      c.res = new Response(c.res.body.pipeThrough(end), c.res);
    }
    return undefined;
  };
}

function answered({ response: { status, headers, body } }: AgentError): Response {
  return new Response(body, { status, headers });
}

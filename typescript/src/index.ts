/**
 * The context of a call for agents in TypeScript.
 *
 * The local process `sts-agent` verifies callers and makes the headers of calls. This package carries the caller from the inbound request to
 * the outbound call, and asks the process. It holds no key and no secret, and decides nothing.
 *
 *     app.use(verified());                      // inbound: Express, and Hono by verifiedHono()
 *     const http = onBehalf();                  // outbound: a fetch
 *     queue.add(carry(() => work()));           // work that outlives its request
 *
 * Outside of a request there is no caller, and a call fails with `NoContext`.
 */

export {
  type AuthorizationDetail,
  caller,
  type Caller,
  carry,
  Context,
  current,
  type Principal,
  withAuthorizationDetails,
  withoutUser,
} from "./context.js";
export {
  AgentError,
  type AgentResponse,
  ApprovalRequired,
  Misconfigured,
  NoContext,
  NoRoute,
  Refused,
  type RequiredApproval,
  Unavailable,
} from "./errors.js";
export { answerFailures, verified, type ExpressLike } from "./express.js";
export { onBehalf, type OnBehalfOptions } from "./fetch.js";
export { verifiedHono } from "./hono.js";
export { type HeaderPairs, LocalProcess } from "./process.js";

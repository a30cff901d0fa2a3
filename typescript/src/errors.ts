/** The reasons why a request is not served, or a call is not made. */

/** An answer of the agent to its own caller. */
export interface AgentResponse {
  status: number;
  headers: [string, string][];
  body: string;
}

/** The base of all errors. `response` is what the agent answers to its own caller. */
export class AgentError extends Error {
  readonly code: string | undefined;
  readonly response: AgentResponse;

  constructor(message: string, details: { code?: string | undefined; response?: AgentResponse | undefined; cause?: unknown } = {}) {
    super(message, { cause: details.cause });
    this.name = new.target.name;
    this.code = details.code;
    this.response = details.response ?? plain(500, "server_error");
  }
}

/** A call outside of a request, or after its end. Use `carry` for work that outlives a request, `withoutUser` for none. */
export class NoContext extends AgentError {}

/** The caller or its call is refused. `code` is the OAuth error code. The same request fails again. */
export class Refused extends AgentError {}

/** An approval that a call requires: a person decides on the page `interaction_uri`. */
export interface RequiredApproval {
  readonly id: string;
  readonly interaction_uri: string;
  /** The person who decides, if the service names one. */
  readonly approver?: "user" | "operator";
}

/** A person must approve the call first. The same call passes once the approval is granted. */
export class ApprovalRequired extends AgentError {
  readonly approval: RequiredApproval;

  constructor(message: string, approval: RequiredApproval, details: { code?: string | undefined; response?: AgentResponse | undefined } = {}) {
    super(message, details);
    this.approval = approval;
  }
}

/** No route of the agent's file names the target. */
export class NoRoute extends AgentError {}

/** The agent's file, or the use of this package, is wrong. */
export class Misconfigured extends AgentError {}

/** There is no answer now: the service, or `sts-agent` itself, cannot be reached. A later try may succeed. */
export class Unavailable extends AgentError {
  readonly retryAfter: number | undefined;

  constructor(message: string, details: { retryAfter?: number | undefined; response?: AgentResponse | undefined; cause?: unknown } = {}) {
    super(message, { response: details.response ?? plain(503, "temporarily_unavailable"), cause: details.cause });
    this.retryAfter = details.retryAfter;
  }
}

function plain(status: number, error: string): AgentResponse {
  const headers: [string, string][] = [["content-type", "application/json"]];
  if (status === 503) headers.push(["retry-after", "5"]);
  return { status, headers, body: JSON.stringify({ error }) };
}

interface FailureAnswer {
  error?: string;
  message?: string;
  code?: string;
  retry_after_seconds?: number;
  approval?: RequiredApproval;
  response?: AgentResponse;
}

/** The error that an answer of `sts-agent` other than 2xx stands for. */
export function ofAnswer(status: number, answer: unknown): AgentError {
  if (typeof answer !== "object" || answer === null) {
    return new Unavailable(`sts-agent answered with status ${status} and no JSON`);
  }
  const { error, message = `status ${status}`, code, retry_after_seconds: retryAfter, approval, response } = answer as FailureAnswer;
  switch (error) {
    case "unavailable":
      return new Unavailable(message, { retryAfter, response });
    case "refused":
      return new Refused(message, { code, response });
    case "approval_required":
      return typeof approval?.id === "string" && typeof approval.interaction_uri === "string"
        ? new ApprovalRequired(message, approval, { code, response })
        : new Misconfigured(message, { code, response });
    case "no_route":
      return new NoRoute(message, { code, response });
    default:
      return new Misconfigured(message, { code, response });
  }
}

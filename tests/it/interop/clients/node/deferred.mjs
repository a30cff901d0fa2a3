// A client of others waits for a person: it asks for a deferred answer, and polls with its generic request of the token endpoint.
// Prints, as JSON, what each request came to.
//
// usage: node deferred.mjs ISSUER SECRET SUBJECT_TOKEN APPROVER_TOKEN
import * as oauth from "oauth4webapi";

const [issuer, secret, subjectToken, approverToken] = process.argv.slice(2);
const insecure = { [oauth.allowInsecureRequests]: true };
const url = new URL(issuer);
const discovered = await oauth.discoveryRequest(url, { algorithm: "oauth2", ...insecure });
const server = await oauth.processDiscoveryResponse(url, discovered);
const client = { client_id: "asker" };

// The answer of a grant, also if it is an error of OAuth.
async function ask(grant, parameters) {
  const authentication = oauth.ClientSecretBasic(secret);
  const answer = await oauth.genericTokenEndpointRequest(server, client, authentication, grant, parameters, insecure);
  try {
    return await oauth.processGenericTokenEndpointResponse(server, client, answer);
  } catch (error) {
    if (error instanceof oauth.ResponseBodyError) {
      return error.cause;
    }
    throw error;
  }
}

const exchange = (more) =>
  ask("urn:ietf:params:oauth:grant-type:token-exchange", {
    subject_token: subjectToken,
    subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
    audience: "inventory-agent",
    ...more,
  });

const deferred = await exchange({ completion_mode: "deferred" });
const poll = () => ask("urn:ietf:params:oauth:grant-type:deferred", { deferral_code: deferred.deferral_code });
const pending = await poll();
const { interaction_uri: page } = await exchange({});
const decided = await fetch(page, {
  method: "POST",
  headers: { "content-type": "application/json", authorization: `Bearer ${approverToken}` },
  body: JSON.stringify({ decision: "grant" }),
});
const granted = await decided.json();
const redeemed = await poll();
const again = await poll();
console.log(JSON.stringify({ supported: server.deferred_token_response_supported, deferred, pending, granted, redeemed, again }));

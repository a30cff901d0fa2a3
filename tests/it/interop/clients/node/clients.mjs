// Clients of others ask for tokens, each in its own way. Prints, as JSON, the token that each got, or why it got none.
//
// usage: node clients.mjs ISSUER SECRET SUBJECT_TOKEN MCP_SERVER
import { auth } from "@modelcontextprotocol/sdk/client/auth.js";
import { ClientCredentialsProvider } from "@modelcontextprotocol/sdk/client/auth-extensions.js";
import * as oauth from "oauth4webapi";

const [issuer, secret, subjectToken, mcpServer] = process.argv.slice(2);
const insecure = { [oauth.allowInsecureRequests]: true };

async function byMcp() {
  const provider = new ClientCredentialsProvider({ clientId: "plus", clientSecret: secret, expectedIssuer: issuer });
  const result = await auth(provider, { serverUrl: mcpServer });
  return { ...provider.tokens(), result };
}

async function byOauth4webapi() {
  const url = new URL(issuer);
  const discovered = await oauth.discoveryRequest(url, { algorithm: "oauth2", ...insecure });
  const server = await oauth.processDiscoveryResponse(url, discovered);
  const client = { client_id: "plus" };
  const answer = await oauth.genericTokenEndpointRequest(
    server,
    client,
    oauth.ClientSecretBasic(secret),
    "urn:ietf:params:oauth:grant-type:token-exchange",
    { subject_token: subjectToken, subject_token_type: "urn:ietf:params:oauth:token-type:jwt", audience: "inventory-agent" },
    insecure,
  );
  return oauth.processGenericTokenEndpointResponse(server, client, answer);
}

const printed = {};
for (const [name, ask] of [["MCP SDK", byMcp], ["oauth4webapi", byOauth4webapi]]) {
  try {
    printed[name] = await ask();
  } catch (error) {
    printed[name] = { failed: `${error.name}: ${error.message}: ${error.cause}` };
  }
}
console.log(JSON.stringify(printed));

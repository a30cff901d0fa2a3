// Clients of others get bound tokens, and a resource server of others verifies them. Prints, as JSON, what each got.
//
// usage: node dpop.mjs ISSUER SECRET SUBJECT_TOKEN
import * as oauth from "oauth4webapi";
import * as client from "openid-client";

const [issuer, secret, subjectToken] = process.argv.slice(2);
const insecure = { [oauth.allowInsecureRequests]: true };
const grant = "urn:ietf:params:oauth:grant-type:token-exchange";
const exchange = {
  subject_token: subjectToken,
  subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
  audience: "inventory-agent",
};
const resource = new URL("https://inventory.shop.example/stock?item=7");

async function discovered() {
  const url = new URL(issuer);
  return oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, { algorithm: "oauth2", ...insecure }));
}

// The request of an agent that uses the token, as it would be sent.
async function used(token, DPoP) {
  let sent;
  const capture = async (url, init) => {
    sent = new Request(url, init);
    return new Response();
  };
  await oauth.protectedResourceRequest(token, "GET", resource, undefined, undefined, { DPoP, [oauth.customFetch]: capture });
  return sent;
}

async function accepted(server, request) {
  try {
    return await oauth.validateJwtAccessToken(server, request, "inventory-agent", { requireDPoP: true, ...insecure });
  } catch (error) {
    return { refused: `${error.name}: ${error.message}` };
  }
}

async function byOauth4webapi() {
  const server = await discovered();
  const me = { client_id: "plus" };
  const DPoP = oauth.DPoP(me, await oauth.generateKeyPair("ES256"));
  const ask = async () => {
    const options = { DPoP, ...insecure };
    const answer = await oauth.genericTokenEndpointRequest(server, me, oauth.ClientSecretBasic(secret), grant, exchange, options);
    return oauth.processGenericTokenEndpointResponse(server, me, answer);
  };
  let nonces = 0;
  const token = await ask().catch((error) => {
    if (!oauth.isDPoPNonceError(error)) throw error;
    nonces += 1;
    return ask();
  });
  const thief = oauth.DPoP(me, await oauth.generateKeyPair("ES256"));
  return {
    ...token,
    nonces,
    verified: await accepted(server, await used(token.access_token, DPoP)),
    stolen: await accepted(server, await used(token.access_token, thief)),
    bearer: await accepted(server, new Request(resource, { headers: { authorization: `Bearer ${token.access_token}` } })),
  };
}

async function byOpenidClient() {
  const options = { algorithm: "oauth2", execute: [client.allowInsecureRequests] };
  const config = await client.discovery(new URL(issuer), "plus", undefined, client.ClientSecretBasic(secret), options);
  const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("Ed25519"));
  const token = await client.genericGrantRequest(config, grant, exchange, { DPoP });
  return { ...token, verified: await accepted(config.serverMetadata(), await used(token.access_token, DPoP)) };
}

const printed = {};
for (const [name, ask] of [["oauth4webapi", byOauth4webapi], ["openid-client", byOpenidClient]]) {
  try {
    printed[name] = await ask();
  } catch (error) {
    printed[name] = { failed: `${error.name}: ${error.message}: ${error.cause}` };
  }
}
console.log(JSON.stringify(printed));

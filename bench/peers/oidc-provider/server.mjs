// oidc-provider with the token exchange grant: the least that it needs to do the job of an exchange.
//
// It checks a subject token of the outside issuer (ES256), and signs an access token for the audience (ES256, RFC 9068), with act.
// It does not: store anything (its adapter is memory), write an audit log, know delegations, tenants or revocations, speak TLS.
import { readFileSync } from 'node:fs';
import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import { Provider, errors } from 'oidc-provider';

const { PEER_PORT, PEER_SUBJECT_ISSUER, PEER_SUBJECT_JWKS, PEER_CLIENT_ID, PEER_CLIENT_SECRET, PEER_AUDIENCE } = process.env;
const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const issuer = `http://127.0.0.1:${PEER_PORT}`;
const subjectKeys = createLocalJWKSet(JSON.parse(readFileSync(PEER_SUBJECT_JWKS, 'utf8')));

const { privateKey } = await generateKeyPair('ES256', { extractable: true });
const signingKey = { ...(await exportJWK(privateKey)), kid: 'bench', alg: 'ES256', use: 'sig' };
const resource = { scope: 'stock:read', audience: PEER_AUDIENCE, accessTokenTTL: 300, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } };

const provider = new Provider(issuer, {
  jwks: { keys: [signingKey] },
  clients: [{
    client_id: PEER_CLIENT_ID,
    client_secret: PEER_CLIENT_SECRET,
    grant_types: [GRANT],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_basic',
    id_token_signed_response_alg: 'ES256',
  }],
  features: {
    devInteractions: { enabled: false },
    resourceIndicators: { enabled: true, getResourceServerInfo: () => resource },
  },
  extraTokenClaims: (_ctx, token) => ({ act: { sub: token.clientId, iss: issuer } }),
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});

async function exchange(ctx) {
  const { client, params } = ctx.oidc;
  let subject;
  try {
    ({ payload: subject } = await jwtVerify(params.subject_token, subjectKeys, {
      issuer: PEER_SUBJECT_ISSUER, audience: 'web-app', algorithms: ['ES256'],
    }));
  } catch {
    throw new errors.InvalidRequest('the subject token is not acceptable');
  }
  const token = new provider.AccessToken({ accountId: subject.sub, client, gty: 'token-exchange', scope: 'stock:read' });
  token.resourceServer = new provider.ResourceServer(params.audience, resource);
  ctx.body = {
    access_token: await token.save(),
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    expires_in: token.expiration,
    token_type: token.tokenType,
    scope: token.scope,
  };
}

provider.on('server_error', (_ctx, error) => console.error(error));
provider.registerGrantType(GRANT, exchange, ['audience', 'subject_token', 'subject_token_type'], []);
provider.listen(Number(PEER_PORT), '127.0.0.1', () => {
  console.log(`ready ${JSON.stringify({ path: '/token', subjects: 'outside' })}`);
});

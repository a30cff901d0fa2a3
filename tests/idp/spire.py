#!/usr/bin/env python3
"""Authenticates a workload of a real SPIRE, by its X.509-SVID and by its JWT-SVID. Run by name, not in CI: it builds SPIRE from the Go
module proxy, which takes some minutes, and needs Go, curl and openssl.

usage: tests/idp/spire.py [SERVER [FOLDER]]

SERVER is the sts-server to try (target/debug/sts-server), FOLDER keeps the programs of SPIRE between runs (target/tmp/spire).
"""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

VERSION = "v1.13.3"
DOMAIN = "shop.example"
ID = f"spiffe://{DOMAIN}/warehouse"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
PATIENCE = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(*command, **options) -> str:
    """The output of a program that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]}: {done.stdout}{done.stderr}")
    return done.stdout


def build(folder: pathlib.Path) -> list[pathlib.Path]:
    """The programs of SPIRE, built where they are missing."""
    programs = [folder / name for name in ("spire-server", "spire-agent")]
    if all(program.exists() for program in programs):
        return programs
    module = folder / "module"
    module.mkdir(parents=True, exist_ok=True)
    (module / "go.mod").write_text("module spire\n\ngo 1.25\n")
    environment = {**os.environ, "GOBIN": str(folder)}
    for program in programs:
        package = f"github.com/spiffe/spire/cmd/{program.name}"
        run("go", "get", "-tool", f"{package}@{VERSION}", cwd=module)
        run("go", "install", package, cwd=module, env=environment)
    return programs


SERVER = """
server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  trust_domain = "{domain}"
  data_dir = "{data}/server"
  socket_path = "{data}/server.sock"
  log_level = "WARN"
  ca_ttl = "1h"
  default_x509_svid_ttl = "10m"
}}
plugins {{
  DataStore "sql" {{ plugin_data {{ database_type = "sqlite3", connection_string = "{data}/datastore.sqlite3" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
}}
"""

AGENT = """
agent {{
  data_dir = "{data}/agent"
  log_level = "WARN"
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{data}/agent.sock"
  trust_domain = "{domain}"
  trust_bundle_path = "{data}/bootstrap.pem"
  join_token = "{token}"
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "memory" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""

REGISTRY = """
[[issuers]]
issuer = "{idp}"
jwks_file = "{data}/idp.json"
tenant_claim = "org_id"

[[issuers]]
issuer = "spiffe://{domain}"
bundle_file = "{data}/bundle.json"

[[agents]]
id = "warehouse"
accepts = ["web-app"]
[agents.auth]
workload = [{{ issuer = "spiffe://{domain}", subject = "{id}" }}]

[[agents]]
id = "inventory"

[[delegations]]
actor = "warehouse"
target = "inventory"
scopes = ["stock:read"]
"""

CONFIGURATION = """
issuer = "https://localhost:{port}"
registry = "{data}/registry.toml"
[listen]
public = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
[database]
url = "sqlite://{data}/sts.db"
[keys]
master_key_file = "{data}/master.key"
[tls]
certificate_file = "{data}/tls.crt"
private_key_file = "{data}/tls.key"
client_certificates = "optional"
client_ca_file = "{data}/tls.crt"
"""


def eventually(what: str, attempt):
    """What `attempt` returns as soon as it returns anything."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(SystemExit, OSError):
            found = attempt()
            if found:
                return found
        time.sleep(0.2)
    raise SystemExit(f"timed out: {what}")


@contextlib.contextmanager
def served(log: pathlib.Path, *command):
    """A program that runs until the end of the block."""
    with log.open("w") as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        except BaseException:
            sys.stderr.write(log.read_text())
            raise
        finally:
            process.terminate()
            process.wait()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def user_token(data: pathlib.Path, idp: str) -> str:
    """A token of a user, by an issuer whose key set is in `idp.json`."""
    key = data / "idp.key"
    run("openssl", "genrsa", "-out", key, "2048")
    modulus = run("openssl", "rsa", "-in", key, "-noout", "-modulus").strip().split("=")[1]
    jwk = {"kty": "RSA", "kid": "1", "alg": "RS256", "n": b64(bytes.fromhex(modulus)), "e": "AQAB"}
    (data / "idp.json").write_text(json.dumps({"keys": [jwk]}))
    now = int(time.time())
    claims = {"iss": idp, "sub": "alice", "aud": "web-app", "org_id": "acme", "iat": now, "exp": now + 3600, "jti": "1"}
    signed = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1"}, claims))
    signature = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", key], input=signed.encode(), capture_output=True, check=True
    )
    return f"{signed}.{b64(signature.stdout)}"


def ask(url: str, data: pathlib.Path, form: dict, certificate: list[str]) -> dict:
    """The answer of the token endpoint."""
    options = ["--silent", "--show-error", "--noproxy", "*", "--cacert", data / "tls.crt", *certificate]
    for name, value in form.items():
        options += ["--data-urlencode", f"{name}={value}"]
    return json.loads(run("curl", *options, f"{url}/oauth2/token"))


def claims_of(answer: dict) -> dict:
    if "access_token" not in answer:
        raise SystemExit(f"no token: {answer}")
    payload = answer["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def try_all(sts: pathlib.Path, server: pathlib.Path, agent: pathlib.Path, data: pathlib.Path, stack) -> None:
    port, public, admin = free_port(), free_port(), free_port()
    idp = "https://login.example.com"
    (data / "server.conf").write_text(SERVER.format(port=port, domain=DOMAIN, data=data))
    stack.enter_context(served(data / "spire-server.log", server, "run", "-config", data / "server.conf"))
    at_server = ["-socketPath", data / "server.sock"]
    bootstrap = eventually("the bundle of SPIRE", lambda: run(server, "bundle", "show", *at_server))
    (data / "bootstrap.pem").write_text(bootstrap)
    token = run(server, "token", "generate", *at_server, "-spiffeID", f"spiffe://{DOMAIN}/node").split()[1]
    (data / "agent.conf").write_text(AGENT.format(port=port, domain=DOMAIN, data=data, token=token))
    stack.enter_context(served(data / "spire-agent.log", agent, "run", "-config", data / "agent.conf"))
    selector = f"unix:uid:{os.getuid()}"
    entry = ["-spiffeID", ID, "-parentID", f"spiffe://{DOMAIN}/node", "-selector", selector]
    run(server, "entry", "create", *at_server, *entry)
    at_agent = ["-socketPath", data / "agent.sock"]
    svid = eventually(
        "an X.509-SVID", lambda: run(agent, "api", "fetch", "x509", *at_agent, "-write", data) and data / "svid.0.pem"
    )
    (data / "bundle.json").write_text(run(server, "bundle", "show", *at_server, "-format", "spiffe"))

    subject = user_token(data, idp)
    (data / "registry.toml").write_text(REGISTRY.format(idp=idp, domain=DOMAIN, data=data, id=ID))
    (data / "sts.toml").write_text(CONFIGURATION.format(port=public, admin=admin, data=data))
    (data / "master.key").write_text(base64.b64encode(os.urandom(32)).decode())
    (data / "master.key").chmod(0o600)
    certificate = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", data / "tls.key", "-out", data / "tls.crt"]
    run("openssl", "req", *certificate, *names)
    (data / "tls.key").chmod(0o600)
    stack.enter_context(served(data / "sts.log", sts, "serve", "-c", data / "sts.toml"))
    url, trusting = f"https://localhost:{public}", ssl.create_default_context(cafile=data / "tls.crt")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting))
    eventually("the service", lambda: direct.open(f"{url}/.well-known/oauth-authorization-server").status == 200)

    exchange = {"grant_type": GRANT, "subject_token": subject, "subject_token_type": ACCESS_TOKEN, "audience": "inventory"}
    of_svid = ["--cert", svid, "--key", data / "svid.0.key"]
    der = ssl.PEM_cert_to_DER_cert(svid.read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
    thumbprint = b64(hashlib.sha256(der).digest())
    for client_id in ("warehouse", ID):
        claims = claims_of(ask(url, data, {**exchange, "client_id": client_id}, of_svid))
        assert claims["act"]["sub"] == "warehouse" and claims["cnf"] == {"x5t#S256": thumbprint}, claims
        print(f"X.509-SVID, client_id {client_id}: act.sub {claims['act']['sub']}, cnf {claims['cnf']}")

    fetched = json.loads(run(agent, "api", "fetch", "jwt", *at_agent, "-audience", url, "-output", "json"))
    assertion = fetched[0]["svids"][0]["svid"]
    by_jwt = {**exchange, "client_assertion_type": JWT_SPIFFE, "client_assertion": assertion}
    claims = claims_of(ask(url, data, by_jwt, []))
    assert claims["act"]["sub"] == "warehouse" and "cnf" not in claims, claims
    print(f"JWT-SVID: act.sub {claims['act']['sub']}, not bound")

    # Without the authorities of the bundle, the same certificate is worth nothing.
    bundle = json.loads((data / "bundle.json").read_text())
    bundle["keys"] = [key for key in bundle["keys"] if key["use"] != "x509-svid"]
    (data / "bundle.json").write_text(json.dumps(bundle))
    time.sleep(2)
    answer = ask(url, data, {**exchange, "client_id": "warehouse"}, of_svid)
    assert answer.get("error") == "invalid_client", answer
    print("X.509-SVID, its authority no longer in the bundle: invalid_client")
    print("all held")


def main() -> None:
    arguments = dict(enumerate(sys.argv))
    sts = pathlib.Path(arguments.get(1, "target/debug/sts-server")).resolve()
    folder = pathlib.Path(arguments.get(2, "target/tmp/spire")).resolve()
    server, agent = build(folder)
    print(run(server, "--version").strip() or f"SPIRE {VERSION}")
    with tempfile.TemporaryDirectory() as data, contextlib.ExitStack() as stack:
        try_all(sts, server, agent, pathlib.Path(data), stack)
    shutil.rmtree(folder / "module", ignore_errors=True)


if __name__ == "__main__":
    main()

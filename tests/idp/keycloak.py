#!/usr/bin/env python3
"""Takes the tokens of a real Keycloak through two hops, and signs an operator in to the console. Run by name, not in CI: it fetches Keycloak (180 MB) and needs Java and Maven.

usage: tests/idp/keycloak.py [SERVER [FOLDER]]

SERVER is the sts-server to try (target/debug/sts-server), FOLDER keeps Keycloak between runs (target/tmp/keycloak). The realm, its client,
user, role and organization are made by Keycloak's admin API.
"""

import base64
import contextlib
import hashlib
import html
import http.client
import json
import os
import pathlib
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile

VERSION = "26.7.3"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
PASSWORD = "alice"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(method, url, body=None, form=None, bearer=None, basic=None):
    """The status, the location and the body of an answer, which is JSON or a text."""
    headers = {}
    data = None
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    if form is not None:
        data = urllib.parse.urlencode(form).encode()
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    if basic:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            text = answer.read().decode()
            said = json.loads(text) if text.startswith(("{", "[")) else text
            return answer.status, answer.headers.get("Location"), said
    except urllib.error.HTTPError as error:
        return error.code, None, error.read().decode(errors="replace")


def install(folder: pathlib.Path) -> pathlib.Path:
    home = folder / f"keycloak-{VERSION}"
    if not (home / "bin/kc.sh").exists():
        folder.mkdir(parents=True, exist_ok=True)
        artifact = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
        plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
        quiet = ["mvn", "--batch-mode", "--quiet"]
        subprocess.run([*quiet, f"{plugin}:get", f"-Dartifact={artifact}", "-Dtransitive=false"], check=True)
        copy = [f"{plugin}:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
        subprocess.run([*quiet, *copy], check=True)
        archive = folder / f"keycloak-quarkus-dist-{VERSION}.zip"
        zipfile.ZipFile(archive).extractall(folder)
        archive.unlink()
        (home / "bin/kc.sh").chmod(0o755)
    return home


@contextlib.contextmanager
def process(command, ready, environment=None, folder=None):
    """A process that is ready when `ready` answers, and ends with the block."""
    log = tempfile.TemporaryFile()
    started = subprocess.Popen(
        command, env=os.environ | (environment or {}), cwd=folder, stdout=log, stderr=log, start_new_session=True
    )
    try:
        while True:
            with contextlib.suppress(OSError, urllib.error.URLError):
                if call("GET", ready)[0] == 200:
                    break
            if started.poll() is not None:
                log.seek(0)
                sys.exit(log.read().decode(errors="replace"))
            time.sleep(0.5)
        yield
    finally:
        started.terminate()
        started.wait()


def make_realm(base: str, admin: str):
    """A realm with a client, a user of a role and of an organization, whose tokens show the organization as an object."""
    realms = f"{base}/admin/realms"

    def make(path, body):
        status, location, answer = call("POST", f"{realms}{path}", body=body, bearer=admin)
        assert status in (201, 204), f"{path}: {status} {answer}"
        return location.rsplit("/", 1)[1] if location else None

    def get(path):
        status, _, answer = call("GET", f"{realms}{path}", bearer=admin)
        assert status == 200, f"{path}: {status} {answer}"
        return answer

    make("", {"realm": "shop", "enabled": True, "organizationsEnabled": True})
    make("/shop/roles", {"name": "buyer"})
    client = {"clientId": "web-app", "publicClient": True, "directAccessGrantsEnabled": True}
    client_id = make("/shop/clients", client)
    credentials = [{"type": "password", "value": PASSWORD, "temporary": False}]
    names = {"firstName": "Alice", "lastName": "Doe", "email": "alice@acme.example", "emailVerified": True}
    user_id = make("/shop/users", {"username": "alice", "enabled": True, "credentials": credentials} | names)
    make(f"/shop/users/{user_id}/role-mappings/realm", [get("/shop/roles/buyer")])
    organization = {"name": "acme", "alias": "acme", "enabled": True, "domains": [{"name": "acme.example"}]}
    organization_id = make("/shop/organizations", organization)
    make(f"/shop/organizations/{organization_id}/members", user_id)
    scope = next(scope for scope in get("/shop/client-scopes") if scope["name"] == "organization")
    mapper = next(iter(scope["protocolMappers"]))
    mapper["config"] |= {"addOrganizationId": "true", "jsonType.label": "JSON"}
    path = f"{realms}/shop/client-scopes/{scope['id']}/protocol-mappers/models/{mapper['id']}"
    status, _, answer = call("PUT", path, body=mapper, bearer=admin)
    assert status == 204, answer
    path = f"{realms}/shop/clients/{client_id}/default-client-scopes/{scope['id']}"
    call("DELETE", f"{realms}/shop/clients/{client_id}/optional-client-scopes/{scope['id']}", bearer=admin)
    status, _, answer = call("PUT", path, bearer=admin)
    assert status == 204, answer


def make_console_client(base: str, admin: str, redirect_uri: str, audience: str) -> str:
    """A confidential client with PKCE, and an operator. Returns the secret of the client."""
    realm = f"{base}/admin/realms/shop"

    def mapper(name, kind, config):
        config |= {"access.token.claim": "true", "id.token.claim": "false"}
        return {"name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": config}

    secret = secrets.token_hex(32)
    roles = {"claim.name": "roles", "jsonType.label": "String", "multivalued": "true"}
    client = {
        "clientId": "sts-console", "secret": secret, "redirectUris": [redirect_uri],
        "attributes": {"pkce.code.challenge.method": "S256"},
        "protocolMappers": [
            mapper("audience", "oidc-audience-mapper", {"included.custom.audience": audience}),
            mapper("roles", "oidc-usermodel-realm-role-mapper", roles),
        ],
    }
    names = {"firstName": "Carol", "lastName": "Doe", "email": "carol@acme.example", "emailVerified": True}
    credentials = [{"type": "password", "value": PASSWORD, "temporary": False}]
    user = {"username": "carol", "enabled": True, "credentials": credentials} | names
    for path, body in [("/clients", client), ("/roles", {"name": "on-call"}), ("/users", user)]:
        status, location, answer = call("POST", f"{realm}{path}", body=body, bearer=admin)
        assert status == 201, f"{path}: {status} {answer}"
    _, _, role = call("GET", f"{realm}/roles/on-call", bearer=admin)
    status, _, answer = call("POST", f"{location}/role-mappings/realm", body=[role], bearer=admin)
    assert status == 204, answer
    return secret


class Browser:
    """What a browser does with cookies and redirects. Unlike the library, it sends Secure cookies to the loopback interface."""

    def __init__(self):
        self.cookies = {}

    def ask(self, method, url, form=None):
        """The status, the address that a redirect leads to, and the page."""
        parts = urllib.parse.urlsplit(url)
        kept = self.cookies.setdefault(parts.netloc, {})
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in kept.items())}
        if form is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"{parts.scheme}://{parts.netloc}"}
        connection = http.client.HTTPConnection(parts.netloc)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, urllib.parse.urlencode(form) if form is not None else None, headers)
        answer = connection.getresponse()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.split(";")[0].partition("=")
            kept.pop(name, None) if not value else kept.update({name: value})
        location = answer.headers.get("Location")
        return answer.status, location and urllib.parse.urljoin(url, location), answer.read().decode()

    def open(self, url, form=None):
        """The page at the end of the redirects."""
        status, location, page = self.ask("GET" if form is None else "POST", url, form)
        for _ in range(5):
            if location is None:
                assert status == 200, f"{status} {url}: {page}"
                return page
            url = location
            status, location, page = self.ask("GET", url)
        raise AssertionError(f"too many redirects: {url}")


def sign_in(server: pathlib.Path, base: str, admin_token: str):
    """An operator signs in to the console with a password at Keycloak, by authorization code and PKCE."""
    folder, issuer = pathlib.Path(tempfile.mkdtemp()), f"{base}/realms/shop"
    public, admin = free_port(), free_port()
    sts, console = f"http://127.0.0.1:{public}", f"http://127.0.0.1:{admin}"
    audience = "https://sts.example.com/admin"
    secret = make_console_client(base, admin_token, f"{console}/console/sign-in/callback", audience)
    (folder / "registry.toml").write_text('[[agents]]\nid = "coordinator"\n')
    for name, text in [("master.key", base64.b64encode(secrets.token_bytes(32)).decode()), ("client.secret", secret)]:
        (folder / name).touch(0o600)
        (folder / name).write_text(f"{text}\n")
    (folder / "sts.toml").write_text(
        f'issuer = "{sts}"\nregistry = "registry.toml"\n'
        f'[listen]\npublic = "127.0.0.1:{public}"\nadmin = "127.0.0.1:{admin}"\n'
        f'[admin]\nurl = "{console}"\n'
        f'[admin.oidc]\nissuer = "{issuer}"\naudience = "{audience}"\nclaim = "roles"\noperators = ["on-call"]\n'
        'token_typ = "jwt"\nclient_id = "sts-console"\nclient_secret_file = "client.secret"\n'
    )
    with process([server, "serve", "-c", "sts.toml"], f"{sts}/readyz", folder=folder):
        browser = Browser()
        assert f"Sign in at {issuer}" in browser.open(f"{console}/console/sign-in")
        page = browser.open(f"{console}/console/sign-in/issuer")
        # With organizations, Keycloak asks for the name and then for the password.
        for form in [{"username": "carol"}, {"password": PASSWORD, "credentialId": ""}]:
            action = html.unescape(re.search(r'id="kc-form-login"[^>]*action="([^"]+)"', page)[1])
            page = browser.open(action, form)
        assert "Continue to the console" in page, page
        page = browser.open(f"{console}/console")
        who = re.search(r'<form class="who".*?</form>', page, re.S)
        print("console:", re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", who[0] if who else page)).strip())
        assert "coordinator" in page and "(operator)" in page, page
        # Without the cookie there is no session.
        browser.cookies.pop(f"127.0.0.1:{admin}")
        assert browser.ask("GET", f"{console}/console")[1] == f"{console}/console/sign-in"
        assert "Continue to the console" in browser.open(f"{console}/console/sign-in/issuer"), "one click, no password"


def claims(token: str) -> dict:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def registry(issuer: str, agents: dict) -> str:
    digest = {agent: hashlib.sha256(secret.encode()).hexdigest() for agent, secret in agents.items()}
    entries = [
        f'[[issuers]]\nissuer = "{issuer}"\naudience_claim = "azp"\ntenant_claim = "/organization/*"\n'
        'roles_claim = "/realm_access/roles"\n',
        f'[[agents]]\nid = "coordinator"\naccepts = ["web-app"]\nauth.client_secret_sha256 = "{digest["coordinator"]}"\n',
        f'[[agents]]\nid = "inventory"\nauth.client_secret_sha256 = "{digest["inventory"]}"\n',
        '[[agents]]\nid = "warehouse"\n',
        '[[delegations]]\nactor = "coordinator"\ntarget = "inventory"\nscopes = ["stock:read"]\nroles = ["buyer"]\n',
        '[[delegations]]\nactor = "inventory"\ntarget = "warehouse"\nscopes = ["stock:read"]\nroles = ["buyer"]\n',
    ]
    return "\n".join(entries)


def two_hops(server: pathlib.Path, issuer: str, subject: str):
    agents = {"coordinator": secrets.token_hex(32), "inventory": secrets.token_hex(32)}
    folder = pathlib.Path(tempfile.mkdtemp())
    public, admin = free_port(), free_port()
    sts = f"http://127.0.0.1:{public}"
    (folder / "registry.toml").write_text(registry(issuer, agents))
    key = folder / "master.key"
    key.touch(0o600)
    key.write_text(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    (folder / "sts.toml").write_text(
        f'issuer = "{sts}"\nregistry = "registry.toml"\n[listen]\npublic = "127.0.0.1:{public}"\nadmin = "127.0.0.1:{admin}"\n'
    )
    with process([server, "serve", "-c", "sts.toml"], f"{sts}/readyz", folder=folder):
        token = subject
        for actor, target in [("coordinator", "inventory"), ("inventory", "warehouse")]:
            form = {
                "grant_type": GRANT, "subject_token": token, "subject_token_type": ACCESS_TOKEN, "audience": target,
            }
            status, _, answer = call("POST", f"{sts}/oauth2/token", form=form, basic=(actor, agents[actor]))
            assert status == 200, f"{actor} -> {target}: {status} {answer}"
            token = answer["access_token"]
            said = claims(token)
            print(f"{actor} -> {target}: {json.dumps(said)}")
            assert said["sub_id"] == {"format": "iss_sub", "iss": issuer, "sub": claims(subject)["sub"]}, said
            assert (said["aud"], said["tenant_id"], said["roles"]) == (target, "acme", ["buyer"]), said
        assert said["act"]["sub"] == "inventory" and said["act"]["act"]["sub"] == "coordinator", said


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    server = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else root / "target/debug/sts-server").resolve()
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else root / "target/tmp/keycloak").resolve()
    home = install(folder)
    port, management = free_port(), free_port()
    base, password = f"http://127.0.0.1:{port}", secrets.token_hex(16)
    command = [
        home / "bin/kc.sh", "start-dev", "--http-host=127.0.0.1", f"--http-port={port}",
        f"--http-management-port={management}", "--db=dev-mem", "--log-level=warn",
    ]
    bootstrap = {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": password}
    with process(command, f"{base}/realms/master", bootstrap):
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": password}
        _, _, answer = call("POST", f"{base}/realms/master/protocol/openid-connect/token", form=form)
        make_realm(base, answer["access_token"])
        form = {"grant_type": "password", "client_id": "web-app", "username": "alice", "password": PASSWORD, "scope": "openid"}
        issuer = f"{base}/realms/shop"
        status, _, answer = call("POST", f"{issuer}/protocol/openid-connect/token", form=form)
        assert status == 200, answer
        subject = answer["access_token"]
        print("Keycloak:", json.dumps(claims(subject)))
        two_hops(server, issuer, subject)
        print("two hops: well")
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": password}
        _, _, answer = call("POST", f"{base}/realms/master/protocol/openid-connect/token", form=form)
        sign_in(server, base, answer["access_token"])
    print("sign-in to the console: well")


main()

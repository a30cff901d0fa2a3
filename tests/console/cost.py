#!/usr/bin/env python3
"""Measures the pages of the console on a large database. Run by name, not in CI: it fills a database of 2 GB and takes minutes.

usage: tests/console/cost.py [SERVER [FOLDER]]

SERVER is the sts-server to measure (target/release/sts-server), FOLDER keeps the database between runs (target/tmp/console-cost). The registry
has 10,000 agents and 50,000 delegations, and the audit log 2,000,000 events of 90 days. Prints each page with its median and its longest
time of 20 requests, and fails if a median is over 100 ms.
"""

import base64
import hashlib
import http.client
import json
import pathlib
import re
import secrets
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.parse

AGENTS, RULES_OF_AN_AGENT, EVENTS, DAYS = 10_000, 5, 2_000_000, 90
LIMIT_MS, REQUESTS = 100.0, 20
ISSUER = "https://login.example.com"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def agent(number: int) -> str:
    return f"agent-{number % AGENTS:05}"


def registry() -> str:
    digest = hashlib.sha256(b"a secret").hexdigest()
    key = {"kty": "EC", "crv": "P-256", "kid": "1", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
           "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}
    lines = [f'[[issuers]]\nissuer = "{ISSUER}"\ntenant_claim = "org_id"\njwks = {{ keys = [{{ '
             + ", ".join(f'{name} = "{value}"' for name, value in key.items()) + " }] }\n"]
    for number in range(AGENTS):
        lines.append(f'[[agents]]\nid = "{agent(number)}"\nowner = "Team {number % 300}"\npurpose = "Does task {number}"\n'
                     f'auth.client_secret_sha256 = "{digest}"\n')
    for number in range(AGENTS):
        for step in range(1, RULES_OF_AN_AGENT + 1):
            lines.append(f'[[delegations]]\nactor = "{agent(number)}"\ntarget = "{agent(number + step)}"\nscopes = ["stock:read"]\n')
    return "\n".join(lines)


def fill(database: pathlib.Path, now_ms: int):
    """Adds the events, without the codes that chain them: no page verifies the chain."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    first = now_ms - DAYS * 86_400_000
    apart = (now_ms - first) // EVENTS

    def rows():
        for number in range(EVENTS):
            at = first + number * apart
            seconds, milliseconds = divmod(at, 1000)
            said = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03}Z"
            # The last thousand agents are never used.
            actor = (number * 7919) % (AGENTS - 1000)
            caller, called = agent(actor), agent(actor + 1 + number % RULES_OF_AN_AGENT)
            chain, hop = number // 4, number % 4
            event = {
                "event": "token.issued", "at": said, "correlation_id": f"request-{chain}", "source": "10.0.0.1", "client_id": caller,
                "subject_issuer": ISSUER, "sub": f"user-{chain % 50_000}", "tenant_id": f"tenant-{chain % 200}", "target": called,
                "requested_scope": "stock:read", "scope": "stock:read", "actors": [caller], "delegation": f"{caller}->{called}",
                "txn": f"txn-{chain}", "jti": f"jti-{number}", "exp": seconds + 300,
            }
            if hop:
                event["parent_jti"] = f"jti-{number - 1}"
            if number % 53 == 52:
                for name in ("scope", "jti", "exp", "delegation"):
                    event.pop(name)
                event |= {"event": "token.refused", "reason": "no_delegation", "detail": "no delegation allows this"}
            yield ("cost", number + 1, at, event.get("correlation_id"), event.get("txn"), event.get("jti"),
                   json.dumps(event, separators=(",", ":")), bytes(32))

    connection.executemany(
        "INSERT INTO audit_events (writer, writer_sequence, at, correlation_id, txn, jti, body, mac) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows(),
    )
    connection.commit()
    connection.close()


class Console:
    def __init__(self, port: int):
        self.connection, self.cookie, self.form_token = http.client.HTTPConnection("127.0.0.1", port), "", ""
        self.used = time.monotonic()

    def ask(self, method, path, form=None):
        headers = {"Cookie": self.cookie}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if time.monotonic() - self.used > 5:
            # The server closes idle connections.
            self.connection.close()
        self.used = time.monotonic()
        self.connection.request(method, path, urllib.parse.urlencode(form) if form is not None else None, headers)
        answer = self.connection.getresponse()
        return answer, answer.read().decode()

    def sign_in(self, token: str):
        answer, page = self.ask("POST", "/console/sign-in", {"token": token})
        assert answer.status == 303, page
        self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        _, page = self.ask("GET", "/console/why")
        self.form_token = re.search(r'name="form_token" value="([^"]+)"', page)[1]

    def time(self, name: str, path: str, form=None) -> bool:
        """The time of a page, from the request to its last byte."""
        took = []
        for _ in range(REQUESTS + 1):
            begun = time.perf_counter()
            body = form and form | {"form_token": self.form_token}
            answer, page = self.ask("GET" if form is None else "POST", path, body)
            took.append((time.perf_counter() - begun) * 1000)
            assert answer.status == 200, f"{path}: {answer.status} {page}"
        median, longest = statistics.median(took[1:]), max(took[1:])
        print(f"| {name} | {median:.0f} | {longest:.0f} | {len(page) // 1024} |", flush=True)
        return median <= LIMIT_MS


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    server = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else root / "target/release/sts-server").resolve()
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else root / "target/tmp/console-cost").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    public, admin = free_port(), free_port()
    made = subprocess.run([server, "admin", "token", "--name", "cost", "--role", "operator"], capture_output=True, text=True, check=True)
    token = re.search(r"^stsadmin_\S+$", made.stdout, re.M)[0]
    operator = made.stdout[made.stdout.index("[[admin.tokens]]"):]
    (folder / "sts.toml").write_text(
        f'issuer = "http://127.0.0.1:{public}"\nregistry = "registry.toml"\n[listen]\npublic = "127.0.0.1:{public}"\n'
        f'admin = "127.0.0.1:{admin}"\n{operator}'
    )
    database, is_new = folder / "sts.db", not (folder / "full").exists()
    if is_new:
        for file in folder.glob("sts.db*"):
            file.unlink()
        (folder / "registry.toml").write_text(registry())
        key = folder / "master.key"
        key.touch(0o600)
        key.write_text(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        subprocess.run([server, "migrate", "-c", "sts.toml"], cwd=folder, check=True)
        subprocess.run([server, "apply", "registry.toml", "-c", "sts.toml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        fill(database, int(time.time() * 1000))
        (folder / "full").touch()
    log = (folder / "log").open("w")
    running = subprocess.Popen([server, "serve", "-c", "sts.toml"], cwd=folder, stdout=log, stderr=log)
    try:
        measure(database, token, admin, server, folder)
    finally:
        running.terminate()
        running.wait()


def measure(database: pathlib.Path, token: str, admin: int, server: pathlib.Path, folder: pathlib.Path):
    console = Console(admin)
    while True:
        try:
            console.sign_in(token)
            break
        except OSError:
            console.connection.close()
            time.sleep(1)
    # A server summarizes the log in the background, 256,000 events each ten seconds.
    reader = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    while True:
        counted, = reader.execute("SELECT count(*) FROM audit_summaries WHERE counts_uses = 1").fetchone()
        if counted >= EVENTS // 256 - 1:
            break
        print(f"summarized: {counted} of {EVENTS // 256}", file=sys.stderr, flush=True)
        time.sleep(20)
    _, page = console.ask("GET", "/console/chains?sub=user-7")
    chain = re.search(r'href="(/console/chains/[^"]+)"', page)[1]
    event = re.search(r'href="(/console/events/[^"]+)"', page)[1]
    last, = reader.execute("SELECT body FROM audit_events WHERE id < ? ORDER BY id DESC LIMIT 1", (EVENTS,)).fetchone()
    used = json.loads(last)["client_id"]
    explained = {"actor": agent(7), "target": agent(8), "issuer": ISSUER, "sub": "user-7", "tenant": "tenant-7"}
    print("| page | median ms | longest ms | KiB |\n|---|---|---|---|")
    good = [console.time(name, path, form) for name, path, form in [
        ("Agents", "/console", None),
        ("Agents, of an owner", "/console?q=Team+7", None),
        ("An agent", f"/console/agents/{used}", None),
        ("An agent without events", f"/console/agents/{agent(AGENTS - 5)}", None),
        ("Graph", "/console/graph", None),
        ("Graph around an agent, 2 hops", f"/console/graph?agent={agent(7)}", None),
        ("Graph around an agent, 8 hops", f"/console/graph?agent={agent(7)}&hops=8", None),
        ("Why", "/console/why", None),
        ("Why, explained", "/console/why", explained),
        ("Chains", "/console/chains", None),
        ("Chains of an agent", f"/console/chains?agent={used}", None),
        ("Chains of a user", "/console/chains?sub=user-7", None),
        ("Chains of an unknown user", "/console/chains?sub=nobody", None),
        ("Refusals of a tenant", "/console/chains?tenant=tenant-7&outcome=refused", None),
        ("Chains of a day", "/console/chains?since=24h", None),
        ("By correlation id", "/console/chains?correlation_id=request-7", None),
        ("By token", "/console/chains?jti=jti-7", None),
        ("A chain", chain, None),
        ("An event", event, None),
        ("Approvals", "/console/approvals", None),
        ("Stop", "/console/stop", None),
        ("Stop, reach of an agent", f"/console/stop?agent={used}", None),
        ("Stop, reach of an owner", "/console/stop?owner=Team+7", None),
        ("Stop, reach of a user", "/console/stop?sub=user-7", None),
        ("Health", "/console/health", None),
    ]]
    begun = time.perf_counter()
    unused = subprocess.run([server, "registry", "unused", "--days", "90", "-c", "sts.toml"], cwd=folder, capture_output=True, text=True, check=True)
    print(f"registry unused: {time.perf_counter() - begun:.1f} s, {unused.stdout.splitlines()[-1]}")
    sys.exit(0 if all(good) else "a page takes more than 100 ms")


main()

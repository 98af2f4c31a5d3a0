"""A running server against its own OpenAPI document: `make fuzz-server`.

    python scripts/fuzz_server.py [--examples 200] [--model M]

schemathesis (schemathesis.readthedocs.io) makes requests that fit the document and requests that do
not, with the token and without, and compares the answers with what the document promises. Not
looked at is whether a body that fits is taken: to the document any bytes may be a picture. Ends
with 1 if there is a finding, or if the server wrote anything but its first line.
"""

import argparse
import importlib.util
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200, help="of each path and phase")
    parser.add_argument("--model", type=Path, help="the bundled one if absent")
    flags = parser.parse_args()
    if not importlib.util.find_spec("schemathesis"):
        print("schemathesis is missing: pip install schemathesis", file=sys.stderr)
        return 2
    return max(fuzz(token, flags) for token in (secrets.token_hex(8), ""))


def fuzz(token: str, flags: argparse.Namespace) -> int:
    """One server, one run; the exit code."""
    print(f"== a server {'with' if token else 'without'} a token", flush=True)
    command = [sys.executable, "-m", "limbwise", "serve", "--port", "0"]
    command += ["--model", str(flags.model.resolve())] if flags.model else []
    env = os.environ | {"LIMBWISE_TOKEN": token, "COLUMNS": "200"}
    if not token:
        del env["LIMBWISE_TOKEN"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    said = server.stderr.readline() if server.stderr else ""
    found = 1
    try:
        where = re.search(r"http://\S+:\d+", said)
        if where is None:
            raise SystemExit(said)
        found = schemathesis(where[0], token, flags.examples)
    finally:
        server.send_signal(signal.SIGTERM)
        _, complaints = server.communicate(timeout=60)
    if complaints:
        print(f"the server wrote:\n{complaints}")
    return 1 if found or complaints or server.returncode else 0


def schemathesis(url: str, token: str, examples: int) -> int:
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json",
        "--max-examples", str(examples), "--generation-database", "none", "--warnings", "off",
        "--exclude-checks", "positive_data_acceptance", "--request-timeout", "20",
    ]  # fmt: skip
    command += ["--header", f"Authorization: Bearer {token}"] if token else []
    with tempfile.TemporaryDirectory() as folder:  # it keeps notes where it runs
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Sign every case of inputs.json with Python's hmac module and print the result as JSON."""

import hashlib
import hmac
import json
import platform
from pathlib import Path

HERE = Path(__file__).resolve().parent


def body_of(case):
    if "body_file" in case:
        return (HERE / case["body_file"]).read_bytes()
    if "body_repeat" in case:
        return bytes.fromhex(case["body_repeat"]["hex"]) * case["body_repeat"]["count"]
    return bytes.fromhex(case["body_hex"])


def sha256(data=b""):
    # Given the name "sha256", hmac may leave the whole MAC to OpenSSL. Given a
    # Python function, it pads the key and nests the hashes itself.
    return hashlib.sha256(data)


def sign(case):
    key = bytes.fromhex(case["secret_hex"])
    return "sha256=" + hmac.new(key, body_of(case), sha256).hexdigest()


cases = json.loads((HERE / "inputs.json").read_text(encoding="utf-8"))
result = {
    "made_with": "Python " + platform.python_version(),
    "signatures": {case["name"]: sign(case) for case in cases},
}
print(json.dumps(result, indent=2))

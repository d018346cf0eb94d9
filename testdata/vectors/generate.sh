#!/usr/bin/env bash
# Signs the cases of inputs.json with openssl, Python and Node and writes openssl.json, python.json
# and node.json. It writes nothing unless the three agree and the RFC 4231 cases have the values
# that the RFC prints.
set -euo pipefail
cd "$(dirname "$0")"

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT

./sign.sh >"$new/openssl.json"
./sign.py >"$new/python.json"
./sign.mjs >"$new/node.json"

# The three files have the same layout, so only the made_with line may differ.
signatures() { sed '/"made_with":/d' "$1"; }
for tool in python node; do
  diff <(signatures "$new/openssl.json") <(signatures "$new/$tool.json") || {
    echo "generate.sh: openssl and $tool disagree" >&2
    exit 1
  }
done

# HMAC-SHA-256 as printed in RFC 4231, sections 4.4, 4.7 and 4.8.
while read -r name mac; do
  grep -qF "\"$name\": \"sha256=$mac\"" "$new/openssl.json" || {
    echo "generate.sh: $name does not have the value of RFC 4231" >&2
    exit 1
  }
done <<'VALUES'
rfc4231-case-3 773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe
rfc4231-case-6 60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54
rfc4231-case-7 9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2
VALUES

for tool in openssl python node; do
  cat "$new/$tool.json" >"$tool.json"
done

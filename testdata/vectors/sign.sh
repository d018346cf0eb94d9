#!/usr/bin/env bash
# Signs every case of inputs.json with the openssl command and prints the result as JSON.
# python3 only turns inputs.json into lines that the shell can read; it computes nothing.
set -euo pipefail
cd "$(dirname "$0")"

# One case per line: name, secret, kind of body, body, count ("-" for an empty or absent field).
list_cases() {
  python3 -c '
import json

for case in json.load(open("inputs.json", encoding="utf-8")):
    if "body_file" in case:
        body = ["file", case["body_file"], "-"]
    elif "body_repeat" in case:
        body = ["hex", case["body_repeat"]["hex"], str(case["body_repeat"]["count"])]
    else:
        body = ["hex", case["body_hex"] or "-", "1"]
    print(case["name"], case["secret_hex"], *body)
'
}

# Writes the bytes that a hex string stands for, count times.
write_hex() {
  local hex=${1#-} count=$2 escaped i
  escaped=$(printf '%s' "$hex" | sed 's/../\\x&/g')
  for ((i = 0; i < count; i++)); do
    printf '%b' "$escaped"
  done
}

write_body() {
  case $1 in
    file) cat "$2" ;;
    hex) write_hex "$2" "$3" ;;
  esac
}

# hexkey takes the key as hex, so that it may hold any byte.
hmac_sha256() {
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$1" | sed 's/^.*= *//'
}

cases=$(list_cases)
version=$(openssl version | sed 's/ (Library:.*//')
printf '{\n  "made_with": "%s",\n  "signatures": {' "$version"
separator=''
while read -r name secret kind body count; do
  mac=$(write_body "$kind" "$body" "$count" | hmac_sha256 "$secret")
  printf '%s\n    "%s": "sha256=%s"' "$separator" "$name" "$mac"
  separator=','
done <<<"$cases"
printf '\n  }\n}\n'

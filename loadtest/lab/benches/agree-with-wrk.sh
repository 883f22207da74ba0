#!/usr/bin/env bash
# Do the lab's figures agree with an independent tool? The same closed load, 8 connections that send GET /me without a pause
# to three nodes with 2 ms of work a request, once by `lab run scenarios/closed-loop.toml` and once by wrk against `lab up`,
# in turn. Caveat first: generator and cluster share the machine, and wrk costs it less than goose does.
#
#   loadtest/lab/benches/agree-with-wrk.sh [ROUNDS]        needs wrk (apt-get install wrk), jq and a release build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
lab=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/release/lab
rounds=${1:-5}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

by_lab() {
    "$lab" run scenarios/closed-loop.toml --strategy jwt --out "$out" >/dev/null 2>&1
    jq '.runs[0].throughput_rps | round' "$out/results.json"
}

by_wrk() {
    local up=$out/up.txt token rps
    "$lab" up --strategies jwt --port 18083 --work-us 2000 --password-memory-kib 64 --password-iterations 1 --password only-for-this >"$up" &
    local pid=$!
    until grep -q 'Ctrl-C ends' "$up"; do sleep 0.1; done
    token=$(curl -sS -H 'content-type: application/json' -d '{"user":"user-000001","password":"only-for-this"}' http://127.0.0.1:18083/login | jq -r .access_token)
    rps=$(wrk -t1 -c8 -d10 -H "authorization: Bearer $token" http://127.0.0.1:18083/me | awk '/Requests\/sec/ {printf "%.0f", $2}')
    kill -INT "$pid"
    wait "$pid" || true
    echo "$rps"
}

echo "round  lab  wrk  lab/wrk"
for round in $(seq "$rounds"); do
    a=$(by_lab)
    b=$(by_wrk)
    awk -v r="$round" -v a="$a" -v b="$b" 'BEGIN {printf "%5d  %d  %d  %.3f\n", r, a, b, a / b}'
done

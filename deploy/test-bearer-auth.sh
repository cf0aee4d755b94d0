#!/usr/bin/env bash
# Checks that a running gateway treats bearer tokens as it promises: nineteen
# cases, against any deployment.
#
#   SERVER_URL=https://mcp.example.com deploy/test-bearer-auth.sh
#
# A server that refuses everything would pass most of them. With TOKEN, a valid
# access token, each refusal is repeated with what was wrong put right, and has
# to be answered with 200:
#
#   SERVER_URL=http://127.0.0.1:8080 TOKEN=$(make -s token) deploy/test-bearer-auth.sh
#
# MAX_TIME (10) bounds each request in seconds; STREAM_TIME (3) is how long a
# stream that was opened is kept. Exit status: 0 all passed, 1 some failed, 2
# the checks could not be made.
set -uo pipefail

SERVER_URL=${SERVER_URL:-http://127.0.0.1:8080}
SERVER_URL=${SERVER_URL%/}
TOKEN=${TOKEN:-}
MAX_TIME=${MAX_TIME:-10}
STREAM_TIME=${STREAM_TIME:-3}

if ! command -v curl >/dev/null; then
  echo "this script needs curl" >&2
  exit 2
fi

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

if [ -t 1 ]; then
  green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
  green='' red='' plain=''
fi

passed=0 failed=0

pass() {
  passed=$((passed + 1))
  printf '%sok%s    %s\n' "$green" "$plain" "$1"
}

# fail NAME WHY: what came back is shown too, without the headers that only
# make it long.
fail() {
  failed=$((failed + 1))
  printf '%sFAIL%s  %s: %s\n' "$red" "$plain" "$1" "$2"
  grep -iE '^(HTTP/|www-authenticate:|access-control-allow-headers:|content-type:)' "$work/headers" | sed 's/^/        /'
  head -c 300 "$work/body" | head -n 3 | sed 's/^/        /'
}

# request METHOD PATH [curl arguments]: status in $status, the rest in files.
# A stream that is still open when its time is up has answered all the same.
request() {
  local method=$1 path=$2 limit=$MAX_TIME
  shift 2
  [ "$method $path" = "GET /sse/" ] && limit=$STREAM_TIME
  : >"$work/headers"
  : >"$work/body"
  status=$(curl -sS --max-time "$limit" --connect-timeout 5 -X "$method" -D "$work/headers" -o "$work/body" \
    -w '%{http_code}' "$@" "$SERVER_URL$path" 2>"$work/error")
  status=${status:-000}
}

# expect STATUS NAME METHOD PATH [curl arguments]
expect() {
  local want=$1 name=$2
  shift 2
  request "$@"
  if [ "$status" = "$want" ]; then
    pass "$name ($status)"
  elif [ "$status" = 000 ]; then
    fail "$name" "no answer: $(head -n 1 "$work/error")"
  else
    fail "$name" "got $status, expected $want"
  fi
}

# expect_header PATTERN NAME METHOD PATH [curl arguments]
expect_header() {
  local pattern=$1 name=$2
  shift 2
  request "$@"
  if grep -qiE "$pattern" "$work/headers"; then
    pass "$name"
  else
    fail "$name" "no header matches $pattern"
  fi
}

# expect_refused_token NAME METHOD PATH [curl arguments]: 401 because of the
# token, not because the header was not understood.
expect_refused_token() {
  local name=$1
  shift
  request "$@"
  if [ "$status" != 401 ]; then
    fail "$name" "got $status, expected 401"
  elif grep -q 'Unsupported authorization header' "$work/body"; then
    fail "$name" "the scheme was not recognised"
  else
    pass "$name (401, for its token)"
  fi
}

json='Content-Type: application/json'
origin='Origin: https://chatgpt.com'
old_call='{"name":"get_inventory_items","arguments":{"companyUuid":"test"}}'

echo "Checking $SERVER_URL"
request GET /health
if [ "$status" = 000 ]; then
  echo "no answer from $SERVER_URL: $(head -n 1 "$work/error")" >&2
  exit 2
fi

echo
echo "Public documents"
expect 200 " 1 health" GET /health
expect 200 " 2 OAuth discovery" GET /.well-known/oauth-authorization-server
expect 200 " 3 OpenAPI as JSON" GET /openapi.json
expect 200 " 4 OpenAPI as YAML" GET /openapi.yaml
expect 200 " 5 plugin manifest" GET /.well-known/ai-plugin.json
expect 200 " 6 capabilities" GET /mcp/capabilities

echo
echo "No bearer token"
expect 401 " 7 stream without a header" GET /sse/
expect 401 " 8 tool call without a header" POST /mcp/tools/call -H "$json" -d "$old_call"
expect 401 " 9 stream with Basic" GET /sse/ -H 'Authorization: Basic dGVzdDp0ZXN0'
expect 401 "10 stream with Bearer and no space" GET /sse/ -H 'Authorization: BearerTOKEN123'
expect 401 "11 stream with an API key" GET /sse/ -H 'X-API-Key: test-token-123'
expect 401 "12 tool call with an API key" POST /mcp/tools/call -H "$json" -H 'X-API-Key: test-token' -d "$old_call"
expect 401 "13 tool call with Bearer and no space" POST /mcp/tools/call -H "$json" -H 'Authorization: BearerTEST123' -d "$old_call"

echo
echo "The scheme in any case, with a token that is not valid"
expect_refused_token "14 tool call with bearer" POST /mcp/tools/call -H "$json" -H 'Authorization: bearer test-token-123' -d "$old_call"
expect_refused_token "15 tool call with BEARER" POST /mcp/tools/call -H "$json" -H 'Authorization: BEARER test-token-123' -d "$old_call"
expect_refused_token "16 tool call with BeArEr" POST /mcp/tools/call -H "$json" -H 'Authorization: BeArEr test-token-123' -d "$old_call"

echo
echo "Headers that browsers and connectors need"
expect_header '^access-control-allow-headers:.*authorization' "17 preflight of the stream" OPTIONS /sse/ \
  -H "$origin" -H 'Access-Control-Request-Method: GET' -H 'Access-Control-Request-Headers: Authorization'
expect_header '^access-control-allow-headers:.*authorization' "18 preflight of the tool call" OPTIONS /mcp/tools/call \
  -H "$origin" -H 'Access-Control-Request-Method: POST' -H 'Access-Control-Request-Headers: Authorization, Content-Type'
expect_header '^www-authenticate:.*bearer' "19 challenge of the stream" GET /sse/

if [ -n "$TOKEN" ]; then
  call='{"name":"list_companies","arguments":{}}'
  # The token never becomes an argument of a process: printf is a builtin.
  auth() { printf 'Authorization: %s %s\n' "$1" "$TOKEN"; }
  echo
  echo "The same with a valid token"
  expect 200 " 7 stream" GET /sse/ -H @<(auth Bearer)
  expect 200 " 8 tool call" POST /mcp/tools/call -H "$json" -H @<(auth Bearer) -d "$call"
  expect 200 " 9 stream with Bearer for Basic" GET /sse/ -H @<(auth Bearer)
  expect 200 "10 stream with the space" GET /sse/ -H @<(auth Bearer)
  expect 200 "11 stream with an API key beside" GET /sse/ -H 'X-API-Key: test-token-123' -H @<(auth Bearer)
  expect 200 "12 tool call with an API key beside" POST /mcp/tools/call -H "$json" -H 'X-API-Key: test-token' -H @<(auth Bearer) -d "$call"
  expect 200 "13 tool call with the space" POST /mcp/tools/call -H "$json" -H @<(auth Bearer) -d "$call"
  expect 200 "14 tool call with bearer" POST /mcp/tools/call -H "$json" -H @<(auth bearer) -d "$call"
  expect 200 "15 tool call with BEARER" POST /mcp/tools/call -H "$json" -H @<(auth BEARER) -d "$call"
  expect 200 "16 tool call with BeArEr" POST /mcp/tools/call -H "$json" -H @<(auth BeArEr) -d "$call"
fi

echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

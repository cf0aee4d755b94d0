#!/bin/bash
# What Kubernetes asks of the container that Envoy runs in. The official image
# has bash and coreutils but no HTTP client, and Envoy's admin interface listens
# for this pod alone.
#
#   edge.sh live    Envoy answers
#   edge.sh ready   Envoy takes requests, and has not been told to stop
#   edge.sh drain   sends clients elsewhere, and returns when no request is open
#   edge.sh run     runs Envoy and drains on SIGTERM, where nobody else would
set -u

admin_host=127.0.0.1
admin_port=9901
settle=${EDGE_DRAIN_SETTLE:-10} # seconds that load balancers take to notice
longest=${EDGE_DRAIN_LONGEST:-45} # seconds that open requests get, all in all

# ask METHOD PATH prints the whole answer.
ask() {
  exec 3<>"/dev/tcp/$admin_host/$admin_port" || return 1
  printf '%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$1" "$2" >&3
  cat <&3
  exec 3>&-
}

good() {
  case $(ask "$1" "$2" 2>/dev/null) in
    'HTTP/1.1 200 '*) return 0 ;;
    *) return 1 ;;
  esac
}

# open_requests prints how many requests and streams are open.
open_requests() {
  local line
  while read -r line; do
    case $line in
      'http.edge.downstream_rq_active: '*) line=${line##*: }; printf '%s\n' "${line%$'\r'}"; return ;;
    esac
  done < <(ask GET '/stats?filter=%5Ehttp%5C.edge%5C.downstream_rq_active$')
  echo unknown
}

# Answers now say that the connection ends (Connection: close, GOAWAY), so that
# clients come back through another pod; requests that are open go on. The
# streams end when mcpbackend ends them.
drain() {
  good POST /healthcheck/fail || return 0 # Envoy is gone already
  good POST '/drain_listeners?graceful&skip_exit'
  while [ "$SECONDS" -lt "$longest" ]; do
    if [ "$SECONDS" -ge "$settle" ]; then
      case $(open_requests) in
        0 | unknown) return 0 ;;
      esac
    fi
    sleep 0.5
  done
}

run() {
  "$@" &
  local envoy=$! status
  trap 'SECONDS=0; drain; kill -TERM "$envoy" 2>/dev/null' TERM INT
  wait "$envoy"
  status=$?
  # The signal ends the wait, not Envoy.
  while kill -0 "$envoy" 2>/dev/null; do wait "$envoy"; status=$?; done
  return "$status"
}

case ${1:-} in
  live) good GET /server_info ;;
  ready) good GET /ready ;;
  drain) drain ;;
  run) shift && run "$@" ;;
  *) echo "usage: edge.sh live|ready|drain|run COMMAND ..." >&2; exit 64 ;;
esac

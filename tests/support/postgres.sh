#!/usr/bin/env bash
# Keeps a throwaway PostgreSQL cluster, or a PgBouncer, for one test process.
#
#   postgres.sh cluster BIN [SETTING...]       BIN: the folder of the server's programs
#   postgres.sh standby BIN HOST               HOST: the folder of the cluster's socket
#   postgres.sh pool BIN PGBOUNCER HOST
#
# Settings are the server's own. Of those named ssl_*_file it gets a copy that it may read.
#
# First it prints the folder that it made: the server's socket, its data and its log. Then it
# obeys the lines of its input (start, stop fast, stop immediate, promote), each answered by
# ok or failed. The input's end is the test process's end, whatever that was: then the server is
# stopped and the folder removed.
set -u
kind=$1 bin=$2
shift 2
# PGHOST and the like lead elsewhere.
unset "${!PG@}"
umask 022

fail() {
  printf '%s\n' "$*"
  exit 1
}

# PostgreSQL and PgBouncer refuse to run as root.
lower=() owner=
if [ "$(id -u)" = 0 ]; then
  user=postgres
  id -u "$user" >/dev/null 2>&1 || user=nobody
  type -P setpriv >/dev/null || fail "as root, the tests need setpriv (Debian: util-linux)"
  owner=$(id -u "$user"):$(id -g "$user")
  lower=(setpriv "--reuid=${owner%:*}" "--regid=${owner#*:}" --clear-groups)
fi

# Should this script be killed, the server is to go too. A pool has nothing to write down.
quit=QUIT port=5432
[ "$kind" = pool ] && quit=KILL port=6432
setpriv --pdeathsig "$quit" true 2>/dev/null && tied=(setpriv --pdeathsig "$quit") || tied=()

pid=
leave() {
  stop "$quit"
  cd / && rm -rf "$folder"
}

# Sends a signal and waits for the end.
stop() {
  [ -n "$pid" ] || return 0
  kill -s "$1" "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
  pid=
}

# Runs a server, and waits until it accepts connections.
start() {
  [ -z "$pid" ] || stop "$quit"
  "${lower[@]}" "${tied[@]}" "$@" </dev/null >>log 2>&1 &
  pid=$!
  local tries
  for ((tries = 0; tries < 1200; tries++)); do
    "$bin/pg_isready" -q -h "$folder" -p "$port" -U postgres -d postgres && return
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  stop "$quit"
  return 1
}

start_cluster() {
  if [ ! -e data ]; then
    "${lower[@]}" "$bin/initdb" -D data -U postgres --auth-local=trust \
      --auth-host=scram-sha-256 --no-sync --encoding=UTF8 --locale=C.UTF-8 >>log 2>&1 || return 1
  fi
  start_server "$@"
}

# A copy of the cluster that follows it until it is promoted.
start_standby() {
  if [ ! -e data ]; then
    "${lower[@]}" "$bin/pg_basebackup" -h "$1" -U postgres -D data -R -X stream -c fast \
      --no-sync >>log 2>&1 || return 1
  fi
  start_server
}

start_server() {
  local setting name settings=()
  for setting in "$@"; do
    name=${setting%%=*}
    case $name in
      ssl_*_file)
        cp "${setting#*=}" "$name" && chmod 600 "$name" || return 1
        [ -z "$owner" ] || chown "$owner" "$name" || return 1
        setting=$name=$folder/$name
        ;;
      port) port=${setting#*=} ;;
    esac
    settings+=(-c "$setting")
  done
  start "$bin/postgres" -D data -c listen_addresses= -c "unix_socket_directories=$folder" \
    -c "port=$port" -c max_connections=300 "${settings[@]}"
}

start_pool() {
  cat >pgbouncer.ini <<END
[databases]
* = host='${2//\'/\'\'}' port=5432 user=postgres
[pgbouncer]
unix_socket_dir = $folder
listen_port = $port
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 300
END
  start "$1" pgbouncer.ini
}

# The signals of a test run that is given up: the input ends as well, or nobody listens.
trap 'exit 1' HUP INT TERM PIPE
folder=$(mktemp -d "${TMPDIR:-/tmp}/tollgate-pg.XXXXXX") || fail "no folder can be made in ${TMPDIR:-/tmp}"
trap leave EXIT
cd "$folder" || exit 1
folder=$(pwd -P)
[ -z "$owner" ] || chown "$owner" . || fail "$folder cannot be given to $user"
printf '%s\n' "$folder"
exec 2>>log

while read -r order; do
  case $order in
    start) "start_$kind" "$@" ;;
    'stop fast') stop INT ;;
    'stop immediate') stop "$quit" ;;
    promote) "${lower[@]}" "$bin/pg_ctl" promote -w -D data >>log 2>&1 ;;
    *) false ;;
  esac && echo ok || echo failed
done

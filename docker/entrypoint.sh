# The image's entry point: makes the database at the first start, and becomes the server.
#
# POSTGRES_PASSWORD (or POSTGRES_PASSWORD_FILE), POSTGRES_USER (postgres) and POSTGRES_DB (like the
# user) say what is made. Any command but `postgres` is run as it is.
set -eu
if [ "${1:-}" != postgres ]; then
    exec "$@"
fi

# The internal start listens on no port, and on a socket and a log that nobody else looks at.
make_database() {
    POSTGRES_USER=${POSTGRES_USER:-postgres}
    POSTGRES_DB=${POSTGRES_DB:-$POSTGRES_USER}
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
        POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    fi
    if [ -z "${POSTGRES_PASSWORD:-}" ]; then
        echo "There is no password for the database: set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE." >&2
        exit 2
    fi
    umask 077
    new=$PGDATA.new
    rm -rf "$new"
    place=$(mktemp -d)
    printf '%s\n' "$POSTGRES_PASSWORD" >"$place/password"
    initdb --pgdata "$new" --username "$POSTGRES_USER" --pwfile "$place/password" --encoding UTF8 \
        --locale C.UTF-8 --auth-local trust --auth-host scram-sha-256 >"$place/log" 2>&1 || failed
    echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
    pg_ctl --pgdata "$new" --wait --log "$place/log" --options \
        "-c listen_addresses='' -c unix_socket_directories='$place' -c fsync=off" start >/dev/null || failed
    export PGHOST="$place" PGUSER="$POSTGRES_USER"
    if [ "$POSTGRES_DB" != postgres ]; then
        createdb --maintenance-db postgres -- "$POSTGRES_DB" >>"$place/log" 2>&1 || failed
    fi
    psql --no-psqlrc --quiet --single-transaction --set ON_ERROR_STOP=1 --dbname "$POSTGRES_DB" \
        --file /usr/local/share/pgflow/pgflow.sql >>"$place/log" 2>&1 || failed
    pg_ctl --pgdata "$new" --wait --mode fast stop >/dev/null || failed
    unset PGHOST PGUSER
    sync
    # Only what is whole gets the name that the next start looks for.
    mv "$new" "$PGDATA"
    rm -rf "$place"
}

failed() {
    echo "The database cannot be made; the end of what was said:" >&2
    tail -20 "$place/log" >&2
    pg_ctl --pgdata "$new" --mode immediate stop >/dev/null 2>&1 || true
    rm -rf "$place" # which holds the password
    exit 1
}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    make_database
fi
# Neither the server nor what it starts (COPY … FROM PROGRAM) has a use for it. Docker itself shows it to
# all who may use the engine (`docker inspect`, `docker exec`), unless it was in a file.
unset POSTGRES_PASSWORD POSTGRES_PASSWORD_FILE
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/run/postgresql

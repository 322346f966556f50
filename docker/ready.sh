# Whether the database takes connections on its port, and holds pgflow's core.
set -eu
user=${POSTGRES_USER:-postgres}
pg_isready --quiet --host 127.0.0.1
exec psql --no-psqlrc --quiet --username "$user" --dbname "${POSTGRES_DB:-$user}" --no-align \
    --tuples-only --command 'SELECT count(*) FROM pgflow.flows' >/dev/null

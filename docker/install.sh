# install.sh CORE FOLDER: installs a core in a server of its own, while an image is built, and leaves
# in the folder what the database then holds (pgflow.sql) and what the installer said (report.json).
set -eu
core=$1 folder=$2
place=$(mktemp -d)
initdb --pgdata "$place/data" --username postgres --auth trust --encoding UTF8 --no-locale >/dev/null
pg_ctl --pgdata "$place/data" --wait --log "$place/log" \
    --options "-c listen_addresses='' -c unix_socket_directories='$place' -c fsync=off" start >/dev/null
createdb -h "$place" -U postgres pgflow

from=
if [ -e docker/packages/core ]; then
    from="--from docker/packages/core"
fi
export XDG_CACHE_HOME="$place/cache"
# shellcheck disable=SC2086  # two words or none
/venv/bin/pgflow-ref install "postgresql://postgres@/pgflow?host=$place" --core "$core" $from --json \
    >"$folder/report.json"
cat "$folder/report.json"
# Without owners and grants: whoever is POSTGRES_USER owns it all, and the extension makes its own.
pg_dump -h "$place" -U postgres --no-owner --no-privileges pgflow >"$folder/pgflow.sql"
pg_ctl --pgdata "$place/data" --wait --mode fast stop >/dev/null
rm -rf "$place"

# Tables, an index, text search, a time zone, a function, and a server's error.
set -eu
sql() { "$INSTAR" -f "$INSTAR_FILE" exec -n db -- /usr/lib/postgresql/17/bin/psql -h 127.0.0.1 -U postgres -At -c "$1"; }
sql 'create table t as select n, md5(n::text) as h from generate_series(1, 1000) n'
sql 'create index on t (h)'
test "$(sql 'select count(*) from t')" = 1000
sql "select to_tsvector('english', 'the gardens were watered') @@ to_tsquery('water')" | grep -q t
sql "select timestamptz '2026-01-01 00:00 UTC' at time zone 'Asia/Tokyo'" | grep -q '09:00'
sql "do \$\$ begin raise notice 'here'; end \$\$"
if sql 'select * from nothing' 2>/dev/null; then exit 1; fi

# Values, a script in Lua, a file of the data, and a second connection.
set -eu
ask() {
  exec 3<>/dev/tcp/127.0.0.1/6379
  printf '%s\r\nQUIT\r\n' "$1" >&3
  cat <&3
}
ask 'SET key value' | grep -q OK
ask 'GET key' | grep -q value
ask "EVAL \"return redis.call('get', 'key')\" 0" | grep -q value
ask 'BGSAVE' | grep -q started
ask 'INFO' | grep -q redis_version

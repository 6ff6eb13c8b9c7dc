# A page, the same through a proxy, compressed, and one that is not there.
set -eu
get() {
  exec 3<>/dev/tcp/127.0.0.1/8080
  printf 'GET %s HTTP/1.1\r\nHost: small\r\nConnection: close\r\n%s\r\n' "$1" "${2:-}" >&3
  cat <&3 | tr -d '\0'
}
get / | grep -q 'text/html'
get / | grep -q '<title>small'
get /again/ | grep -q '<title>small'
get / $'Accept-Encoding: gzip\r\n' 2>/dev/null | grep -a -q 'Content-Encoding: gzip'
get /nothing | grep -q '404 Not Found'

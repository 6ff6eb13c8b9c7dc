set -eu
get() {
  exec 3<>/dev/tcp/127.0.0.1/8080
  printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3
  cat <&3
}
get /twice | grep -q '"n": 1'
get /twice | grep -q '"n": 2'
get /abc | grep -q "$(printf /abc | sha256sum | cut -d' ' -f1)"

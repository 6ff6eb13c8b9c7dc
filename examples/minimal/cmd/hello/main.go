// Command hello answers HTTP on port 8080 with a greeting. It speaks just
// enough of HTTP/1.1 (RFC 9112) itself: with net/http the program would be
// three times as large, and this machine is there to be small.
package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	address  = ":8080"
	patience = 5 * time.Second // for one request
	maxHead  = 8 << 10         // bytes of a request
)

func main() {
	l, err := net.Listen("tcp", address)
	if err != nil {
		os.Stderr.WriteString("hello: " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString("hello: listening on " + address + "\n")
	name, err := os.Hostname()
	if err != nil {
		name = "nobody"
	}
	if err := serve(l, name); err != nil {
		os.Stderr.WriteString("hello: " + err.Error() + "\n")
		os.Exit(1)
	}
}

// serve answers connections until the listener is closed or fails for good.
func serve(l net.Listener, name string) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of file descriptors; some will be closed
			continue
		}
		go func() {
			defer conn.Close()
			if conn.SetDeadline(time.Now().Add(patience)) == nil {
				answer(conn, name)
			}
		}()
	}
}

// answer reads one request's head and writes the response to it.
func answer(conn io.ReadWriter, name string) {
	in := bufio.NewReader(io.LimitReader(conn, maxHead))
	method, ok := head(in)
	status, body := "200 OK", "Hello from "+name+".\n"
	switch {
	case !ok:
		status, body = "400 Bad Request", "That is no request.\n"
	case method != "GET" && method != "HEAD":
		status, body = "405 Method Not Allowed", "Only GET and HEAD.\n"
	}
	response := "HTTP/1.1 " + status + "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\nConnection: close\r\n"
	if method != "GET" && method != "HEAD" {
		response += "Allow: GET, HEAD\r\n"
	}
	response += "\r\n"
	if method != "HEAD" {
		response += body
	}
	io.WriteString(conn, response)
}

// head reads up to the empty line and returns the method.
func head(in *bufio.Reader) (method string, ok bool) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", false
	}
	method, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	if !strings.Contains(rest, " HTTP/1.") {
		return "", false
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", false
		}
		if strings.TrimRight(line, "\r\n") == "" {
			return method, true
		}
	}
}

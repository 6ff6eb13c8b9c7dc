package main

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// A client that knows HTTP understands what hello says.
func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- serve(l, "tester") }()
	for _, c := range []struct {
		method string
		status int
		body   string
	}{
		{"GET", 200, "Hello from tester.\n"}, {"HEAD", 200, ""}, {"POST", 405, "Only GET and HEAD.\n"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+l.Addr().String()+"/", strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || string(body) != c.body {
			t.Errorf("%s: %s, %q, %v; want %d, %q", c.method, resp.Status, body, err, c.status, c.body)
		}
	}
	l.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

type stream struct {
	io.Reader
	io.Writer
}

func TestBadRequests(t *testing.T) {
	for name, request := range map[string]string{
		"nothing": "", "no request": "\x16\x03\x01\n\n", "cut off": "GET / HTTP/1.1\r\nHost: x\r\n",
		"endless": "GET / HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", maxHead),
	} {
		var out strings.Builder
		answer(stream{strings.NewReader(request), &out}, "tester")
		if !strings.HasPrefix(out.String(), "HTTP/1.1 400 ") {
			t.Errorf("%s: answer %q, want status 400", name, out.String())
		}
	}
}

"""Counts in a database, answers in JSON, and hashes what it is asked."""
import hashlib
import http.server
import json
import sqlite3
import zlib

database = sqlite3.connect("/tmp/counts", check_same_thread=False)
database.execute("create table counts (path text primary key, n integer)")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        database.execute("insert into counts values (?, 1) on conflict do update set n = n + 1", (self.path,))
        n = database.execute("select n from counts where path = ?", (self.path,)).fetchone()[0]
        body = json.dumps({"path": self.path, "n": n, "sha256": hashlib.sha256(self.path.encode()).hexdigest(),
                           "crc": zlib.crc32(self.path.encode())}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()

"""Reads create bodies with PHP, through FastCGI. The argument names php-cgi. The format of input
and output is that of oracle.py.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

READ = """<?php
$fields = [];
foreach (["model", "seconds", "size"] as $name) {
    $value = isset($_FILES[$name]) ? "<file>" : ($_POST[$name] ?? null);
    $fields[$name] = is_array($value) ? "<array>" : $value;
}
echo json_encode(["first" => $fields, "last" => $fields], JSON_INVALID_UTF8_SUBSTITUTE);
"""


def record(kind, content):
    padding = -len(content) % 8
    return struct.pack(">BBHHBx", 1, kind, 1, len(content), padding) + content + bytes(padding)


def length(n):
    return bytes([n]) if n < 128 else struct.pack(">I", n | 1 << 31)


def message(script, content_type, body):
    params = {
        b"REQUEST_METHOD": b"POST",
        b"SCRIPT_FILENAME": script.encode(),
        b"REQUEST_URI": b"/v1/videos",
        b"CONTENT_TYPE": content_type,
        b"CONTENT_LENGTH": str(len(body)).encode(),
        b"GATEWAY_INTERFACE": b"CGI/1.1",
    }
    encoded = b"".join(length(len(k)) + length(len(v)) + k + v for k, v in params.items())
    # Role 1 answers requests; flag 1 keeps the connection.
    parts = [record(1, struct.pack(">HB5x", 1, 1)), record(4, encoded), record(4, b"")]
    parts += [record(5, body[at : at + 65528]) for at in range(0, len(body), 65528)]
    return b"".join([*parts, record(5, b"")])


def answer(stream):
    output = b""
    while True:
        head = stream.read(8)
        if len(head) < 8:
            raise RuntimeError("php-cgi went away")
        kind, content, padding = struct.unpack(">xBxxHBx", head)
        data = stream.read(content + padding)[:content]
        if kind == 6:
            output += data
        elif kind == 3:
            return json.loads(output.split(b"\r\n\r\n", 1)[1])


def connect(path):
    for _ in range(1000):
        try:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(path)
            return connection
        except OSError:
            connection.close()
            time.sleep(0.01)
    raise RuntimeError("php-cgi does not listen")


def main():
    source = sys.stdin.buffer

    def take():
        return source.read(struct.unpack(">I", source.read(4))[0])

    with tempfile.TemporaryDirectory() as folder:
        script, path = os.path.join(folder, "read.php"), os.path.join(folder, "socket")
        with open(script, "w", encoding="ascii") as file:
            file.write(READ)
        # Without these bounds a body is read; beyond them $_POST is empty.
        settings = {"post_max_size": "1G", "display_errors": "0", "html_errors": "0"}
        settings |= {"log_errors": "0", "upload_tmp_dir": folder, "output_buffering": "0"}
        options = [x for pair in settings.items() for x in ("-d", "=".join(pair))]
        # As many requests as there are: it ends after 500 without being told.
        environment = {**os.environ, "PHP_FCGI_MAX_REQUESTS": "0", "PHP_FCGI_CHILDREN": "0"}
        server = subprocess.Popen([sys.argv[1], "-n", *options, "-b", path], env=environment)
        try:
            connection = connect(path)
            stream = connection.makefile("rb")
            while source.read(4):
                content_type, body = take(), take()
                answers = {}
                if b"json" not in content_type.lower():
                    connection.sendall(message(script, content_type, body))
                    answers["php"] = answer(stream)
                print(json.dumps(answers))
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()

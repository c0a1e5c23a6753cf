"""Reads create bodies with the form and JSON parsers of the Python world.

The arguments name the parsers, all without them; the answers name their versions too.

Input on stdin, records without a separator, integers big-endian:

    u32 step, u32 n, n bytes of Content-Type, u32 m, m bytes of body

`step` is the size of the pieces in which parsers that stream get the body; 0 is whole.
Output on stdout, one JSON object per record, in order: for each parser either
`{"first": {...}, "last": {...}}`, where each holds the model, seconds and size that an
application reads if it takes the first or the last value of a repeated name (null if there
is none), or `{"error": "..."}` if the parser refuses the body.
"""

import importlib.metadata
import io
import json
import logging
import struct
import sys
import warnings

FIELDS = ("model", "seconds", "size")
FILE = "<file>"


def read(pairs):
    """What an application reads out of (name, value) pairs in the order of the body."""
    first = dict.fromkeys(FIELDS)
    last = dict.fromkeys(FIELDS)
    for name, value in pairs:
        if name in last:
            value = value if isinstance(value, str) else str(value)
            if first[name] is None:
                first[name] = value
            last[name] = value
    return {"first": first, "last": last}


def pieces(body, step):
    step = step or max(len(body), 1)
    return [body[i : i + step] for i in range(0, len(body), step)]


def drive(coroutine):
    """Runs a coroutine whose input is all there, so that it never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise RuntimeError("the parser waits for more input")


def latin(content_type):
    return content_type.decode("latin-1")


class Pieces(io.BytesIO):
    """Hands out no more at a time than a socket might have."""

    def __init__(self, body, step):
        super().__init__(body)
        self.step = step

    def read(self, size=-1):
        if size is not None and size >= 0:
            size = min(size, self.step)
        return super().read(size)


def environ(content_type, body, step=0):
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/v1/videos",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": Pieces(body, step) if step >= 4096 else io.BytesIO(body),
        "CONTENT_TYPE": latin(content_type),
        "CONTENT_LENGTH": str(len(body)),
    }


def load_starlette():
    from starlette.datastructures import UploadFile
    from starlette.requests import Request

    def parse(content_type, body, step):
        chunks = [
            {"type": "http.request", "body": piece, "more_body": True}
            for piece in pieces(body, step)
        ]
        chunks.append({"type": "http.request", "body": b"", "more_body": False})
        chunks.reverse()

        async def receive():
            return chunks.pop()

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/videos",
            "query_string": b"",
            "headers": [
                (b"content-type", content_type),
                (b"content-length", str(len(body)).encode()),
            ],
        }

        async def form():
            return await Request(scope, receive).form()

        return [
            (name, FILE if isinstance(value, UploadFile) else value)
            for name, value in drive(form()).multi_items()
        ]

    return parse


def load_python_multipart():
    import python_multipart

    def parse(content_type, body, step):
        pairs = []

        def name(part):
            return (part.field_name or b"").decode("utf-8", "replace")

        def on_field(field):
            pairs.append((name(field), (field.value or b"").decode("utf-8", "replace")))

        def on_file(file):
            pairs.append((name(file), FILE))

        headers = {"Content-Type": content_type, "Content-Length": str(len(body)).encode()}
        parser = python_multipart.create_form_parser(headers, on_field, on_file)
        for piece in pieces(body, step):
            parser.write(piece)
        parser.finalize()
        return pairs

    return parse


def load_werkzeug():
    from werkzeug.formparser import FormDataParser
    from werkzeug.wrappers import Request as Lenient

    class Request(Lenient):
        """Says so when it cannot read a form, instead of showing an empty one."""

        def make_form_data_parser(self):
            return FormDataParser(silent=False)

    def parse(content_type, body, step):
        request = Request(environ(content_type, body, step))
        pairs = list(request.form.items(multi=True))
        return pairs + [(name, FILE) for name in request.files]

    return parse


def load_django():
    import django
    from django.conf import settings

    settings.configure(DEBUG=False, LOGGING_CONFIG=None)
    django.setup()
    from django.core.handlers.wsgi import WSGIRequest

    def parse(content_type, body, step):
        request = WSGIRequest(environ(content_type, body, step))
        pairs = [(name, v) for name, values in request.POST.lists() for v in values]
        return pairs + [(name, FILE) for name in request.FILES]

    return parse


def load_aiohttp():
    import asyncio

    from aiohttp import HttpVersion11, StreamReader, web
    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.http import RawRequestMessage
    from multidict import CIMultiDict, CIMultiDictProxy
    from yarl import URL

    loop = asyncio.new_event_loop()
    url = URL("/v1/videos")

    class Protocol(BaseProtocol):
        """Stands where the connection would be."""

        ssl_context = peername = sockname = transport = None
        max_field_size = 8190
        max_headers = 128

        def pause_reading(self, *_, **__):
            pass

        def resume_reading(self, *_, **__):
            pass

    def parse(content_type, body, step):
        headers = CIMultiDictProxy(CIMultiDict({"Content-Type": latin(content_type)}))
        raw = ((b"Content-Type", content_type),)
        message = RawRequestMessage(
            "POST", "/v1/videos", HttpVersion11, headers, raw, False, None, False, False, url
        )
        protocol = Protocol(loop)
        stream = StreamReader(protocol, 1 << 16, loop=loop)
        for piece in pieces(body, step):
            stream.feed_data(piece)
        stream.feed_eof()
        # An application that takes reference images raises the 1 MiB that are the default.
        request = web.BaseRequest(
            message, stream, protocol, None, None, loop, client_max_size=1 << 30
        )
        pairs = []
        for name, value in drive(request.post()).items():
            if isinstance(value, web.FileField):
                value = FILE
            elif isinstance(value, (bytes, bytearray)):
                value = value.decode("utf-8", "replace")
            pairs.append((name, value))
        return pairs

    return parse


def load_tornado():
    from tornado.httputil import HTTPHeaders, parse_body_arguments

    def parse(content_type, body, step):
        arguments, files = {}, {}
        headers = HTTPHeaders({"Content-Type": latin(content_type)})
        parse_body_arguments(latin(content_type), body, arguments, files, headers)
        pairs = [
            (name, v.decode("utf-8", "replace")) for name, vs in arguments.items() for v in vs
        ]
        return pairs + [(name, FILE) for name in files]

    return parse


def load_multipart():
    import multipart

    def parse(content_type, body, step):
        forms, files = multipart.parse_form_data(environ(content_type, body, step), ignore_errors=False)
        pairs = list(forms.iterallitems())
        # A text part too big for memory comes as a part without a filename.
        for name, part in files.iterallitems():
            pairs.append((name, part.value if part.filename is None else FILE))
        return pairs

    return parse


def load_bottle():
    import bottle

    def parse(content_type, body, step):
        post = bottle.BaseRequest(environ(content_type, body, step)).POST
        post.recode_unicode = False
        return [
            (name, FILE if isinstance(value, bottle.FileUpload) else value)
            for name, value in post.allitems()
        ]

    return parse


def load_falcon():
    from falcon import media

    handler = media.MultipartFormHandler()

    def parse(content_type, body, step):
        form = handler.deserialize(io.BytesIO(body), latin(content_type), len(body))
        pairs = []
        for part in form:
            if part.filename is None:
                pairs.append((part.name, part.get_data().decode("utf-8", "replace")))
            else:
                part.stream.exhaust()
                pairs.append((part.name, FILE))
        return pairs

    return parse


def load_streaming_form_data():
    from streaming_form_data import StreamingFormDataParser
    from streaming_form_data.targets import BaseTarget

    class Target(BaseTarget):
        def __init__(self, name, pairs):
            super().__init__()
            self.name, self.pairs = name, pairs

        def on_start(self):
            self.data = b""

        def on_data_received(self, chunk):
            self.data += chunk

        def on_finish(self):
            is_file = self.multipart_filename is not None
            value = FILE if is_file else self.data.decode("utf-8", "replace")
            self.pairs.append((self.name, value))
            self.multipart_filename = None

    def parse(content_type, body, step):
        parser = StreamingFormDataParser({"Content-Type": latin(content_type)})
        pairs = []
        for name in FIELDS:
            parser.register(name, Target(name, pairs))
        for piece in pieces(body, step):
            parser.data_received(piece)
        return pairs

    return parse


def load_cgi():
    import cgi

    def parse(content_type, body, step):
        form = cgi.FieldStorage(
            fp=io.BytesIO(body),
            headers={"content-type": latin(content_type), "content-length": str(len(body))},
            environ={"REQUEST_METHOD": "POST"},
            keep_blank_values=True,
            strict_parsing=True,
        )
        return [
            (part.name, part.value if part.filename is None else FILE) for part in form.list
        ]

    return parse


def members(document):
    """The top-level members, values that are no strings written as JSON."""
    if isinstance(document, dict):
        document = list(document.items())
    if not isinstance(document, list) or not all(isinstance(m, tuple) for m in document):
        raise ValueError("the document is no object")
    return [
        (name, value if isinstance(value, str) else json.dumps(value, default=str))
        for name, value in document
        if value is not None
    ]


def load_json():
    def parse(content_type, body, step):
        return members(json.loads(body, object_pairs_hook=lambda pairs: pairs))

    return parse


def load_json_folded():
    """Keys without regard to case, as Go's encoding/json matches them to a struct."""

    def parse(content_type, body, step):
        pairs = members(json.loads(body, object_pairs_hook=lambda pairs: pairs))
        return [(name.casefold(), value) for name, value in pairs]

    return parse


def load_orjson():
    import orjson

    return lambda content_type, body, step: members(orjson.loads(body))


def load_msgspec():
    import msgspec

    decoder = msgspec.json.Decoder()
    return lambda content_type, body, step: members(decoder.decode(body))


def load_pydantic():
    from pydantic_core import from_json

    return lambda content_type, body, step: members(from_json(body))


FORMS = {
    "starlette": load_starlette,
    "python-multipart": load_python_multipart,
    "werkzeug": load_werkzeug,
    "django": load_django,
    "aiohttp": load_aiohttp,
    "tornado": load_tornado,
    "multipart": load_multipart,
    "bottle": load_bottle,
    "falcon": load_falcon,
    "streaming-form-data": load_streaming_form_data,
    "cgi": load_cgi,
}
JSONS = {
    "python json": load_json,
    "python json, keys folded": load_json_folded,
    "orjson": load_orjson,
    "msgspec": load_msgspec,
    "pydantic": load_pydantic,
}


def records(stream):
    def take():
        size = stream.read(4)
        return struct.unpack(">I", size)[0] if len(size) == 4 else None

    while (step := take()) is not None:
        content_type = stream.read(take())
        yield step, content_type, stream.read(take())


def versioned(name):
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return name


def main():
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    wanted = sys.argv[1:] or [*FORMS, *JSONS]
    forms = {versioned(name): load() for name, load in FORMS.items() if name in wanted}
    jsons = {name: load() for name, load in JSONS.items() if name in wanted}
    output = sys.stdout
    for step, content_type, body in records(sys.stdin.buffer):
        parsers = jsons if b"json" in content_type.lower() else forms
        answer = {}
        for name, parse in parsers.items():
            try:
                answer[name] = read(parse(content_type, body, step))
            except Exception as error:
                answer[name] = {"error": f"{type(error).__name__}: {error}"[:200]}
        output.write(json.dumps(answer, default=str))
        output.write("\n")
    output.flush()


if __name__ == "__main__":
    main()

"""What the Python SDK makes of a gate: `sdk.py GATE KEY SCENARIO [ARGUMENT...]` plays one
scenario and writes down what it saw as one JSON object. It judges nothing."""

import io
import json
import sys
import time

import openai
from openai.types import Video

PROMPT = 'A calico cat playing a piano, café "quoted"\nline 2'
ASKED = {"model": "sora-2", "seconds": "8", "size": "1280x720"}


class Stream(io.RawIOBase):
    """A file of which nobody can tell the length: it is sent chunked."""

    def __init__(self, path):
        self.file = open(path, "rb")

    def read(self, size=-1):
        return self.file.read(size)

    def readable(self):
        return True

    def seekable(self):
        return False

    def fileno(self):
        raise OSError("no descriptor")

    def seek(self, *_):
        raise io.UnsupportedOperation("seek")

    tell = seek


def form(client, *parts):
    """A form in this order, which `videos.create` leaves to nobody."""
    named = [
        (name, value if isinstance(value, tuple) else (None, value)) for name, value in parts
    ]
    headers = {"Content-Type": "multipart/form-data"}
    return client.post("/videos", cast_to=Video, files=named, options={"headers": headers})


def create(client, shape, image=None):
    if shape == "plain":
        return client.videos.create(prompt=PROMPT, **ASKED)
    if shape == "file-last":
        with open(image, "rb") as file:
            return client.videos.create(prompt=PROMPT, input_reference=file, **ASKED)
    if shape == "bytes":
        with open(image, "rb") as file:
            return client.videos.create(prompt=PROMPT, input_reference=file.read(), **ASKED)
    if shape == "stream":
        stream = ("a.png", Stream(image), "image/png")
        return client.videos.create(prompt=PROMPT, input_reference=stream, **ASKED)
    if shape == "url":
        reference = ("input_reference[image_url]", "https://example.com/a.png")
        return form(client, ("prompt", PROMPT), *ASKED.items(), reference)
    if shape == "json":
        return client.post("/videos", cast_to=Video, body={"prompt": PROMPT, **ASKED})
    file = ("a.png", open(image, "rb"), "image/png")
    if shape == "file-first":
        return form(client, ("input_reference", file), ("prompt", PROMPT), *ASKED.items())
    if shape == "documented":
        return form(client, ("prompt", PROMPT), ("input_reference", file), *ASKED.items())
    raise ValueError(shape)


def seen(video):
    return {name: getattr(video, name) for name in ("id", "status", "model", "seconds", "size")}


def failure(error):
    body = error.body if isinstance(error.body, dict) else {}
    return {
        "error": type(error).__name__,
        "status": error.status_code,
        "code": error.code,
        "param": error.param,
        "type": error.type,
        "message": body.get("message"),
        "shown": str(error),
    }


def attempt(action):
    started = time.monotonic()
    try:
        result = seen(action())
    except openai.APIStatusError as error:
        result = failure(error)
    except openai.APIError as error:
        result = {"error": type(error).__name__, "shown": str(error)}
    result["took"] = time.monotonic() - started
    return result


def life(client):
    video = client.videos.create_and_poll(prompt=PROMPT, poll_interval_ms=20, **ASKED)
    got = {"created": seen(video), "content": {}}
    for variant in ("video", "thumbnail", "spritesheet"):
        content = client.videos.download_content(video.id, variant=variant).read()
        got["content"][variant] = content[:12].hex()
    got["content"]["default"] = client.videos.download_content(video.id).read()[:12].hex()
    remix = client.videos.remix(video.id, prompt="Now with a dog")
    got["remix"] = {**seen(remix), "of": remix.remixed_from_video_id}
    another = client.videos.create(prompt=PROMPT, **ASKED)
    ids = [video.id, remix.id, another.id]
    got["ids"] = ids
    got["paged"] = [listed.id for listed in client.videos.list(limit=1, order="asc")]
    got["retrieved"] = seen(client.videos.retrieve(another.id))
    got["deleted"] = client.videos.delete(video.id).model_dump()
    got["gone"] = attempt(lambda: client.videos.retrieve(video.id))
    return got


def models(client, other):
    one = client.models.retrieve("sora-2")
    return {
        "ids": [model.id for model in client.models.list()],
        "one": one.model_dump(),
        "other": attempt(lambda: client.models.retrieve(other)),
    }


def told(headers):
    return {name.lower(): value for name, value in headers.items() if "x-ratelimit" in name.lower()}


def limits(client):
    """What a create says of the limits, then the usage, then a refusal."""
    made = client.videos.with_raw_response.create(prompt=PROMPT, **ASKED)
    usage = client.get("/usage", cast_to=object)
    try:
        client.videos.create(prompt=PROMPT, **ASKED)
    except openai.RateLimitError as error:
        refused = {"headers": told(error.response.headers), "message": error.body["message"]}
    return {"made": told(made.headers), "usage": usage, "refused": refused}


def again(client, image):
    """One create twice under one Idempotency-Key, then another one."""
    client = client.with_options(default_headers={"Idempotency-Key": "again-1"})
    return {
        "first": attempt(lambda: create(client, "file-last", image)),
        "second": attempt(lambda: create(client, "file-last", image)),
        "other": attempt(lambda: create(client, "plain")),
    }


def refused_upload(client, order, framing, image, rounds):
    """How `rounds` uploads end that ask for a model that the key may not have."""
    asked = {**ASKED, "model": "sora-2-pro"}
    outcomes = {}
    for _ in range(int(rounds)):
        source = Stream(image) if framing == "chunked" else open(image, "rb")
        file = ("input_reference", ("a.png", source, "image/png"))
        text = [("prompt", PROMPT), *asked.items()]
        parts = [file, *text] if order == "model-last" else [*text, file]
        got = attempt(lambda: form(client, *parts))
        outcome = f"{got.get('error')} {got.get('code')}"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return {"outcomes": outcomes}


def main():
    gate, key, scenario, *arguments = sys.argv[1:]
    retries = 2 if scenario == "retried" else 0
    client = openai.OpenAI(
        base_url=f"{gate}/v1", api_key=key, max_retries=retries, timeout=60
    )
    if scenario in ("create", "retried"):
        got = attempt(lambda: create(client, *arguments))
    elif scenario == "ask":
        model, seconds, size = arguments
        got = attempt(
            lambda: client.videos.create(prompt=PROMPT, model=model, seconds=seconds, size=size)
        )
    elif scenario == "retrieve":
        got = attempt(lambda: client.videos.retrieve(*arguments))
    elif scenario == "life":
        got = life(client)
    elif scenario == "models":
        got = models(client, *arguments)
    elif scenario == "limits":
        got = limits(client)
    elif scenario == "again":
        got = again(client, *arguments)
    elif scenario == "refused-upload":
        got = refused_upload(client, *arguments)
    else:
        raise ValueError(scenario)
    print(json.dumps(got))


main()

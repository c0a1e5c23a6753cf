// What the Node SDK makes of a gate: `node sdk.mjs MODULES GATE KEY SCENARIO [ARGUMENT...]`
// plays one scenario and writes down what it saw as one JSON object. It judges nothing.

import { createReadStream, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, gate, key, scenario, ...args] = process.argv.slice(2);
const require = createRequire(pathToFileURL(resolve(modules, "sdk.cjs")));
const { default: OpenAI } = await import(pathToFileURL(require.resolve("openai")));

const PROMPT = 'A calico cat playing a piano, café "quoted"\nline 2';
const ASKED = { model: "sora-2", seconds: "8", size: "1280x720" };

const maxRetries = scenario === "retried" ? 2 : 0;
const client = new OpenAI({ baseURL: `${gate}/v1`, apiKey: key, maxRetries, timeout: 60_000 });

const fileOf = (path) => new File([readFileSync(path)], "a.png", { type: "image/png" });

/** The fields of a create; the SDK sends them in the order of the keys. */
function fields(shape, image) {
  switch (shape) {
    case "plain":
      return { prompt: PROMPT, ...ASKED };
    case "file-last":
      return { prompt: PROMPT, ...ASKED, input_reference: fileOf(image) };
    case "file-first":
      return { input_reference: fileOf(image), prompt: PROMPT, ...ASKED };
    case "documented":
      return { prompt: PROMPT, input_reference: fileOf(image), ...ASKED };
    case "stream":
      return { input_reference: createReadStream(image), prompt: PROMPT, ...ASKED };
    case "url":
      return { prompt: PROMPT, ...ASKED, input_reference: { image_url: "https://example.com/a.png" } };
    default:
      throw new Error(shape);
  }
}

function create(shape, image) {
  if (shape === "json") return client.post("/videos", { body: { prompt: PROMPT, ...ASKED } });
  return client.videos.create(fields(shape, image));
}

const seen = ({ id, status, model, seconds, size }) => ({ id, status, model, seconds, size });

async function attempt(action) {
  const started = performance.now();
  let result;
  try {
    result = seen(await action());
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    result = {
      error: error.constructor.name,
      status: error.status,
      code: error.code,
      param: error.param,
      type: error.type,
      message: error.error?.message,
      shown: `${error.message} ${error.cause ?? ""}`,
    };
  }
  return { ...result, took: (performance.now() - started) / 1000 };
}

/** Creates a video and polls it, which this SDK leaves to its users. */
async function createAndPoll() {
  let video = await client.videos.create(fields("plain"));
  while (video.status === "queued" || video.status === "in_progress") {
    await new Promise((done) => setTimeout(done, 20));
    video = await client.videos.retrieve(video.id);
  }
  return video;
}

async function life() {
  const video = await createAndPoll();
  const start = async (query) => {
    const content = await client.videos.downloadContent(video.id, query);
    return Buffer.from(await content.arrayBuffer()).subarray(0, 12).toString("hex");
  };
  const content = { default: await start() };
  for (const variant of ["video", "thumbnail", "spritesheet"]) {
    content[variant] = await start({ variant });
  }
  const remix = await client.videos.remix(video.id, { prompt: "Now with a dog" });
  const another = await client.videos.create(fields("plain"));
  const paged = [];
  for await (const listed of client.videos.list({ limit: 1, order: "asc" })) paged.push(listed.id);
  return {
    created: seen(video),
    content,
    remix: { ...seen(remix), of: remix.remixed_from_video_id },
    ids: [video.id, remix.id, another.id],
    paged,
    retrieved: seen(await client.videos.retrieve(another.id)),
    deleted: await client.videos.delete(video.id),
    gone: await attempt(() => client.videos.retrieve(video.id)),
  };
}

async function models(other) {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  return {
    ids,
    one: await client.models.retrieve("sora-2"),
    other: await attempt(() => client.models.retrieve(other)),
  };
}

/** One create twice under one Idempotency-Key, then another one. */
async function again(image) {
  const named = client.withOptions({ defaultHeaders: { "Idempotency-Key": "again-1" } });
  const create = (shape) => attempt(() => named.videos.create(fields(shape, image)));
  return {
    first: await create("file-last"),
    second: await create("file-last"),
    other: await create("plain"),
  };
}

const told = (headers) =>
  Object.fromEntries([...headers].filter(([name]) => name.startsWith("x-ratelimit")));

/** What a create says of the limits, then the usage, then a refusal. */
async function limits() {
  const made = await client.videos.create(fields("plain")).asResponse();
  const usage = await client.get("/usage");
  try {
    await client.videos.create(fields("plain"));
  } catch (error) {
    const refused = { headers: told(error.headers), message: error.error.message };
    return { made: told(made.headers), usage, refused };
  }
}

/** How `rounds` uploads end that ask for a model that the key may not have. */
async function refusedUpload(order, framing, image, rounds) {
  const asked = { ...ASKED, model: "sora-2-pro" };
  const outcomes = {};
  for (let round = 0; round < Number(rounds); round++) {
    const file = framing === "chunked" ? createReadStream(image) : fileOf(image);
    const fields =
      order === "model-last"
        ? { input_reference: file, prompt: PROMPT, ...asked }
        : { prompt: PROMPT, ...asked, input_reference: file };
    const got = await attempt(() => client.videos.create(fields));
    const outcome = `${got.error} ${got.code}`;
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  }
  return { outcomes };
}

const SCENARIOS = {
  create: (...args) => attempt(() => create(...args)),
  retried: (...args) => attempt(() => create(...args)),
  ask: (model, seconds, size) =>
    attempt(() => client.videos.create({ prompt: PROMPT, model, seconds, size })),
  retrieve: (id) => attempt(() => client.videos.retrieve(id)),
  life,
  models,
  limits,
  again,
  "refused-upload": refusedUpload,
};

console.log(JSON.stringify(await SCENARIOS[scenario](...args)));

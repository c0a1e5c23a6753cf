// Reads create bodies with the form and JSON parsers of the Node world. The format of input
// and output is that of oracle.py. The modules are looked for in the folder named by the
// first argument.

import { createRequire } from "node:module";
import { resolve } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(resolve(process.argv[2], "oracle.cjs")));
const load = async (name) => import(pathToFileURL(require.resolve(name)));

const { default: busboy } = await load("busboy");
const { default: busboy0 } = await load("busboy-0");
const { default: fastifyBusboy } = await load("@fastify/busboy");
const { formidable } = await load("formidable");
const { default: formidable1 } = await load("formidable-1");
const { default: multer } = await load("multer");
const { default: multiparty } = await load("multiparty");
const { default: parseMultipartData } = await load("parse-multipart-data");
const { Response } = await load("undici");
const { getMultipartBoundary, parseMultipart } = await load("@remix-run/multipart-parser");

const FIELDS = ["model", "seconds", "size"];
const FILE = "<file>";

/** What an application reads out of [name, value] pairs in the order of the body. */
function read(pairs) {
  const first = { model: null, seconds: null, size: null };
  const last = { ...first };
  for (const [name, value] of pairs) {
    if (!FIELDS.includes(name)) continue;
    const text = typeof value === "string" ? value : `<${typeof value}>`;
    first[name] ??= text;
    last[name] = text;
  }
  return { first, last };
}

function pieces(body, step) {
  if (!step) return [body];
  const list = [];
  for (let at = 0; at < body.length; at += step) list.push(body.subarray(at, at + step));
  return list;
}

/** A request as a server would hand it to a form parser. */
function request({ contentType, body, step }) {
  const stream = Readable.from(pieces(body, step), { objectMode: false });
  stream.headers = { "content-type": contentType, "content-length": String(body.length) };
  stream.method = "POST";
  stream.url = "/v1/videos";
  return stream;
}

/**
 * The generations of busboy emit the same events but for the one at the end. An application
 * that takes no files does not listen for them.
 */
function withBusboy(create, end, files = true) {
  return (record) =>
    new Promise((done, fail) => {
      const pairs = [];
      const parser = create({ headers: request(record).headers });
      parser.on("field", (name, value) => pairs.push([name, value]));
      if (files) {
        parser.on("file", (name, stream) => {
          pairs.push([name, FILE]);
          stream.on("error", fail).resume();
        });
      }
      parser.on("error", fail);
      parser.on(end, () => done(pairs));
      for (const piece of pieces(record.body, record.step)) parser.write(piece);
      parser.end();
    });
}

function withMultiparty(record) {
  return new Promise((done, fail) => {
    const pairs = [];
    const form = new multiparty.Form();
    form.on("field", (name, value) => pairs.push([name, value]));
    form.on("part", (part) => {
      pairs.push([part.name, FILE]);
      part.on("error", fail).resume();
    });
    form.on("error", fail);
    form.on("close", () => done(pairs));
    form.parse(request(record));
  });
}

function withFormidable(record) {
  return new Promise((done, fail) => {
    const pairs = [];
    const form = formidable({ allowEmptyFiles: true, minFileSize: 0 });
    form.on("field", (name, value) => pairs.push([name, value]));
    // It takes every part with a Content-Type for a file, and an application that wants the
    // text of one reads that file. A part that has a filename is a file to anybody.
    form.onPart = (part) => {
      if (!part.mimetype) return form._handlePart(part).catch(fail);
      const chunks = [];
      part.on("data", (chunk) => chunks.push(chunk));
      part.on("end", () => {
        const isText = part.originalFilename === null || part.originalFilename === undefined;
        pairs.push([part.name, isText ? Buffer.concat(chunks).toString() : FILE]);
      });
    };
    form.once("error", fail);
    form.once("end", () => done(pairs));
    form.parse(request(record)).catch(fail);
  });
}

/** It tells a field from a file by the filename alone. */
function withFormidable1(record) {
  return new Promise((done, fail) => {
    const pairs = [];
    const form = new formidable1.IncomingForm();
    form.onPart = (part) => {
      const chunks = [];
      part.on("data", (chunk) => chunks.push(chunk));
      part.on("end", () => {
        const isText = part.filename === undefined;
        pairs.push([part.name, isText ? Buffer.concat(chunks).toString() : FILE]);
      });
    };
    form.once("error", fail);
    form.once("end", () => done(pairs));
    form.parse(request(record));
  });
}

/** It keeps the last or all values of a name, and its files in memory. */
function withMulter(record) {
  return new Promise((done, fail) => {
    const message = request(record);
    multer().any()(message, {}, (error) => {
      if (error) return fail(error);
      const values = Object.entries(message.body ?? {});
      const pairs = values.flatMap(([name, value]) => [value].flat().map((v) => [name, v]));
      done(pairs.concat(message.files.map((file) => [file.fieldname, FILE])));
    });
  });
}

function withParseMultipartData({ contentType, body }) {
  const boundary = parseMultipartData.getBoundary(contentType);
  const parts = parseMultipartData.parse(body, boundary);
  return parts.map((part) => [part.name, "filename" in part ? FILE : part.data.toString()]);
}

async function withUndici({ contentType, body }) {
  const form = await new Response(body, { headers: { "content-type": contentType } }).formData();
  return Array.from(form, ([name, value]) => [name, typeof value === "string" ? value : FILE]);
}

// The body is given whole: in pieces, it takes a line break after the closing delimiter for
// an error if that comes in a piece of its own.
function withRemix({ contentType, body }) {
  const boundary = getMultipartBoundary(contentType);
  if (!boundary) throw new Error("no boundary");
  const parts = Array.from(parseMultipart(body, { boundary }));
  return parts.map((part) => [part.name, part.isFile ? FILE : part.text]);
}

function members(document) {
  if (document === null || typeof document !== "object" || Array.isArray(document)) {
    throw new Error("the document is no object");
  }
  return Object.entries(document)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]);
}

const busboy1 = (options) => busboy(options);
const olderBusboy = (options) => new busboy0(options);
const forms = {
  "busboy 1": withBusboy(busboy1, "close"),
  "busboy 1, no files": withBusboy(busboy1, "close", false),
  "busboy 0.3": withBusboy(olderBusboy, "finish"),
  "busboy 0.3, no files": withBusboy(olderBusboy, "finish", false),
  "@fastify/busboy": withBusboy((options) => new fastifyBusboy(options), "finish"),
  "multer (npm)": withMulter,
  multiparty: withMultiparty,
  "formidable 3": withFormidable,
  "formidable 1": withFormidable1,
  undici: withUndici,
  "parse-multipart-data": async (record) => withParseMultipartData(record),
  remix: async (record) => withRemix(record),
};
const decoder = new TextDecoder();
const jsons = {
  "JSON.parse": async ({ body }) => members(JSON.parse(decoder.decode(body))),
};

// Parsers that complain do so in their answers.
console.warn = () => {};

// A parser that throws out of a callback of its own ends the record that is being read.
let interrupt = () => {};
process.on("uncaughtException", (error) => interrupt(error));
process.on("unhandledRejection", (error) => interrupt(error));

/** Calls a parser; if it neither ends nor fails once it has nothing left to do, that is an error. */
function ask(parse, record) {
  return new Promise((done) => {
    let timer;
    const settle = (answer) => {
      clearTimeout(timer);
      done(answer);
    };
    const fail = (error) => settle({ error: String(error?.message ?? error).slice(0, 200) });
    interrupt = fail;
    timer = setTimeout(() => fail("the parser waits for more input"), 1000);
    try {
      parse(record).then((pairs) => settle(read(pairs)), fail);
    } catch (error) {
      fail(error);
    }
  });
}

/** Cuts the input into records without ever joining more than the unread rest. */
async function* records(input) {
  let rest = Buffer.alloc(0);
  for await (const chunk of input) {
    rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
    let at = 0;
    for (;;) {
      if (rest.length < at + 8) break;
      const typeEnd = at + 8 + rest.readUInt32BE(at + 4);
      if (rest.length < typeEnd + 4) break;
      const bodyEnd = typeEnd + 4 + rest.readUInt32BE(typeEnd);
      if (rest.length < bodyEnd) break;
      yield {
        step: rest.readUInt32BE(at),
        contentType: rest.toString("latin1", at + 8, typeEnd),
        // A copy: a parser may keep or change what it is given.
        body: Buffer.from(rest.subarray(typeEnd + 4, bodyEnd)),
      };
      at = bodyEnd;
    }
    rest = rest.subarray(at);
  }
}

let output = "";
for await (const record of records(process.stdin)) {
  const parsers = record.contentType.toLowerCase().includes("json") ? jsons : forms;
  const answer = {};
  for (const [name, parse] of Object.entries(parsers)) answer[name] = await ask(parse, record);
  output += `${JSON.stringify(answer)}\n`;
  if (output.length > 1 << 16) {
    process.stdout.write(output);
    output = "";
  }
}
process.stdout.write(output);

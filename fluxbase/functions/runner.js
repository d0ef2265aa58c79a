// Runs one function inside the sandbox. It holds no secret but the function's own and has no
// permission: what it wants of the world it asks for in lines of JSON on standard output, and the
// server decides. Everything here may be tampered with by the function; only that function is hurt.
const { stdin, stdout, inspect, exit } = Deno;
const encoder = new TextEncoder();
const waiting = new Map();
const BINARY = 0x8000;
let numbers = 0;
let handler;
let bounds = { response: 1 << 20 };

// Half a surrogate pair, as of a text that was cut in an emoji: no JSON of the server has it.
const HALF = /(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}/g;

// A call that is over may still have timers and promises: what they say is told apart by its number.
const { AsyncLocalStorage } = await import("node:async_hooks");
const within = new AsyncLocalStorage();

function say(message) {
  let text = JSON.stringify({ r: within.getStore(), ...message });
  if (text.includes("\\ud")) text = text.replace(HALF, "$1\\ufffd");
  const bytes = encoder.encode(text + "\n");
  for (let done = 0; done < bytes.length;) done += stdout.writeSync(bytes.subarray(done));
}

function ask(message) {
  const number = ++numbers;
  return new Promise((resolve, reject) => {
    waiting.set(number, { resolve, reject });
    say({ ...message, n: number });
  });
}

class FluxbaseError extends Error {
  constructor({ code, message, hint }) {
    super(message);
    this.name = "FluxbaseError";
    this.code = code;
    if (hint) this.hint = hint;
  }
}

function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += BINARY) {
    text += String.fromCharCode(...bytes.subarray(at, at + BINARY));
  }
  return btoa(text);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

// A body travels as text when it is text, else in base64.
function packed(bytes) {
  if (!bytes.length) return { body: null };
  try {
    return { body: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { body: toBase64(bytes), base64: true };
  }
}

function unpacked({ body, base64 }) {
  return body === null || body === undefined ? null : base64 ? fromBase64(body) : body;
}

for (const level of ["debug", "info", "log", "warn", "error", "trace"]) {
  console[level] = (...parts) => {
    const text = parts.map((p) => typeof p === "string" ? p : inspect(p, { depth: 6 })).join(" ");
    say({ t: "log", level: level === "log" || level === "trace" ? "info" : level, text });
  };
}

globalThis.fetch = async (input, init) => {
  const request = new Request(input, init);
  const body = new Uint8Array(await request.arrayBuffer());
  const answer = await ask({
    t: "fetch",
    url: request.url,
    method: request.method,
    headers: [...request.headers],
    ...packed(body),
  });
  const empty = [101, 204, 205, 304].includes(answer.status);
  return new Response(empty ? null : unpacked(answer), {
    status: answer.status,
    headers: answer.headers,
  });
};

const call = (tool, given = {}) => ask({ t: "call", tool, arguments: given });

const fluxbase = {
  caller: null,
  call,
  query: (table, options = {}) => call("query_table", { table, ...options }),
  insert: (table, data, options = {}) => call("insert_record", { table, data, ...options }),
  update: (table, data, filter, options = {}) =>
    call("update_record", { table, data, filter, ...options }),
  delete: (table, filter, options = {}) => call("delete_record", { table, filter, ...options }),
  rpc: async (name, params = {}, options = {}) =>
    (await call("invoke_rpc", { name, params, ...options })).data,
  invoke: (name, options = {}) => call("invoke_function", { name, ...options }),
  storage: {
    list: (bucket, options = {}) => call("list_objects", { bucket, ...options }),
    download: (bucket, key) => call("download_object", { bucket, key }),
    upload: (bucket, key, content, options = {}) =>
      call(
        "upload_object",
        typeof content === "string"
          ? { bucket, key, content, ...options }
          : { bucket, key, content: toBase64(content), encoding: "base64", ...options },
      ),
    remove: (bucket, key) => call("delete_object", { bucket, key }),
  },
  jobs: {
    submit: (job_name, payload = null, options = {}) =>
      call("submit_job", { job_name, payload, ...options }),
    status: (job_id) => call("get_job_status", { job_id }),
  },
  progress: (percent, message) =>
    say({ t: "report", percent: percent ?? null, message: message ?? null }),
};
Object.defineProperty(globalThis, "fluxbase", { value: fluxbase, enumerable: true });

function take(found) {
  const made = typeof found === "function" ? found : found?.fetch ?? found?.handler;
  if (typeof made === "function") handler = made.bind(typeof found === "object" ? found : undefined);
}

// The handler of code that was written for a server of its own.
Deno.serve = (...given) => {
  take(given.find((g) => typeof g === "function") ?? given[0]);
  return {
    finished: new Promise(() => {}),
    shutdown: async () => {},
    ref() {},
    unref() {},
    addr: { transport: "tcp", hostname: "localhost", port: 0 },
  };
};

function told(error) {
  if (!(error instanceof Error)) return { message: inspect(error, { depth: 3 }), stack: "" };
  const stack = String(error.stack ?? "");
  return {
    message: `${error.name}: ${error.message}`,
    stack: stack.split("\n").filter((l) => !l.includes("runner.js:")).join("\n"),
  };
}

async function load({ code, env, limits }) {
  bounds = limits;
  const known = new Map(Object.entries(env));
  Object.defineProperty(Deno, "env", {
    value: {
      get: (name) => known.get(name),
      has: (name) => known.has(name),
      set: (name, value) => void known.set(name, String(value)),
      delete: (name) => void known.delete(name),
      toObject: () => Object.fromEntries(known),
    },
  });
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const module = await import(address);
  URL.revokeObjectURL(address);
  if (module.default !== undefined) take(module.default);
  if (typeof handler !== "function") {
    throw new TypeError("the function has no handler: export default (request) => new Response()");
  }
  say({ t: "loaded" });
}

async function run({ request, caller, payload }) {
  fluxbase.caller = caller;
  const made = new Request(request.url, {
    method: request.method,
    headers: request.headers,
    body: ["GET", "HEAD"].includes(request.method) ? null : unpacked(request),
  });
  let answer = await handler(made, { payload });
  if (!(answer instanceof Response)) {
    answer = answer === undefined ? new Response(null, { status: 204 }) : Response.json(answer);
  }
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if (bytes.length > bounds.response) {
    throw new RangeError(`the response has more than ${bounds.response} bytes`);
  }
  say({ t: "done", status: answer.status, headers: [...answer.headers], ...packed(bytes) });
}

async function tried(work, message) {
  try {
    await work(message);
  } catch (error) {
    say({ t: "threw", ...told(error) });
  }
}

// A promise that nobody waits for must not end the process of everybody's next call.
globalThis.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  const { message, stack } = told(event.reason);
  say({ t: "log", level: "error", text: `Uncaught (in promise) ${stack || message}` });
});

globalThis.addEventListener("error", (event) => {
  event.preventDefault();
  const { message, stack } = told(event.error);
  say({ t: "log", level: "error", text: `Uncaught ${stack || message}` });
});

function hear(message) {
  if (message.t === "load") tried(load, message);
  else if (message.t === "run") within.run(message.r, tried, run, message);
  else if (message.t === "reply") {
    const asked = waiting.get(message.n);
    waiting.delete(message.n);
    if (message.error) asked?.reject(new FluxbaseError(message.error));
    else asked?.resolve(message.ok);
  }
}

say({ t: "ready" });
// What the first of anything costs is paid while nobody waits for it.
await import(URL.createObjectURL(new Blob(["export default 0"], { type: "text/javascript" })));
await new Request("http://localhost/", { method: "POST", body: "{}" }).json();
await Response.json({}).arrayBuffer();
let begun = [];
for await (const part of stdin.readable.pipeThrough(new TextDecoderStream())) {
  begun.push(part);
  if (!part.includes("\n")) continue;
  const lines = begun.join("").split("\n");
  begun = [lines.pop()];
  lines.forEach((line) => hear(JSON.parse(line)));
}
exit(0);

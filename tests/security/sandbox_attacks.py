"""Code of functions that goes over a limit, with the error it has to end in."""

from __future__ import annotations

from typing import Final

FLOOD: Final = """
const bytes = new TextEncoder().encode('LINE\\n'.repeat(50_000));
for (;;) Deno.stdout.writeSync(bytes);
"""
FATAL: Final = {
    "spins": ("for (;;);", "FLX801", "processor time"),
    "spins in a promise": ("const f = () => Promise.resolve().then(f); await f();", "FLX801", ""),
    "never ends": ("await new Promise(() => {});", "FLX503", "time limit of 2 s"),
    "fills the heap": ("const a = []; for (;;) a.push(new Array(1e5).fill({}));", "FLX801", ""),
    "fills buffers": (
        "const a = []; for (;;) { a.push(new Uint8Array(1 << 24).fill(1)); "
        "await new Promise((y) => setTimeout(y, 5)); }",
        "FLX801", "memory",
    ),
    "one large buffer": ("new Uint8Array(2 ** 31).fill(1); for (;;);", "FLX801", ""),
    "grows a string": ("let s = 'x'; for (;;) { s += s; s.charCodeAt(9); }", "FLX801", ""),
    "fills workers": (
        "const u = URL.createObjectURL(new Blob(['const a = []; for (;;) a.push(new Uint8Array("
        "1 << 24).fill(1))'])); for (let i = 0; i < 4; i++) new Worker(u, { type: 'module' }); "
        "await new Promise(() => {});",
        "FLX801", "",
    ),
    "ends its process": ("Deno.exit(0);", "FLX801", "ended its process"),
    "ignores signals": (
        "try { Deno.addSignalListener('SIGTERM', () => {}) } catch {} for (;;);",
        "FLX801", "",
    ),
    "writes to standard output": (
        "Deno.stdout.writeSync(new TextEncoder().encode('hello\\n')); for (;;);",
        "FLX801", "standard output",
    ),
    "floods standard output": (
        "const b = new Uint8Array(1 << 20).fill(65); for (;;) Deno.stdout.writeSync(b);",
        "FLX801", "",
    ),
    "floods its log": ("for (;;) console.log('x'.repeat(1000));", "FLX801", "wrote more"),
    "floods its calls": (FLOOD.replace("LINE", '{"t":"call"}'), "FLX801", "at once"),
    "floods with empty lines of its log": (FLOOD.replace("LINE", '{"t":"log"}'), "FLX801", "wrote"),
    "says nothing that has a meaning": (
        "Deno.stdout.writeSync(new TextEncoder().encode('{}\\n')); await new Promise(() => {});",
        "FLX801", "not understood",
    ),
    "answers too much": ("return new Response('x'.repeat(200_000));", "FLX801", "100000 bytes"),
    "answers too much past the runner": (
        "const said = { t: 'done', status: 200, headers: [], body: 'x'.repeat(200_000) };"
        "const bytes = new TextEncoder().encode(JSON.stringify(said) + '\\n');"
        "for (let n = 0; n < bytes.length;) n += Deno.stdout.writeSync(bytes.subarray(n));"
        "await new Promise(() => {});",
        "FLX801", "not understood",
    ),
    "answers nonsense": (
        "Deno.stdout.writeSync(new TextEncoder().encode('{\"t\":\"done\",\"status\":\"x\"}\\n'));"
        "await new Promise(() => {});",
        "FLX801", "not understood",
    ),
    "throws nothing": ("throw undefined;", "FLX801", "threw"),
    "throws a proxy": ("throw new Proxy({}, { get() { throw 1 } });", "FLX801", ""),
}  # fmt: skip

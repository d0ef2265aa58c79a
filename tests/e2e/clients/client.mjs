// The official TypeScript client: lists, calls, reads, hears of progress and cancels; one JSON line.
// Arguments: the client's module, the endpoint, the key, `legacy` or `auto`.
const [module, url, key, mode] = process.argv.slice(2);
const { Client, StreamableHTTPClientTransport } = await import(module);

const client = new Client(
  { name: "test", version: "1" },
  { versionNegotiation: { mode } },
);
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { "X-Client-Key": key } },
});
await client.connect(transport);

const tools = (await client.listTools()).tools.map((tool) => tool.name);
const prompts = (await client.listPrompts()).prompts.map((prompt) => prompt.name);
const called = await client.callTool({
  name: "query_table",
  arguments: { table: "todos", limit: 2 },
});
const read = await client.readResource({ uri: "fluxbase://schema/tables" });

const told = [];
await client.callTool(
  { name: "query_table", arguments: { table: "slow" } },
  { onprogress: (progress) => told.push(progress.progress) },
);

// The server's own numbers tell, while this client stays connected: leaving would end it as well.
const busy = async () => {
  const text = await (await fetch(new URL("/metrics", url))).text();
  return Number(/^fluxbase_pool_in_use\{[^}]*="client"\} (\S+)$/m.exec(text)[1]);
};
const until = async (wanted) => {
  for (const end = Date.now() + 8000; Date.now() < end; ) {
    if ((await busy()) >= 1 === wanted) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
};
const giveUp = new AbortController();
let refused = null;
const running = client
  .callTool({ name: "query_table", arguments: { table: "slower" } }, { signal: giveUp.signal })
  .catch((error) => (refused = String(error.message ?? error)));
const began = await until(true);
giveUp.abort();
await running;
const stopped = await until(false);
const version = client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion;
console.log(
  JSON.stringify({
    version,
    tools,
    prompts,
    rows: called.structuredContent.rows.length,
    read: read.contents[0].text,
    told,
    refused,
    began,
    stopped,
  }),
);
await client.close();
process.exit(0);

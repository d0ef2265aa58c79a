// What a function may call, beside the Web's own Request, Response, fetch, crypto, URL and so on.
// Every call is made with the rights of the function's caller; what is refused throws FluxbaseError.

interface FluxbaseError extends Error {
  /** Such as FLX302; the reference of errors lists them. */
  code: string;
  hint?: string;
}

interface FluxbaseCaller {
  kind: "client_key" | "service_key" | "user";
  id: string;
  name: string;
  /** The Postgres role that its SQL runs as. */
  role: string;
  user_id: string | null;
  claims: Record<string, unknown>;
}

// deno-lint-ignore no-explicit-any
type FluxbaseJson = any;

declare const fluxbase: {
  /** Who invoked the function. */
  readonly caller: FluxbaseCaller | null;
  /** Calls any tool that the caller has. */
  call(tool: string, args?: Record<string, unknown>): Promise<FluxbaseJson>;
  query(table: string, options?: Record<string, unknown>): Promise<FluxbaseJson>;
  insert(table: string, data: unknown, options?: Record<string, unknown>): Promise<FluxbaseJson>;
  update(
    table: string, data: unknown, filter: unknown, options?: Record<string, unknown>,
  ): Promise<FluxbaseJson>;
  delete(table: string, filter: unknown, options?: Record<string, unknown>): Promise<FluxbaseJson>;
  rpc(
    name: string, params?: Record<string, unknown>, options?: Record<string, unknown>,
  ): Promise<FluxbaseJson>;
  invoke(name: string, options?: Record<string, unknown>): Promise<FluxbaseJson>;
  storage: {
    list(bucket: string, options?: Record<string, unknown>): Promise<FluxbaseJson>;
    download(bucket: string, key: string): Promise<FluxbaseJson>;
    upload(
      bucket: string, key: string, content: string | Uint8Array, options?: Record<string, unknown>,
    ): Promise<FluxbaseJson>;
    remove(bucket: string, key: string): Promise<FluxbaseJson>;
  };
  jobs: {
    submit(
      job_name: string, payload?: unknown, options?: Record<string, unknown>,
    ): Promise<FluxbaseJson>;
    status(job_id: string): Promise<FluxbaseJson>;
  };
  /** Tells how far a job is, in percent. */
  progress(percent?: number | null, message?: string): void;
};

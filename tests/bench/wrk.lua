-- Sends requests that were written beforehand, in turn, and prints what came of them as JSON.
local written, at = {}, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for line in file:lines() do
    local length = tonumber(line)
    written[#written + 1] = file:read(length)
    file:read(1)
  end
  file:close()
end

function request()
  at = at % #written + 1
  return written[at]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "bytes": %d, "errors": %d, "p50_ms": %.4f, "p99_ms": %.4f}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end

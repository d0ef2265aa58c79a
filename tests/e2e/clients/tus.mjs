// tus-js-client: uploads a file over a connection that is cut once, and says how it went in one JSON
// line. Arguments: the client's module, the endpoint, the key, the file, its key in the bucket.
import { createReadStream, statSync } from "node:fs";
const [module, endpoint, key, file, name] = process.argv.slice(2);
const { Upload } = await import(module);

const offsets = [];
const errors = [];
const upload = new Upload(createReadStream(file), {
  endpoint,
  headers: { "X-Client-Key": key },
  uploadSize: statSync(file).size,
  chunkSize: 8 * 1024 * 1024,
  retryDelays: [0, 100, 500, 1000],
  metadata: { bucketName: "files", objectName: name, contentType: "application/x-test" },
  onProgress: (sent) => offsets.push(sent),
  onShouldRetry: (error) => {
    errors.push(String(error.message).slice(0, 200));
    return true;
  },
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess: () => {
    console.log(JSON.stringify({ retries: errors.length, sent: Math.max(...offsets) }));
    process.exit(0);
  },
});
upload.start();

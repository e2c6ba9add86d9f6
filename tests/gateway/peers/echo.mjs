// Another such mock: it says what it is told and never reports a usage.
import { getDefaultConfig } from "@dwmkerr/mock-llm/dist/config.js";
import { createServer } from "@dwmkerr/mock-llm/dist/server.js";

const log = console.log;
console.log = () => {};
const config = { ...getDefaultConfig(), streaming: { chunkSize: 5, chunkIntervalMs: 1 } };
const listener = createServer(config, "127.0.0.1", 0).listen(0, "127.0.0.1", () => log(`http://127.0.0.1:${listener.address().port}`));
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();

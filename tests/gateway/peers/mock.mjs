// A mock of AI providers that others wrote, on a free port; prints its address and stops when its input ends.
import { LLMock } from "@copilotkit/aimock";

const mock = new LLMock({ port: 0 });
mock.onMessage("hello", { content: "Hi there, how are you on this fine day?" });
await mock.start();
console.log(mock.url);
process.stdin.on("end", () => mock.stop());
process.stdin.resume();

// Calls of the Vercel AI SDK, with nothing but the base URL and the key changed; prints what came of them as JSON.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { embed, generateObject, generateText, jsonSchema, streamText, tool } from "ai";

const { GATEWAY: address, KEY: apiKey } = process.env;
const openai = createOpenAI({ baseURL: `${address}/v1`, apiKey });
const anthropic = createAnthropic({ baseURL: `${address}/v1`, apiKey });
const prompt = "Say hello.";
const schema = jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false });

const streamed = async (model) => {
  const result = streamText({ model, prompt });
  let text = "";
  for await (const piece of result.textStream) text += piece;
  return { text, tokens: (await result.usage).outputTokens, reason: await result.finishReason };
};

const calls = {
  chat: async () => (await generateText({ model: openai.chat("fake-1"), prompt })).text,
  chatStream: () => streamed(openai.chat("fake-1")),
  responses: async () => (await generateText({ model: openai.responses("fake-1"), prompt })).text,
  responsesStream: () => streamed(openai.responses("fake-1")),
  messages: async () => (await generateText({ model: anthropic("fake-1"), prompt, maxOutputTokens: 100 })).text,
  messagesStream: () => streamed(anthropic("fake-1")),
  tool: async () => {
    const weather = tool({ description: "The weather", inputSchema: schema });
    const result = await generateText({ model: openai.chat("tool-1"), prompt, tools: { weather } });
    return result.toolCalls[0].input;
  },
  object: async () => (await generateObject({ model: openai.chat("object-1"), prompt, schema })).object,
  embedding: async () => (await embed({ model: openai.embedding("embed-1"), value: "Hello" })).embedding,
  refused: async () => {
    try {
      await generateText({ model: createOpenAI({ baseURL: `${address}/v1`, apiKey: process.env.EMPTY_KEY }).chat("fake-1"), prompt });
    } catch (error) {
      return error.statusCode;
    }
  },
};

const told = {};
for (const [name, call] of Object.entries(calls)) told[name] = await call();
console.log(JSON.stringify(told));

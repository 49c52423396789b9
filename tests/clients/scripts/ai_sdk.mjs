// The AI SDK with its provider for servers that speak OpenAI's protocol.
import assert from "node:assert";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateObject, generateText, jsonSchema, streamText, tool } from "ai";

const [origin, name] = process.argv.slice(2);
const here = createOpenAICompatible({
  name: "wick", baseURL: `${origin}/v1`, includeUsage: true, supportsStructuredOutputs: true,
});
const given = { model: here(name), prompt: "Say hello in one word.", temperature: 0,
  maxOutputTokens: 10, maxRetries: 0 };

const whole = await generateText(given);
assert(whole.text);
assert(whole.usage.outputTokens > 0);
const stream = streamText(given);
let text = "";
for await (const part of stream.textStream) text += part;
assert.equal(text, whole.text);
assert((await stream.usage).outputTokens > 0);

const schema = jsonSchema({ type: "object", properties: { kind: { enum: ["town", "city"] } },
  required: ["kind"], additionalProperties: false });
const { object } = await generateObject({ ...given, schema, maxOutputTokens: 100 });
assert(["town", "city"].includes(object.kind));

const { embeddings } = await embedMany({ model: here.textEmbeddingModel(name),
  values: ["a fox", "a hen"] });
assert.equal(embeddings.length, 2);
const old = await generateText({ ...given, model: here.completionModel(name) });
assert(old.text);
await assert.rejects(generateText({ ...given, prompt: "water ".repeat(9000) }),
  /maximum context length/);

const inputSchema = jsonSchema({ type: "object", properties: { city: { enum: ["Rome", "Paris"] } },
  required: ["city"], additionalProperties: false });
const called = await generateText({ ...given, maxOutputTokens: 60, toolChoice: "required",
  prompt: "What is the weather in Rome?", tools: { weather: tool({ inputSchema,
    description: "The weather in a city.", execute: async () => "sunny" }) } });
assert(["Rome", "Paris"].includes(called.toolCalls[0].input.city));
assert.equal(called.toolResults[0].output, "sunny");

// Its providers for OpenAI's newer protocol, and for Anthropic's.
const openai = createOpenAI({ baseURL: `${origin}/v1`, apiKey: "none" });
const newer = await generateText({ ...given, model: openai.responses(name), maxOutputTokens: 16 });
assert(newer.text);
const anthropic = createAnthropic({ baseURL: `${origin}/v1`, apiKey: "none" });
assert((await generateText({ ...given, model: anthropic(name) })).text);

// The AI SDK with its provider for servers that speak OpenAI's protocol.
import assert from "node:assert";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, jsonSchema, streamText } from "ai";

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

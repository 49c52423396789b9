// OpenAI's own client for JavaScript against the server at argv[2]; what it saw goes to standard output.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const given = {
  model: "tiny",
  messages: [{ role: "user", content: "Hello there" }],
  max_tokens: 12,
  seed: 3,
};
const seen = { models: [] };
for await (const model of client.models.list()) seen.models.push(model.id);
const whole = await client.chat.completions.create(given);
seen.whole = whole.choices[0].message.content;
seen.usage = whole.usage.completion_tokens;
seen.streamed = "";
const stream = await client.chat.completions.create({
  ...given,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  seen.streamed += chunk.choices[0]?.delta?.content ?? "";
  seen.streamedUsage = chunk.usage?.completion_tokens ?? seen.streamedUsage;
}
const left = await client.chat.completions.create({ ...given, max_tokens: 400, stream: true });
for await (const chunk of left) {
  if (chunk.choices[0]?.delta?.content) break; // hangs up
}
try {
  await client.chat.completions.create({ ...given, model: "unheard-of" });
} catch (error) {
  seen.error = [error.constructor.name, error.status, error.code, error.param];
}
console.log(JSON.stringify(seen));
